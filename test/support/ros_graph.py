"""Tests over real DDS: a node in its own process, and publishers and subscribers that talk to it.

Nothing here asserts on time: waits are long, and frames are sent again until they are received.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not there: source it, or pip install 'hand_depth_ros[ros]'")
import rclpy
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hand_depth_ros.ros.node.runtime import PROFILE, PROFILE_VARIABLES
from support.domains import Domain
from support.paths import PROCESSES, ROOT, TEST

PATIENCE_S = 90.0


def environment(domain: int, profile: bool = True) -> dict[str, str]:
    """Return a test process's environment: this machine only, and room for large images.

    Without `profile`, DDS is as it is for a user who has configured nothing.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    room = dict.fromkeys(PROFILE_VARIABLES, str(ROOT / PROFILE))
    return {
        **inherited,
        **(room if profile else {}),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": str(domain),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TEST), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RCUTILS_COLORIZED_OUTPUT": "0",
    }


class NodeProcess:
    """A node in its own process, and what it prints."""

    def __init__(
        self,
        domain: int,
        *ros_args: str,
        program: str = "fake_node.py",
        extra: Mapping[str, str] | None = None,
        profile: bool = True,
    ) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (kept while the process runs)
        command = [sys.executable, str(PROCESSES / program)]
        command += ["--ros-args", *ros_args] if ros_args else []
        inherited = (domain.lock.fileno(),) if isinstance(domain, Domain) else ()  # locked while it runs
        self._process = subprocess.Popen(
            command,
            env={**environment(domain, profile), **(extra or {})},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=inherited,
        )

    @property
    def output(self) -> str:
        return os.pread(self._output.fileno(), 10_000_000, 0).decode(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output or not self.running)
        assert text in self.output, self.output

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.running:
            self._process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()


class Client:
    """Publishers and subscribers of the test, in their own context."""

    def __init__(self, domain: int, namespace: str = "/") -> None:
        os.environ.update({k: v for k, v in environment(domain).items() if k.startswith(("ROS_", "FAST"))})
        self.domain = domain  # locked while the client is there
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node(
            f"test_{random.getrandbits(32):x}", namespace=namespace, context=self.context
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._publishers: dict[str, Any] = {}
        self.heard: dict[str, list[Any]] = {}
        self._stamp = 1_700_000_000_123_456_789

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def spin_until(
        self, done: Callable[[], Any], again: Callable[[], Any] | None = None, every: float = 0.3
    ) -> None:
        """Spin until `done()`; meanwhile call `again` every so many seconds."""
        end, last = time.monotonic() + PATIENCE_S, -float("inf")
        while not done():
            assert time.monotonic() < end, "timed out"
            if again is not None and time.monotonic() - last > every:
                last = time.monotonic()
                again()
            self._executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def listen(self, topic: str, kind: type, reliable: bool = True) -> list[Any]:
        """Subscribe; the returned list fills while spinning."""
        heard = self.heard.setdefault(topic, [])
        qos = QoSProfile(depth=20)
        qos.reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    @contextmanager
    def listening(self, topic: str, kind: type, reliable: bool = True) -> Iterator[list[Any]]:
        """Subscribe within the block; the list fills while spinning."""
        heard: list[Any] = []
        qos = QoSProfile(depth=20)
        qos.reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        subscription = self.node.create_subscription(kind, topic, heard.append, qos)
        try:
            yield heard
        finally:
            self.node.destroy_subscription(subscription)

    def publisher(self, topic: str, kind: type, reliable: bool = True) -> Any:
        key = f"{topic} {reliable}"
        if key not in self._publishers:
            qos = QoSProfile(depth=20)
            qos.reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
            self._publishers[key] = self.node.create_publisher(kind, topic, qos)
        return self._publishers[key]

    def drop_publisher(self, topic: str, reliable: bool = True) -> None:
        self.node.destroy_publisher(self._publishers.pop(f"{topic} {reliable}"))

    def drop_publishers(self) -> None:
        """Destroy all publishers, so that the next test begins without a camera."""
        while self._publishers:
            self.node.destroy_publisher(self._publishers.popitem()[1])

    def next_stamp(self) -> int:
        self._stamp += 33_333_333
        return self._stamp

    def set_parameters(self, node: str, values: dict[str, Any], atomically: bool = True) -> Any:
        """Call the node's parameter service, as `ros2 param set` does."""
        kind, name = (SetParametersAtomically, "set_parameters_atomically")
        if not atomically:
            kind, name = SetParameters, "set_parameters"
        client = self.node.create_client(kind, f"{node}/{name}")
        self.spin_until(client.service_is_ready)
        parameters = [Parameter(key, value=value).to_parameter_msg() for key, value in values.items()]
        future = client.call_async(kind.Request(parameters=parameters))
        self.spin_until(future.done)
        self.node.destroy_client(client)
        return future.result().result if atomically else future.result().results


def to_image(plain: SimpleNamespace, stamp: int, frame_id: str = "camera_optical") -> Image | CompressedImage:
    """Convert a message of `messages.image` (or one with format and data) to rclpy's."""
    message = CompressedImage() if hasattr(plain, "format") else Image()
    for name, value in vars(plain).items():
        setattr(message, name, array("B", np.asarray(value).tobytes()) if name == "data" else value)
    return stamped(message, stamp, frame_id)


def to_camera_info(plain: SimpleNamespace, stamp: int, frame_id: str = "camera_optical") -> CameraInfo:
    """Convert a message of `messages.camera_info` to rclpy's."""
    message = CameraInfo()
    for name, value in vars(plain).items():
        if name == "roi":
            for field, number in vars(value).items():
                setattr(message.roi, field, number)
        else:
            setattr(message, name, value)
    return stamped(message, stamp, frame_id)


def stamped(message: Any, stamp: int, frame_id: str) -> Any:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    message.header.frame_id = frame_id
    return message


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def some_domain() -> Domain:
    """Lock a ROS domain for as long as the caller, a `NodeProcess` or a `Client` holds it."""
    return Domain.take()


def wait_until(done: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)
