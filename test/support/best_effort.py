"""A node, its camera and a best-effort reader, as on the machine of a user who configured nothing.

Node and reader have neither a profile nor transports from the environment; Fast DDS's default
segment of shared memory is smaller than a 640x480 depth image.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sensor_msgs.msg import CameraInfo, Image

from hand_depth_ros.ros.messages import topics
from support import messages, ros_graph
from support.paths import PROCESSES

WIDTH, HEIGHT = 640, 480
DEPTHS = (f"/{topics.DEPTH_MM}", f"/{topics.DEPTH_M}")


class Reader:
    """The best-effort reader as a process; what it hears is in a file."""

    def __init__(self, domain: int, output: Path) -> None:
        self._output = output
        environment = ros_graph.environment(domain, profile=False)
        command = [sys.executable, str(PROCESSES / "best_effort_reader.py"), *DEPTHS]
        with output.open("wb") as file:
            self._process = subprocess.Popen(command, env=environment, stdout=file)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def stamps(self, topic: str) -> set[int]:
        lines = (line.split() for line in self._output.read_text().splitlines(keepends=True) if "\n" in line)
        return {int(stamp) for name, stamp in lines if name == topic}


class Rig:
    """Node, reader and camera.

    Args:
        output: File for what the reader prints.
        extra: Environment variables of the node.
    """

    def __init__(self, output: Path, extra: Mapping[str, str] | None = None) -> None:
        self.domain = ros_graph.some_domain()
        self.node = self.start_node(extra)
        self.reader = Reader(self.domain, output)
        self.client = ros_graph.Client(self.domain)
        self.infos = self.client.listen(topics.CAMERA_INFO, CameraInfo)
        self._image = messages.image(messages.sample_rgb(HEIGHT, WIDTH), "rgb8")
        self._camera_info = messages.camera_info(WIDTH, HEIGHT, 554.0)

    def close(self) -> None:
        self.client.close()
        self.reader.close()
        self.node.stop()

    def show(self) -> int:
        stamp = self.client.next_stamp()
        info = ros_graph.to_camera_info(self._camera_info, stamp)
        self.client.publisher("camera_info", CameraInfo).publish(info)
        self.client.publisher("image", Image).publish(ros_graph.to_image(self._image, stamp))
        return stamp

    def start_node(self, extra: Mapping[str, str] | None = None) -> ros_graph.NodeProcess:
        return ros_graph.NodeProcess(self.domain, profile=False, extra=extra)

    def connect(self) -> None:
        """Wait until the reader has heard both topics, or has had its chance."""
        self.client.spin_until(lambda: self.infos, self.show)
        ready = time.monotonic() + 10.0

        def connected() -> bool:
            return all(map(self.reader.stamps, DEPTHS)) or time.monotonic() > ready

        self.client.spin_until(connected, self.show)

    def send(self, count: int) -> set[int]:
        """Have so many frames published, one after the other; return their stamps."""
        stamps: set[int] = set()
        while len(stamps) < count:
            stamp, until = self.show(), time.monotonic() + 5.0

            def over(stamp: int = stamp, until: float = until) -> bool:
                return ros_graph.stamp_of(self.infos[-1]) == stamp or time.monotonic() > until

            self.client.spin_until(over)
            if ros_graph.stamp_of(self.infos[-1]) == stamp:
                stamps.add(stamp)
        self.client.spin_for(1.0)
        return stamps

    @contextmanager
    def filming(self, period_s: float = 0.1) -> Iterator[None]:
        """Show frames in a thread."""
        stop = threading.Event()

        def film() -> None:
            while not stop.wait(period_s):
                self.show()

        thread = threading.Thread(target=film)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
