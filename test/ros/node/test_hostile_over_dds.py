"""Hostile messages to a running node over DDS: it survives and gives depth for the good ones only.

The node is a process of its own with a fake estimator, which gives depth for whatever reaches it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed (pip install 'hand_depth_ros[test]')")
import cv2
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support import hostile_messages, messages, ros_graph
from support.fuzz_checks import REFUSED, accounted, check_frame, resident_mb

from hand_depth_ros.ros.messages import topics

ROUNDS, IN_A_ROUND = 40, 4
GROWTH_LIMIT_MB = 30.0
GOOD_INFO = messages.camera_info(hostile_messages.WIDTH, hostile_messages.HEIGHT)
PICTURE = messages.sample_rgb(hostile_messages.HEIGHT, hostile_messages.WIDTH)
GOOD: dict[str, SimpleNamespace] = {
    "raw": messages.image(PICTURE, "rgb8"),
    "compressed": SimpleNamespace(format="jpeg", data=cv2.imencode(".jpg", PICTURE)[1].reshape(-1)),
}


@pytest.fixture(params=["raw", "compressed"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def node(transport: str) -> Iterator[tuple[ros_graph.NodeProcess, ros_graph.Client]]:
    domain = ros_graph.some_domain()
    node = ros_graph.NodeProcess(domain, "-p", f"image_transport:={transport}")
    client = ros_graph.Client(domain)
    yield node, client
    client.close()
    assert node.stop() == 0, node.output


def test_node_survives_hostile_messages(
    node: tuple[ros_graph.NodeProcess, ros_graph.Client], transport: str
) -> None:
    process, client = node
    topic, kind = ("image", Image) if transport == "raw" else ("image/compressed", CompressedImage)
    depth = client.listen(topics.DEPTH_MM, Image)
    told = client.listen("/diagnostics", DiagnosticArray)
    sent = 0

    def show(image: SimpleNamespace, info: SimpleNamespace) -> int:
        nonlocal sent
        sent += 1
        stamp = client.next_stamp()
        client.publisher("camera_info", CameraInfo).publish(ros_graph.to_camera_info(info, stamp))
        client.publisher(topic, kind).publish(ros_graph.to_image(image, stamp))
        return stamp

    def values() -> dict[str, Any]:
        return {item.key: item.value for item in told[-1].status[0].values} if told else {}

    client.spin_until(lambda: depth, lambda: show(GOOD[transport], GOOD_INFO))
    client.spin_until(lambda: values().get("image QoS") == "reliable, volatile")
    told.clear()
    client.spin_until(lambda: values() and accounted(values()))
    before, sent = int(values()["received"]), 0
    del depth[:]

    images = hostile_messages.samples(
        hostile_messages.RAW_IMAGES if transport == "raw" else hostile_messages.COMPRESSED_IMAGES,
        ROUNDS * IN_A_ROUND,
    )
    infos = hostile_messages.samples(hostile_messages.CAMERA_INFOS, ROUNDS * IN_A_ROUND)
    may_have_depth: set[int] = set()
    settled = 0.0
    for number in range(ROUNDS):
        for index in range(number * IN_A_ROUND, (number + 1) * IN_A_ROUND):
            pair = (images[index], GOOD_INFO) if index % 2 else (GOOD[transport], infos[index])
            stamp = show(*pair)
            if check_frame(*pair) != REFUSED:
                may_have_depth.add(stamp)
        good = show(GOOD[transport], GOOD_INFO)
        may_have_depth.add(good)
        client.spin_until(lambda: good in map(ros_graph.stamp_of, depth))  # noqa: B023
        settled = settled or resident_mb(process.pid)
    assert set(map(ros_graph.stamp_of, depth)) <= may_have_depth, "depth from nonsense"
    told.clear()
    client.spin_until(lambda: values() and int(values()["received"]) == before + sent and accounted(values()))
    assert int(values()["refused"]) > 0
    assert resident_mb(process.pid) - settled < GROWTH_LIMIT_MB
    assert "Traceback" not in process.output
