"""The bag tool gives the same bytes as the live node over DDS, on every topic."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import messages

pytest.importorskip("rosbags", reason="rosbags is not installed (pip install 'hand_depth_ros[bag]')")
import torch
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from support import ros_graph
from support.boxed_estimator import boxed_estimator
from support.paths import ROOT

from hand_depth_ros.bag.convert import BagOptions, convert
from hand_depth_ros.estimation.estimator import SHIPPED_WEIGHTS, HandDepthEstimator
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.parameters import DEFAULTS, output_settings

STORE = get_typestore(Stores.ROS2_JAZZY)
KINDS = {kind.__name__: kind for kind in (Image, CompressedImage, CameraInfo, PointCloud2)}
IMAGE, INFO = "/camera/image_raw", "/camera/camera_info"
FIRST_STAMP = 1_000_000_000_000
CLIP = ROOT / "hand_depth_ros" / "demo" / "clip"

Frames = list[tuple[np.ndarray, Any]]


def images() -> Frames:
    """Return images of a distorted camera whose focal length changes."""
    d = [0.05, -0.02, 0.001, -0.001, 0.0]
    infos = [messages.camera_info(160, 120, f, d=d) for f in (150.0, 150.0, 180.0)]
    return [(messages.sample_rgb(120, 160, seed), info) for seed, info in enumerate(infos)]


def clip() -> Frames:
    """Return the first frames of the demo clip."""
    if not (CLIP / "cameras.jsonl").exists():
        pytest.skip("the demo's clip is not there")
    frames = []
    for line in (CLIP / "cameras.jsonl").read_text().splitlines()[:6]:
        entry = json.loads(line)
        k = [entry["fx"], 0.0, entry["cx"], 0.0, entry["fy"], entry["cy"], 0.0, 0.0, 1.0]
        p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
        rgb = cv2.cvtColor(cv2.imread(str(CLIP / entry["image"])), cv2.COLOR_BGR2RGB)
        frames.append((rgb, messages.camera_info(entry["width"], entry["height"], entry["fx"], k=k, p=p)))
    return frames


def stamp_of(index: int) -> int:
    return FIRST_STAMP + (1 + index) * 33_000_000


def as_rosbags(value: Any) -> Any:
    """Convert an rclpy message to one of rosbags, field by field."""
    if isinstance(value, list):
        return [as_rosbags(one) for one in value]
    if hasattr(value, "get_fields_and_field_types"):
        kind = STORE.types[f"{type(value).__module__.split('.')[0]}/msg/{type(value).__name__}"]
        return kind(**{name: as_rosbags(getattr(value, name)) for name in value.get_fields_and_field_types()})
    return np.array(value) if hasattr(value, "tobytes") or hasattr(value, "typecode") else value


def record(path: Path, frames: Frames) -> None:
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic: writer.add_connection(topic, f"sensor_msgs/msg/{kind}", typestore=STORE)
            for topic, kind in ((IMAGE, "Image"), (INFO, "CameraInfo"))
        }
        for index, (rgb, info) in enumerate(frames):
            stamp = stamp_of(index)
            image = ros_graph.to_image(messages.image(rgb, "rgb8", pad=5), stamp)
            for topic, message in ((INFO, ros_graph.to_camera_info(info, stamp)), (IMAGE, image)):
                kind = connections[topic].msgtype
                writer.write(connections[topic], stamp, STORE.serialize_cdr(as_rosbags(message), kind))


def live(node: ros_graph.NodeProcess, domain: int, frames: Frames) -> dict[tuple[str, int], Any]:
    """Show the frames to the node one by one; return its messages by (topic, stamp)."""
    client = ros_graph.Client(domain)
    try:
        images, infos = client.publisher(IMAGE, Image), client.publisher(INFO, CameraInfo)
        heard = {
            topic.name: client.listen(topic.name, KINDS[topic.type.rsplit("/", 1)[-1]])
            for topic in topics.OUTPUT_TOPICS
        }

        def show(index: int, stamp: int) -> None:
            infos.publish(ros_graph.to_camera_info(frames[index][1], stamp))
            images.publish(ros_graph.to_image(messages.image(frames[index][0], "rgb8", pad=5), stamp))

        def complete(stamp: int) -> bool:
            return all(stamp in map(ros_graph.stamp_of, got) for got in heard.values())

        # All is connected once every topic has a frame; jumping back in time then resets the node.
        later = [client.next_stamp() for _ in range(1000)]
        shown: list[int] = []
        client.spin_until(
            lambda: any(map(complete, shown)),
            lambda: shown.append(later[len(shown)]) or show(0, shown[-1]),
            every=2.0,
        )
        show(0, FIRST_STAMP)
        client.spin_until(lambda: "the stamp jumps back" in node.output)
        for index in range(len(frames)):
            show(index, stamp_of(index))
            client.spin_until(lambda: complete(stamp_of(index)))  # noqa: B023
        return {(name, ros_graph.stamp_of(m)): m for name, got in heard.items() for m in got}
    finally:
        client.close()


@pytest.mark.parametrize("weights", ["random", "shipped"])
def test_bag_tool_equals_the_live_node(tmp_path: Path, weights: str) -> None:
    if weights == "shipped" and not list(SHIPPED_WEIGHTS.glob("*.safetensors")):
        pytest.skip("no weights are shipped yet")
    frames = (images if weights == "random" else clip)()
    make: Callable[[], HandDepthEstimator] = (
        (lambda: boxed_estimator(DEFAULTS)) if weights == "random" else HandDepthEstimator.from_pretrained
    )
    domain = ros_graph.some_domain()
    arguments = ("-r", f"image:={IMAGE}", "-p", "device:=cpu", "-p", "num_threads:=1")
    program = "boxed_node.py" if weights == "random" else "node.py"
    node = ros_graph.NodeProcess(domain, *arguments, program=program)
    threads = torch.get_num_threads()
    try:
        published = live(node, domain, frames)
        record(tmp_path / "in", frames)
        torch.set_num_threads(1)
        wanted = frozenset(topic.name for topic in topics.OUTPUT_TOPICS)
        convert(
            tmp_path / "in",
            tmp_path / "out",
            make(),
            BagOptions(IMAGE, wanted=wanted),
            output_settings(DEFAULTS),
        )
    finally:
        torch.set_num_threads(threads)
        node.stop()
    compared = 0
    with Reader(tmp_path / "out") as reader:
        for connection, _, data in reader.messages():
            name = connection.topic.lstrip("/")
            if name not in topics.BY_NAME:
                continue
            recorded = STORE.deserialize_cdr(data, connection.msgtype)
            message = as_rosbags(published[name, ros_graph.stamp_of(recorded)])
            expected = bytes(STORE.serialize_cdr(message, connection.msgtype))
            assert bytes(data) == expected, connection.topic
            compared += 1
    assert compared == len(frames) * len(topics.OUTPUT_TOPICS)
    depth = [m for (name, _), m in published.items() if name == topics.DEPTH_MM]
    assert any(np.any(m.data) for m in depth), "no depth at all: nothing was compared"
