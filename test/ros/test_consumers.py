"""Independent consumers, fed by the node's topics over DDS.

Open3D, sensor_msgs_py, the formula of depth_image_proc, and an RGBD hand tracker as it is written
for RealSense cameras.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from support import messages, ros_graph
from support.fakes import DEPTH_M, RADIUS, disc_centres

WIDTH, HEIGHT, F = 160, 120, 150.0
CX, CY = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
TOPICS = {
    "colour": ("/camera/color/image_raw", Image),
    "mm": ("/depth_registered/image_raw", Image),
    "m": ("/depth_registered/image", Image),
    "info": ("/depth_registered/camera_info", CameraInfo),
    "points": ("/depth_registered/points", PointCloud2),
}


def scene() -> np.ndarray:
    """A red disc on blue, where the node's fake estimator sees a hand."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[...] = (20, 30, 90)
    rgb[hand()] = (200, 60, 40)
    return rgb


def hand() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ((cx, cy),) = disc_centres(WIDTH, HEIGHT, 1)
    return (x - cx) ** 2 + (y - cy) ** 2 < (RADIUS * HEIGHT) ** 2


def truth() -> np.ndarray:
    """Return x y z of the hand's pixels, row by row: a plane across the optical axis."""
    v, u = np.nonzero(hand())
    return DEPTH_M * np.stack(((u - CX) / F, (v - CY) / F, np.ones(u.size)), -1)


@pytest.fixture(scope="module")
def frame() -> Iterator[dict[str, Any]]:
    """Return one frame's messages by name of TOPICS, received as sensor data."""
    domain = ros_graph.some_domain()
    colour, _ = TOPICS["colour"]
    node = ros_graph.NodeProcess(domain, "-r", f"image:={colour}", "-p", "max_hands:=1")
    client = ros_graph.Client(domain)
    received: dict[str, list[Any]] = {name: [] for name in TOPICS}
    for name, (topic, kind) in TOPICS.items():
        client.node.create_subscription(kind, topic, received[name].append, qos_profile_sensor_data)

    def show() -> None:
        stamp = client.next_stamp()
        info = ros_graph.to_camera_info(messages.camera_info(WIDTH, HEIGHT, F), stamp)
        client.publisher("/camera/color/camera_info", CameraInfo).publish(info)
        image = ros_graph.to_image(messages.image(scene(), "rgb8"), stamp)
        client.publisher(colour, Image).publish(image)

    def common() -> set[int]:
        assert node.running, node.output
        return set.intersection(*({ros_graph.stamp_of(m) for m in got} for got in received.values()))

    try:
        client.spin_until(common, show, every=1.0)
        stamp = max(common())
        yield {name: next(m for m in got if ros_graph.stamp_of(m) == stamp) for name, got in received.items()}
    finally:
        client.close()
        node.stop()


def array(message: Image) -> np.ndarray:
    """Decode like cv_bridge's imgmsg_to_cv2 with passthrough."""
    dtype, channels = {"16UC1": ("<u2", 1), "32FC1": ("<f4", 1), "rgb8": ("u1", 3)}[message.encoding]
    pixels = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return pixels[..., 0] if channels == 1 else pixels


# Open3D


@pytest.fixture(scope="module")
def open3d() -> Any:
    libusb = pytest.importorskip("libusb_package", reason="libusb-package is not installed (extra test)")
    ctypes.CDLL(
        str(libusb.get_library_path()), mode=ctypes.RTLD_GLOBAL
    )  # Open3D's wheel wants it from the system
    return pytest.importorskip("open3d", reason="Open3D is not installed (extra test, x86_64 only)")


@pytest.mark.parametrize(("depth", "scale", "tolerance"), [("mm", 1000.0, 5e-4), ("m", 1.0, 1e-6)])
def test_open3d_makes_an_rgbd_image_and_a_cloud(
    frame: dict[str, Any], open3d: Any, depth: str, scale: float, tolerance: float
) -> None:
    rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
        open3d.geometry.Image(array(frame["colour"]).copy()),
        open3d.geometry.Image(array(frame[depth]).copy()),
        depth_scale=scale,
        depth_trunc=3.0,
        convert_rgb_to_intensity=False,
    )
    assert np.array_equal(np.asarray(rgbd.depth) > 0, hand())
    k = frame["info"].k
    pinhole = open3d.camera.PinholeCameraIntrinsic(
        frame["info"].width, frame["info"].height, k[0], k[4], k[2], k[5]
    )
    cloud = open3d.geometry.PointCloud.create_from_rgbd_image(rgbd, pinhole)
    assert np.abs(np.asarray(cloud.points) - truth()).max() < tolerance
    assert np.allclose(np.asarray(cloud.colors) * 255, (200, 60, 40))


def test_open3d_cloud_equals_ours(frame: dict[str, Any], open3d: Any) -> None:
    image = open3d.geometry.Image(array(frame["m"]).copy())
    pinhole = open3d.camera.PinholeCameraIntrinsic(WIDTH, HEIGHT, F, F, CX, CY)
    cloud = open3d.geometry.PointCloud.create_from_depth_image(image, pinhole, depth_scale=1.0)
    xyz, _ = read(frame["points"])
    assert np.abs(np.asarray(cloud.points) - xyz).max() < 1e-6


# The point cloud


def read(cloud: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """Return x y z (N, 3) and r g b (N, 3) as PCL reads them, by the fields' description."""
    dtype = np.dtype(
        {
            "names": [f.name for f in cloud.fields],
            "formats": [{7: "<f4", 6: "<u4"}[f.datatype] for f in cloud.fields],
            "offsets": [f.offset for f in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    assert not cloud.is_bigendian and len(cloud.data) == cloud.row_step * cloud.height
    points = np.frombuffer(cloud.data, dtype)
    packed = np.ascontiguousarray(points["rgb"]).view("<u4")
    rgb = np.stack([packed >> shift & 255 for shift in (16, 8, 0)], -1)
    return np.stack([points[name] for name in "xyz"], -1), rgb


def test_cloud_is_the_hand_in_its_colours(frame: dict[str, Any]) -> None:
    cloud = frame["points"]
    xyz, rgb = read(cloud)
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, hand().sum(), True)
    assert np.abs(xyz - truth()).max() < 1e-6 and np.all(rgb == (200, 60, 40))


def test_sensor_msgs_py_reads_the_cloud(frame: dict[str, Any]) -> None:
    point_cloud2 = pytest.importorskip(
        "sensor_msgs_py.point_cloud2",
        reason="sensor_msgs_py is not installed (apt install ros-jazzy-sensor-msgs-py)",
    )
    xyz = point_cloud2.read_points_numpy(frame["points"], field_names=("x", "y", "z"), skip_nans=True)
    assert np.abs(xyz - truth()).max() < 1e-6
    rgb = point_cloud2.read_points(frame["points"], field_names=("rgb",))["rgb"]
    assert set(np.ascontiguousarray(rgb).view("<u4")) == {200 << 16 | 60 << 8 | 40}


# depth_image_proc


@pytest.mark.parametrize(("depth", "unit"), [("mm", 0.001), ("m", 1.0)])
def test_depth_image_proc_formula_gives_the_plane(frame: dict[str, Any], depth: str, unit: float) -> None:
    """As point_cloud_xyz does it: x = (u - P02) * z / P00; 0 (16UC1) or not finite is invalid."""
    p, values = frame["info"].p, array(frame[depth])
    valid = values != 0 if unit == 0.001 else np.isfinite(values)
    v, u = np.nonzero(valid)
    z = values[valid] * unit
    xyz = np.stack(((u - p[2]) * z / p[0], (v - p[6]) * z / p[5], z), -1)
    assert np.abs(xyz - truth()).max() < 1e-6


def test_meets_the_requirements_of_point_cloud_xyzrgb(frame: dict[str, Any]) -> None:
    """It pairs by stamp and rejects colour and depth of different sizes or frames."""
    colour, depth, info = frame["colour"], frame["mm"], frame["info"]
    assert (colour.width, colour.height) == (depth.width, depth.height) == (info.width, info.height)
    assert colour.header == depth.header == info.header


def test_meets_the_requirements_of_rviz_depth_cloud(frame: dict[str, Any]) -> None:
    """It lists topics with "depth" in their name and pairs them by stamp with their camera_info.

    It ignores `step`, needs P (which it keeps until the size changes) and rgb or bgr colour.
    """
    for name in ("mm", "m"):
        depth, info = frame[name], frame["info"]
        assert (
            "depth" in TOPICS[name][0]
            and TOPICS[name][0].rpartition("/")[0] == TOPICS["info"][0].rpartition("/")[0]
        )
        assert (
            depth.step == depth.width * (2 if name == "mm" else 4)
            and len(depth.data) == depth.step * depth.height
        )
        assert depth.header == info.header and info.p[0] == F and info.p[5] == F
    assert frame["colour"].encoding == "rgb8"


# An RGBD hand tracker


@dataclass
class RgbdHandTracker:
    """Track as such packages do: 2D landmarks in colour, the median valid depth around each.

    The landmarks are back-projected with the depth's own camera_info. The 2D detector is a fake: it
    finds the red disc.
    """

    window: int = 5
    near_m: float = 0.1
    far_m: float = 1.5
    landmarks: list[np.ndarray | None] = field(default_factory=list)

    def landmarks_2d(self, rgb: np.ndarray) -> list[tuple[int, int]]:
        red = (rgb[..., 0] > 150).astype(np.uint8)
        contours, _ = cv2.findContours(red, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(contours, key=cv2.contourArea)[:, 0]
        centre = outline.mean(0)
        inside = [centre + 0.95 * (outline[i] - centre) for i in range(0, len(outline), len(outline) // 20)]
        return [tuple(np.rint(point).astype(int)) for point in (centre, *inside)]

    def callback(self, colour: Image, depth: Image, info: CameraInfo) -> None:
        assert depth.encoding == "16UC1" and colour.header.stamp == depth.header.stamp
        millimetres = array(depth)
        fx, fy, cx, cy = info.k[0], info.k[4], info.k[2], info.k[5]
        self.landmarks = []
        for u, v in self.landmarks_2d(array(colour)):
            z = self.depth_at(millimetres, u, v)
            self.landmarks.append(None if z is None else np.array([(u - cx) * z / fx, (v - cy) * z / fy, z]))

    def depth_at(self, millimetres: np.ndarray, u: int, v: int) -> float | None:
        half = self.window // 2
        patch = millimetres[max(0, v - half) : v + half + 1, max(0, u - half) : u + half + 1]
        z = patch[patch > 0] * 0.001
        z = z[(z >= self.near_m) & (z <= self.far_m)]
        return float(np.median(z)) if z.size else None


def test_rgbd_hand_tracker_places_every_landmark(frame: dict[str, Any]) -> None:
    tracker = RgbdHandTracker()
    tracker.callback(frame["colour"], frame["mm"], frame["info"])
    assert len(tracker.landmarks) >= 20
    radius_m = RADIUS * HEIGHT * DEPTH_M / F
    ((cx, cy),) = disc_centres(WIDTH, HEIGHT, 1)
    centre = DEPTH_M * np.array(((cx - CX) / F, (cy - CY) / F, 1.0))
    for landmark in tracker.landmarks:
        assert landmark is not None and landmark[2] == pytest.approx(DEPTH_M, abs=1e-3)
    distances = [np.linalg.norm(landmark - centre) for landmark in tracker.landmarks if landmark is not None]
    assert distances[0] < 3e-3 and np.allclose(distances[1:], 0.95 * radius_m, atol=4e-3)


def test_tracker_finds_no_depth_beside_the_hand(frame: dict[str, Any]) -> None:
    assert RgbdHandTracker().depth_at(array(frame["mm"]), 5, 5) is None
