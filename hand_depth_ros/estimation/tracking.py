"""Follow hands from frame to frame: where to look next, when to spawn a track, when to drop it.

Numpy only.

A track is tentative until the network has confirmed the hand once. Two opinions decide: the
detector's score (``support``) and the depth network's presence (``score``).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from hand_depth_ros.estimation.detector import Detection
from hand_depth_ros.geometry.boxes import Box, pairwise_iou

_MIN_MATCH_IOU = 0.2
"""A detection that overlaps a track's predicted box by more belongs to that track."""
_DUPLICATE_IOU = 0.6
"""Two tracks whose boxes overlap by more follow one hand."""
_MIN_SPAWN_EVIDENCE = 1.6
"""Evidence (see `_evidence`) that confirms a tentative track; set by the rate of false hands on
backgrounds."""
_DETECTOR_WEIGHT = 0.5
"""Weight of the detector's logit in the evidence, the presence's being 1."""
_MIN_LOCATE_EVIDENCE = -1.0
"""Evidence needed in the first pass, whose crop is not upright yet, to go on to the second."""
_MIN_KEEP_PRESENCE = 0.35
"""A confirmed track counts as missed below this presence."""
_MAX_MISSES = 2
_MOTION_GAIN = 0.6
"""Fraction of the last motion by which the next position is predicted."""
_FAST_MOTION = 0.3
"""Motion a frame, over the box's longer side, from which the detector runs in every frame."""
_DOUBTFUL_PRESENCE = 0.6
_MIN_SIZE_RATIO = 0.5
"""A confirmed hand whose box shrinks below this fraction within a frame counts as missed."""
_MIN_TRACK_IOU = 0.4
"""A track whose predicted box overlaps its detection by less is moved to the detection."""
_MATCH_RADIUS = 1.5
"""Distance, over the box's longer side, within which a missed track takes the nearest detection."""
_MIN_SUPPORT = 0.1
_SURE_PRESENCE = 0.8
_REPLACE_MARGIN = 0.15
"""Score by which a detection must beat the least supported track to replace it, or a rejection
to be tried again."""
_LENGTH_WINDOW_FRAMES = 60.0
_REJECTED_IOU = 0.5
_REJECTION_FRAMES = 10
"""Frames for which a rejected detection is not tried again, unless its score rises.

A chair that looks like a hand would otherwise cost a network call in every frame.
"""


@dataclasses.dataclass
class Track:
    """One hand that is followed.

    Attributes:
        id: Value of its pixels in the instance mask, 1..255.
        box: Tight box of its last mask, frame pixels.
        score: Presence in the last frame that showed it, 0..1.
        velocity: Motion of the box's centre in the last frame, pixels.
        misses: Frames since it was last seen.
        tentative: True until the network has confirmed the hand.
        log_length: Running mean of the network's log(hand length / m), None before the first.
        length_count: Number of lengths in that mean.
        hits: Frames that showed the hand.
        support: Running mean of the detector's scores for it, 0 where the detector saw nothing.
        roll: Radians, counter-clockwise, that turn the hand upright.
        hull: Convex hull (n, 2) of its last mask, frame pixels; None where only the box is known.
        detection_box: The detection that spawned it.
    """

    id: int
    box: Box
    score: float
    velocity: tuple[float, float] = (0.0, 0.0)
    misses: int = 0
    tentative: bool = True
    log_length: float | None = None
    length_count: int = 0
    hits: int = 0
    support: float = 1.0
    roll: float = 0.0
    hull: np.ndarray | None = None
    detection_box: Box | None = None

    @property
    def doubtful(self) -> bool:
        """Tell if the hand was missed, is hardly one or moves fast: the detector should run."""
        limit = _FAST_MOTION * self.box.longer_side
        return self.misses > 0 or self.score < _DOUBTFUL_PRESENCE or math.hypot(*self.velocity) > limit

    def predicted_box(self) -> Box:
        """Return the box expected in the next frame: the last, moved by part of its motion."""
        return self.box.moved(_MOTION_GAIN * self.velocity[0], _MOTION_GAIN * self.velocity[1])

    def predicted_hull(self) -> np.ndarray | None:
        """Return the hull expected in the next frame, None where only the box is known."""
        return None if self.hull is None else self.hull + _MOTION_GAIN * np.array(self.velocity)

    def relocate(self, box: Box) -> None:
        """Restart from a box alone: no motion, hull or roll is known."""
        self.box, self.velocity, self.hull, self.roll = box, (0.0, 0.0), None, 0.0

    def update(self, box: Box, score: float, log_length: float) -> None:
        """Record that the hand was seen in ``box``."""
        if not self.tentative:
            old, new = self.box.centre, box.centre
            self.velocity = (new[0] - old[0], new[1] - old[1])
        self.box, self.score, self.misses, self.tentative = box, score, 0, False
        self.hits += 1
        self.length_count += 1
        weight = 1.0 / min(float(self.length_count), _LENGTH_WINDOW_FRAMES)
        self.log_length = (
            log_length
            if self.log_length is None
            else self.log_length + weight * (log_length - self.log_length)
        )


@dataclasses.dataclass(frozen=True)
class _Rejection:
    """A detection in which the network saw no hand: its box, score and frame number."""

    box: Box
    score: float
    frame: int

    def covers(self, detection: Detection, frame: int) -> bool:
        """Tell if the detection is the rejected one again."""
        recent = frame - self.frame < _REJECTION_FRAMES and detection.score < self.score + _REPLACE_MARGIN
        return recent and self.box.iou(detection.box) > _REJECTED_IOU


class Tracker:
    """Follow at most ``max_hands`` hands."""

    def __init__(self, max_hands: int) -> None:
        self.max_hands = max_hands
        self.tracks: list[Track] = []
        self._frames = 0
        self._rejections: list[_Rejection] = []

    def reset(self) -> None:
        """Drop every track."""
        self.tracks, self._frames, self._rejections = [], 0, []

    def forget_lengths(self) -> int:
        """Discard the estimated lengths of tracked hands; return how many hands there are."""
        for track in self.tracks:
            track.log_length, track.length_count = None, 0
        return len(self.tracks)

    def detection_due(self, interval: int) -> bool:
        """Tell if the detector should run on this frame. Call once a frame.

        It runs when nothing is followed, when a hand is doubtful, and on every ``interval``-th
        frame.
        """
        due = not self.tracks or self._frames % interval == 0 or any(track.doubtful for track in self.tracks)
        self._frames += 1
        return due

    def associate(self, detections: list[Detection]) -> list[Track]:
        """Match detections to tracks and spawn tentative tracks from the rest.

        A matched track gains support, an unmatched one loses it; a track whose own box is off its
        detection moves there. Tracks without support that aren't sure are dropped. An unmatched
        detection becomes a tentative track while there is room, or if it clearly beats the least
        supported track, which it replaces; recently rejected detections are skipped.

        Returns:
            The tracks, old and new, whose box is now a detection's.
        """
        free, relocated = list(detections), []
        for track in sorted(self.tracks, key=lambda t: -t.hits):
            match = _best_match(track, free)
            track.support = 0.5 * (track.support + (match.score if match else 0.0))
            if match is None:
                continue
            free.remove(match)
            if track.predicted_box().iou(match.box) < _MIN_TRACK_IOU:
                track.relocate(match.box)
                relocated.append(track)
        self.tracks = [t for t in self.tracks if t.support >= _MIN_SUPPORT or t.score >= _SURE_PRESENCE]
        return self._spawn(free, relocated)

    def spawn_more(self, detections: list[Detection]) -> list[Track]:
        """Spawn tracks from the same detections once others have been rejected."""
        return self._spawn(detections, [])

    def reject(self, track: Track, presence: float, upright: bool = False) -> bool:
        """Drop a tentative track that lacks evidence; return True if it was dropped.

        Args:
            track: The track; a confirmed one is never rejected.
            presence: What the network made of its crop, 0..1.
            upright: True for the second pass, whose upright crop decides; False for the first,
                which needs less.
        """
        minimum = _MIN_SPAWN_EVIDENCE if upright else _MIN_LOCATE_EVIDENCE
        if not track.tentative or _evidence(presence, track.support) >= minimum:
            return False
        self.drop(track)
        return True

    def drop(self, track: Track) -> None:
        """Stop following a hand; remember the box of a tentative one as rejected."""
        self.tracks.remove(track)
        if track.tentative:
            self._remember_rejection(track)

    def _spawn(self, detections: list[Detection], relocated: list[Track]) -> list[Track]:
        for detection in detections:
            if any(rejection.covers(detection, self._frames) for rejection in self._rejections):
                continue
            if any(track.predicted_box().iou(detection.box) > _MIN_MATCH_IOU for track in self.tracks):
                continue
            if len(self.tracks) >= self.max_hands:
                weakest = min(self.tracks, key=lambda t: t.support)
                if detection.score < weakest.support + _REPLACE_MARGIN:
                    continue
                self.tracks.remove(weakest)
                relocated = [track for track in relocated if track is not weakest]
            number = next(i for i in range(1, 256) if all(track.id != i for track in self.tracks))
            track = Track(
                number, detection.box, detection.score, support=detection.score, detection_box=detection.box
            )
            self.tracks.append(track)
            relocated.append(track)
        return relocated

    def update(self, track: Track, box: Box | None, presence: float, log_length: float) -> bool:
        """Record what the network saw of a track; return True if this frame shows the hand.

        Args:
            track: The track.
            box: Tight box of its mask, frame pixels; None if the mask is empty.
            presence: Probability that the crop shows a hand, 0..1.
            log_length: The network's log(hand length / m).
        """
        there = (
            _evidence(presence, track.support) >= _MIN_SPAWN_EVIDENCE
            if track.tentative
            else presence >= _MIN_KEEP_PRESENCE
        )
        shrunk = (
            box is not None and not track.tentative and max(box[2:]) < _MIN_SIZE_RATIO * track.box.longer_side
        )
        if box is None or shrunk or not math.isfinite(presence) or not there:
            track.misses += 1
            if track.tentative or track.misses > _MAX_MISSES:
                self.drop(track)
            return False
        track.update(box, presence, log_length)
        return True

    def _remember_rejection(self, track: Track) -> None:
        recent = (r for r in self._rejections if self._frames - r.frame < _REJECTION_FRAMES)
        box = track.detection_box or track.box
        self._rejections = [*recent, _Rejection(box, track.support, self._frames)]

    def drop_duplicates(self) -> list[int]:
        """Merge tracks on one hand into the oldest; return the ids that were dropped."""
        dropped = []
        for track in sorted(self.tracks, key=lambda t: (t.hits, t.score)):
            others = [t.box for t in self.tracks if t is not track and t.hits >= track.hits]
            if others and (pairwise_iou(np.array(track.box), np.array(others)) > _DUPLICATE_IOU).any():
                self.tracks.remove(track)
                dropped.append(track.id)
        return dropped


def _evidence(presence: float, support: float) -> float:
    """Combine the depth network's and the detector's probabilities into one logit."""
    return _logit(presence) + _DETECTOR_WEIGHT * _logit(support)


def _logit(probability: float) -> float:
    p = min(max(probability, 1e-4), 1 - 1e-4) if math.isfinite(probability) else 1e-4
    return math.log(p / (1 - p))


def _best_match(track: Track, detections: list[Detection]) -> Detection | None:
    """Return the detection that overlaps a track most.

    For a track just missed, else the nearest within reach.
    """
    box = track.predicted_box()
    best = max(detections, key=lambda d: box.iou(d.box), default=None)
    if best is not None and box.iou(best.box) > _MIN_MATCH_IOU:
        return best
    if not track.misses:
        return None
    nearest = min(detections, key=lambda d: math.dist(box.centre, d.box.centre), default=None)
    radius = _MATCH_RADIUS * box.longer_side
    if nearest is None or math.dist(box.centre, nearest.box.centre) >= radius:
        return None
    return nearest
