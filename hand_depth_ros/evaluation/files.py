"""Read the files of data sets: images, JSON, JSON lines.

Every failure is a DatasetError that names the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def image_files(folder: Path) -> list[Path]:
    """Return the image files directly inside a folder, sorted by name."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder of images.")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def read_image(file: Path, flags: int) -> np.ndarray:
    """Decode an image with OpenCV (channel order BGR).

    Raises:
        DatasetError: The file is missing or no image; the message says what to do.
    """
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(
            f"{file} ({data.size} bytes) is not an image that OpenCV can decode: copy or unpack it again, or take it out "
            "of the set, with its line where there is a list."
        )
    return image


def read_rgb(file: Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) RGB."""
    return np.ascontiguousarray(read_image(file, cv2.IMREAD_COLOR)[..., ::-1])


def read_depth(file: Path, unit_m: float, shape: tuple[int, int]) -> np.ndarray:
    """Read a 16-bit depth image as float32 (H, W) metres, NaN where the file has 0.

    Args:
        file: A PNG of one uint16 channel.
        unit_m: Metres that the value 1 stands for.
        shape: Height and width that the depth image must have.
    """
    raw = read_image(file, cv2.IMREAD_UNCHANGED)
    if raw.dtype != np.uint16 or raw.shape != shape:
        raise DatasetError(f"{file} is not a 16-bit image of the color image's size.")
    return np.where(raw > 0, raw.astype(np.float32) * np.float32(unit_m), np.float32(np.nan))


def read_mask(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a label image as uint8 (H, W) of the given height and width."""
    mask = read_image(file, cv2.IMREAD_GRAYSCALE)
    if mask.shape != shape:
        raise DatasetError(f"{file} is not of the color image's size.")
    return mask


def read_json(file: Path) -> Any:
    """Parse a whole JSON file."""
    try:
        return json.loads(file.read_text())
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise DatasetError(f"{file} is not JSON: {error}.") from error


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """Parse a file with one JSON object per line.

    Each has an ``image`` path and perhaps a list of ``hands``.
    """
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
            if not isinstance(hands, list) or not all(isinstance(hand, (dict, list)) for hand in hands):
                raise DatasetError(f"{file}, line {number}: hands is no list of JSON objects or boxes.")
            if not isinstance(line.get("image", ""), str):
                raise DatasetError(f"{file}, line {number}: image is {line['image']!r}, a path is needed.")
            lines.append(line)
    return lines
