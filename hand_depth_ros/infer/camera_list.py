"""Read cameras.jsonl: one JSON object per line, each an image and its camera.

image             path of the image, below the given folders or beside the list
width, height     of the image, pixels
fx, fy, cx, cy    pixels; the centre of the top left pixel is (0, 0)
distortion_model  plumb_bob (the default), rational_polynomial or equidistant
d                 its coefficients in the order of CameraInfo; default: no distortion
roi               [x, y, width, height], tight box of the hand, pixels; default: detect hands
hand_length_m     wrist crease to middle fingertip, metres; default: the option, else estimated

Keys of a data set (hands, person, split) are ignored silently. Any other key is ignored and listed,
unless it resembles one of the above: an ignored distortion would silently give wrong depth.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hand_depth_ros.cli.options import hand_length_range_m
from hand_depth_ros.errors import DatasetError
from hand_depth_ros.geometry.boxes import Box

if TYPE_CHECKING:
    from hand_depth_ros.geometry.camera import Camera

NEEDED = ("image", "width", "height", "fx", "fy", "cx", "cy")
CAMERA_KEYS = ("width", "height", "fx", "fy", "cx", "cy", "distortion_model", "d")
KEYS = (*NEEDED, "distortion_model", "d", "roi", "hand_length_m")
DATASET_KEYS = frozenset({"hands", "person", "split"})

INTRINSICS, COEFFICIENTS, MODEL = "fx, fy, cx and cy", "d", "distortion_model"
OTHER_NAMES = {
    **dict.fromkeys(("k", "p", "intrinsics", "cameramatrix", "projectionmatrix", "f", "focal"), INTRINSICS),
    **dict.fromkeys(("focallength", "ppx", "ppy", "principalpoint"), INTRINSICS),
    **dict.fromkeys(("distortion", "dist", "coeffs", "coefficients", "distcoeffs", "k1", "k2"), COEFFICIENTS),
    **dict.fromkeys(("distortioncoefficients", "distortionparameters", "distortioncoeffs"), COEFFICIENTS),
    **dict.fromkeys(("model", "cameramodel", "lens", "lensmodel"), MODEL),
}
"""Common other names, in lower case without _ and -, to the key that is probably meant."""


@dataclass(frozen=True)
class ListedImage:
    """One line of the list.

    Attributes:
        where: FILE:LINE, for messages.
        image: Path of the image as written in the line.
        camera: Its camera.
        roi: Tight box of the hand, x, y, width, height in pixels.
        hand_length_m: The person's hand length.
    """

    where: str
    image: Path
    camera: Camera
    roi: Box | None = None
    hand_length_m: float | None = None


@dataclass(frozen=True)
class CameraList:
    """Valid lines, one message for each invalid line, and the names of unused keys."""

    images: list[ListedImage]
    errors: list[str]
    ignored: list[str]


def read_camera_list(path: Path) -> CameraList:
    """Read a cameras.jsonl; DatasetError if it cannot be read or lists nothing."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DatasetError(
            f"{path}: {error.strerror}: give a cameras.jsonl, one JSON object per line"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: not UTF-8 text: give a cameras.jsonl, one JSON object per line"
        ) from error
    found = CameraList([], [], [])
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entry = _parse_object(line)
                found.images.append(_parse_entry(entry, f"{path}:{number}"))
            except (ValueError, OverflowError) as error:  # DatasetError and CameraError among them
                found.errors.append(f"{path}:{number}: {error}")
                continue
            found.ignored.extend(key for key in _unknown_keys(entry) if key not in found.ignored)
    if not found.images and not found.errors:
        raise DatasetError(
            f"{path}: the list is empty: give one JSON object per line, with {', '.join(NEEDED)}"
        )
    return found


def _parse_object(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"not JSON ({error.msg}, column {error.colno}): write one object per line"
        ) from error
    if not isinstance(entry, dict):
        raise DatasetError(f'{line.strip()[:40]} is no JSON object: write {{"image": ..., ...}}')
    return entry


def _unknown_keys(entry: Mapping[str, Any]) -> list[str]:
    return [key for key in entry if key not in KEYS and key not in DATASET_KEYS]


def _parse_entry(entry: Mapping[str, Any], where: str) -> ListedImage:
    from hand_depth_ros.geometry.camera import Camera

    for key in _unknown_keys(entry):
        if meant := _similar_key(key):
            raise DatasetError(f"unknown key {key!r}: is {meant} meant?")
    if missing := [key for key in NEEDED if entry.get(key) is None]:
        raise DatasetError(f"{', '.join(missing)} missing")
    image = entry["image"]
    if not isinstance(image, str) or not image:
        raise DatasetError(f"image is {image!r}: give the path of the image as text")
    for key in ("width", "height", "fx", "fy", "cx", "cy"):
        if not _is_number(entry[key]):
            raise DatasetError(f"{key} is {entry[key]!r}: give a number of pixels")
    model, d = entry.get("distortion_model"), entry.get("d")
    if model is not None and not isinstance(model, str):
        raise DatasetError(f"distortion_model is {model!r}: give a name as text")
    if d is not None and not (isinstance(d, list) and all(map(_is_number, d))):
        raise DatasetError(f"d is {d!r}: give a list of numbers")
    camera = Camera(**{key: entry[key] for key in CAMERA_KEYS if entry.get(key) is not None})
    return ListedImage(
        where,
        Path(image),
        camera,
        _validate_roi(entry.get("roi"), camera),
        _validate_hand_length(entry.get("hand_length_m")),
    )


def _similar_key(key: str) -> str | None:
    """Return the known key that an unknown one resembles, or None."""
    plain = key.lower().replace("_", "").replace("-", "").replace(" ", "")
    if plain in OTHER_NAMES:
        return OTHER_NAMES[plain]
    ours = {name.replace("_", ""): name for name in KEYS if name != "image"}
    close = difflib.get_close_matches(plain, ours, n=1, cutoff=0.8)
    return ours[close[0]] if close else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _validate_roi(roi: Any, camera: Camera) -> Box | None:
    if roi is None:
        return None
    good = isinstance(roi, list) and len(roi) == 4 and all(_is_number(v) and math.isfinite(v) for v in roi)
    if not good or min(roi[2:]) <= 0:
        raise DatasetError(f"roi is {roi!r}: give [x, y, width, height] in pixels, width and height above 0")
    x, y, width, height = map(float, roi)
    if x >= camera.width or y >= camera.height or x + width <= 0 or y + height <= 0:
        raise DatasetError(f"roi is {roi!r}, outside the {camera.width}x{camera.height} image")
    return Box(x, y, width, height)


def _validate_hand_length(length: Any) -> float | None:
    if length is None:
        return None
    low, high = hand_length_range_m()
    if not _is_number(length):
        raise DatasetError(f"hand_length_m is {length!r}: give a number of metres, {low} to {high}")
    if not low <= length <= high:
        raise DatasetError(f"hand_length_m is {length}: it must be {low} to {high} metres")
    return float(length)
