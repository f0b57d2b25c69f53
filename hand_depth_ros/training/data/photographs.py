"""Labelled photographs in memory; `labels.label_photographs` makes and reads them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

UNKNOWN = 255
"""Value of unknown pixels in a mask."""
MIN_WEIGHT = 0.15
"""Labels of photographs up to this weight are not trained on."""


class PseudoLabel(NamedTuple):
    """Labels of one hand, in a window of its photograph.

    Attributes:
        x: Column of the window's first pixel in the photograph.
        y: Row of the window's first pixel in the photograph.
        mask: uint8 (h, w): 1 hand, 0 not the hand, 255 unknown.
        relief: float32 (h, w): depth relative to the hand's median, over the hand length; NaN
            where unknown.
        log_length_px: Log of the apparent hand length in pixels of the photograph.
        weight: 0..1, agreement of the landmarks' surface with the image.
        joints: float32 (21, 3): x, y in pixels of the photograph, z as the relief.
    """

    x: int
    y: int
    mask: np.ndarray
    relief: np.ndarray
    log_length_px: float
    weight: float
    joints: np.ndarray

    @property
    def usable(self) -> bool:
        """Return True if the label is trained on."""
        return self.weight > MIN_WEIGHT


class Photograph(NamedTuple):
    """One photograph with its labels.

    Attributes:
        encoded: The image file's bytes.
        labels: Labels of the hands that could be labelled.
        landmarks: Landmarks (k, 21, 2) of all its hands, in pixels.
    """

    encoded: bytes
    labels: tuple[PseudoLabel, ...]
    landmarks: np.ndarray

    @property
    def usable(self) -> list[PseudoLabel]:
        """Return the labels that are trained on."""
        return [label for label in self.labels if label.usable]

    def decode(self) -> np.ndarray:
        """Return the pixels, uint8 (H, W, 3) RGB."""
        image = cv2.imdecode(np.frombuffer(self.encoded, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None  # it was decoded when it was labelled
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
