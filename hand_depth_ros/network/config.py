"""Configs of the networks: frozen dataclasses that are saved inside the weights file."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, TypeVar

C = TypeVar("C", bound="_Config")
_RENAMED = {"trunk": "backbone"}
"""Keys that were renamed in 0.2.0."""


class _Config:
    """Base of the configs: JSON in and out; the subclass checks its fields in ``__post_init__``."""

    kind: ClassVar[str]

    def to_json(self) -> str:
        """Return the fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build from plain values.

        Raises:
            ValueError: A key is unknown or missing; a renamed one is named with its new name.
        """
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        if unknown and unknown[0] in _RENAMED:
            raise ValueError(f"{unknown[0]} is now {_RENAMED[unknown[0]]}")
        if unknown:
            raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return cls(**values)


def _check_range(owner: object, **ranges: tuple[int, int]) -> None:
    for name, (low, high) in ranges.items():
        value = getattr(owner, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError(
                f"{type(owner).__name__}.{name} must be a whole number in {low}..{high}, not {value!r}"
            )


@dataclasses.dataclass(frozen=True)
class NetworkConfig(_Config):
    """Config of the depth network (stacked hourglass) and the switches of its ablation.

    Attributes:
        crop_size: Side of the square crop in pixels (a multiple of 4 * 2 ** levels).
        stacks: Number of hourglasses.
        mask_stacks: How many of the first ones are supervised with the mask only; 0: mask and depth
            jointly in all.
        features: Channels inside an hourglass.
        levels: Halvings inside an hourglass.
        growth: Channels added at each halving; 0: the paper's constant width. Widening: Law and
            Deng, CornerNet, 2018.
        bottom: Residual blocks at the lowest resolution, where the hand is seen as a whole.
        plane: The last head adds a plane, predicted from the whole crop, to its relief.
        joints: Every hourglass predicts the joints; their depth is fed forward, and the last head
            adds to it.
        backbone: Features of a network pretrained on real hands (network/backbone.py) guide the
            hourglasses.
        feed_mask: The estimated mask is fed forward into the next hourglass.
        predict_mask: False: depth only, no mask supervision in the hourglasses (the last head
            always has a mask).
        intermediate: Every hourglass has its own loss; False: only the last head.
        detail: Channels of the full-resolution branch that sharpens edges.
    """

    kind: ClassVar[str] = "hand_depth"
    crop_size: int = 128
    stacks: int = 2
    mask_stacks: int = 1
    features: int = 64
    levels: int = 3
    growth: int = 0
    bottom: int = 1
    plane: bool = False
    joints: bool = False
    backbone: bool = False
    feed_mask: bool = True
    predict_mask: bool = True
    intermediate: bool = True
    detail: int = 16

    @property
    def input_size(self) -> int:
        """Return the side in pixels of the crops that the network takes.

        Maps have ``crop_size``; with a backbone, which expects a hand of the size it was trained
        with, the input is 7/4 of it.
        """
        return self.crop_size * 7 // 4 if self.backbone else self.crop_size

    def __post_init__(self) -> None:
        _check_range(
            self,
            crop_size=(32, 1024),
            stacks=(1, 8),
            mask_stacks=(0, 7),
            features=(8, 1024),
            levels=(1, 6),
            growth=(0, 256),
            bottom=(1, 8),
            detail=(4, 256),
        )
        for name in ("plane", "joints", "backbone", "feed_mask", "predict_mask", "intermediate"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"NetworkConfig.{name} must be true or false, not {getattr(self, name)!r}")
        if self.mask_stacks >= self.stacks:
            raise ValueError(f"mask_stacks ({self.mask_stacks}) must be smaller than stacks ({self.stacks})")
        for name in ("features", "growth"):
            if getattr(self, name) % 2:
                raise ValueError(f"{name} must be even, not {getattr(self, name)}")
        if self.backbone and (self.levels > 3 or self.crop_size != 128 or not self.joints):
            raise ValueError(
                "a backbone needs joints, has features down to 1/32 and takes images of one size: "
                f"joints ({self.joints}) must be true, levels ({self.levels}) 3 or less, crop_size ({self.crop_size}) 128"
            )
        if self.crop_size % (4 * 2**self.levels):
            raise ValueError(f"crop_size {self.crop_size} is not a multiple of {4 * 2**self.levels}")


@dataclasses.dataclass(frozen=True)
class DetectorConfig(_Config):
    """Config of the detector, a small one-shot centre detector.

    Attributes:
        input_width, input_height: The frame is letter-boxed into this, pixels (multiples of 32).
        features: Channels of the first stage.
        extra_blocks: More residual blocks at each of 1/8, 1/16 and 1/32 of the input;
            zero-initialised, so that a network that starts from one with fewer of them starts as
            that network.
    """

    kind: ClassVar[str] = "hand_detector"
    input_width: int = 192
    input_height: int = 160
    features: int = 16
    extra_blocks: int = 0

    def __post_init__(self) -> None:
        _check_range(self, input_width=(32, 2048), input_height=(32, 2048), features=(4, 256))
        _check_range(self, extra_blocks=(0, 32))
        if self.input_width % 32 or self.input_height % 32:
            raise ValueError(f"input size {self.input_width}x{self.input_height} must be multiples of 32")
