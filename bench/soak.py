"""Run the node for a long time: live frames over DDS, the real networks, one fault after another.

    python bench/soak.py [--minutes 30] [--fps 10]

The node is a process of its own; this process is its camera (the frames of the demo clip), its
consumer and the source of its faults. Every cycle: normal operation, the camera stops and returns,
camera_info stops, hostile messages between the good ones, another resolution, stamps that jump back
and ahead, a subscriber that stalls, no subscriber at all, a round of the lifecycle.

Printed each minute: frames, latency from publishing an image to holding its depth, the node's
memory. At the end: the slope of the memory in normal operation, and the balance of all frames
from the node's diagnostics against those sent. Exit code 1 if the balance is off, a hostile message
became depth, or memory grows. Needs the test extra.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from latency import clip_frames, environment

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from support import hostile_messages, messages, ros_graph  # noqa: E402
from support.fuzz_checks import accounted, resident_mb  # noqa: E402

GROWTH_LIMIT = 60.0
"""MB per hour that the node may grow by, beyond twice the slope's standard error."""
LOSS_LIMIT = 0.02
"""Fraction of the images that may be lost before the node, which keeps 5 while it is busy."""
WELL = "normal operation"
DEPTH = "depth_registered/image_raw"
DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE = 4, 2, 1, 3
STALLED = """
import os, signal, rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("stalled")
node.create_subscription(Image, "depth_registered/image_raw", lambda image: os.kill(os.getpid(), signal.SIGSTOP), 5)
rclpy.spin(node)
"""


class Soak:
    """Camera, consumer and faults of one node process; counts what is sent and received."""

    def __init__(self, client: ros_graph.Client, pid: int, fps: float) -> None:
        self.client, self.pid, self.fps = client, pid, fps
        self.values: dict[str, str] = {}
        self.phase = "start"
        self.sent = Counter[str]()
        self.sent_at: dict[int, float] = {}  # of good frames, by stamp
        self.latencies_ms: list[float] = []
        self.heard, self.wrong = 0, 0
        self.memory: list[tuple[float, float]] = []  # seconds, MB; in normal operation
        self.offset = 0
        self._next = 0.0
        rgb, self._focal = clip_frames()
        self._frames = {
            size: [array("B", np.ascontiguousarray(frame[::step, ::step]).tobytes()) for frame in rgb]
            for size, step in (((640, 480), 1), ((320, 240), 2))
        }
        self._bad_images = hostile_messages.samples(hostile_messages.RAW_IMAGES, 200)
        self._bad_infos = hostile_messages.samples(hostile_messages.CAMERA_INFOS, 200)
        client.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.subscribe()

    def subscribe(self) -> None:
        """Subscribe to the depth image."""
        self.subscription = self.client.node.create_subscription(Image, DEPTH, self._on_depth, 20)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.values = {item.key: item.value for item in message.status[0].values}

    def _on_depth(self, message: Image) -> None:
        self.heard += 1
        sent = self.sent_at.pop(ros_graph.stamp_of(message), None)
        if sent is None:
            self.wrong += 1
        else:
            self.latencies_ms.append(1e3 * (time.monotonic() - sent))

    # The camera

    def publish(self, what: str, image: Image | None, info: CameraInfo | None) -> None:
        """Publish camera_info, then the image; count it as `what`."""
        if info is not None:
            self.client.publisher("camera_info", CameraInfo).publish(info)
        if image is not None:
            self.sent[what] += 1
            self.client.publisher("image", Image).publish(image)

    def stamp(self) -> int:
        """Return the camera's time, nanoseconds."""
        return time.monotonic_ns() + self.offset

    def good(self, size: tuple[int, int] = (640, 480), info: bool = True) -> None:
        """Publish a good frame, with or without its camera_info."""
        width, height = size
        stamp, frames = self.stamp(), self._frames[size]
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        image.data = frames[sum(self.sent.values()) % len(frames)]
        camera = messages.camera_info(width, height, self._focal * width / 640)
        self.sent_at[stamp] = time.monotonic()
        ros_info = ros_graph.to_camera_info(camera, stamp) if info else None
        self.publish("good", ros_graph.stamped(image, stamp, "camera"), ros_info)

    def bad(self) -> None:
        """Publish a hostile image with a good camera_info, or the other way round.

        Every fifth frame is a good one: it keeps the node busy, and those that come meanwhile are
        dropped unseen.
        """
        if sum(self.sent.values()) % 5 == 0:
            self.good()
            return
        number, stamp = self.sent["hostile"], self.stamp()
        if number % 2:
            image = ros_graph.to_image(self._bad_images[number % 200], stamp)
            info = ros_graph.to_camera_info(messages.camera_info(640, 480, self._focal), stamp)
        else:
            image = Image(height=480, width=640, encoding="rgb8", step=1920, data=self._frames[640, 480][0])
            ros_graph.stamped(image, stamp, "camera")
            info = ros_graph.to_camera_info(self._bad_infos[number % 200], stamp)
        self.publish("hostile", image, info)

    def run(self, phase: str, seconds: float, act: Callable[[], None] | None) -> Iterator[None]:
        """Call `act` at the frame rate and listen in between."""
        self.phase, end = phase, time.monotonic() + seconds
        while time.monotonic() < end:
            if act is not None:
                act()
            self._next = max(self._next + 1 / self.fps, time.monotonic())
            while (left := self._next - time.monotonic()) > 0:
                self.client._executor.spin_once(timeout_sec=left)
            yield

    def connect(self) -> None:
        """Wait until the node receives the camera reliably: from then on every image counts."""
        publishers = [self.client.publisher("image", Image), self.client.publisher("camera_info", CameraInfo)]
        self.client.spin_until(
            lambda: (
                all(p.get_subscription_count() for p in publishers)
                and self.values.get("image QoS") == "reliable, volatile"
            )
        )
        self.values.clear()
        self.client.spin_until(lambda: self.values.get("image QoS") == "reliable, volatile")

    def rest(self) -> None:
        """Wait until the node has nothing left to do and says so."""
        for _ in range(2):
            self.values.clear()
            self.client.spin_until(lambda: self.values and accounted(self.values))

    # Faults

    def cycle(self) -> Iterator[None]:
        """Go through all phases once."""
        client = self.client
        yield from self.run(WELL, 20, self.good)
        self.rest()
        for topic in ("image", "camera_info"):
            client.drop_publisher(topic)
        yield from self.run("no camera", 4, None)
        self.connect()
        yield from self.run("no camera_info", 5, lambda: self.good(info=False))
        yield from self.run("hostile messages", 8, self.bad)
        yield from self.run("320x240", 5, lambda: self.good((320, 240)))
        self.offset -= 60_000_000_000
        yield from self.run("stamps jump back", 3, self.good)
        self.offset += 90_000_000_000
        yield from self.run("stamps jump ahead", 3, self.good)
        stalled = subprocess.Popen([sys.executable, "-c", STALLED], env=environment_of(client))
        try:
            yield from self.run("stalled subscriber", 10, self.good)
        finally:
            stalled.kill()
            stalled.wait()
        yield from self.run(WELL, 5, self.good)
        self.rest()
        client.node.destroy_subscription(self.subscription)
        client.spin_until(lambda: self.values.get("subscribers") == "0")
        yield from self.run("no subscriber", 4, self.good)
        self.rest()
        self.subscribe()
        client.spin_until(lambda: self.values.get("subscribers") == "1")
        yield from self.run("lifecycle", 1, self.good)
        self.rest()
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            self._change_state(transition)
        client.spin_until(lambda: self.values.get("state") == "active")
        self.connect()

    def _change_state(self, transition: int) -> None:
        service = self.client.node.create_client(ChangeState, "/hand_depth/change_state")
        self.client.spin_until(service.service_is_ready)
        request = ChangeState.Request()
        request.transition.id = transition
        future = service.call_async(request)
        self.client.spin_until(future.done)
        self.client.node.destroy_client(service)
        if not future.result().success:
            sys.exit(f"transition {transition} failed")


def environment_of(client: ros_graph.Client) -> dict[str, str]:
    """Return the environment of processes in the client's ROS domain."""
    return {**environment(), "ROS_DOMAIN_ID": str(client.context.get_domain_id())}


def slope(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the growth in MB per hour by least squares, and its standard error.

    The correlation of neighbouring samples reduces the number of independent ones.
    """
    hours, megabytes = np.array(memory).T / [[3600.0], [1.0]]
    if len(hours) < 10:
        return float("nan"), float("nan")
    centred = hours - hours.mean()
    rise = centred @ (megabytes - megabytes.mean()) / (centred @ centred)
    rest = megabytes - megabytes.mean() - rise * centred
    alike = float(np.clip(rest[1:] @ rest[:-1] / max(rest @ rest, 1e-12), 0.0, 0.99))
    independent = max(3.0, len(rest) * (1 - alike) / (1 + alike))
    return float(rise), float(np.sqrt(rest @ rest / (independent - 2) / (centred @ centred)))


def soak(state: Soak, minutes: float) -> None:
    """Run cycle after cycle and print a line per minute."""
    start = time.monotonic()
    last, sampled, rounds = start, 0.0, 0
    print("minute   sent  depth  p50 ms  p95 ms  node MB  phase", flush=True)
    sent, heard = 0, 0
    while time.monotonic() - start < 60 * minutes:
        for _ in state.cycle():
            now = time.monotonic()
            if state.phase == WELL and now - sampled > 2 and rounds:  # the first cycle fills what is kept
                sampled = now
                state.memory.append((now - start, resident_mb(state.pid)))
            if now - last >= 60:
                last = now
                p50, p95 = np.percentile(state.latencies_ms or [np.nan], (50, 95))
                row = f"{(now - start) / 60:6.1f} {sum(state.sent.values()) - sent:6} {state.heard - heard:6}"
                print(f"{row} {p50:7.0f} {p95:7.0f} {resident_mb(state.pid):8.0f}  {state.phase}", flush=True)
                sent, heard, state.latencies_ms = sum(state.sent.values()), state.heard, []
        rounds += 1
    print(f"{rounds} cycles in {(time.monotonic() - start) / 60:.1f} minutes")


def verdict(state: Soak) -> int:
    """Print the balance and the slope; return 1 if one of them is bad."""
    state.rest()
    number = {name: int(state.values[name]) for name in ("received", "published", "dropped", "refused")}
    unwanted, sent = int(state.values["without subscriber"]), sum(state.sent.values())
    lost, unheard = sent - number["received"], number["published"] - state.heard
    print(f"sent {sent}: {state.sent['good']} good frames, {state.sent['hostile']} hostile")
    print(
        f"lost on the way {lost} (the node keeps the last 5 that it had no time to take), received {number['received']}"
    )
    print(
        f"received {number['received']} = out {number['published']} + dropped {number['dropped']} + "
        f"refused {number['refused']} + without subscriber {unwanted}: {accounted(state.values)}"
    )
    print(
        f"depth images received {state.heard}, missing {unheard}, without a good frame of their stamp {state.wrong}"
    )
    rise, error = slope(state.memory)
    print(
        f"memory {rise:+.1f} +- {error:.1f} MB/hour in normal operation, limit {GROWTH_LIMIT:g} beyond two sigma"
    )
    problems = {
        "the balance is off": not accounted(state.values) or lost < 0 or unheard < 0,
        "images are lost": lost > LOSS_LIMIT * sent,
        "depth of hostile messages": state.wrong > 0,
        "depth is lost on the way back": unheard > LOSS_LIMIT * number["published"],
        "no message was rejected": number["refused"] < 1,
        "memory grows": rise - 2 * error > GROWTH_LIMIT,
    }
    for problem, there in problems.items():
        if there:
            print(f"FAILED: {problem}")
    return int(any(problems.values()))


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="start no cycle after this time")
    parser.add_argument("--fps", type=float, default=10.0)
    options = parser.parse_args()
    client = ros_graph.Client(ros_graph.some_domain())
    with tempfile.TemporaryFile("w+") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "hand_depth_ros.ros.node.main", "--ros-args", "--log-level", "error"],
            env=environment_of(client),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        try:
            state = Soak(client, node.pid, options.fps)
            state.connect()
            soak(state, options.minutes)
            return verdict(state)
        finally:
            ended = node.poll()
            node.send_signal(signal.SIGINT)
            print(f"the node {'was running' if ended is None else 'had died'}, exit code {node.wait(60)}")
            log.seek(0)
            print("\n".join(log.read().splitlines()[-5:]) if ended is not None else "", end="")
            client.close()


if __name__ == "__main__":
    sys.exit(main())
