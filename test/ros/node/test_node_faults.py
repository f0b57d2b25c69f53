"""Faults while the node runs, each over DDS: it says what is wrong and continues.

One node serves the module; a fake estimator inside it fails, waits or counts as a test wants.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from support import messages, ros_graph
from support.fakes import FakeEstimator

from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.diagnostics import statistics
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode

WIDTH, HEIGHT, F = 64, 48, 60.0


class Frail(FakeEstimator):
    """Raises what it is told to, once; can be held in the middle of a frame; notes the frames that
    it sees."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.raises: Exception | None = None
        self.seen: list[int] = []
        self.permits: threading.Semaphore | None = None  # each lets one frame through

    def estimate(self, rgb: np.ndarray, camera: Camera, **how: Any) -> Any:
        self.seen.append(int(rgb[0, 0, 0]))
        if self.permits is not None:
            assert self.permits.acquire(timeout=ros_graph.PATIENCE_S)
        error, self.raises = self.raises, None
        if error is not None:
            raise error
        return super().estimate(rgb, camera, **how)


class Running:
    """A node with its camera and a subscriber of its depth and diagnostics."""

    def __init__(self) -> None:
        self.client = ros_graph.Client(ros_graph.some_domain())
        self.estimator = Frail()
        self.node = HandDepthNode(self._factory, context=self.client.context)
        self.client._executor.add_node(self.node)
        self.statistics = self.node._reporter.statistics
        self.depth = self.client.listen(topics.DEPTH_MM, Image)
        self.infos = self.client.listen(topics.CAMERA_INFO, CameraInfo)
        self._diagnostics = self.client.listen("/diagnostics", DiagnosticArray)

    def _factory(self, values: Any) -> Frail:
        self.estimator.device = "cpu" if values["device"] == "cpu" else "fake GPU"
        return self.estimator

    def close(self) -> None:
        self.client._executor.remove_node(self.node)
        self.node.close()
        self.client.close()

    def show(
        self, info: bool = True, brightness: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT), f: float = F
    ) -> int:
        stamp = self.client.next_stamp()
        if info:
            message = ros_graph.to_camera_info(messages.camera_info(*size, f), stamp)
            self.client.publisher("camera_info", CameraInfo).publish(message)
        rgb = messages.live(messages.sample_rgb(size[1], size[0]))
        rgb[0, 0, 0] = brightness  # `Frail` notes it
        self.client.publisher("image", Image).publish(ros_graph.to_image(messages.image(rgb, "rgb8"), stamp))
        return stamp

    def frame(self, **how: Any) -> Image:
        """Show frames until the depth of one of them is out."""
        shown: list[int] = []
        self.client.spin_until(
            lambda: shown and self.depth and ros_graph.stamp_of(self.depth[-1]) in shown,
            lambda: shown.append(self.show(**how)),
        )
        return self.depth[-1]

    def status(self, start: str, again: Any = None) -> tuple[DiagnosticStatus, dict[str, str]]:
        """The first status from now on whose message begins so (a regular expression)."""
        self._diagnostics.clear()
        heard = self._diagnostics
        self.client.spin_until(lambda: heard and re.match(start, heard[-1].status[0].message), again)
        return heard[-1].status[0], {item.key: item.value for item in heard[-1].status[0].values}

    def all_accounted_for(self) -> None:
        """Every image that came in was published, refused, dropped or not wanted."""
        s = self.statistics
        self.client.spin_until(lambda: s.received == s.published + s.refused + s.dropped + s.unwanted)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    running = Running()
    running.frame()
    yield running
    running.close()


def test_logs_once_that_a_camera_stops_and_once_that_it_returns(
    running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    running.frame()
    told: list[str] = []

    def warnings() -> list[str]:
        told.extend(line for line in capfd.readouterr().err.splitlines() if "[WARN]" in line)
        return told

    running.client.spin_until(lambda: running.node._reporter._grace_until < time.monotonic())
    running.status("running", running.show)
    warnings().clear()
    running.status(r"no image on /image and no camera_info on /camera_info for \d+ s: check the camera")
    for topic in ("image", "camera_info"):
        running.client.drop_publisher(topic)  # the driver dies a while after it has stopped sending
    status, values = running.status(
        "no image on /image and no camera_info on /camera_info for .*, nobody publishes it any more"
    )
    running.client.spin_until(warnings)
    assert status.level == b"\1" and float(values["image age (s)"]) > statistics.STALE_S
    resets = running.estimator.resets
    running.client._stamp += 10_000_000_000  # it was away for ten seconds
    running.frame()
    assert running.estimator.resets == resets + 1, "hands are somewhere else by now"
    status, values = running.status("running", running.show)
    assert status.level == b"\0" and float(values["image age (s)"]) < statistics.STALE_S
    running.client.spin_until(lambda: any("again" in line for line in warnings()), running.show)
    for _ in range(2):
        running.status("running", running.show)
    stopped, jump, back = warnings()
    assert "no image on /image and no camera_info on /camera_info for" in stopped
    assert "the stamp jumps ahead" in jump and "/image and /camera_info come again, after" in back


def test_keeps_using_the_last_camera_info_when_it_stops_and_warns(running: Running) -> None:
    running.frame(f=77.0)
    status, values = running.status("no camera_info on /camera_info for", lambda: running.show(info=False))
    assert status.level == b"\1" and float(values["camera_info age (s)"]) > statistics.STALE_S
    running.frame(info=False)
    assert running.infos[-1].k[0] == 77.0
    assert running.status("running", running.show)[0].level == b"\0"


def test_reports_an_unusable_camera_info_whose_publisher_is_gone(
    running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    running.frame()
    status, _ = running.status(r"/camera_info: camera_info.k\[0\]", lambda: running.show(f=0.0))
    assert status.level == b"\2"
    running.client.drop_publisher("camera_info")
    gone = "/camera_info: nobody publishes it any more, start it again; the last message: camera_info.k[0]"
    status, _ = running.status(re.escape(gone), lambda: running.show(info=False))
    assert status.level == b"\2" and capfd.readouterr().err.count(gone) == 1
    running.frame()
    running.client.drop_publisher("camera_info")
    gone = (
        r"no camera_info on /camera_info for \d+ s, nobody publishes it any more: the last one stays in use"
    )
    running.status(gone, lambda: running.show(info=False))
    running.frame()
    running.all_accounted_for()


def test_follows_resolution_and_intrinsics_from_their_first_frame(
    running: Running,
) -> None:
    for size, f in (((40, 30), 35.0), ((WIDTH, HEIGHT), F), ((32, 64), 90.0), ((WIDTH, HEIGHT), 2 * F)):
        running.frame()
        refused = running.statistics.refused
        stamp = running.show(size=size, f=f)
        running.client.spin_until(lambda: stamp in map(ros_graph.stamp_of, running.depth))  # noqa: B023
        image = next(m for m in running.depth if ros_graph.stamp_of(m) == stamp)
        running.client.spin_until(lambda: stamp in map(ros_graph.stamp_of, running.infos))  # noqa: B023
        info = next(m for m in running.infos if ros_graph.stamp_of(m) == stamp)
        assert (image.width, image.height) == (info.width, info.height) == size and info.k[0] == f
        assert max(image.data) > 0 and running.statistics.refused == refused


def test_reports_a_camera_info_of_another_size(running: Running) -> None:
    def mismatched() -> None:
        stamp = running.client.next_stamp()
        info = ros_graph.to_camera_info(messages.camera_info(2 * WIDTH, 2 * HEIGHT, F), stamp)
        running.client.publisher("camera_info", CameraInfo).publish(info)
        image = messages.image(messages.sample_rgb(HEIGHT, WIDTH), "rgb8")
        running.client.publisher("image", Image).publish(ros_graph.to_image(image, stamp))

    status, _ = running.status("/camera_info: camera_info is 128x96 but the image is 64x48", mismatched)
    assert status.level == b"\2"
    running.frame()
    running.all_accounted_for()


STALLED = """
import os, signal, sys, rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("stalled")
node.create_subscription(Image, sys.argv[1], lambda image: os.kill(os.getpid(), signal.SIGSTOP), QoSProfile(depth=5))
rclpy.spin(node)
"""


def test_a_stalled_subscriber_blocks_nobody(running: Running) -> None:
    """A reliable subscriber in a process of its own that stops dead at the first image, and stays
    so."""
    environment = ros_graph.environment(running.client.context.get_domain_id())
    process = subprocess.Popen([sys.executable, "-c", STALLED, topics.DEPTH_MM], env=environment)
    try:
        running.client.spin_until(lambda: stopped(process.pid), running.show)
        before = running.statistics.published
        for _ in range(220):  # many times what is kept for it, and more than the shared memory holds
            stamp = running.show(size=(320, 240))
            running.client.spin_until(lambda: ros_graph.stamp_of(running.depth[-1]) == stamp)  # noqa: B023
        running.all_accounted_for()
        assert running.statistics.published >= before + 220
        assert stopped(process.pid)
    finally:
        process.kill()
        process.wait()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def test_estimates_the_newest_frame_and_counts_the_dropped_ones(running: Running) -> None:
    """For every frame estimated three come in; no clock: whatever is taken is the newest that
    there is, so what comes out is never older than the frame in work and the one after it."""
    estimator, statistics = running.estimator, running.statistics
    running.frame()
    running.all_accounted_for()
    received, published, dropped = statistics.received, statistics.published, statistics.dropped
    del estimator.seen[:]
    rounds = 20
    estimator.permits = threading.Semaphore(0)
    newest = 1
    running.show(brightness=newest)
    running.client.spin_until(lambda: estimator.seen == [1])
    for number in range(1, rounds + 1):
        for _ in range(3):
            newest += 1
            running.show(brightness=newest)
            running.client.spin_until(lambda: statistics.received == received + newest)  # noqa: B023
        estimator.permits.release()  # the frame in work is done, the next one begins
        running.client.spin_until(lambda: len(estimator.seen) == number + 1)  # noqa: B023
    estimator.permits.release()
    running.all_accounted_for()
    assert estimator.seen == [1, *range(4, 3 * rounds + 2, 3)], "always the newest of the three"
    assert statistics.dropped == dropped + 2 * rounds
    assert statistics.published == published + rounds + 1
    estimator.permits = None
    assert int(running.status("running", running.show)[1]["dropped"]) == statistics.dropped


def test_an_exception_in_the_model_costs_one_frame_and_resets_tracking(running: Running) -> None:
    running.frame()
    running.all_accounted_for()
    refused, resets = running.statistics.refused, running.estimator.resets
    running.estimator.raises = ZeroDivisionError("in the middle")
    stamp = running.show()
    text = "/image: ZeroDivisionError: in the middle; frame skipped"
    assert running.status(text)[0].level == b"\2"
    image = running.frame()
    assert running.statistics.refused == refused + 1 and running.estimator.resets == resets + 1
    assert stamp not in map(ros_graph.stamp_of, running.depth) and max(image.data) > 0
    running.all_accounted_for()


def test_diagnoses_a_gpu_out_of_memory_while_the_cpu_serves(
    running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    running.frame()
    refused = running.statistics.refused
    running.estimator.raises = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 MiB")
    status, values = running.status("on the CPU, slower, because the GPU failed: CUDA out", running.show)
    assert status.level == b"\1" and values["device"] == "cpu"
    assert running.statistics.refused == refused, "it costs no frame"
    assert "[ERROR]" in capfd.readouterr().err
    running.node._worker._estimator._retry_at = 0.0  # not to wait for half a minute
    status, values = running.status("running", running.show)
    assert values["device"] == "fake GPU" and "back on the GPU" in capfd.readouterr().err


def test_services_reset_and_recalibrate_between_two_frames(running: Running) -> None:
    client, estimator = running.client, running.estimator

    def ask(name: str) -> Trigger.Response:
        service = client.node.create_client(Trigger, f"/hand_depth/{name}")
        client.spin_until(service.service_is_ready)
        future = service.call_async(Trigger.Request())
        client.spin_until(future.done)
        return future.result()

    running.frame()
    resets = estimator.resets
    answer = ask("reset_tracking")
    assert answer.success and estimator.resets == resets + 1 and "as if it were the first" in answer.message
    answer = ask("recalibrate")
    assert answer.success and estimator.recalibrations == 1 and "length of 2 hands" in answer.message
    running.node.set_parameters([Parameter("hand_length_m", value=0.18)])
    answer = ask("recalibrate")
    assert not answer.success and "hand_length_m is 0.18: set it to 0" in answer.message
    running.node.set_parameters([Parameter("hand_length_m", value=0.0)])
    running.node.trigger_deactivate()
    running.node.trigger_cleanup()
    answer = ask("reset_tracking")
    assert not answer.success and "unconfigured" in answer.message
    running.node.trigger_configure()
    running.node.trigger_activate()
    running.frame()
