"""Fixtures of the training tests."""

from __future__ import annotations

import numpy as np
import pytest
from support.crop_samples import nothing_in_front

from hand_depth_ros.geometry.crop_camera import MARGIN
from hand_depth_ros.training.samples import augment, crop_geometry, crops, rendered_crops


@pytest.fixture
def no_occluders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off occluders in crop samples."""
    monkeypatch.setattr(augment, "occlude", nothing_in_front)


@pytest.fixture
def no_noise(monkeypatch: pytest.MonkeyPatch, no_occluders: None) -> None:
    """Place crops as a perfect detector would, upright, and switch off augmentation."""
    monkeypatch.setattr(crop_geometry, "_ANY_ROLL_PROB", 0.0)
    monkeypatch.setattr(crop_geometry, "_UPRIGHT_STD", 0.0)
    for module in (crops, rendered_crops):
        monkeypatch.setattr(module, "draw_jitter", lambda _: crop_geometry.Jitter(np.zeros(2), MARGIN))
    for name in ("tone", "degrade"):
        monkeypatch.setattr(augment, name, lambda image, *_: image)
