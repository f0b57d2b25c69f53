"""Presets: run the node under the topics, frame and QoS of an RGBD camera (config/presets/*.yaml).

launch/rgbd_camera.launch.py and `hand-depth node --preset` use them. Imports neither rclpy nor
launch. docs/presets.md lists what each driver publishes and where the node differs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.package_files import package_file

NAMES = ("realsense", "orbbec", "azure_kinect", "openni", "depthai")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*)?")


class PresetError(HandDepthError, ValueError):
    """A preset or camera name that cannot be used."""


@dataclass(frozen=True)
class CameraSetup:
    """Set-up of the node and the colour relay that makes them look like one camera.

    Attributes:
        namespace: Namespace of the node.
        image: Colour topic to read (absolute).
        colour: The driver's name for it (absolute); if it differs, the relay republishes the image.
        remappings: (from, to) names of the node.
        parameters: Parameters of the node.
        relay_parameters: Parameters of the relay.
    """

    namespace: str
    image: str
    colour: str
    remappings: tuple[tuple[str, str], ...]
    parameters: dict[str, Any]
    relay_parameters: dict[str, Any]

    @property
    def needs_relay(self) -> bool:
        """True if the colour image must be republished under the driver's name."""
        return self.image != self.colour

    @property
    def relay_remappings(self) -> tuple[tuple[str, str], ...]:
        """Remappings of the relay, which reads image and its camera_info and publishes colour/*."""
        info = topics.sibling_camera_info(self.colour)
        return (("image", self.image), ("colour/image_raw", self.colour), ("colour/camera_info", info))

    def ros_arguments(self, *given: str) -> list[str]:
        """Return the node's command line; the user's own arguments `given` win.

        ROS takes the first of several remappings and the last of several parameters.
        """
        parameters = [f"{name}:={_inline_yaml(value)}" for name, value in self.parameters.items()]
        remappings = [f"{source}:={target}" for source, target in self.remappings]
        return [
            *("--ros-args", *(word for text in parameters for word in ("-p", text)), "--"),
            *given,
            *("--ros-args", *(word for text in remappings for word in ("-r", text))),
            *("-r", f"__ns:={self.namespace}"),
        ]


@dataclass(frozen=True)
class Preset:
    """One driver. `{camera}` in a name stands for the camera's name.

    Attributes:
        name: Name of the preset.
        driver: ROS package of the driver.
        camera: Default camera name.
        namespace: Namespace of the driver's topics.
        frame_id: frame_id of its depth images.
        colour: Its colour topic, relative to `namespace`.
        topics: Our output names to the driver's, relative to `namespace`.
        qos: QoS policies that it publishes with.
        parameters: Parameters of the node.
    """

    name: str
    driver: str
    camera: str
    namespace: str
    frame_id: str
    colour: str
    topics: dict[str, str]
    qos: dict[str, str | int]
    parameters: dict[str, Any]

    @classmethod
    def load(cls, name: str) -> Preset:
        """Read the preset `name`, one of NAMES.

        Raises:
            PresetError: It does not exist.
        """
        if name not in NAMES:
            raise PresetError(f"preset {name!r} does not exist: use one of {', '.join(NAMES)}")
        text = package_file(f"config/presets/{name}.yaml").read_text(encoding="utf-8")
        return cls(name=name, **yaml.safe_load(text))

    def setup(self, camera: str | None = None, image: str = "", driver_frame: bool = True) -> CameraSetup:
        """Return how to start the node as a camera called `camera`.

        Args:
            camera: The driver's camera name, part of its namespace and frame ids; None: its
                default.
            image: Colour topic to read. Empty: the one that the driver publishes.
            driver_frame: True: outputs have the driver's frame id, joined to the colour image's by
                an identity transform if they differ. False: the colour image's frame id.

        Raises:
            PresetError: `camera` is not a valid ROS name.
        """
        camera = self.camera if camera is None else camera
        if not _NAME.fullmatch(camera) or (self.camera and not camera):
            raise PresetError(
                f"camera {camera!r} is not a ROS name: use letters, digits and _, not starting with a digit"
            )
        namespace = "/" + self.namespace.format(camera=camera).strip("/")
        base = "" if namespace == "/" else namespace
        colour = f"{base}/{self.colour}"
        image = colour if not image else image if image.startswith("/") else f"/{image}"
        frame_id = self.frame_id.format(camera=camera.replace("/", "_")) if driver_frame else ""
        return CameraSetup(
            namespace=namespace,
            image=image,
            colour=colour,
            remappings=(
                ("image", image),
                *((ours, f"{base}/{theirs}") for ours, theirs in self.topics.items() if ours != theirs),
            ),
            parameters={
                **self.parameters,
                "depth_frame_id": frame_id,
                **self._qos_overrides(self._published(base)),
            },
            relay_parameters={
                "frame_id": frame_id,
                **self._qos_overrides(_with_siblings(colour, "/compressed")),
            },
        )

    def _published(self, base: str) -> list[str]:
        """Return all topics under the driver's names, with camera_info and compressed siblings."""
        published = []
        for ours, theirs in self.topics.items():
            name = f"{base}/{theirs}"
            is_image = topics.BY_NAME[ours].is_image
            published += _with_siblings(name, topics.COMPRESSED_DEPTH) if is_image else [name]
        return list(dict.fromkeys(published))

    def _qos_overrides(self, published: list[str]) -> dict[str, str | int]:
        return {
            f"qos_overrides.{name}.publisher.{policy}": value
            for name in published
            for policy, value in self.qos.items()
        }


def _with_siblings(image: str, compressed: str) -> list[str]:
    return [image, topics.sibling_camera_info(image), image + compressed]


def _inline_yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
