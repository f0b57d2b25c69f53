"""The managed node: what each state has and does, what a transition that fails says, and that
rounds leak nothing."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from support import messages, ros_graph, small_networks
from support.fakes import FakeEstimator, fake_factory

from hand_depth_ros.errors import WeightsError
from hand_depth_ros.estimation.estimator import HandDepthEstimator
from hand_depth_ros.network import HandDepthNet, HandDetectorNet
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.node.hand_depth_node import HandDepthNode, shipped_estimator

RGB = messages.sample_rgb(48, 64)
ROUNDS = 50


class Managed:
    """A node that waits to be told, and a client that tells it."""

    def __init__(self, client: ros_graph.Client, factory: Callable[..., Any], **values: Any) -> None:
        overrides = [Parameter(name, value=value) for name, value in {"autostart": False, **values}.items()]
        self.client = client
        self.node = HandDepthNode(factory, context=client.context, parameter_overrides=overrides)
        client._executor.add_node(self.node)

    def close(self) -> None:
        self.client._executor.remove_node(self.node)
        self.node.close()

    def ask(self, kind: type, name: str, request: Any) -> Any:
        service = self.client.node.create_client(kind, f"/hand_depth/{name}")
        self.client.spin_until(service.service_is_ready)
        future = service.call_async(request)
        self.client.spin_until(future.done)
        self.client.node.destroy_client(service)
        return future.result()

    def change(self, transition: int) -> bool:
        """As `ros2 lifecycle set` does."""
        return self.ask(
            ChangeState, "change_state", ChangeState.Request(transition=Transition(id=transition))
        ).success

    @property
    def state(self) -> str:
        return self.ask(GetState, "get_state", GetState.Request()).current_state.label

    def show(self) -> int:
        stamp = self.client.next_stamp()
        info = ros_graph.to_camera_info(messages.camera_info(64, 48, 60.0), stamp)
        self.client.publisher("camera_info", CameraInfo).publish(info)
        image = ros_graph.to_image(messages.image(RGB, "rgb8"), stamp)
        self.client.publisher("image", Image).publish(image)
        return stamp

    def diagnosis(self) -> tuple[bytes, str]:
        """Level and message of the next diagnostics."""
        with self.client.listening("/diagnostics", DiagnosticArray) as heard:
            self.client.spin_until(lambda: heard)
        return heard[-1].status[0].level, heard[-1].status[0].message


@pytest.fixture(scope="module")
def client() -> Iterator[ros_graph.Client]:
    client = ros_graph.Client(ros_graph.some_domain())
    yield client
    client.close()


@pytest.fixture
def managed(client: ros_graph.Client) -> Iterator[Callable[..., Managed]]:
    made: list[Managed] = []

    def make(factory: Callable[..., Any] = fake_factory, **values: Any) -> Managed:
        made.append(Managed(client, factory, **values))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_lifecycle_state_has_and_does_what_it_should(client, managed) -> None:
    made: list[FakeEstimator] = []

    def factory(values: Any) -> FakeEstimator:
        made.append(fake_factory(values))
        return made[-1]

    one = managed(factory)
    assert one.state == "unconfigured" and not made
    assert one.diagnosis() == (
        b"\0",
        "unconfigured: nothing is computed; to continue: ros2 lifecycle set /hand_depth configure",
    )
    assert not client.node.get_publishers_info_by_topic(f"/{topics.DEPTH_MM}")

    assert one.change(Transition.TRANSITION_CONFIGURE) and one.state == "inactive"
    assert made[0].warm_ups == 1, "configure runs the model once"
    with client.listening(topics.DEPTH_MM, Image) as depth:
        client.spin_until(lambda: client.node.count_publishers(topics.DEPTH_MM) == 1)
        assert client.node.count_subscribers("image") == 0, "inactive, it doesn't even take the images"

        assert one.change(Transition.TRANSITION_ACTIVATE) and one.state == "active"
        client.spin_until(lambda: depth, one.show)

        assert one.change(Transition.TRANSITION_DEACTIVATE) and one.state == "inactive"
        client.spin_for(0.3)
        count, frames = len(depth), made[0].frames
        for _ in range(5):
            one.show()
            client.spin_for(0.1)
        assert (len(depth), made[0].frames) == (count, frames), "it stops working"
        assert not made[0].closed, "it frees nothing"
        assert one.diagnosis()[1].startswith("inactive: nothing is computed")

        assert one.change(Transition.TRANSITION_ACTIVATE)
        client.spin_until(lambda: len(depth) > count, one.show)
        assert len(made) == 1 and made[0].resets > 0, "the same estimator, which remembers no hand of before"

    assert one.change(Transition.TRANSITION_DEACTIVATE) and one.change(Transition.TRANSITION_CLEANUP)
    assert one.state == "unconfigured" and made[0].closed
    assert one.change(Transition.TRANSITION_CONFIGURE) and len(made) == 2
    assert one.change(Transition.TRANSITION_INACTIVE_SHUTDOWN)
    assert one.state == "finalized" and made[1].closed


def test_does_not_publish_the_current_frame_after_deactivation(client, managed) -> None:
    go, at_it = threading.Event(), threading.Event()

    class Slow(FakeEstimator):
        def estimate(self, rgb: np.ndarray, camera: Any, **how: Any) -> Any:
            at_it.set()
            assert go.wait(ros_graph.PATIENCE_S)
            return super().estimate(rgb, camera, **how)

    one = managed(lambda values: Slow())
    one.node.trigger_configure()
    one.node.trigger_activate()
    with client.listening(topics.DEPTH_MM, Image) as depth:
        client.spin_until(at_it.is_set, one.show)
        one.node.trigger_deactivate()
        go.set()
        statistics = one.node._reporter.statistics
        client.spin_until(lambda: statistics.received == statistics.dropped + statistics.unwanted)
        client.spin_for(0.3)
        assert not depth


FAULTS = {
    "weights": ({"weights": "/no/such/folder"}, "no weights file at /no/such/folder"),
    "device": ({"device": "cuda:7"}, "device 'cuda:7' was asked for but PyTorch sees"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_weights_or_device_fail_configure_with_the_reason(
    client, managed, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    values, reason = FAULTS[fault]
    if fault == "device" and torch.cuda.device_count() > 7:
        pytest.skip("there is a cuda:7")
    one = managed(shipped_estimator, **values)
    with client.listening("/rosout", Log) as log:
        assert not one.change(Transition.TRANSITION_CONFIGURE)
        client.spin_until(lambda: any(line.msg.startswith(f"configure failed: {reason}") for line in log))
    assert one.state == "unconfigured"
    assert f"configure failed: {reason}" in capfd.readouterr().err
    level, message = one.diagnosis()
    assert level == b"\2" and message.startswith(f"configure failed: {reason}")


def test_a_truncated_weights_file_fails_configure(client, managed, tmp_path: Path) -> None:
    from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE, SHIPPED_WEIGHTS

    for name in (DEPTH_FILE, DETECTOR_FILE):
        (tmp_path / name).write_bytes((SHIPPED_WEIGHTS / name).read_bytes()[:-1000])
    one = managed(shipped_estimator, weights=str(tmp_path))
    assert one.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert DEPTH_FILE in one.diagnosis()[1]


def test_a_failed_warm_up_fails_configure_and_the_next_one_can_succeed(client, managed) -> None:
    class NoLuck(FakeEstimator):
        def warm_up(self, camera: Any) -> None:
            raise WeightsError("the network gives NaN")

    made: list[FakeEstimator] = []

    def factory(values: Any) -> FakeEstimator:
        made.append(FakeEstimator() if made else NoLuck())
        return made[-1]

    one = managed(factory)
    before = footprint(one.node)
    assert not one.change(Transition.TRANSITION_CONFIGURE)
    assert one.diagnosis() == (b"\2", "configure failed: the network gives NaN")
    assert made[0].closed and footprint(one.node) == before, "nothing is left behind"
    assert one.change(Transition.TRANSITION_CONFIGURE) and one.diagnosis()[0] == b"\0"


def test_applies_parameters_set_before_configure(client, managed) -> None:
    made: list[FakeEstimator] = []

    def factory(values: Any) -> FakeEstimator:
        made.append(fake_factory(values))
        return made[-1]

    one = managed(factory)
    result = one.node.set_parameters_atomically([Parameter("max_hands", value=1)])
    assert result.successful, result.reason
    refused = one.node.set_parameters_atomically(
        [Parameter("max_hands", value=2), Parameter("far_m", value=66.0)]
    )
    assert not refused.successful
    one.node.trigger_configure()
    assert made[0].settings.max_hands == 1


def test_a_transition_that_the_state_does_not_have_is_refused(client, managed, capfd) -> None:
    one = managed()
    assert not one.change(Transition.TRANSITION_ACTIVATE)
    assert "refused: unconfigured has no such transition" in capfd.readouterr().err
    assert one.change(Transition.TRANSITION_CONFIGURE), "and it lives on"


def footprint(node: HandDepthNode) -> tuple[int, ...]:
    """Entities of the node, and threads."""
    kinds = (node.publishers, node.subscriptions, node.services, node.timers, node.waitables)
    return *(len(list(kind)) for kind in kinds), threading.active_count()


class _MallocInfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def in_use_kb() -> int:
    """Memory that malloc and Python have given out. Resident memory varies by ten megabytes with
    the threads that happen to free it."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _MallocInfo
    info = mallinfo2()
    return (info.uordblks + info.hblkhd + 64 * sys.getallocatedblocks()) // 1024


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc 2.33 or later what is in use"
)
def test_fifty_rounds_leak_nothing(client, managed) -> None:
    """Each round with real networks (tiny ones), and with a frame all the way through them."""

    def factory(values: Any) -> HandDepthEstimator:
        networks = HandDepthNet(small_networks.TINY), HandDetectorNet(small_networks.TINY_DETECTOR)
        return HandDepthEstimator(*networks, torch.device("cpu"), {})

    one = managed(factory)
    node, statistics = one.node, one.node._reporter.statistics
    before = footprint(node)
    memory: list[int] = []
    threads: list[int] = []
    with client.listening(topics.DEPTH_MM, Image) as heard:
        for _ in range(ROUNDS):
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            published = statistics.published
            client.spin_until(lambda: statistics.published > published, one.show, every=0.1)  # noqa: B023
            assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
            heard.clear()
            memory.append(in_use_kb())
            threads.append(len(list(Path("/proc/self/task").iterdir())))  # the libraries' own, too
    assert footprint(node) == before
    assert max(threads[-5:]) <= max(threads[:5]) + 2, threads
    assert client.node.count_subscribers("image") == client.node.count_publishers(topics.DEPTH_MM) == 0
    # What libraries keep for later is there after some rounds; an image a round would be 230 KB
    settled, last = median(memory[ROUNDS // 2 - 5 : ROUNDS // 2 + 5]), median(memory[-10:])
    assert last - settled < 300, f"{memory} KB"
