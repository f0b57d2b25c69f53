"""What a network looks like: small objects that are saved inside the weights file."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, TypeVar

C = TypeVar("C", bound="_Config")


class _Config:
    """JSON in and out, with every field checked by the subclass's ``__post_init__``."""

    kind: ClassVar[str]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build from plain values; an unknown or missing key is a ``ValueError`` that names it."""
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
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
    """The depth network (stacked hourglass) and the switches of its ablation.

    crop_size       side of the square input crop, pixels (a multiple of 4 * 2 ** levels)
    stacks          number of hourglasses
    mask_stacks     how many of the first ones are supervised with the mask only (0: mask and depth jointly in all)
    features        channels inside an hourglass
    levels          halvings inside an hourglass
    growth          channels added at each halving (0: the paper's constant width; widening: Law and Deng, CornerNet, 2018)
    bottom          residual blocks at the lowest resolution, where the hand is seen as a whole
    plane           the last head adds a plane to its relief, predicted from the whole crop
    joints          every hourglass tells where the joints are; their depth is fed forward, and the last head adds to it
    backbone           features of a network that has seen many real hands (network/backbone.py) guide the hourglasses
    feed_mask       the estimated mask is fed forward into the next hourglass
    predict_mask    False: depth only, the mask is not supervised in the hourglasses (the last head always has one)
    intermediate    every hourglass has its own loss; False: only the last head
    detail          channels of the full-resolution branch that sharpens edges
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
        """Side of the pictures that the network takes, pixels: the crops', or with a backbone, which wants hands of the size that
        it knows, 7/4 of that. Maps are of the crop's size."""
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
                "a backbone knows joints, has features down to 1/32 and takes pictures of one size: "
                f"joints ({self.joints}) must be true, levels ({self.levels}) 3 or less, crop_size ({self.crop_size}) 128"
            )
        if self.crop_size % (4 * 2**self.levels):
            raise ValueError(f"crop_size {self.crop_size} is not a multiple of {4 * 2**self.levels}")


@dataclasses.dataclass(frozen=True)
class DetectorConfig(_Config):
    """The detector: a small one-shot centre detector.

    input_width, input_height   the frame is letter-boxed into this, pixels (multiples of 32)
    features                    channels of the first stage
    extra_blocks                residual blocks more at each of 1/8, 1/16 and 1/32 of the input; what starts from a network
                                with fewer of them starts as that network
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
