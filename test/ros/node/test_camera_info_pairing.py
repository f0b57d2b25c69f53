"""An image gets the camera_info of its own stamp if there is one, else the latest; never one that
isn't there."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from hand_depth_ros.ros.node.camera_infos import KEPT, CameraInfos


def info(stamp: int, f: float = 1.0) -> SimpleNamespace:
    sec, nanosec = divmod(stamp, 1_000_000_000)
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec)), f=f)


def test_matches_none_before_any_camera_info() -> None:
    assert CameraInfos().match(5) is None


def test_prefers_the_same_stamp_to_the_latest() -> None:
    infos = CameraInfos()
    for stamp in (1_000_000_001, 2_000_000_002, 3_000_000_003):
        infos.add(info(stamp, f=stamp))
    assert infos.match(2_000_000_002).f == 2_000_000_002
    assert infos.match(9).f == 3_000_000_003


def test_waits_for_a_late_partner_once_they_come_in_pairs() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    assert infos.match(1, timeout=60.0).f == 1.0
    late = threading.Timer(0.05, infos.add, [info(2, f=2.0)])
    late.start()
    assert infos.match(2, timeout=60.0).f == 2.0


def test_waits_again_after_a_partner_came_too_late() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    infos.match(1)
    assert infos.match(2, timeout=0.01) is infos.latest
    infos.add(info(2))
    late = threading.Timer(0.05, infos.add, [info(3, f=3.0)])
    late.start()
    assert infos.match(3, timeout=60.0).f == 3.0


def test_stops_waiting_for_a_lost_partner_when_the_next_one_comes() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    infos.match(1)
    late = threading.Timer(0.05, infos.add, [info(3, f=3.0)])
    late.start()
    assert infos.match(2, timeout=1e6).f == 3.0  # would hang if it waited for its own


def test_forgets_stamps_from_before_a_jump_back() -> None:
    infos = CameraInfos()
    infos.add(info(1000))
    infos.match(1000)
    infos.clear()
    late = threading.Timer(0.05, infos.add, [info(1, f=1.5)])
    late.start()
    assert infos.match(1, timeout=60.0).f == 1.5


def test_does_not_wait_for_a_slow_camera_info_every_time() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    assert infos.match(1, timeout=0.01) is infos.match(2, timeout=0.01)
    assert infos.match(3, timeout=1e6) is infos.latest  # would hang if it waited


def test_memory_is_bounded_and_clear_forgets() -> None:
    infos = CameraInfos()
    for stamp in range(10 * KEPT):
        infos.add(info(stamp, f=stamp))
    assert infos.match(0) is infos.latest
    infos.clear()
    assert infos.match(10 * KEPT - 5) is infos.latest
