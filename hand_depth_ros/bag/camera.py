"""Select the camera_info of each image of a bag: recorded, or made from a given camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hand_depth_ros.bag.reader import BagReader, find_topic
from hand_depth_ros.errors import BagError
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.assumed_camera import AssumedCamera
from hand_depth_ros.ros.messages.camera_info_history import CameraInfoHistory
from hand_depth_ros.ros.messages.stamps import stamp_ns

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


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
    """The camera_info of a camera that the user describes, made for the size of each image."""

    def __init__(self, camera: AssumedCamera, types: dict[str, Any], notes: list[str]) -> None:
        """Make messages of `types`; add to `notes` which camera is assumed."""
        self._camera, self._types, self._notes = camera, types, notes
        self._info: Any = None
        self._fields: Mapping[str, Any] | None = None

    def select(self, image: Any, received: int) -> Any:
        """Return the camera_info; ImageError if the image's size cannot be read."""
        fields = self._camera.fields(image)
        if fields is not self._fields:
            roi = self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            self._info = self._types[CAMERA_INFO](header=image.header, roi=roi, **fields)
            self._fields = fields
            self._notes.append(f"assumed camera: {self._camera.describe()}")
        return self._info


def _has_camera_info(reader: BagReader) -> bool:
    return any(topic.msgtype == CAMERA_INFO and topic.is_ros2 for topic in reader.connections)
