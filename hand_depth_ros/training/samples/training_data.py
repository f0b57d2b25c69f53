"""Sources that samples are drawn from, and backgrounds with their hard negatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.estimation.detector import HandDetector
from hand_depth_ros.network import HandDetectorNet, load_weights
from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.data.rendered import View

_MAX_BACKGROUND_HEIGHT = 400
_HARD_NEGATIVE_SCORE = 0.1


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Views, photographs and backgrounds, and how often each is drawn.

    Attributes:
        views: Rendered views.
        photographs: Labelled photographs.
        backgrounds: Images without hands, uint8 (h, w, 3) RGB.
        real_fraction: Fraction of samples from photographs.
        negative_fraction: Fraction of samples without a hand; the rest is rendered.
        hard_negatives: (n, 5) index of a background and x, y, width, height of a false detection
            in it.
        truncation_prob: As in `TrainConfig`, like the following.
        min_visible_fraction: As in `TrainConfig`.
        aspect_jitter_std: As in `TrainConfig`.
        occlusion_prob: As in `TrainConfig`.
        exposure_prob: As in `TrainConfig`.
        motion_blur_prob: As in `TrainConfig`.
    """

    views: Sequence[View]
    photographs: Sequence[Photograph]
    backgrounds: list[np.ndarray]
    real_fraction: float = 0.4
    negative_fraction: float = 0.1
    hard_negatives: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 5)))
    truncation_prob: float = 0.0
    min_visible_fraction: float = 0.0
    aspect_jitter_std: float = 0.0
    occlusion_prob: float = 0.0
    exposure_prob: float = 0.0
    motion_blur_prob: float = 0.0


def load_backgrounds(folder: Path | None) -> list[np.ndarray]:
    """Return all images of a folder, uint8 RGB, at most 400 pixels high.

    Raises:
        DatasetError: The folder holds no images.
    """
    images = []
    for path in sorted(folder.iterdir()) if folder else ():
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is not None:
            factor = min(1.0, _MAX_BACKGROUND_HEIGHT / image.shape[0])
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if folder and not images:
        raise DatasetError(f"backgrounds: there are no images in {folder}")
    return images


def find_hard_negatives(
    backgrounds: list[np.ndarray], detector: Path, threshold: float = _HARD_NEGATIVE_SCORE
) -> np.ndarray:
    """Return a detector's false detections, as `TrainingData.hard_negatives`."""
    network = HandDetector(load_weights(detector, HandDetectorNet)[0], torch.device("cpu"))
    rows = [
        (index, *box)
        for index, image in enumerate(backgrounds)
        for box, _ in network.detect(image, threshold)
    ]
    return np.array(rows, float).reshape(-1, 5)
