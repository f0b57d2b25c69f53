"""The real networks with random weights and given boxes: depth without trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from hand_depth_ros.estimation.estimator import HandDepthEstimator, HandDepthFrame
from hand_depth_ros.geometry.camera import Camera


class BoxedEstimator(HandDepthEstimator):
    """An estimator that takes the middle of every image for a hand."""

    def estimate(self, rgb: np.ndarray, camera: Camera, **_: Any) -> HandDepthFrame:
        height, width = rgb.shape[:2]
        return super().estimate(rgb, camera, rois=[(0.3 * width, 0.3 * height, 0.4 * width, 0.4 * height)])


def boxed_estimator(values: Mapping[str, Any]) -> BoxedEstimator:
    """Make an estimator for `HandDepthNode`, with the same weights in every process."""
    from hand_depth_ros.ros.parameters import estimator_settings

    torch.set_num_threads(1)
    return BoxedEstimator.untrained(seed=7, **estimator_settings(values))
