"""The result of an estimate: the maps of one frame and its hands. numpy only."""

from __future__ import annotations

import dataclasses

import numpy as np

from hand_depth_ros.geometry.boxes import Box


@dataclasses.dataclass(frozen=True)
class Hand:
    """One hand of a frame.

    Attributes:
        id: Its value in ``HandDepthFrame.mask``, the same from frame to frame while it is followed.
        roi: Tight box of its mask: x, y, width, height in frame pixels.
        score: How sure the network is that this is a hand, 0..1.
        hand_length_m: Wrist crease to middle fingertip in metres, given or estimated; its depth is
            computed with it.
        hand_length_sigma_m: One standard deviation of that, metres.
        depth_m: Median depth of its valid pixels along the optical axis, metres; NaN if it has
            none.
    """

    id: int
    roi: Box
    score: float
    hand_length_m: float
    hand_length_sigma_m: float
    depth_m: float


@dataclasses.dataclass(frozen=True)
class HandDepthFrame:
    """The estimate for one frame of H x W pixels, on the pixels of the colour image.

    Attributes:
        depth: float32 (H, W), metres along the optical axis (z, not the length of the ray), NaN
            where there is no hand.
        sigma: float32 (H, W), one standard deviation in metres, NaN where depth is.
        mask: uint8 (H, W), the hand's id, 0 where there is none; depth may be NaN inside it (limits
            on range and sigma).
        hands: One entry for each hand in the mask.
        timings: Milliseconds of the steps, by name.
    """

    depth: np.ndarray
    sigma: np.ndarray
    mask: np.ndarray
    hands: tuple[Hand, ...]
    timings: dict[str, float]
