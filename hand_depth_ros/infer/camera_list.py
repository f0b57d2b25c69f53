"""cameras.jsonl: one JSON object a line, an image and its camera each. Its keys, and what is wrong with a line.

image             path of the image, below the given folders or beside the list
width, height     of the image, pixels
fx, fy, cx, cy    pixels; the centre of the top left pixel is (0, 0)
distortion_model  plumb_bob, rational_polynomial or equidistant; without it: plumb_bob
d                 its coefficients in the order of CameraInfo; without it: no distortion
roi               [x, y, width, height], tight box of the hand, pixels; without it: hands are looked for
hand_length_m     the person's wrist crease to middle fingertip, metres; without it: the option, else a guess

The keys of a data set (hands, person, split) mean nothing here. Any other key is ignored and told, unless it
looks like one of the above misspelt: a distortion that is ignored gives wrong depth without a word.
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
"""What others call it, in small letters without _ and -, to what it is called here."""


@dataclass(frozen=True)
class ListedImage:
    """One line: the image as it is written there, its camera, what is known of the hand (pixels, metres)."""

    where: str
    image: Path
    camera: Camera
    roi: tuple[float, float, float, float] | None = None
    hand_length_m: float | None = None


@dataclass(frozen=True)
class CameraList:
    """The good lines, one message for each bad one, and the keys that mean nothing here."""

    images: list[ListedImage]
    errors: list[str]
    ignored: list[str]


def read_camera_list(path: Path) -> CameraList:
    """Read a cameras.jsonl; raises DatasetError when it cannot be read or lists nothing."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DatasetError(
            f"{path}: {error.strerror}: give a cameras.jsonl, one JSON object a line"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: no UTF-8 text: give a cameras.jsonl, one JSON object a line") from error
    found = CameraList([], [], [])
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entry = _object(line)
                found.images.append(_listed(entry, f"{path}:{number}"))
            except (ValueError, OverflowError) as error:  # DatasetError and CameraError among them
                found.errors.append(f"{path}:{number}: {error}")
                continue
            found.ignored.extend(key for key in _foreign(entry) if key not in found.ignored)
    if not found.images and not found.errors:
        raise DatasetError(
            f"{path}: the list is empty: give one JSON object a line, with {', '.join(NEEDED)}"
        )
    return found


def _object(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"no JSON ({error.msg}, column {error.colno}): one object a line is needed"
        ) from error
    if not isinstance(entry, dict):
        raise DatasetError(f'{line.strip()[:40]} is no JSON object: {{"image": ..., ...}} is needed')
    return entry


def _foreign(entry: Mapping[str, Any]) -> list[str]:
    return [key for key in entry if key not in KEYS and key not in DATASET_KEYS]


def _listed(entry: Mapping[str, Any], where: str) -> ListedImage:
    from hand_depth_ros.geometry.camera import Camera

    for key in _foreign(entry):
        if meant := _meant(key):
            raise DatasetError(f"the key {key!r} is not known: is {meant} meant?")
    if missing := [key for key in NEEDED if entry.get(key) is None]:
        raise DatasetError(f"{', '.join(missing)} missing")
    image = entry["image"]
    if not isinstance(image, str) or not image:
        raise DatasetError(f"image is {image!r}: the path of the image is needed, as text")
    for key in ("width", "height", "fx", "fy", "cx", "cy"):
        if not _is_number(entry[key]):
            raise DatasetError(f"{key} is {entry[key]!r}: a number of pixels is needed")
    model, d = entry.get("distortion_model"), entry.get("d")
    if model is not None and not isinstance(model, str):
        raise DatasetError(f"distortion_model is {model!r}: a name is needed, as text")
    if d is not None and not (isinstance(d, list) and all(map(_is_number, d))):
        raise DatasetError(f"d is {d!r}: a list of numbers is needed")
    camera = Camera(**{key: entry[key] for key in CAMERA_KEYS if entry.get(key) is not None})
    return ListedImage(
        where, Path(image), camera, _roi(entry.get("roi"), camera), _hand_length(entry.get("hand_length_m"))
    )


def _meant(key: str) -> str | None:
    """What a key that is not known looks like, None when like nothing."""
    plain = key.lower().replace("_", "").replace("-", "").replace(" ", "")
    if plain in OTHER_NAMES:
        return OTHER_NAMES[plain]
    ours = {name.replace("_", ""): name for name in KEYS if name != "image"}
    close = difflib.get_close_matches(plain, ours, n=1, cutoff=0.8)
    return ours[close[0]] if close else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _roi(roi: Any, camera: Camera) -> tuple[float, float, float, float] | None:
    if roi is None:
        return None
    good = isinstance(roi, list) and len(roi) == 4 and all(_is_number(v) and math.isfinite(v) for v in roi)
    if not good or min(roi[2:]) <= 0:
        raise DatasetError(
            f"roi is {roi!r}: [x, y, width, height] in pixels is needed, width and height above 0"
        )
    x, y, width, height = map(float, roi)
    if x >= camera.width or y >= camera.height or x + width <= 0 or y + height <= 0:
        raise DatasetError(f"roi is {roi!r}, outside of the {camera.width}x{camera.height} image")
    return x, y, width, height


def _hand_length(length: Any) -> float | None:
    if length is None:
        return None
    low, high = hand_length_range_m()
    if not _is_number(length):
        raise DatasetError(f"hand_length_m is {length!r}: a number of metres is needed, {low} to {high}")
    if not low <= length <= high:
        raise DatasetError(f"hand_length_m is {length}: it must be {low} to {high} metres")
    return float(length)
