"""Launch files, run by the real launch and launch_ros; the node has the fake estimator."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import messages

pytest.importorskip("launch_ros", reason="launch_ros is not installed (apt install ros-jazzy-launch-ros)")
pytest.importorskip("launch.actions", reason="launch is not installed (apt install ros-jazzy-launch)")
from sensor_msgs.msg import CameraInfo, Image
from support import ros_graph
from support.paths import PROCESSES, ROOT

LAUNCH = ROOT / "launch"


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def install_node(prefix: Path, program: str) -> None:
    path = prefix / "lib" / "hand_depth_ros" / "hand_depth_node"
    executable(path, f'#!/bin/sh\nexec "{sys.executable}" "{PROCESSES / program}" "$@"\n')


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Return an ament prefix with our package and a `ros2` that records its arguments."""
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "hand_depth_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    install_node(tmp_path, "fake_node.py")
    relay = tmp_path / "lib" / "hand_depth_ros" / "colour_relay"
    executable(relay, f'#!/bin/sh\nexec "{sys.executable}" "{PROCESSES / "relay.py"}" "$@"\n')
    executable(tmp_path / "bin" / "ros2", f'#!/bin/sh\necho "$@" > "{tmp_path / "asked"}"\n')
    return tmp_path


@contextmanager
def launched(prefix: Path, domain: int, *arguments: str) -> Iterator[subprocess.Popen]:
    environment = ros_graph.environment(domain)
    environment["AMENT_PREFIX_PATH"] = os.pathsep.join(
        [str(prefix), environment.get("AMENT_PREFIX_PATH", "")]
    )
    environment["PATH"] = os.pathsep.join([str(prefix / "bin"), environment["PATH"]])
    environment["ROS_LOG_DIR"] = str(prefix / "log")
    command = [sys.executable, str(PROCESSES / "launch_file.py"), *arguments]
    with (prefix / "output").open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        try:
            process.wait(ros_graph.PATIENCE_S)
        finally:
            process.kill()
            print((prefix / "output").read_text())


def test_starts_the_node_with_the_arguments(prefix: Path) -> None:
    domain = ros_graph.some_domain()
    client = ros_graph.Client(domain)
    arguments = ["image:=/wrist/image_raw", "camera_info:=/wrist/info", "namespace:=robot", "log_level:=warn"]
    with launched(prefix, domain, str(LAUNCH / "hand_depth.launch.py"), *arguments) as process:
        depth = client.listen("/robot/depth_registered/image_raw", Image)

        def show() -> None:
            stamp = client.next_stamp()
            info = ros_graph.to_camera_info(messages.camera_info(), stamp)
            client.publisher("/wrist/info", CameraInfo).publish(info)
            image = ros_graph.to_image(messages.image(messages.sample_rgb(), "rgb8"), stamp)
            client.publisher("/wrist/image_raw", Image).publish(image)

        client.spin_until(lambda: depth or process.poll() is not None, show)
        assert depth
    client.close()
    output = (prefix / "output").read_text()
    assert process.returncode == 0 and "Traceback" not in output and "[INFO] [1" not in output


@pytest.mark.parametrize(
    "renamed", [False, True], ids=["colour has another name", "colour has the driver's name"]
)
def test_preset_starts_the_drivers_camera(prefix: Path, renamed: bool) -> None:
    """test_presets.py checks names, QoS and frames; this test checks what launch starts."""
    domain = ros_graph.some_domain()
    client = ros_graph.Client(domain)
    source = "/wrist/wrist/color" if renamed else "/usb_cam"
    arguments = ["preset:=realsense", "camera:=wrist"] + ([] if renamed else [f"image:={source}/image_raw"])
    with launched(prefix, domain, str(LAUNCH / "rgbd_camera.launch.py"), *arguments) as process:
        depth = client.listen("/wrist/wrist/aligned_depth_to_color/image_raw", Image)
        colour = client.listen("/wrist/wrist/color/image_raw", Image)

        def show() -> None:
            stamp = client.next_stamp()
            info = ros_graph.to_camera_info(messages.camera_info(), stamp)
            client.publisher(f"{source}/camera_info", CameraInfo).publish(info)
            image = ros_graph.to_image(messages.image(messages.sample_rgb(), "rgb8"), stamp)
            client.publisher(f"{source}/image_raw", Image).publish(image)

        client.spin_until(lambda: (depth and colour) or process.poll() is not None, show)
        assert depth and colour
        assert depth[-1].header.frame_id == "wrist_color_optical_frame"
    client.close()
    output = (prefix / "output").read_text()
    assert process.returncode == 0 and "Traceback" not in output
    assert ("colour_relay-" in output) != renamed


def test_rejects_unknown_preset(prefix: Path) -> None:
    launch_file = str(LAUNCH / "rgbd_camera.launch.py")
    with launched(prefix, ros_graph.some_domain(), launch_file, "preset:=kinect") as process:
        assert process.wait(ros_graph.PATIENCE_S) != 0
    assert "realsense" in (prefix / "output").read_text()


def test_without_autostart_it_waits_for_transitions(prefix: Path) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    domain = ros_graph.some_domain()
    client = ros_graph.Client(domain)
    with launched(prefix, domain, str(LAUNCH / "hand_depth.launch.py"), "autostart:=false"):
        service = client.node.create_client(ChangeState, "/hand_depth/change_state")
        client.spin_until(service.service_is_ready)
        assert client.node.count_subscribers("/image") == 0
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            future = service.call_async(ChangeState.Request(transition=Transition(id=transition)))
            client.spin_until(future.done)
            assert future.result().success
        client.spin_until(lambda: client.node.count_subscribers("/image") == 1)
    client.close()


def test_replay_uses_the_bags_clock_and_ends_with_the_bag(prefix: Path) -> None:
    bag = prefix / "my_bag"
    bag.mkdir()
    install_node(prefix, "node.py")  # may be interrupted while it imports
    arguments = [f"bag:={bag}", "image:=/cam/image_raw", "rate:=0.5", "loop:=true", "delay:=1.0"]
    with launched(prefix, ros_graph.some_domain(), str(LAUNCH / "replay.launch.py"), *arguments) as process:
        assert process.wait(ros_graph.PATIENCE_S) == 0
    # No --delay: ros2 bag play would wait at the start of every loop.
    asked = (prefix / "asked").read_text().split()
    assert asked == ["bag", "play", str(bag), "--clock", "--rate", "0.5", "--loop"]
    output = (prefix / "output").read_text()
    assert "hand_depth_node-" in output and "Traceback" not in output


def test_replay_starts_after_the_delay(prefix: Path) -> None:
    bag = prefix / "my_bag"
    bag.mkdir()
    arguments = [f"bag:={bag}", "delay:=0.5"]
    start = time.monotonic()
    with launched(prefix, ros_graph.some_domain(), str(LAUNCH / "replay.launch.py"), *arguments) as process:
        assert process.wait(ros_graph.PATIENCE_S) == 0
    assert (prefix / "asked").exists() and time.monotonic() - start > 0.5


def test_replay_of_a_missing_bag_fails_with_the_reason(prefix: Path) -> None:
    bag = prefix / "no_bag"
    arguments = [f"bag:={bag}", "image:=/cam/image_raw"]
    with launched(prefix, ros_graph.some_domain(), str(LAUNCH / "replay.launch.py"), *arguments) as process:
        assert process.wait(ros_graph.PATIENCE_S) == 1
    assert f"no bag at {bag}: give bag:=" in (prefix / "output").read_text()
    assert not (prefix / "asked").exists()


def test_replay_fails_if_the_player_does(prefix: Path) -> None:
    bag = prefix / "broken_bag"
    bag.mkdir()
    executable(prefix / "bin" / "ros2", "#!/bin/sh\necho 'no metadata' >&2\nexit 3\n")
    arguments = [f"bag:={bag}", "delay:=0.1"]
    with launched(prefix, ros_graph.some_domain(), str(LAUNCH / "replay.launch.py"), *arguments) as process:
        assert process.wait(ros_graph.PATIENCE_S) == 1
    output = (prefix / "output").read_text()
    assert "ros2 bag play ended with exit code 3" in output and "no metadata" in output
