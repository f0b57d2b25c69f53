"""Table of the published topics: the node, the bag tool and the docs read it. No rclpy here.

Names are relative: the node's namespace (or the bag tool's `--namespace`) is prepended, and
remapping applies.
"""

from __future__ import annotations

from dataclasses import dataclass

DEPTH_MM = "depth_registered/image_raw"
DEPTH_M = "depth_registered/image"
CAMERA_INFO = "depth_registered/camera_info"
SIGMA = "depth_registered/sigma"
POINTS = "depth_registered/points"
HAND_MASK = "hand_mask"
DEBUG = "debug/image"
COMPRESSED_IMAGE = "/compressed"
"""Suffix that image_transport appends to an image's topic for its JPEG or PNG sibling."""
COMPRESSED_DEPTH = "/compressedDepth"
"""Suffix of image_transport for the compressed sibling of a depth image."""


@dataclass(frozen=True)
class OutputTopic:
    """One published topic: relative name, type, encoding (images only) and description."""

    name: str
    type: str
    encoding: str
    text: str

    @property
    def is_image(self) -> bool:
        """True for sensor_msgs/Image."""
        return self.type == "sensor_msgs/msg/Image"


OUTPUT_TOPICS: tuple[OutputTopic, ...] = (
    OutputTopic(DEPTH_MM, "sensor_msgs/msg/Image", "16UC1", "depth in mm, 0 = invalid"),
    OutputTopic(DEPTH_M, "sensor_msgs/msg/Image", "32FC1", "depth in m, NaN = invalid (never 0, never Inf)"),
    OutputTopic(
        CAMERA_INFO,
        "sensor_msgs/msg/CameraInfo",
        "",
        "camera_info of the colour camera under the image's header",
    ),
    OutputTopic(
        SIGMA, "sensor_msgs/msg/Image", "32FC1", "one standard deviation of the depth in m, NaN = invalid"
    ),
    OutputTopic(
        POINTS, "sensor_msgs/msg/PointCloud2", "", "x y z rgb: hand points only, or organized like the image"
    ),
    OutputTopic(HAND_MASK, "sensor_msgs/msg/Image", "mono8", "hand number of each pixel, 0 = no hand"),
    OutputTopic(
        DEBUG, "sensor_msgs/msg/Image", "rgb8", "the colour image with depth, boxes and distances drawn on it"
    ),
    *(
        OutputTopic(
            name + COMPRESSED_DEPTH, "sensor_msgs/msg/CompressedImage", "", f"`{name}` as PNG, {loss}"
        )
        for name, loss in (
            (DEPTH_MM, "lossless"),
            (DEPTH_M, "inverse depth in 16 bits fitted to each frame"),
            (SIGMA, "the inverse in 16 bits fitted to each frame"),
        )
    ),
)
BY_NAME: dict[str, OutputTopic] = {topic.name: topic for topic in OUTPUT_TOPICS}
COMPRESSED: tuple[str, ...] = tuple(name for name in BY_NAME if name.endswith(COMPRESSED_DEPTH))
NEED_INFERENCE: frozenset[str] = frozenset(topic.name for topic in OUTPUT_TOPICS) - {CAMERA_INFO}


def sibling_camera_info(image_topic: str) -> str:
    """Return the camera_info topic beside an image topic, as image_transport pairs them.

    >>> sibling_camera_info("/wrist/color/image_raw")
    '/wrist/color/camera_info'
    """
    head, slash, _ = image_topic.rpartition("/")
    return f"{head}{slash}camera_info"


def camera_info_candidates(image_topic: str) -> tuple[str, ...]:
    """Return the camera_info topics an image topic may have; the first one published counts.

    A compressed image lies below the raw one (/cam/image_raw/compressed with /cam/camera_info), or
    is the driver's only topic (/axis/compressed with /axis/camera_info).
    """
    beside = sibling_camera_info(image_topic)
    if not image_topic.endswith(COMPRESSED_IMAGE):
        return (beside,)
    return beside, sibling_camera_info(image_topic.removesuffix(COMPRESSED_IMAGE))


def other_transport(image: str) -> tuple[str, str]:
    """Return the other value of image_transport for an image topic, and that transport's topic."""
    if image.endswith("/compressed"):
        return "raw", image.removesuffix("/compressed")
    return "compressed", f"{image}/compressed"
