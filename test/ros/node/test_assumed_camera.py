"""A camera without camera_info: parameters describe it, and the node says which it assumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import messages, ros_graph
from support.fakes import fake_factory

from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node import depth_worker, rosout
from hand_depth_ros.ros.node.assumed_camera import NodeAssumedCamera, resolve_url
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode
from hand_depth_ros.ros.parameters import DEFAULTS, ParameterError, check_values

WIDTH, HEIGHT = 64, 48
CALIBRATION = f"""\
image_width: {WIDTH}
image_height: {HEIGHT}
camera_name: narrow_stereo
camera_matrix: {{rows: 3, cols: 3, data: [61.0, 0.0, 31.0, 0.0, 62.0, 23.0, 0.0, 0.0, 1.0]}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [0.1, -0.05, 0.0, 0.0, 0.0]}}
rectification_matrix: {{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}}
projection_matrix: {{rows: 3, cols: 4, data: [60.0, 0.0, 31.0, 0.0, 0.0, 60.5, 23.0, 0.0, 0.0, 0.0, 1.0, 0.0]}}
"""
"""As camera_calibration writes it."""


class Rig:
    """A node and a camera without camera_info."""

    def __init__(self) -> None:
        domain = ros_graph.some_domain()
        self.client = ros_graph.Client(domain)
        self.driver = ros_graph.Client(domain)
        self.nodes: list[HandDepthNode] = []

    def close(self) -> None:
        for node in self.nodes:
            self.client._executor.remove_node(node)
            node.close()
        self.client.close()
        self.driver.close()

    def start(self, **values: Any) -> HandDepthNode:
        given = [Parameter(name, value=value) for name, value in values.items()]
        node = HandDepthNode(fake_factory, context=self.client.context, parameter_overrides=given)
        self.nodes.append(node)
        self.client._executor.add_node(node)
        return node

    def show(self, compressed: bool = False, k: float | None = None) -> None:
        stamp = self.client.next_stamp()
        rgb = messages.sample_rgb(HEIGHT, WIDTH)
        if k is not None:
            info = ros_graph.to_camera_info(messages.camera_info(WIDTH, HEIGHT, k), stamp)
            self.driver.publisher("camera_info", CameraInfo).publish(info)
        if compressed:
            data = cv2.imencode(".png", rgb)[1].reshape(-1)
            image = ros_graph.to_image(SimpleNamespace(format="png", data=data), stamp)
            self.driver.publisher("image/compressed", CompressedImage).publish(image)
        else:
            image = ros_graph.to_image(messages.image(rgb, "rgb8"), stamp)
            self.driver.publisher("image", Image).publish(image)

    def camera_info(self, **how: Any) -> CameraInfo:
        """The next camera_info that comes with a depth image."""
        with (
            self.client.listening(topics.CAMERA_INFO, CameraInfo) as infos,
            self.client.listening(topics.DEPTH_MM, Image) as depth,
        ):
            self.client.spin_until(lambda: infos and depth, lambda: self.show(**how))
        assert max(depth[-1].data) > 0
        return infos[-1]

    def diagnostics(self) -> tuple[str, dict[str, str]]:
        with (
            self.client.listening("/diagnostics", DiagnosticArray) as heard,
            self.client.listening(topics.DEPTH_MM, Image),
        ):
            self.client.spin_until(lambda: heard and heard[-1].status[0].message == "running", self.show)
        status = heard[-1].status[0]
        return status.message, {item.key: item.value for item in status.values}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_assumes_the_camera_of_hfov_deg_and_says_so(
    rig: Rig, transport: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.start(hfov_deg=60.0, image_transport=transport)
    info = rig.camera_info(compressed=transport == "compressed")
    expected = Camera.from_hfov(WIDTH, HEIGHT, 60.0)
    assert info.k.tolist() == [expected.fx, 0, expected.cx, 0, expected.fy, expected.cy, 0, 0, 1]
    assert info.p[0] == expected.fx and (info.width, info.height) == (WIDTH, HEIGHT)
    said = [line for line in capfd.readouterr().err.splitlines() if "this camera is assumed" in line]
    assert len(said) == 1 and "64x48, fx 55.4" in said[0] and "from hfov_deg 60" in said[0]
    if transport == "raw":
        _, values = rig.diagnostics()
        assert "from hfov_deg 60" in values["assumed camera"]


def test_assumes_the_camera_of_fx_fy_cx_cy(rig: Rig) -> None:
    rig.start(fx=61.0, fy=62.0, cx=30.0, cy=20.0)
    assert rig.camera_info().k.tolist() == [61.0, 0.0, 30.0, 0.0, 62.0, 20.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("scheme", ["file", "package"])
def test_assumes_the_camera_of_a_calibration_file(
    rig: Rig, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "share" / "my_robot"
    (tmp_path / "share" / "ament_index" / "resource_index" / "packages").mkdir(parents=True)
    (tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "my_robot").touch()
    (share / "my config").mkdir(parents=True)
    (share / "my config" / "ost.yaml").write_text(CALIBRATION)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    urls = {
        "file": f"file://{share}/my%20config/ost.yaml",
        "package": "package://my_robot/my config/ost.yaml",
    }
    rig.start(camera_info_url=urls[scheme])
    info = rig.camera_info()
    assert info.k[0] == 61.0 and info.p[5] == 60.5 and info.distortion_model == "plumb_bob"
    assert np.allclose(info.d, [0.1, -0.05, 0.0, 0.0, 0.0])


def test_uses_a_camera_info_that_comes_instead(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    rig.start(hfov_deg=60.0)
    assert rig.camera_info().k[0] != 70.0
    rig.client.spin_until(lambda: rig.camera_info(k=70.0).k[0] == 70.0)
    assert "it is used instead of the assumed camera" in capfd.readouterr().err


def test_assumes_a_camera_where_an_uncalibrated_driver_publishes_zeros(rig: Rig) -> None:
    rig.start(hfov_deg=60.0)
    assert rig.camera_info(k=0.0).k[0] == Camera.from_hfov(WIDTH, HEIGHT, 60.0).fx


def test_never_assumes_a_camera_before_discovery(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_worker, "ASSUME_AFTER_S", 1e6)
    node = rig.start(hfov_deg=60.0)
    with rig.client.listening(topics.DEPTH_MM, Image) as depth:
        rig.client.spin_until(lambda: node._reporter.statistics.refused > 3, rig.show)
        assert not depth
        rig.client.spin_until(lambda: depth, lambda: rig.show(k=60.0))


def test_follows_the_image_size() -> None:
    camera = NodeAssumedCamera.from_parameters({**DEFAULTS, "hfov_deg": 60.0})
    assert camera is not None
    for width, height in ((64, 48), (32, 24), (64, 48)):
        info = camera.camera_info(messages.image(messages.sample_rgb(height, width), "rgb8"))
        assert (info.width, info.height) == (width, height)
        assert info.k[0] == Camera.from_hfov(width, height, 60.0).fx


BAD = {
    "no scheme": ("/home/me/ost.yaml", "give file:///absolute/path.yaml or package://PACKAGE/path.yaml"),
    "relative": ("file://ost.yaml", "give file:///absolute/path.yaml"),
    "no such file": ("file:///no/such/ost.yaml", "/no/such/ost.yaml: No such file"),
    "no such package": ("package://no_such_package/ost.yaml", "no package no_such_package is found"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_url_fails_the_start_with_the_reason(
    rig: Rig, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosout, "DISCOVERY_S", 0.0)  # nobody listens
    url, reason = BAD[fault]
    with pytest.raises(CameraError) as raised:
        rig.start(camera_info_url=url)
    assert reason in str(raised.value)


def test_resolves_a_file_url() -> None:
    assert resolve_url("file:///a/b%20c.yaml") == Path("/a/b c.yaml")
    assert resolve_url("file://localhost/a.yaml") == Path("/a.yaml")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"fx": 60.0}, "fy, cx, cy missing"),
        ({"hfov_deg": 60.0, "camera_info_url": "file:///a.yaml"}, "camera_info_url and hfov_deg both"),
        ({"hfov_deg": 180.0}, "1 to 179, or 0 = not given"),
    ],
)
def test_rejects_a_contradictory_camera(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        check_values({**DEFAULTS, **values})
