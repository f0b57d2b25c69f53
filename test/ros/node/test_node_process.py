"""Starting, configuring and stopping the node as a user does: remapping, namespaces, files, faults,
signals."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from support import messages, ros_graph
from support.fakes import fake_factory
from support.paths import ROOT
from support.ros_graph import NodeProcess

from hand_depth_ros.ros.node import rosout
from hand_depth_ros.ros.node.main import main

CONFIG = ROOT / "config" / "hand_depth.yaml"
RGB = messages.sample_rgb(48, 64)
REMAPPED = (
    *("-r", "__ns:=/robot", "-r", "image:=/wrist/color/image_raw"),
    *("-r", "depth_registered/image_raw:=/arm/depth/image_raw"),
    *("--params-file", str(CONFIG), "-p", "image_transport:=compressed", "-p", "points_organized:=true"),
    *("-p", "qos_overrides./robot/depth_registered/image.publisher.durability:=transient_local"),
)


class Remapped:
    """A node in a namespace, its camera elsewhere and compressed, one of its outputs elsewhere
    too."""

    def __init__(self) -> None:
        domain = ros_graph.some_domain()
        self.node = NodeProcess(domain, *REMAPPED)
        self.client = ros_graph.Client(domain)

    def show(self, info: bool = True, extension: str = ".png") -> int:
        stamp = self.client.next_stamp()
        data = cv2.imencode(extension, messages.live(RGB)[..., ::-1])[1].reshape(-1)
        image = SimpleNamespace(format=f"rgb8; {extension[1:]} compressed bgr8", data=data)
        if info:
            message = ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), stamp)
            self.client.publisher("/wrist/color/camera_info", CameraInfo).publish(message)
        topic = self.client.publisher("/wrist/color/image_raw/compressed", CompressedImage)
        topic.publish(ros_graph.to_image(image, stamp))
        return stamp


@contextmanager
def running() -> Iterator[Remapped]:
    remapped = Remapped()
    try:
        yield remapped
    finally:
        print(remapped.node.output)
        remapped.client.close()
        remapped.node.stop()


@pytest.fixture(scope="module")
def remapped() -> Iterator[Remapped]:
    """For the tests that leave it as good as new."""
    with running() as remapped:
        yield remapped


@pytest.fixture
def fresh() -> Iterator[Remapped]:
    """One that has heard nothing yet, and may be stopped."""
    with running() as remapped:
        yield remapped


def test_waits_for_a_late_camera_info(fresh: Remapped) -> None:
    client, node = fresh.client, fresh.node
    with client.listening("/arm/depth/image_raw", Image) as depth:
        without: list[int] = []
        text = "/wrist/color/camera_info: no camera_info has come yet"
        client.spin_until(lambda: text in node.output, lambda: without.append(fresh.show(info=False)))
        client.spin_until(lambda: depth, fresh.show)
        # The last two may still have been waiting when the camera_info came.
        assert not {ros_graph.stamp_of(m) for m in depth}.intersection(without[:-2])
    assert depth[0].encoding == "16UC1" and max(depth[0].data) > 0


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_decodes_compressed_colour(remapped: Remapped, extension: str) -> None:
    client = remapped.client
    with client.listening("/robot/depth_registered/points", PointCloud2) as clouds:
        client.spin_until(lambda: clouds, lambda: remapped.show(extension=extension))
    rgb = np.frombuffer(clouds[0].data, np.uint8).reshape(48, 64, 16)[..., [14, 13, 12]]
    assert np.abs(rgb.astype(int) - RGB).mean() < (0.01 if extension == ".png" else 6)


def test_the_camera_info_goes_where_the_remapped_depth_goes(remapped: Remapped) -> None:
    client = remapped.client
    names = ("/arm/depth/camera_info", "/robot/depth_registered/camera_info")
    heard = [client.listen(name, CameraInfo) for name in names] + [
        client.listen("/arm/depth/image_raw", Image)
    ]

    def stamps() -> set[int]:
        return set.intersection(*({ros_graph.stamp_of(m) for m in messages} for messages in heard))

    client.spin_until(stamps, remapped.show)


def test_a_transient_local_subscriber_is_served_after_a_qos_override(remapped: Remapped) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile

    client, heard = remapped.client, []
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(Image, "/robot/depth_registered/image", heard.append, qos)
    client.spin_until(lambda: heard, remapped.show)


def test_parameters_change_at_run_time_and_are_refused_with_the_reason(remapped: Remapped) -> None:
    client = remapped.client
    with client.listening("/arm/depth/image_raw", Image) as depth:
        assert client.set_parameters("/robot/hand_depth", {"background": "far", "far_m": 3}).successful

        def far() -> bool:
            return bool(depth) and np.frombuffer(depth[-1].data, "<u2").max() == 3000

        client.spin_until(far, remapped.show)
    refusals = {
        "device": ("cpu", "device is read-only, fixed at start: restart the node with -p device:="),
        "qos_overrides./image.subscription.depth": (3, "fixed at start"),
        "max_hands": (99, "max_hands is 99: it must be 1 to 8"),
        "mask_threshold": ("wide", "mask_threshold is 'wide': a double is needed, 0.5 to 0.99"),
        "detection_interval": ("many", "detection_interval is 'many': an int is needed, 1 to 1000"),
        "points_organized": (1, "points_organized is 1: a bool is needed"),
        "hand_length_m": (0.5, "0.08 to 0.3"),
        "min_range_m": (5.0, "below max_range_m"),
        "background": ("near", "invalid, far"),
        "far_m": ("far", "double is needed"),
        "max_hand": (1, "unknown parameter 'max_hand': did you mean max_hands?"),
        "exposure": (1, "unknown parameter 'exposure': this node can change image_is_rect"),
    }
    for name, (value, reason) in refusals.items():
        result = client.set_parameters("/robot/hand_depth", {"image_is_rectified": True, name: value})
        assert not result.successful and reason in result.reason, result
    (result,) = client.set_parameters("/robot/hand_depth", {"max_hand": 1}, atomically=False)
    assert not result.successful and "did you mean max_hands?" in result.reason, result
    service = client.node.create_client(GetParameters, "/robot/hand_depth/get_parameters")
    client.spin_until(service.service_is_ready)
    future = service.call_async(GetParameters.Request(names=["image_is_rectified", "background"]))
    client.spin_until(future.done)
    rectified, background = future.result().values
    assert rectified.bool_value is False and background.string_value == "far"


def test_diagnostics_report_what_happens(remapped: Remapped) -> None:
    client = remapped.client
    with client.listening("/diagnostics", DiagnosticArray) as heard:

        def last() -> tuple[bytes, str, dict[str, str]]:
            status = heard[-1].status[0]
            return status.level, status.message, {item.key: item.value for item in status.values}

        with client.listening("/robot/hand_mask", Image):
            client.set_parameters("/robot/hand_depth", {"max_range_m": 0.3})
            client.spin_until(lambda: heard and "none with valid depth" in last()[1], remapped.show)
            assert last()[0] == b"\1" and last()[2]["hands"] == "0"
            client.set_parameters("/robot/hand_depth", {"max_range_m": 2.0})
            client.spin_until(lambda: heard and last()[1] == "running", remapped.show)
        level, _, values = last()
        assert level == b"\0" and values["camera_info topic"] == "/wrist/color/camera_info"
        assert float(values["latency p50 (ms)"]) > 0 and values["device"] == "fake"
        assert {"rate in (Hz)", "rate out (Hz)", "dropped", "hands", "camera_info age (s)"} <= set(values)
        client.spin_until(
            lambda: last()[1].startswith("no image on /wrist/color/image_raw/compressed and no")
        )
        assert last()[0] == b"\1"


def test_sigterm_ends_it_with_code_zero_and_no_traceback(fresh: Remapped) -> None:
    with fresh.client.listening("/arm/depth/image_raw", Image) as depth:
        fresh.client.spin_until(lambda: depth, fresh.show)  # in the midst of its work
    assert fresh.node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in fresh.node.output


BAD_STARTS = {
    "misspelt": (("-p", "max_hand:=1"), "did you mean max_hands?"),
    "out of range": (("-p", "max_hands:=0"), "max_hands"),
    "wrong type": (("-p", "max_hands:=many"), "max_hands"),
    "wrong choice": (("-p", "background:=near"), "invalid, far"),
    "contradiction": (("-p", "min_range_m:=3.0"), "min_range_m 3.0 must be below max_range_m 2.0"),
}


@pytest.mark.parametrize("fault", BAD_STARTS)
def test_a_start_that_cannot_work_says_why_in_one_line(
    fault: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ros_graph.environment(ros_graph.some_domain()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rosout, "DISCOVERY_S", 0.0)  # nobody listens
    arguments, reason = BAD_STARTS[fault]
    assert main(["--ros-args", *arguments], fake_factory) == 1
    said = capfd.readouterr().err.strip()
    assert reason in said and "\n" not in said


def test_names_missing_weights(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--ros-args", "-p", f"weights:={tmp_path}"]) == 1
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert str(tmp_path) in line


FAILED_STARTS = {
    "weights": ("node.py", "weights:=/no/such/folder", "no weights file at /no/such/folder"),
    "device": ("node.py", "device:=cuda:77", "device 'cuda:77' was asked for but PyTorch sees"),
    "parameter": ("fake_node.py", "max_hand:=1", "did you mean max_hands?"),  # fails at once
}


@pytest.mark.parametrize("fault", FAILED_STARTS)
def test_publishes_the_reason_of_a_failed_start_on_rosout(fault: str) -> None:
    program, parameter, reason = FAILED_STARTS[fault]
    domain = ros_graph.some_domain()
    client = ros_graph.Client(domain)
    lines: list[Log] = []

    def start() -> None:
        """Again, if it was gone before anybody could know of it."""
        node = NodeProcess(domain, "-p", parameter, program=program)
        client.spin_until(lambda: not node.running)
        assert node.exit_code() == 1 and reason in node.output
        client.spin_for(0.3)
        lines.extend(line for line in heard if reason in line.msg)

    try:
        with client.listening("/rosout", Log) as heard:
            client.spin_until(lambda: lines, start)
        assert lines[0].level == Log.FATAL and lines[0].name == "hand_depth"
    finally:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_leaves_no_traceback(number: signal.Signals) -> None:
    node = NodeProcess(ros_graph.some_domain(), program="node.py")
    node.wait_for("starting")
    assert node.stop(number) == 0, node.output
    assert "Traceback" not in node.output


def test_a_signal_that_an_import_drops_still_ends_the_start() -> None:
    node = NodeProcess(ros_graph.some_domain(), program="node_with_swallowed_signal.py")
    node.wait_for("swallowed")
    assert node.exit_code() == 0, node.output
    assert "Traceback" not in node.output


def test_an_unconfigured_node_ends_on_a_signal() -> None:
    node = NodeProcess(ros_graph.some_domain(), "-p", "autostart:=false", "-p", "camera.exposure:=5")
    node.wait_for("camera.exposure")  # it is up
    assert node.stop() == 0, node.output
    assert "Traceback" not in node.output


def test_unknown_arguments_are_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "x"]) == 2
    assert "--ros-args" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("--params-file", "no_such.yaml"), ("-r", "image:=/bad name"), ("-p", "max_hands"), ("--frob",)],
    ids=lambda arguments: arguments[0],
)
def test_wrong_ros_arguments_are_a_usage_error_in_one_line(
    arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ros-args", *arguments], fake_factory) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("hand_depth_node: check what follows --ros-args") and arguments[-1] in line
