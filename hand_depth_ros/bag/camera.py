"""Select the camera_info of each image of a bag: recorded, or made from a given camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hand_depth_ros.bag.reader import BagReader, find_topic
from hand_depth_ros.errors import BagError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.camera_info_history import CameraInfoHistory
from hand_depth_ros.ros.messages.decode import decode_image
from hand_depth_ros.ros.messages.stamps import stamp_ns

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class GivenCamera:
    """A camera that the user describes.

    Attributes:
        origin: The options that describe it, for messages.
        fields_of: Function from width and height of the image (pixels) to CameraInfo fields.
    """

    origin: str
    fields_of: Callable[[int, int], dict[str, Any]]


class CameraInfoSource(Protocol):
    """Selects the camera_info message of an image."""

    def select(self, image: Any, received: int) -> Any:
        """Return the camera_info of an image message received at that time (ns)."""


class RecordedCameraInfo:
    """The camera_info messages of a bag."""

    def __init__(self, reader: BagReader, image: str, camera_info: str | None) -> None:
        """Read them all.

        Args:
            reader: The bag.
            image: Colour topic.
            camera_info: Its CameraInfo topic; None for the sibling of `image`.

        Raises:
            BagError: There are none.
        """
        sibling = topics.sibling_camera_info(image.removesuffix("/compressed"))
        if camera_info is None and not _has_camera_info(reader):
            raise BagError(
                f"{reader.path}: the bag has no camera_info: describe the camera with --calibration FILE.yaml "
                "(as camera_calibration writes it), with --fx --fy --cx --cy, or roughly with --hfov DEGREES"
            )
        name = find_topic(reader, camera_info or sibling, (CAMERA_INFO,), "--camera-info")
        recorded = [topic for topic in reader.connections if topic.topic == name and topic.is_ros2]
        self._history = CameraInfoHistory()
        # Files of a split recording may overlap in time.
        for message in sorted(reader.messages(recorded), key=lambda message: message.timestamp):
            self._history.add(reader.read(message.connection, message.data), message.timestamp)
        if not self._history:
            raise BagError(
                f"{name} has no messages in this bag: name another topic with --camera-info, or describe the "
                "camera with --calibration, --fx --fy --cx --cy, or --hfov"
            )

    def select(self, image: Any, received: int) -> Any:
        """Return the one with the image's stamp, else the latest before; see CameraInfoHistory."""
        return self._history.select(stamp_ns(image.header), received)


class AssumedCameraInfo:
    """One camera_info for all images, made for the size of the first one."""

    def __init__(self, given: GivenCamera, types: dict[str, Any], notes: list[str]) -> None:
        """Make messages of `types`; add to `notes` which camera was used."""
        self._given, self._types, self._notes = given, types, notes
        self._info: Any = None

    def select(self, image: Any, received: int) -> Any:
        """Return the camera_info; ImageError if the first image cannot be decoded."""
        if self._info is None:
            is_raw = hasattr(image, "width")
            height, width = (image.height, image.width) if is_raw else decode_image(image).shape[:2]
            fields = self._given.fields_of(width, height)
            roi = self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            self._info = self._types[CAMERA_INFO](header=image.header, roi=roi, **fields)
            k = fields["k"]
            distorted = f"{fields['distortion_model']} distortion" if any(fields["d"]) else "no distortion"
            self._notes.append(
                f"camera from {self._given.origin}: {fields['width']}x{fields['height']}, fx {k[0]:g}, "
                f"fy {k[4]:g}, cx {k[2]:g}, cy {k[5]:g}, {distorted}"
            )
        return self._info


def _has_camera_info(reader: BagReader) -> bool:
    return any(topic.msgtype == CAMERA_INFO and topic.is_ros2 for topic in reader.connections)
