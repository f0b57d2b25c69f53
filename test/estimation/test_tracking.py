"""Following hands: hands that move along known paths keep their ids, no more and no fewer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hand_depth_ros.estimation.detector import Detection
from hand_depth_ros.estimation.tracking import Tracker
from hand_depth_ros.geometry.boxes import Box


def box(x: float, y: float, size: float = 80.0) -> Box:
    """Of a square hand whose middle is at (x, y)."""
    return Box(x - size / 2, y - size / 2, size, size)


def middle(roi: Box) -> np.ndarray:
    return np.array((roi[0] + roi[2] / 2, roi[1] + roi[3] / 2))


def found(*rois: Box) -> list[Detection]:
    return [Detection(roi, 0.9) for roi in rois]


def step(tracker: Tracker, hands: list[Box], interval: int = 5) -> dict[int, Box]:
    """Run one frame in a world of ``hands`` and return what is shown, by id.

    The detector, when due, is perfect. The network sees the hand nearest to the middle of the
    requested box, if that hand is in it.
    """
    if tracker.detection_due(interval):
        tracker.associate(found(*hands))
    shown = {}
    for track in list(tracker.tracks):
        x, y, w, h = track.predicted_box()
        seen = [hand for hand in hands if abs(middle(hand) - (x + w / 2, y + h / 2)).max() < 0.7 * max(w, h)]
        nearest = min(seen, key=lambda hand: np.hypot(*(middle(hand) - (x + w / 2, y + h / 2))), default=None)
        if tracker.update(track, nearest, 0.95 if nearest else 0.02, math.log(0.19)):
            shown[track.id] = track.box
    for number in tracker.drop_duplicates():
        shown.pop(number, None)
    return shown


@pytest.mark.parametrize("speed", [0.0, 10.0, 40.0])
def test_a_hand_that_moves_keeps_its_id(speed: float) -> None:
    tracker = Tracker(2)
    for frame in range(30):
        shown = step(tracker, [box(100 + speed * frame, 200)])
        assert list(shown) == [1]
        assert middle(shown[1])[0] == pytest.approx(100 + speed * frame)


def test_a_hand_that_gets_fast_is_looked_for_where_it_is_going() -> None:
    tracker = Tracker(1)
    for frame in range(11):
        x = 100 + 3.5 * frame**2  # at the end 66 px a frame, and a look reaches 56 px
        assert step(tracker, [box(x, 200)], interval=1000) == {1: box(x, 200)}
    assert len(tracker.tracks) == 1


def test_two_hands_that_cross_stay_two_and_themselves() -> None:
    tracker = Tracker(2)
    for frame in range(40):
        left, right = box(100 + 12 * frame, 200), box(580 - 12 * frame, 280)  # they pass 80 px apart
        shown = step(tracker, [left, right])
        assert shown == {1: left, 2: right}


def test_a_hand_that_leaves_is_dropped_after_three_frames_without_it() -> None:
    tracker = Tracker(2)
    for _ in range(5):
        step(tracker, [box(100, 100)])
    counts = []
    for _ in range(4):
        assert step(tracker, []) == {}  # it is not shown from the first of them on
        counts.append(len(tracker.tracks))
    assert counts == [1, 1, 0, 0]


def test_a_hand_that_is_covered_for_two_frames_keeps_its_id() -> None:
    tracker = Tracker(2)
    hand, other = box(100, 100), box(400, 300)
    step(tracker, [hand, other])
    for covered in ([other], [other], [hand, other]):
        shown = step(tracker, covered)
    assert set(shown) == {1, 2} and shown[1] == hand


def test_what_the_network_does_not_confirm_at_first_sight_is_no_hand() -> None:
    tracker = Tracker(2)
    (new,) = tracker.associate(found(box(100, 100)))
    assert not tracker.update(new, box(100, 100), 0.4, 0.0)  # a face, half believed
    assert tracker.tracks == []


def looks(tracker: Tracker, detection: Detection, presence: float) -> bool:
    """Run a frame with this detection only, of this ``presence``; return True if it is verified."""
    assert tracker.detection_due(5)
    placed = tracker.associate([detection])
    for track in placed:
        tracker.update(track, detection.box, presence, 0.0)
    return bool(placed)


def test_what_was_no_hand_is_looked_at_again_after_ten_frames() -> None:
    tracker, chair = Tracker(2), Detection(box(200, 200), 0.4)
    assert [looks(tracker, chair, 0.02) for _ in range(25)] == [frame % 10 == 0 for frame in range(25)]


def test_what_was_no_hand_is_looked_at_at_once_when_it_looks_more_like_one_or_is_elsewhere() -> None:
    for changed in (Detection(box(200, 200), 0.6), Detection(box(260, 200), 0.4)):
        tracker = Tracker(2)
        assert looks(tracker, Detection(box(200, 200), 0.4), 0.02)
        assert not looks(tracker, Detection(box(203, 201), 0.45), 0.99)
        assert looks(tracker, changed, 0.99) and len(tracker.tracks) == 1


def test_a_first_look_that_hardly_shows_a_hand_makes_room_for_the_next_best() -> None:
    tracker = Tracker(1)
    chair, hand = Detection(box(100, 100), 0.8), Detection(box(300, 200), 0.5)
    assert tracker.detection_due(5)
    (track,) = tracker.associate([chair, hand])
    assert tracker.reject(track, 0.05)
    (track,) = tracker.spawn_more([chair, hand])
    assert track.box == hand.box and not tracker.reject(track, 0.6) and tracker.tracks == [track]
    assert not tracker.reject(track, 0.9, upright=True)
    assert tracker.reject(track, 0.6, upright=True)  # a hand needs more in the look that decides
    assert not tracker.spawn_more([chair, hand])


def test_a_hand_that_is_followed_is_not_refused_at_a_first_look() -> None:
    tracker = Tracker(1)
    step(tracker, [box(100, 100)])
    (track,) = tracker.tracks
    assert not tracker.reject(track, 0.01) and tracker.tracks == [track]


def test_reset_forgets_what_was_no_hand() -> None:
    tracker, chair = Tracker(2), Detection(box(200, 200), 0.4)
    assert looks(tracker, chair, 0.02) and not looks(tracker, chair, 0.02)
    tracker.reset()
    assert looks(tracker, chair, 0.02)


@pytest.mark.parametrize("presence", [math.nan, math.inf, 0.1])
def test_a_presence_that_is_low_or_no_number_is_a_miss(presence: float) -> None:
    tracker = Tracker(1)
    (new,) = tracker.associate(found(box(100, 100)))
    assert tracker.update(new, box(100, 100), 0.9, 0.0)
    assert not tracker.update(new, box(100, 100), presence, 0.0)
    assert new.misses == 1


def test_the_detector_is_due_at_first_and_then_every_nth_frame_hands_missing_or_not() -> None:
    tracker = Tracker(1)
    due = []
    for _ in range(12):
        due.append(tracker.detection_due(4))
        if not tracker.tracks:
            tracker.associate(found(box(100, 100)))
    assert [i for i, d in enumerate(due) if d] == [0, 4, 8]


@pytest.mark.parametrize("doubt", ["missed", "unlikely", "fast"])
def test_the_detector_is_due_at_once_when_a_hand_is_doubtful(doubt: str) -> None:
    tracker = Tracker(1)
    assert tracker.detection_due(1000)
    (track,) = tracker.associate(found(box(100, 100)))
    tracker.update(track, box(100, 100), 0.9, 0.0)
    assert not tracker.detection_due(1000)
    if doubt == "missed":
        tracker.update(track, None, 0.9, 0.0)
    else:
        tracker.update(
            track, box(150 if doubt == "fast" else 101, 100), 0.45 if doubt == "unlikely" else 0.9, 0.0
        )
    assert tracker.detection_due(1000)


def test_a_better_hand_takes_the_place_of_one_that_the_detector_does_not_see() -> None:
    tracker = Tracker(1)
    (face,) = tracker.associate(found(box(100, 100)))
    for _ in range(3):
        assert tracker.update(face, box(100, 100), 0.98, 0.0)
        tracker.associate([Detection(box(400, 300), 0.7)])
    (hand,) = tracker.tracks
    assert hand.box == box(400, 300)


def test_what_the_detector_does_not_see_is_kept_while_the_network_is_sure_and_dropped_when_it_is_not() -> (
    None
):
    for presence, kept in ((0.95, True), (0.7, False)):
        tracker = Tracker(2)
        (track,) = tracker.associate(found(box(100, 100)))
        for _ in range(6):
            if track in tracker.tracks:
                tracker.update(track, box(100, 100), presence, 0.0)
                tracker.associate([])
        assert (tracker.tracks == [track]) is kept


def test_a_box_that_has_gone_astray_goes_to_the_hand_that_the_detector_sees() -> None:
    tracker = Tracker(1)
    (track,) = tracker.associate(found(box(100, 100)))
    tracker.update(track, box(100, 100), 0.9, 0.0)
    assert not tracker.update(track, box(130, 130, 20), 0.9, 0.0), (
        "a quarter of its size: a sleeve, not the hand"
    )
    assert tracker.associate(found(box(180, 100))) == [track]
    assert track.box == box(180, 100) and track.id == 1


def test_an_outline_is_looked_for_where_its_box_is() -> None:
    tracker = Tracker(1)
    (track,) = tracker.associate(found(box(100, 100)))
    assert track.predicted_hull() is None and track.roll == 0
    for x in (100, 110, 120):
        tracker.update(track, box(x, 100 - x), 0.9, 0.0)
    x, y, w, h = track.box
    track.hull = np.array([(x, y), (x + w, y), (x + w, y + h)])
    px, py, pw, ph = track.predicted_box()
    assert px > x and py < y  # it moves on
    np.testing.assert_allclose(track.predicted_hull(), [(px, py), (px + pw, py), (px + pw, py + ph)])
    np.testing.assert_array_equal(track.hull[0], (x, y))


def test_a_hand_that_is_followed_keeps_its_roll_and_one_that_has_gone_astray_starts_anew() -> None:
    tracker = Tracker(1)
    (track,) = tracker.associate(found(box(100, 100)))
    track.roll, track.hull = 1.2, np.zeros((4, 2))
    for x in (100, 110):
        tracker.update(track, box(x, 100), 0.9, 0.0)
        assert tracker.associate(found(box(x, 100))) == []
        assert track.roll == 1.2 and track.hull is not None
    tracker.update(track, None, 0.9, 0.0)
    assert track.roll == 1.2
    assert tracker.associate(found(box(200, 100))) == [track]
    assert track.box == track.predicted_box() == box(200, 100)  # nothing is known of where it goes
    assert track.roll == 0 and track.hull is None and track.predicted_hull() is None


def test_the_detector_is_due_in_every_frame_while_nothing_is_followed() -> None:
    tracker = Tracker(2)
    assert all(tracker.detection_due(100) for _ in range(5))


def test_no_more_hands_than_max_hands_the_best_first() -> None:
    tracker = Tracker(2)
    tracker.associate(found(box(100, 100), box(300, 100), box(500, 100)))
    assert [track.box for track in tracker.tracks] == [box(100, 100), box(300, 100)]


def test_a_detection_of_a_hand_that_is_followed_is_not_a_new_hand() -> None:
    tracker = Tracker(4)
    tracker.associate(found(box(100, 100)))
    assert tracker.associate(found(box(120, 110), box(100, 100, 140))) == []
    assert len(tracker.associate(found(box(190, 100)))) == 1  # beside it: another hand


def test_ids_are_free_ones_and_never_zero() -> None:
    tracker = Tracker(2)
    step(tracker, [box(100, 100), box(400, 100)])
    for _ in range(3):
        step(tracker, [box(400, 100)])
    assert [track.id for track in tracker.tracks] == [2]
    for _ in range(6):
        shown = step(tracker, [box(400, 100), box(100, 300)], interval=1)
    assert set(shown) == {1, 2} and shown[2] == box(400, 100)


def test_two_tracks_on_one_hand_become_one_the_older() -> None:
    tracker = Tracker(3)
    for _ in range(5):
        step(tracker, [box(100, 100), box(400, 100)])
    (new,) = tracker.associate(found(box(250, 100)))
    tracker.update(new, box(105, 102), 0.9, 0.0)  # its mask turned out to be the first hand
    assert tracker.drop_duplicates() == [new.id]
    assert {track.id for track in tracker.tracks} == {1, 2}


def test_of_two_tracks_as_old_as_each_other_one_is_left() -> None:
    tracker = Tracker(2)
    for new in tracker.associate(found(box(100, 100), box(300, 100))):
        tracker.update(new, box(200, 100), 0.9, 0.0)
    assert len(tracker.drop_duplicates()) == 1 and len(tracker.tracks) == 1


def test_reset_forgets_every_hand() -> None:
    tracker = Tracker(2)
    step(tracker, [box(100, 100)])
    tracker.reset()
    assert tracker.tracks == [] and tracker.detection_due(1000)


def test_the_hand_length_is_the_mean_of_the_guesses_at_first_and_follows_slowly_later() -> None:
    tracker = Tracker(1)
    (track,) = tracker.associate(found(box(100, 100)))
    guesses = np.random.default_rng(0).normal(math.log(0.19), 0.1, 40)
    for guess in guesses:
        tracker.update(track, box(100, 100), 0.9, float(guess))
    assert track.log_length == pytest.approx(guesses.mean())
    for _ in range(600):
        tracker.update(track, box(100, 100), 0.9, math.log(0.16))
    assert track.log_length == pytest.approx(math.log(0.16), abs=1e-3)


def test_recalibrating_forgets_the_length_and_keeps_the_hand() -> None:
    tracker = Tracker(1)
    (track,) = tracker.associate(found(box(100, 100)))
    for _ in range(50):
        tracker.update(track, box(100, 100), 0.9, math.log(0.19))
    assert tracker.forget_lengths() == 1
    assert tracker.tracks == [track] and track.hits == 50 and track.log_length is None
    tracker.update(track, box(100, 100), 0.9, math.log(0.16))
    assert track.log_length == math.log(0.16), "nothing is left of what was before"
    tracker.update(track, box(100, 100), 0.9, math.log(0.17))
    assert track.log_length == pytest.approx((math.log(0.16) + math.log(0.17)) / 2)


@pytest.mark.parametrize(
    ("detector", "presence", "new"),
    [(0.7, 0.78, True), (0.7, 0.75, False), (0.3, 0.89, True), (0.3, 0.87, False), (0.99, 0.2, False)],
)
def test_a_new_hand_needs_the_detector_and_the_network_to_be_sure_between_them(
    detector: float, presence: float, new: bool
) -> None:
    tracker = Tracker(1)
    (track,) = tracker.associate([Detection(box(100, 100), detector)])
    assert tracker.update(track, box(100, 100), presence, 0.0) is new
    assert bool(tracker.tracks) is new
