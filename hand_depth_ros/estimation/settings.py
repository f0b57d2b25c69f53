"""The estimator's settings, checked in one place."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class EstimatorSettings:
    """What may be changed between two frames. ValueError names the value that is out of range.

    max_hands        1..8, hands followed at a time
    hand_length_m    wrist to middle fingertip, metres, 0.08..0.30; None: the network's own guess
    min_range_m, max_range_m   depth outside is invalid, metres
    max_sigma_m      pixels less sure than this (one standard deviation, metres) are invalid; None:
                     all count
    detection_interval  the detector looks at every n-th frame, 1..1000, and sooner when a hand is
                        doubtful
    detection_threshold score from which a box of the detector is looked at, 0.01..1
    mask_threshold   probability from which a pixel is hand, 0.5..0.99
    """

    max_hands: int = 2
    hand_length_m: float | None = None
    min_range_m: float = 0.1
    max_range_m: float = 2.0
    max_sigma_m: float | None = None
    detection_interval: int = 5
    detection_threshold: float = 0.15
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        _within("max_hands", self.max_hands, 1, 8)
        _within("hand_length_m", self.hand_length_m, 0.08, 0.30, optional=True)
        _within("min_range_m", self.min_range_m, 0.0, 100.0)
        _within("max_range_m", self.max_range_m, 0.0, 100.0)
        _within("max_sigma_m", self.max_sigma_m, 1e-6, 100.0, optional=True)
        _within("detection_interval", self.detection_interval, 1, 1000)
        _within("detection_threshold", self.detection_threshold, 0.01, 1.0)
        _within("mask_threshold", self.mask_threshold, 0.5, 0.99)
        if self.min_range_m >= self.max_range_m:
            raise ValueError(
                f"min_range_m ({self.min_range_m}) must be smaller than max_range_m ({self.max_range_m})"
            )
        for name in ("max_hands", "detection_interval"):
            if int(getattr(self, name)) != getattr(self, name):
                raise ValueError(f"{name} must be a whole number, not {getattr(self, name)}")
            object.__setattr__(self, name, int(getattr(self, name)))


def _within(name: str, value: float | None, low: float, high: float, optional: bool = False) -> None:
    if value is None and optional:
        return
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise ValueError(
            f"{name} must be between {low:g} and {high:g}{' or unset' if optional else ''}, not {value!r}"
        )
