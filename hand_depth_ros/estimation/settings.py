"""The estimator's settings and their ranges."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class EstimatorSettings:
    """Settings that may change between two frames.

    Attributes:
        max_hands: Hands followed at a time, 1..8.
        hand_length_m: Wrist crease to middle fingertip, 0.08..0.30 m; None: the network's estimate.
        min_range_m: Nearer depth is invalid, metres.
        max_range_m: Farther depth is invalid, metres.
        max_sigma_m: Pixels with a larger sigma are invalid, metres; None: all are kept.
        detection_interval: The detector runs on every n-th frame (1..1000) and if in doubt.
        detection_threshold: Minimum score of a detection, 0.01..1.
        mask_threshold: Minimum probability of a hand pixel, 0.5..0.99.

    Raises:
        ValueError: A value is out of range; the error names it.
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
