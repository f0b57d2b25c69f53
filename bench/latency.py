"""Measure the node's speed over DDS; camera, node and consumer are a process each.

    python bench/latency.py [--seconds 30] [--json]

Colour frames go in at 30 fps. Latency is the time from just before the camera publishes an image
until the consumer holds its depth image; stamps are monotonic time, which the processes of a
machine share. The warm-up does not count. `--untrained` measures the same networks with random
weights and one given box.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "hand_depth_ros" / "demo" / "clip"
WEIGHTS = ROOT / "hand_depth_ros" / "weights"
WIDTH, HEIGHT = 640, 480
LIMITS = {"latency p50 (ms)": 33.0, "node memory (MB)": 900.0, "weights (MB)": 30.0}
READY_TIMEOUT_S = 180.0


def environment() -> dict[str, str]:
    """Return the environment of the processes: this machine only, a ROS domain of their own."""
    profile = str(ROOT / "config" / "fastdds_large_images.xml")
    return {
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": os.environ.get("BENCH_DOMAIN_ID", str(random.SystemRandom().randint(1, 100))),
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def clip_frames() -> tuple[list[np.ndarray], float]:
    """Return RGB frames of the demo clip and its focal length; an image of noise without a clip."""
    files = sorted(CLIP.glob("rgb/*"))
    if not files:
        noise = np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        return [cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)], 600.0
    lines = (CLIP / "cameras.jsonl").read_text().splitlines()
    focal = json.loads(lines[0])["fx"] * WIDTH / json.loads(lines[0])["width"]
    frames = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    return [cv2.resize(frame, (WIDTH, HEIGHT)) for frame in frames], focal


def play_camera(fps: float) -> None:
    """Publish until interrupted: the camera process."""
    import rclpy
    from sensor_msgs.msg import CameraInfo, Image

    rgb, focal = clip_frames()
    data = [array("B", frame.tobytes()) for frame in rgb]
    rclpy.init()
    node = rclpy.create_node("bench_camera")
    images = node.create_publisher(Image, "image", 5)
    infos = node.create_publisher(CameraInfo, "camera_info", 5)
    image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    k = [focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 1.0]
    p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", k=k, p=p)
    image.header.frame_id = info.header.frame_id = "camera"
    start, sent = time.monotonic(), 0
    try:
        while True:
            time.sleep(max(0.0, start + sent / fps - time.monotonic()))
            image.data = data[sent % len(data)]
            now = time.monotonic_ns()
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 1_000_000_000)
            info.header.stamp = image.header.stamp
            infos.publish(info)
            images.publish(image)
            sent += 1
    except KeyboardInterrupt:
        rclpy.try_shutdown()


def run_untrained_node(arguments: list[str]) -> int:
    """Run the node process with random weights and a given box."""
    from hand_depth_ros.estimation.estimator import HandDepthEstimator
    from hand_depth_ros.ros.node.main import main
    from hand_depth_ros.ros.parameters import estimator_settings

    class Boxed(HandDepthEstimator):
        def estimate(self, rgb: np.ndarray, camera: Any, rois: Any = None, **how: Any) -> Any:
            return super().estimate(rgb, camera, rois=rois or [(220.0, 140.0, 200.0, 200.0)], **how)

    return main(arguments, lambda values: Boxed.untrained(**estimator_settings(values)))


class Consumer:
    """Record when each depth image arrives and how old its colour image is."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import Image

        rclpy.init()
        self._rclpy = rclpy
        self.node = rclpy.create_node("bench_consumer")
        self.latencies_ms: list[float] = []
        self.stamps: list[int] = []
        self.valid_pixels: list[int] = []
        self.diagnostics: dict[str, str] = {}
        self.node.create_subscription(Image, "depth_registered/image_raw", self._on_depth, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_depth(self, message: Any) -> None:
        now = time.monotonic_ns()
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        self.stamps.append(stamp)
        self.latencies_ms.append(1e-6 * (now - stamp))
        self.valid_pixels.append(np.count_nonzero(np.frombuffer(message.data, np.uint16)))

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics = {item.key: item.value for item in message.status[0].values}

    def spin(self, seconds: float, until_first: bool = False) -> None:
        """Listen for a time, or until the first depth image."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until_first and self.stamps):
            self._rclpy.spin_once(self.node, timeout_sec=0.1)


def memory_mb(pid: int) -> float:
    """Return the peak resident memory of a process, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Start camera and node, listen, and return the numbers."""
    environ = environment()
    os.environ.update({name: value for name, value in environ.items() if name.startswith(("ROS_", "FAST"))})
    itself = [sys.executable, str(Path(__file__).resolve())]
    one = ["-p", f"max_hands:={options.hands}"]
    ros_args = ["--ros-args", "--log-level", "warn", *one, *options.ros_args]
    command = [*itself, "--role", "node", *ros_args] if options.untrained else None
    node = subprocess.Popen(
        command or [sys.executable, "-m", "hand_depth_ros.ros.node.main", *ros_args], env=environ
    )
    camera = subprocess.Popen([*itself, "--role", "camera", "--fps", str(options.fps)], env=environ)
    try:
        consumer = Consumer()
        end = time.monotonic() + READY_TIMEOUT_S
        while not consumer.stamps:
            consumer.spin(1.0, until_first=True)
            if node.poll() is not None or time.monotonic() > end:
                sys.exit("the node gave no depth: see its message above")
        consumer.spin(options.warm_up)
        first, cpu = len(consumer.stamps), cpu_seconds(node.pid)
        dropped = int(consumer.diagnostics.get("dropped", 0))
        began = time.monotonic()
        consumer.spin(options.seconds)
        lasted = time.monotonic() - began
        cpu = cpu_seconds(node.pid) - cpu
        memory = memory_mb(node.pid)
        consumer.spin(1.1)  # the diagnostics that cover the end
        dropped = int(consumer.diagnostics.get("dropped", 0)) - dropped
    finally:
        for process in (camera, node):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in (camera, node):
            process.wait(60)
    measured = [i for i in range(first, len(consumer.stamps)) if consumer.stamps[i] < 1e9 * (began + lasted)]
    latencies = np.array(consumer.latencies_ms)[measured]
    stamps = np.array(consumer.stamps)[measured]
    expected = 1 + round((stamps[-1] - stamps[0]) * 1e-9 * options.fps)
    return {
        "frames per second in": options.fps,
        "frames per second out": (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * 1e-9),
        "frames without depth": float(expected - len(stamps)),
        "dropped by the node": float(dropped),
        "latency p50 (ms)": float(np.percentile(latencies, 50)),
        "latency p95 (ms)": float(np.percentile(latencies, 95)),
        "latency max (ms)": float(latencies.max()),
        "in the node p50 (ms)": float(consumer.diagnostics.get("latency p50 (ms)", "nan")),
        "decode (ms)": float(consumer.diagnostics.get("decode (ms)", "nan")),
        "estimate (ms)": float(consumer.diagnostics.get("estimate (ms)", "nan")),
        "encode (ms)": float(consumer.diagnostics.get("encode (ms)", "nan")),
        "hand pixels (median)": float(np.median(np.array(consumer.valid_pixels)[measured])),
        "node CPU per frame (ms)": 1e3 * cpu / len(stamps),
        "node memory (MB)": memory,
        "weights (MB)": sum(file.stat().st_size for file in WEIGHTS.glob("*.safetensors")) / 1e6,
        "load average": os.getloadavg()[0],
        "cores": float(os.cpu_count() or 0),
    }


def report(numbers: dict[str, float]) -> None:
    """Print the numbers and their limits."""
    for name, value in numbers.items():
        limit = LIMITS.get(name)
        against = "" if limit is None else f"   limit {limit:g}, {value / limit:.2f} of it"
        print(f"{name:24} {value:9.1f}{against}")


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="measured time")
    parser.add_argument(
        "--warm-up", type=float, default=5.0, help="seconds after the first depth that do not count"
    )
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument(
        "--hands", type=int, default=1, help="number of hands to follow (max_hands); the limits are for one"
    )
    parser.add_argument("--untrained", action="store_true", help="random weights and a given box")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is exceeded")
    parser.add_argument("--role", choices=["node", "camera"], help=argparse.SUPPRESS)
    parser.add_argument(
        "--ros-args", nargs=argparse.REMAINDER, default=[], help="for the node, e.g. -p num_threads:=1"
    )
    if sys.argv[1:3] == ["--role", "node"]:
        return run_untrained_node(sys.argv[3:])
    options = parser.parse_args()
    if options.role == "camera":
        play_camera(options.fps)
        return 0
    numbers = measure(options)
    if options.json:
        print(json.dumps(numbers, indent=1))
    else:
        report(numbers)
    kept = all(numbers[name] <= limit for name, limit in LIMITS.items())
    return 0 if kept or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
