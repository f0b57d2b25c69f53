"""Following hands from frame to frame: which box to look at next, when a hand is new, when it is gone. numpy only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from hand_depth_ros.finder import Detection, overlaps
from hand_depth_ros.frame import Roi

_SAME_HAND = 0.2
_DOUBLE = 0.6
_KEEP_PRESENCE = 0.35
_MISSES_ALLOWED = 2
_LEAD = 0.6
_LENGTH_MEMORY_FRAMES = 60.0


@dataclasses.dataclass
class Track:
    """One hand that is followed. ``id`` is its value in the mask, ``roi`` the tight box of its last mask, frame pixels.

    ``log_length`` is the running mean of the network's guesses of log(hand length / m), over ``seen`` of them at most.
    """

    id: int
    roi: Roi
    score: float
    velocity: tuple[float, float] = (0.0, 0.0)
    misses: int = 0
    fresh: bool = True
    log_length: float | None = None
    seen: int = 0

    def predicted(self) -> Roi:
        """Where to look in the next frame: the last box, moved on by part of its last motion."""
        x, y, w, h = self.roi
        return x + _LEAD * self.velocity[0], y + _LEAD * self.velocity[1], w, h

    def hit(self, roi: Roi, score: float, log_length: float) -> None:
        """The hand was seen in ``roi``."""
        if not self.fresh:
            old, new = _centre(self.roi), _centre(roi)
            self.velocity = (new[0] - old[0], new[1] - old[1])
        self.roi, self.score, self.misses, self.fresh = roi, score, 0, False
        self.seen += 1
        share = 1.0 / min(float(self.seen), _LENGTH_MEMORY_FRAMES)
        self.log_length = (
            log_length
            if self.log_length is None
            else self.log_length + share * (log_length - self.log_length)
        )


class Tracker:
    """The hands that are followed now, at most ``max_hands`` of them."""

    def __init__(self, max_hands: int) -> None:
        self.max_hands = max_hands
        self.tracks: list[Track] = []
        self._frames = 0

    def reset(self) -> None:
        """Forget every hand."""
        self.tracks, self._frames = [], 0

    def wants_finder(self, interval: int) -> bool:
        """Whether the finder should look at this frame: nothing is followed, or it is the n-th one. Call once a frame."""
        due = not self.tracks or (len(self.tracks) < self.max_hands and self._frames % interval == 0)
        self._frames += 1
        return due

    def add(self, detections: list[Detection]) -> list[Track]:
        """Start to follow the detections that are not one of the hands that are followed already; returns the new ones."""
        new = []
        for detection in detections:
            if len(self.tracks) >= self.max_hands:
                break
            known = [track.predicted() for track in self.tracks]
            if known and (overlaps(np.array(detection.roi), np.array(known)) > _SAME_HAND).any():
                continue
            free = next(i for i in range(1, 256) if all(track.id != i for track in self.tracks))
            track = Track(free, detection.roi, detection.score)
            self.tracks.append(track)
            new.append(track)
        return new

    def update(self, track: Track, roi: Roi | None, presence: float, log_length: float) -> bool:
        """What the network saw of a track: its mask's box or None. Returns whether this frame shows the hand."""
        needed = 0.5 if track.fresh else _KEEP_PRESENCE
        if roi is None or not math.isfinite(presence) or presence < needed:
            track.misses += 1
            if track.fresh or track.misses > _MISSES_ALLOWED:
                self.tracks.remove(track)
            return False
        track.hit(roi, presence, log_length)
        return True

    def drop_doubles(self) -> list[int]:
        """Two tracks on one hand become one, the older; returns the ids that were dropped."""
        dropped = []
        for track in sorted(self.tracks, key=lambda t: (t.seen, t.score)):
            others = [t.roi for t in self.tracks if t is not track and t.seen >= track.seen]
            if others and (overlaps(np.array(track.roi), np.array(others)) > _DOUBLE).any():
                self.tracks.remove(track)
                dropped.append(track.id)
        return dropped


def _centre(roi: Roi) -> tuple[float, float]:
    return roi[0] + roi[2] / 2, roi[1] + roi[3] / 2
