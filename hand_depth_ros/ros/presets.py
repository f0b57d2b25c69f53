"""Presets: the node under the names, frame and QoS of a known RGBD camera's driver (config/presets/*.yaml).

Used by launch/rgbd_camera.launch.py and by `hand-depth node --preset`. No rclpy and no launch here. What each
driver publishes, and where we differ, is told in docs/presets.md.
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
    """A preset or a camera name that cannot be used."""


@dataclass(frozen=True)
class CameraSetup:
    """How the node (and the relay of its colour) is started to look like one camera.

    `image` is the colour topic that is read, `colour` the driver's name for it (both absolute). When they
    differ the colour has to be passed on, by the relay. `parameters` are the node's, `relay_parameters` the
    relay's.
    """

    namespace: str
    image: str
    colour: str
    remappings: tuple[tuple[str, str], ...]
    parameters: dict[str, Any]
    relay_parameters: dict[str, Any]

    @property
    def needs_relay(self) -> bool:
        return self.image != self.colour

    @property
    def relay_remappings(self) -> tuple[tuple[str, str], ...]:
        """The relay reads image (and the camera_info beside it) and publishes colour/*."""
        info = topics.sibling_camera_info(self.colour)
        return (("image", self.image), ("colour/image_raw", self.colour), ("colour/camera_info", info))

    def ros_arguments(self, *given: str) -> list[str]:
        """The node's command line, `given` being the user's own part, which wins: of remappings ROS takes the
        first, of parameters the last."""
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
    """One driver. `topics` maps our output names to the driver's, relative to `namespace`; `qos` are the four
    policies that it publishes with; `camera` is its default camera name; `{camera}` stands for that name."""

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
        """The preset `name`, one of NAMES.

        Raises:
            PresetError: There is none of that name.
        """
        if name not in NAMES:
            raise PresetError(f"preset {name!r} does not exist: use one of {', '.join(NAMES)}")
        text = package_file(f"config/presets/{name}.yaml").read_text(encoding="utf-8")
        return cls(name=name, **yaml.safe_load(text))

    def setup(self, camera: str | None = None, image: str = "", driver_frame: bool = True) -> CameraSetup:
        """The node as a camera called `camera` (None: as the driver calls it by default).

        Args:
            camera: The driver's camera name; goes into its namespace and its frame ids.
            image: The colour topic to read. Empty: the one that the driver would publish.
            driver_frame: True: outputs have the driver's frame id, tied to the colour image's by an identity
                transform where that is another. False: they have the colour image's frame id.

        Raises:
            PresetError: `camera` is no ROS name.
        """
        camera = self.camera if camera is None else camera
        if not _NAME.fullmatch(camera) or (self.camera and not camera):
            raise PresetError(
                f"camera {camera!r} is no ROS name: letters, digits and _ are needed, not beginning with a digit"
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
        """Every topic that goes by a name of the driver's, camera_info and compressed siblings included."""
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
