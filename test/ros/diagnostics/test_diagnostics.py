"""Diagnostics: why nothing comes out, in one sentence that names the topic and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not there: source it, or pip install 'hand_depth_ros[ros]'")
from rclpy.qos import QoSDurabilityPolicy as Durability
from rclpy.qos import QoSReliabilityPolicy as Reliability

from hand_depth_ros.ros.dds_profile import profile_settings
from hand_depth_ros.ros.diagnostics.stalled_topics import StalledTopics
from hand_depth_ros.ros.diagnostics.statistics import Rate, Statistics
from hand_depth_ros.ros.diagnostics.status import NEVER, Health
from hand_depth_ros.ros.qos import durability_to_ask, reliability_to_ask

WELL = {
    "image_topic": "/cam/image",
    "camera_info_topic": "/cam/camera_info",
    "image_publishers": 1,
    "camera_info_publishers": 1,
    "image_rate": 30.0,
    "camera_info_rate": 30.0,
    "output_rate": 30.0,
    "image_age_s": 0.01,
    "camera_info_age_s": 0.01,
    "best_effort": False,
    "subscribers": 1,
}


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        ({}, b"\0", ["running"]),
        ({"subscribers": 0}, b"\0", ["no subscriber", "nothing is computed"]),
        ({"image_age_s": NEVER, "image_publishers": 0}, b"\1", ["/cam/image", "nobody publishes", "remap"]),
        (
            {"image_age_s": NEVER, "image_publishers": 0, "other_transport": "compressed"},
            b"\1",
            ["waiting for images on /cam/image", "set image_transport to compressed"],
        ),
        ({"image_age_s": NEVER}, b"\1", ["/cam/image", "none has arrived yet"]),
        ({"image_age_s": 7.0}, b"\1", ["no image on /cam/image for 7 s", "check the camera"]),
        (
            {"image_age_s": 7.0, "image_publishers": 0, "camera_info_age_s": 7.2},
            b"\1",
            [
                "no image on /cam/image and no camera_info on /cam/camera_info for 7 s, nobody",
                "restart the camera",
            ],
        ),
        (
            {"image_age_s": 7.0, "image_publishers": 0, "other_transport": "compressed"},
            b"\1",
            ["no image on /cam/image for 7 s: set image_transport to compressed"],
        ),
        (
            {"camera_info_age_s": NEVER, "camera_info_publishers": 0},
            b"\1",
            ["waiting for camera_info on /cam/camera_info", "remap camera_info"],
        ),
        ({"camera_info_age_s": NEVER}, b"\1", ["waiting for camera_info on /cam/camera_info"]),
        (
            {"best_effort": True, "image_rate": 9.0},
            b"\1",
            [
                "publisher of /cam/image is best effort and 21 images per second are lost",
                "fastdds_large_images",
            ],
        ),
        ({"best_effort": True}, b"\0", ["running"]),
        (
            {"best_effort": True, "image_age_s": NEVER},
            b"\1",
            ["/cam/image", "none has arrived yet", "fastdds_large_images"],
        ),
        ({"best_effort": True, "image_age_s": 7.0}, b"\1", ["for 7 s", "fastdds_large_images"]),
        (
            {"hands_seen": 2},
            b"\1",
            ["2 hands seen, none with valid depth", "min_range_m", "max_range_m", "max_sigma_m"],
        ),
        ({"hands_seen": 1}, b"\1", ["1 hand seen, none"]),
        ({"hands_seen": 2, "hands": 1}, b"\0", ["running"]),
        (
            {"camera_info_age_s": 9.0},
            b"\1",
            ["no camera_info on /cam/camera_info for 9 s", "the last one stays in use"],
        ),
        ({"camera_info_age_s": 9.0, "camera_info_latched": True}, b"\0", ["running"]),
        *(
            (
                {"camera_info_age_s": 9.0, "camera_info_latched": latched, "camera_info_publishers": 0},
                b"\1",
                ["no camera_info on /cam/camera_info for 9 s, nobody publishes it any more"],
            )
            for latched in (False, True)
        ),
        ({"image_problem": "the image is dark"}, b"\1", ["/cam/image: the image is dark"]),
        ({"fallback": "CUDA out of memory"}, b"\1", ["on the CPU", "CUDA out of memory"]),
        (
            {"incompatible_subscribers": ("subscriber /a of /x asks",), "subscribers": 0},
            b"\1",
            ["subscriber /a of /x"],
        ),
        (
            {"duplicate_publishers": ("/b also publishes /x",), "subscribers": 0},
            b"\1",
            ["/b also publishes /x"],
        ),
        ({"state": "inactive"}, b"\0", ["inactive", "ros2 lifecycle set /hand_depth activate"]),
        ({"state": "unconfigured"}, b"\0", ["unconfigured", "ros2 lifecycle set /hand_depth configure"]),
        ({"state": "finalized"}, b"\0", ["finalized: nothing is computed"]),
        ({"state": "unconfigured", "failure": "configure failed: no weights"}, b"\2", ["configure failed"]),
        ({"refusal": "/cam/image: step is 17"}, b"\2", ["step is 17"]),
        ({"problem": "/cam/image carries std_msgs/msg/String"}, b"\2", ["carries"]),
    ],
)
def test_verdict(state: dict, level: bytes, words: list[str]) -> None:
    status = Health(**{**WELL, **state}).to_status("hand_depth: depth", "/cam/image")
    assert status.level == level and all(word in status.message for word in words), status.message


def test_statistics_give_percentiles_and_the_last_refusal() -> None:
    statistics = Statistics()
    assert all(value != value for value in statistics.percentiles())  # NaN: nothing was measured
    statistics.add_refused("bad step")
    assert statistics.refusal == "bad step" and statistics.refused == 1
    for latency in range(1, 101):
        statistics.add_published(float(latency), 1, 1, {})
    assert statistics.refusal == ""
    p50, p95 = statistics.percentiles()
    assert p50 == pytest.approx(50.5) and p95 == pytest.approx(95.05)


def test_every_image_is_counted_once() -> None:
    statistics = Statistics()
    for _ in range(4):
        statistics.add_received()
    statistics.add_published(1.0, 0, 0, {})
    statistics.add_refused("bad step")
    statistics.add_dropped()
    statistics.add_unwanted()
    fates = (statistics.published, statistics.refused, statistics.dropped, statistics.unwanted)
    assert statistics.received == 4 and fates == (1, 1, 1, 1)


def test_refused_frame_has_no_hands() -> None:
    statistics = Statistics()
    assert statistics.hands == (0, 0)
    statistics.add_published(1.0, 2, 1, {})
    assert statistics.hands == (2, 1)
    statistics.add_refused("bad step")
    assert statistics.hands == (0, 0)


def test_rate_is_steady_although_events_jitter() -> None:
    now = [0.0]
    rate = Rate(clock=lambda: now[0])
    rates = []
    for second in range(1, 30):
        now[0] = float(second)
        rates.append(rate(3 * second + second // 2))  # 3 and 4 in turn
    assert all(abs(value - 3.5) <= 0.11 for value in rates[5:])
    counted = 3 * 29 + 29 // 2
    for _ in range(5):
        now[0] += 1.0
        last = rate(counted)
    assert last == 0.0


def test_stop_and_return_are_reported_once_for_all_topics() -> None:
    now = [0.0]
    stops = StalledTopics(clock=lambda: now[0])
    reports = []
    seen = [{}, {}, {"info": 2.1}, {"image": 2.9, "info": 3.1}, {"image": 3.9, "info": 4.1}]
    seen += [{"image": 4.9, "info": 5.1}, {"image": 5.9}, {}, {}, {}]
    for ages in seen:
        now[0] += 1.0
        reports.append(stops.update(ages))
    assert [reports.index(one) for one in reports if any(one)] == [4, 8]
    assert reports[4][0] == ["image", "info"] and not reports[4][1]
    assert not reports[8][0] and reports[8][1] == pytest.approx({"image": 6.9, "info": 7.1})


def test_flapping_topic_is_reported_once_in_ten_seconds() -> None:
    now = [0.0]
    stops = StalledTopics(clock=lambda: now[0])
    count = [0, 0]
    for second in range(100):
        now[0] = float(second)
        stopped, back = stops.update({"image": 3.0} if second % 4 < 2 else {})
        count[0] += bool(stopped)
        count[1] += bool(back)
    assert 5 <= count[0] <= 10 and count[0] - 1 <= count[1] <= count[0]


def test_reliability_follows_the_offers() -> None:
    reliable, best = Reliability.RELIABLE, Reliability.BEST_EFFORT
    assert reliability_to_ask([reliable, reliable], best) == reliable
    assert reliability_to_ask([reliable, best], reliable) == best
    assert reliability_to_ask([], best) == best


def test_durability_follows_the_offers() -> None:
    kept, volatile = Durability.TRANSIENT_LOCAL, Durability.VOLATILE
    assert durability_to_ask([kept], volatile) == kept
    assert durability_to_ask([kept, volatile], kept) == volatile
    assert durability_to_ask([], kept) == kept


def test_the_profile_that_is_advised_exists() -> None:
    names, path = profile_settings().split(" set to ")
    assert names == "FASTRTPS_DEFAULT_PROFILES_FILE and FASTDDS_DEFAULT_PROFILES_FILE"
    assert "segment_size" in Path(path).read_text()
