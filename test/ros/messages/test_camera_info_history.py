"""An image gets the camera_info of its stamp; of several, the one that was received with it."""

from __future__ import annotations

from types import SimpleNamespace

from hand_depth_ros.ros.messages.camera_info_history import CameraInfoHistory


def info(stamp: int, f: float = 1.0) -> SimpleNamespace:
    sec, nanosec = divmod(stamp, 1_000_000_000)
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec)), f=f)


def history(*entries: tuple[int, int], max_length: int | None = None) -> CameraInfoHistory:
    """A history of (stamp, received) pairs; each message's f is its receive time."""
    made = CameraInfoHistory(max_length)
    for stamp, received in entries:
        made.add(info(stamp, f=received), received)
    return made


def test_selects_none_from_an_empty_history() -> None:
    assert CameraInfoHistory().select(5, 5) is None
    assert CameraInfoHistory().latest is None and not CameraInfoHistory()


def test_prefers_the_same_stamp_to_a_nearer_receive_time() -> None:
    infos = history((1, 10), (2, 20), (3, 30))
    assert infos.select(1, 30).f == 10
    assert infos.select(3, 0).f == 30


def test_selects_the_nearest_in_receive_time_of_repeated_stamps() -> None:
    twice = history((1, 10), (2, 20), (1, 110), (2, 120))
    assert [twice.select(1, at).f for at in (0, 11, 59, 61, 500)] == [10, 10, 10, 110, 110]
    zeros = history((0, 10), (0, 20), (0, 30))
    assert [zeros.select(0, at).f for at in (9, 11, 19, 21, 31)] == [10, 10, 20, 20, 30]
    assert zeros.select(0, 15).f == 20, "of two equally near ones the later"


def test_selects_the_latest_received_before_an_image_of_another_stamp() -> None:
    infos = history((1, 10), (2, 20))
    assert [infos.select(9, at).f for at in (20, 25, 19)] == [20, 20, 10]
    assert infos.select(9, 5).f == 10, "a recording may begin between the two: the first"


def test_forgets_stamps_but_not_the_latest_on_clear() -> None:
    infos = history((1, 10), (2, 20))
    infos.clear()
    assert 1 not in infos and infos.newest_stamp_ns is None
    assert infos.select(1, 30).f == infos.latest.f == 20


def test_keeps_a_bounded_number() -> None:
    infos = history(*((stamp, stamp) for stamp in range(1000)), max_length=60)
    assert len(infos) == 60
    assert infos.select(939, 2000).f == 999 and infos.select(940, 2000).f == 940
