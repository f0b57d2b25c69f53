"""Cut patches of plain fabric out of the textures of clothes. numpy and OpenCV.

A garment's texture is a sheet of cut parts on a background of one colour; only its fabric is wanted
on a sleeve.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError

PATCHES = 6  # of one texture
_SIDE = 144  # pixels of a texture 1024 pixels wide; about 0.3 m of cloth
_STEP = 36
_FLAT = 1.2  # standard deviation of brightness below which there is no weave to see


def fabric_patch(texture: Path, number: int, out: Path) -> None:
    """Write the patch `number` of a texture to `out`: with a weave and without seams.

    Raises DatasetError if the texture is not an image.
    """
    image = cv2.imread(str(texture), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{texture} is not an image that OpenCV reads")
    image = cv2.resize(image, (1024, 1024), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(out), _patches(image)[number % PATCHES])


def _patches(image: np.ndarray) -> list[np.ndarray]:
    """Return windows apart from each other that have a weave and few seams."""
    scored = []
    for y in range(0, image.shape[0] - _SIDE, _STEP):
        for x in range(0, image.shape[1] - _SIDE, _STEP):
            window = image[y : y + _SIDE, x : x + _SIDE]
            coarse = cv2.resize(window, (6, 6), interpolation=cv2.INTER_AREA).astype(float)
            weave = float(cv2.cvtColor(window, cv2.COLOR_BGR2GRAY).std())
            uneven = float(np.ptp(coarse, axis=(0, 1)).max())
            dull = 1000.0 * (weave < _FLAT) + 200.0 * (coarse.mean() < 12)
            scored.append((uneven - 2 * min(weave, 15.0) + dull, y, x))
    chosen: list[tuple[int, int]] = []
    for _, y, x in sorted(scored):
        if all(abs(y - b) + abs(x - a) >= _SIDE for b, a in chosen):
            chosen.append((y, x))
        if len(chosen) == PATCHES:
            break
    return [image[y : y + _SIDE, x : x + _SIDE] for y, x in chosen]
