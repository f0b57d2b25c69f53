"""What an estimate is: the maps of one frame and the hands in it. numpy only."""

from __future__ import annotations

import dataclasses

import numpy as np

from hand_depth_ros.geometry.boxes import Box


@dataclasses.dataclass(frozen=True)
class Hand:
    """One hand of a frame.

    id               its value in ``HandDepthFrame.mask``, the same from frame to frame while it is
                     followed
    roi              tight box of its mask: x, y, width, height in frame pixels
    score            0..1, how sure the network is that this is a hand
    hand_length_m    wrist crease to middle fingertip, metres, that its depth was computed with:
                     given, or guessed
    hand_length_sigma_m   one standard deviation of that, metres
    depth_m          median depth of its valid pixels, metres along the optical axis, NaN when it
                     has none
    """

    id: int
    roi: Box
    score: float
    hand_length_m: float
    hand_length_sigma_m: float
    depth_m: float


@dataclasses.dataclass(frozen=True)
class HandDepthFrame:
    """The estimate for one frame of H x W pixels, on the pixels of the colour picture.

    depth    float32 (H, W), metres along the optical axis (z, not the length of the ray), NaN where
             there is no hand
    sigma    float32 (H, W), metres, one standard deviation, NaN where depth is
    mask     uint8 (H, W), the hand's id, 0 where there is none; depth may be NaN inside it (range,
             sigma)
    hands    one entry a hand that is in the mask
    timings  milliseconds of the steps, by name
    """

    depth: np.ndarray
    sigma: np.ndarray
    mask: np.ndarray
    hands: tuple[Hand, ...]
    timings: dict[str, float]
