"""What every reader of a data set gives: images with cameras and what is known of their hands. And how files are read.

Imports nothing else of the evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import CameraError, DatasetError
from hand_depth_ros.geometry.camera import Camera

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class TrueHand:
    """What is known of one hand; fields that the data set lacks are None.

    box     tight, x, y, width, height in px
    mask    bool (H, W), the hand's pixels
    depth_m float32 (H, W) metres, NaN outside of the mask or where unknown
    joints  float64 (21, 3) metres in the camera's optical frame
    """

    box: tuple[float, float, float, float]
    mask: np.ndarray | None = None
    depth_m: np.ndarray | None = None
    joints: np.ndarray | None = None
    hand_length_m: float | None = None


@dataclass(frozen=True)
class Sample:
    """One image (rgb uint8 (H, W, 3)) with its camera and true hands.

    ``skin`` and ``region`` (bool (H, W)) are those of masks sets: skin, and where it is compared.
    """

    name: str
    rgb: np.ndarray
    camera: Camera
    hands: tuple[TrueHand, ...] = ()
    skin: np.ndarray | None = None
    region: np.ndarray | None = None


@dataclass(frozen=True)
class Dataset:
    """Where a data set lies, of which kind, its lines (one an image) and the function that reads the image of a line."""

    path: Path
    kind: str
    lines: list[dict[str, Any]]
    root: Path
    read: Callable[[Dataset, int, dict[str, Any]], Sample]
    notes: tuple[str, ...] = ()
    depth_unit_m: float = 0.001
    transparent: bool = False
    hfov_deg: float = 60.0
    hand_length_m: float | None = None
    backgrounds: list[Path] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Sample]:
        for index, line in enumerate(self.lines):
            yield self.read(self, index, line)


def image_files(folder: Path) -> list[Path]:
    """The image files right inside a folder, by name."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder of images.")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)


def read_image(file: Path, flags: int) -> np.ndarray:
    """The picture as OpenCV decodes it (BGR); DatasetError with the file's name and what to do for none."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        picture = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        picture = None
    if picture is None:
        raise DatasetError(
            f"{file} ({data.size} bytes) is not an image that OpenCV can decode: copy or unpack it again, or take it out "
            "of the set, with its line where there is a list."
        )
    return picture


def read_rgb(file: Path) -> np.ndarray:
    """uint8 (H, W, 3) RGB."""
    return np.ascontiguousarray(read_image(file, cv2.IMREAD_COLOR)[..., ::-1])


def read_json(file: Path) -> Any:
    """A whole JSON file."""
    try:
        return json.loads(file.read_text())
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise DatasetError(f"{file} is not JSON: {error}.") from error


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """One JSON object a line."""
    lines = []
    try:
        content = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} cannot be read: {error}.") from error
    for number, text in enumerate(content.splitlines(), 1):
        if text.strip():
            try:
                line = json.loads(text)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{file}, line {number} is not JSON: {error}.") from error
            if not isinstance(line, dict):
                raise DatasetError(f"{file}, line {number} is no JSON object: {{...}} is needed.")
            hands = line.get("hands", [])
            if not isinstance(hands, list) or not all(isinstance(hand, dict) for hand in hands):
                raise DatasetError(f"{file}, line {number}: hands is no list of JSON objects.")
            if not isinstance(line.get("image", ""), str):
                raise DatasetError(f"{file}, line {number}: image is {line['image']!r}, a path is needed.")
            lines.append(line)
    return lines


def box_of_points(points: np.ndarray) -> tuple[float, float, float, float]:
    """The tight box x, y, width, height of pixels (n, 2); NaN are skipped."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def box_of_mask(mask: np.ndarray) -> tuple[float, float, float, float]:
    """The tight box of a mask that has pixels."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return float(x), float(y), float(width), float(height)


def pinhole(matrix: Any, rgb: np.ndarray, name: str) -> Camera:
    """The camera of a 3 x 3 intrinsic matrix; DatasetError that names the image when it is none."""
    k = np.asarray(matrix, np.float64)
    if k.shape != (3, 3):
        raise DatasetError(f"{name}: the camera matrix is {k.shape}, 3 x 3 is needed.")
    height, width = rgb.shape[:2]
    try:
        return Camera(
            width=width,
            height=height,
            fx=float(k[0, 0]),
            fy=float(k[1, 1]),
            cx=float(k[0, 2]),
            cy=float(k[1, 2]),
        )
    except CameraError as error:
        raise DatasetError(f"{name}: {error}") from error
