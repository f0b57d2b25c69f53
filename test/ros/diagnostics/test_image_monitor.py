"""Images that are valid messages and show nothing: dark, of one colour, damaged, frozen."""

from __future__ import annotations

import numpy as np
import pytest
from support import messages

from hand_depth_ros.ros.diagnostics.image_monitor import FROZEN_S, ImageMonitor, describe_image

SCENE = messages.sample_rgb(240, 320)
RNG = np.random.default_rng(0)


def noisy(level: int, spread: int = 6) -> np.ndarray:
    """Return grey noise around a level, (240, 320, 3) uint8."""
    return (level + RNG.integers(0, spread, (240, 320, 3))).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((240, 320, 3), np.uint8), "dark"),
        (noisy(0), "dark"),
        (noisy(4), "dark"),
        (np.full((240, 320, 3), 200, np.uint8), "one colour"),
        (np.full((240, 320, 3), (200, 30, 0), np.uint8), "one colour"),
        (np.full((240, 320, 3), 255, np.uint8), "one colour"),
    ],
)
def test_describes_an_image_that_shows_nothing(image: np.ndarray, word: str) -> None:
    assert word in describe_image(image)


@pytest.mark.parametrize("image", [SCENE, SCENE // 4, noisy(120), np.where(SCENE > 200, SCENE, 0)])
def test_accepts_images_with_structure(image: np.ndarray) -> None:
    assert describe_image(image.astype(np.uint8)) == ""


def test_reports_a_frozen_camera_after_seconds_and_its_return() -> None:
    now = [0.0]
    monitor = ImageMonitor(clock=lambda: now[0])
    for index in range(60):
        now[0] = 0.1 * index
        frozen = "has not changed for" in monitor.update(SCENE)
        assert frozen == (now[0] >= FROZEN_S), now[0]
    assert monitor.update(SCENE // 2) == ""


def test_two_images_far_apart_are_not_frozen() -> None:
    now = [0.0]
    monitor = ImageMonitor(clock=lambda: now[0])
    monitor.update(SCENE)
    now[0] = 30.0
    assert monitor.update(SCENE) == ""


def test_damage_comes_first_and_clear_forgets() -> None:
    monitor = ImageMonitor()
    assert monitor.update(np.zeros_like(SCENE), "the jpeg data is damaged") == "the jpeg data is damaged"
    monitor.clear()
    assert monitor.problem == ""
