"""Following hands from frame to frame: which box to look at next, when a hand is new, when it is gone. numpy only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from hand_depth_ros.estimation.detector import Detection, overlaps
from hand_depth_ros.estimation.result import Roi

_SAME_HAND = 0.2
_DOUBLE = 0.6
_NEW_EVIDENCE = 1.6
_DETECTORS_SHARE = 0.5
"""A new hand needs this much: the presence's logit and this share of the detector's. Set by how many backgrounds have one."""
_FIRST_EVIDENCE = -1.0
"""And this much at the first look, at which it is turned anyhow, for a second one."""
_KEEP_PRESENCE = 0.35
_MISSES_ALLOWED = 2
_LEAD = 0.6
_FAST = 0.3
_DOUBTFUL_PRESENCE = 0.6
_SHRUNK = 0.5
_ASTRAY = 0.4
_REACH = 1.5
_MIN_SUPPORT = 0.1
_SURE_PRESENCE = 0.8
_BETTER = 0.15
_LENGTH_MEMORY_FRAMES = 60.0
_SAME_PLACE = 0.5
_REFUSED_FRAMES = 10
"""What the network took for no hand is not looked at again for so long, unless the detector is surer (by ``_BETTER``): a chair
that looks like a hand would otherwise cost a look in every frame."""


@dataclasses.dataclass
class Track:
    """One hand that is followed. ``id`` is its value in the mask, ``roi`` the tight box of its last mask, frame pixels.

    ``roll`` turns the hand upright: radians counter-clockwise. ``outline`` (n, 2) is the hull of its last mask, frame pixels,
    None where only the box is known. ``support`` is the running mean of the detector's scores for it, 0 where the detector saw
    nothing; ``found_in`` the detector's box that began it. ``log_length`` is the running mean of ``guesses`` of the network's
    guesses of log(hand length / m); ``seen`` counts the frames that showed the hand.
    """

    id: int
    roi: Roi
    score: float
    velocity: tuple[float, float] = (0.0, 0.0)
    misses: int = 0
    fresh: bool = True
    log_length: float | None = None
    guesses: int = 0
    seen: int = 0
    support: float = 1.0
    roll: float = 0.0
    outline: np.ndarray | None = None
    found_in: Roi | None = None

    @property
    def doubtful(self) -> bool:
        """Whether the detector should look in the next frame: the hand was missed, is hardly one, or moves fast."""
        reach = _FAST * max(self.roi[2:])
        return self.misses > 0 or self.score < _DOUBTFUL_PRESENCE or math.hypot(*self.velocity) > reach

    def predicted(self) -> Roi:
        """Where to look in the next frame: the last box, moved on by part of its last motion."""
        x, y, w, h = self.roi
        return x + _LEAD * self.velocity[0], y + _LEAD * self.velocity[1], w, h

    def predicted_outline(self) -> np.ndarray | None:
        """The same for the outline."""
        return None if self.outline is None else self.outline + _LEAD * np.array(self.velocity)

    def look_from(self, roi: Roi) -> None:
        """Only a box is known of where the hand is now."""
        self.roi, self.velocity, self.outline, self.roll = roi, (0.0, 0.0), None, 0.0

    def hit(self, roi: Roi, score: float, log_length: float) -> None:
        """The hand was seen in ``roi``."""
        if not self.fresh:
            old, new = _centre(self.roi), _centre(roi)
            self.velocity = (new[0] - old[0], new[1] - old[1])
        self.roi, self.score, self.misses, self.fresh = roi, score, 0, False
        self.seen += 1
        self.guesses += 1
        share = 1.0 / min(float(self.guesses), _LENGTH_MEMORY_FRAMES)
        self.log_length = (
            log_length
            if self.log_length is None
            else self.log_length + share * (log_length - self.log_length)
        )


@dataclasses.dataclass(frozen=True)
class _Refusal:
    """A box of the detector, its score, and the frame in which the network saw no hand in it."""

    roi: Roi
    score: float
    frame: int

    def holds(self, detection: Detection, frame: int) -> bool:
        """Whether the detection is that again, and need not be looked at."""
        recent = frame - self.frame < _REFUSED_FRAMES and detection.score < self.score + _BETTER
        return recent and _overlap(self.roi, detection.roi) > _SAME_PLACE


class Tracker:
    """The hands that are followed now, at most ``max_hands`` of them."""

    def __init__(self, max_hands: int) -> None:
        self.max_hands = max_hands
        self.tracks: list[Track] = []
        self._frames = 0
        self._refusals: list[_Refusal] = []

    def reset(self) -> None:
        """Forget every hand."""
        self.tracks, self._frames, self._refusals = [], 0, []

    def forget_lengths(self) -> int:
        """Measure every hand's length anew, go on following it; returns how many hands there are."""
        for track in self.tracks:
            track.log_length, track.guesses = None, 0
        return len(self.tracks)

    def detection_due(self, interval: int) -> bool:
        """Whether the detector should look at this frame: nothing is followed, a hand is doubtful, or it is the n-th frame.

        To be called once a frame.
        """
        due = not self.tracks or self._frames % interval == 0 or any(track.doubtful for track in self.tracks)
        self._frames += 1
        return due

    def look(self, detections: list[Detection]) -> list[Track]:
        """The detector's second opinion. Returns the tracks, old and new, that now have a detection's box.

        A hand that is followed gains or loses support and goes to the detection's box if its own is astray. One without
        support that isn't sure is dropped. What is left over is a new hand, while there is room for one or if it is
        clearly better than the least supported track, whose place it takes; but for what was refused a moment ago.
        """
        free, placed = list(detections), []
        for track in sorted(self.tracks, key=lambda t: -t.seen):
            match = _match(track, free)
            track.support = 0.5 * (track.support + (match.score if match else 0.0))
            if match is None:
                continue
            free.remove(match)
            if _overlap(track.predicted(), match.roi) < _ASTRAY:
                track.look_from(match.roi)
                placed.append(track)
        self.tracks = [t for t in self.tracks if t.support >= _MIN_SUPPORT or t.score >= _SURE_PRESENCE]
        return self._begin(free, placed)

    def refuse(self, track: Track, presence: float, upright: bool = False) -> bool:
        """Let a new hand go that the network hardly sees in its first look, or doesn't in the ``upright`` one that decides;
        whether it was let go."""
        least = _NEW_EVIDENCE if upright else _FIRST_EVIDENCE
        if not track.fresh or _evidence(presence, track.support) >= least:
            return False
        self.let_go(track)
        return True

    def let_go(self, track: Track) -> None:
        """Stop following a hand. A new one's box is not looked at again for a while."""
        self.tracks.remove(track)
        if track.fresh:
            self._remember(track)

    def look_on(self, detections: list[Detection]) -> list[Track]:
        """New hands among the same detections, once others have been let go."""
        return self._begin(detections, [])

    def _begin(self, detections: list[Detection], placed: list[Track]) -> list[Track]:
        for detection in detections:
            if any(refusal.holds(detection, self._frames) for refusal in self._refusals):
                continue
            if any(_overlap(track.predicted(), detection.roi) > _SAME_HAND for track in self.tracks):
                continue
            if len(self.tracks) >= self.max_hands:
                weakest = min(self.tracks, key=lambda t: t.support)
                if detection.score < weakest.support + _BETTER:
                    continue
                self.tracks.remove(weakest)
                placed = [track for track in placed if track is not weakest]
            number = next(i for i in range(1, 256) if all(track.id != i for track in self.tracks))
            track = Track(
                number, detection.roi, detection.score, support=detection.score, found_in=detection.roi
            )
            self.tracks.append(track)
            placed.append(track)
        return placed

    def update(self, track: Track, roi: Roi | None, presence: float, log_length: float) -> bool:
        """What the network saw of a track: its mask's box or None. Returns whether this frame shows the hand."""
        there = (
            _evidence(presence, track.support) >= _NEW_EVIDENCE if track.fresh else presence >= _KEEP_PRESENCE
        )
        shrunk = roi is not None and not track.fresh and max(roi[2:]) < _SHRUNK * max(track.roi[2:])
        if roi is None or shrunk or not math.isfinite(presence) or not there:
            track.misses += 1
            if track.fresh or track.misses > _MISSES_ALLOWED:
                self.let_go(track)
            return False
        track.hit(roi, presence, log_length)
        return True

    def _remember(self, track: Track) -> None:
        recent = (r for r in self._refusals if self._frames - r.frame < _REFUSED_FRAMES)
        self._refusals = [*recent, _Refusal(track.found_in or track.roi, track.support, self._frames)]

    def drop_doubles(self) -> list[int]:
        """Two tracks on one hand become one, the older; returns the ids that were dropped."""
        dropped = []
        for track in sorted(self.tracks, key=lambda t: (t.seen, t.score)):
            others = [t.roi for t in self.tracks if t is not track and t.seen >= track.seen]
            if others and (overlaps(np.array(track.roi), np.array(others)) > _DOUBLE).any():
                self.tracks.remove(track)
                dropped.append(track.id)
        return dropped


def _evidence(presence: float, support: float) -> float:
    return _logit(presence) + _DETECTORS_SHARE * _logit(support)


def _logit(probability: float) -> float:
    p = min(max(probability, 1e-4), 1 - 1e-4) if math.isfinite(probability) else 1e-4
    return math.log(p / (1 - p))


def _match(track: Track, detections: list[Detection]) -> Detection | None:
    """The detection of a track's hand: the one that overlaps it most; for one just missed, else the nearest within reach."""
    box = track.predicted()
    best = max(detections, key=lambda d: _overlap(box, d.roi), default=None)
    if best is not None and _overlap(box, best.roi) > _SAME_HAND:
        return best
    if not track.misses:
        return None
    nearest = min(detections, key=lambda d: math.dist(_centre(box), _centre(d.roi)), default=None)
    reach = _REACH * max(box[2:])
    return nearest if nearest is not None and math.dist(_centre(box), _centre(nearest.roi)) < reach else None


def _overlap(a: Roi, b: Roi) -> float:
    return float(overlaps(np.array(a), np.array(b))[0, 0])


def _centre(roi: Roi) -> tuple[float, float]:
    return roi[0] + roi[2] / 2, roi[1] + roi[3] / 2
