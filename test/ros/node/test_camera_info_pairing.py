"""An image gets the camera_info of its own stamp if there is one, else the latest; never one that
isn't there."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from hand_depth_ros.ros.node.camera_infos import KEPT, CameraInfos


def info(stamp: int, f: float = 1.0) -> SimpleNamespace:
    sec, nanosec = divmod(stamp, 1_000_000_000)
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec)), f=f)


def test_nothing_heard_is_nothing() -> None:
    assert CameraInfos().match(5) is None


def test_the_same_stamp_wins_over_the_latest() -> None:
    infos = CameraInfos()
    for stamp in (1_000_000_001, 2_000_000_002, 3_000_000_003):
        infos.add(info(stamp, f=stamp))
    assert infos.match(2_000_000_002).f == 2_000_000_002
    assert infos.match(9).f == 3_000_000_003


def test_a_partner_that_is_late_is_waited_for_once_they_come_in_pairs() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    assert infos.match(1, timeout=60.0).f == 1.0
    late = threading.Timer(0.05, infos.add, [info(2, f=2.0)])
    late.start()
    assert infos.match(2, timeout=60.0).f == 2.0


def test_a_partner_that_came_too_late_is_no_reason_not_to_wait_for_the_next() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    infos.match(1)
    assert infos.match(2, timeout=0.01) is infos.latest
    infos.add(info(2))
    late = threading.Timer(0.05, infos.add, [info(3, f=3.0)])
    late.start()
    assert infos.match(3, timeout=60.0).f == 3.0


def test_a_partner_that_was_lost_is_waited_for_until_the_next_one_comes() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    infos.match(1)
    late = threading.Timer(0.05, infos.add, [info(3, f=3.0)])
    late.start()
    assert infos.match(2, timeout=1e6).f == 3.0  # would hang if it waited for its own


def test_stamps_before_a_jump_back_are_not_taken_for_later_ones() -> None:
    infos = CameraInfos()
    infos.add(info(1000))
    infos.match(1000)
    infos.clear()
    late = threading.Timer(0.05, infos.add, [info(1, f=1.5)])
    late.start()
    assert infos.match(1, timeout=60.0).f == 1.5


def test_a_slow_camera_info_is_not_waited_for_every_time() -> None:
    infos = CameraInfos()
    infos.add(info(1))
    assert infos.match(1, timeout=0.01) is infos.match(2, timeout=0.01)
    assert infos.match(3, timeout=1e6) is infos.latest  # would hang if it waited


def test_memory_is_bounded_and_forgets_on_demand() -> None:
    infos = CameraInfos()
    for stamp in range(10 * KEPT):
        infos.add(info(stamp, f=stamp))
    assert infos.match(0) is infos.latest
    infos.clear()
    assert infos.match(10 * KEPT - 5) is infos.latest
