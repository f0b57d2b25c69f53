"""Rendered views in memory, still encoded: colour, depth, hand mask, intrinsics, hands.

Reads the folder format of ``hand-depth synth``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels."""
_VAL_EVERY = 20
"""One in so many views of a set without splits is validated on."""
_LOSSLESS = 101
"""WebP quality above 100 means lossless to OpenCV."""
_MAX_STEPS = 254


class RenderedHand(NamedTuple):
    """One hand of a view.

    Attributes:
        instance: Its value in the mask.
        length_m: Its hand length in metres.
        joints: float32 (21, 3): x, y in pixels of the view, z in metres along the optical axis;
            NaN where unknown.
    """

    instance: int
    length_m: float
    joints: np.ndarray = np.full((21, 3), np.nan, np.float32)


class RenderedView(NamedTuple):
    """One rendered image of a pinhole camera without distortion.

    Attributes:
        rgba: uint8 (h, w, 4), straight alpha; 255 everywhere if the set is opaque.
        depth_m: float32 (h, w), metres along the optical axis, 0 where unknown.
        mask: uint8 (h, w): 0 not a hand, k the hand with that instance.
        k: fx, fy, cx, cy in pixels.
        hands: The hands in it.
        name: Stem of its files.
    """

    rgba: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray
    k: Intrinsics
    hands: tuple[RenderedHand, ...]
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        return self.mask.shape[0], self.mask.shape[1]

    def decode(self) -> RenderedView:
        """Return the view itself, so that decoded views pass where stored ones are expected."""
        return self


class StoredView(NamedTuple):
    """A view as it is kept in memory: encoded, a twentieth of its pixels' size.

    Attributes:
        colour: Encoded BGRA, BGR or grey image.
        depth: Encoded depth in units of ``unit_m``.
        mask: Encoded instance mask.
        unit_m: Unit of depth in metres.
        size: Height and width in pixels.
        k: fx, fy, cx, cy in pixels.
        hands: The hands in it.
        name: Stem of its files.
        nearest_m: Lowest depth of an archived view, whose depth `quantize` encoded; else None.
    """

    colour: bytes
    depth: bytes
    mask: bytes
    unit_m: float
    size: tuple[int, int]
    k: Intrinsics
    hands: tuple[RenderedHand, ...]
    name: str
    nearest_m: float | None = None

    def decode(self) -> RenderedView:
        """Return the view with its pixels; takes about a millisecond."""
        if self.nearest_m is None:
            depth_m = decode_image(self.depth).astype(np.float32) * self.unit_m
        else:
            depth_m = dequantize(self.depth, self.unit_m, self.nearest_m, 0.0)
        rgba, mask = _rgba(decode_image(self.colour)), decode_image(self.mask)
        return RenderedView(rgba, depth_m, mask, self.k, self.hands, self.name)


View = RenderedView | StoredView


def quantize(values: np.ndarray, known: np.ndarray, min_step: float) -> tuple[bytes, float, float]:
    """Encode values as a lossless image of 8 bits.

    Pixel k > 0 is lowest + (k - 1) * step, 0 is unknown.

    Args:
        values: (h, w).
        known: bool (h, w).
        min_step: The step, unless the range of the values needs a coarser one.

    Returns:
        The encoded image, the step and the lowest value.
    """
    steps = np.zeros(values.shape, np.uint8)
    lowest, step = 0.0, min_step
    if known.any():
        lowest = float(values[known].min())
        step = max(min_step, (float(values[known].max()) - lowest) / _MAX_STEPS)
        steps[known] = np.round((values[known] - lowest) / step) + 1
    encoded = cv2.imencode(".webp", cv2.merge([steps] * 3), [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])[1]
    return encoded.tobytes(), step, lowest


def dequantize(encoded: bytes, step: float, lowest: float, unknown: float) -> np.ndarray:
    """Decode what `quantize` encoded to float32 (h, w), ``unknown`` where there is no value."""
    steps = decode_image(encoded)[..., 0]
    values = lowest + (steps.astype(np.float32) - 1) * np.float32(step)
    return np.where(steps > 0, values, np.float32(unknown)).astype(np.float32)


def decode_image(encoded: bytes) -> np.ndarray:
    """Return the pixels of an encoded image, unchanged, in OpenCV's channel order."""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None  # it was decoded when it was read
    return image


def load_views(
    folder: Path, split: str | None = None, limit: int | None = None, scale: float = 1.0
) -> list[StoredView]:
    """Read the views of a rendered set.

    Args:
        folder: A set of ``hand-depth synth``.
        split: Keep only views of this split ("train" or "val"); in a set without splits every
            20th view is "val".
        limit: Read at most this many views.
        scale: Shrink the views by this factor.

    Raises:
        DatasetError: The set is missing or incomplete.
    """
    cameras, about = folder / "cameras.jsonl", folder / "dataset.json"
    if not cameras.is_file() or not about.is_file():
        missing = cameras.name if not cameras.is_file() else about.name
        raise DatasetError(
            f"no {missing} in {folder}: make a set with  hand-depth synth --out {folder} --count 1000"
        )
    lines = [json.loads(line) for line in cameras.read_text().splitlines() if line.strip()]
    unit_m = float(json.loads(about.read_text())["depth_unit_m"])
    if split is not None:
        lines = [line for i, line in enumerate(lines) if _split_of(line, i) == split]
    read = (_read_view(folder, line, unit_m) for line in lines[:limit])
    total = len(lines[:limit])
    return [_shrink(view, scale) for view in track(read, total=total, description=f"reading {folder.name}")]


def as_resized_boxes(views: Sequence[View]) -> list[View]:
    """Return one view per hand whose principal point is the middle of the hand's box.

    This is what cutting out and resizing a box assumes; for the ablation.
    """
    centred: list[View] = []
    for view in views:
        mask = view.decode().mask
        for hand in view.hands:
            y, x = np.nonzero(mask == hand.instance)
            if len(x):
                middle = float(x.min() + x.max()) / 2, float(y.min() + y.max()) / 2
                centred.append(view._replace(k=(*view.k[:2], *middle), hands=(hand,)))
    return centred


def in_metres(views: Sequence[View]) -> list[View]:
    """Return the views as if every hand had the mean length: the network then learns metres."""
    mean = MEAN_HAND_LENGTH_M
    return [view._replace(hands=tuple(hand._replace(length_m=mean) for hand in view.hands)) for view in views]


def _split_of(line: dict[str, Any], index: int) -> str:
    return str(line.get("split", "train" if index % _VAL_EVERY else "val"))


def _read_view(folder: Path, line: dict[str, Any], unit_m: float) -> StoredView:
    stem = Path(line["image"]).stem
    paths = (folder / line["image"], folder / "depth" / f"{stem}.png", folder / "mask" / f"{stem}.png")
    (colour, size), (depth, depth_size), (mask, mask_size) = (_read_image(path) for path in paths)
    if not size == depth_size == mask_size:
        raise DatasetError(f"{', '.join(map(str, paths))} are not of one size: is the data set complete?")
    k = (float(line["fx"]), float(line["fy"]), float(line["cx"]), float(line["cy"]))
    hands = tuple(_hand(hand, k) for hand in line.get("hands", ()))
    return StoredView(colour, depth, mask, unit_m, size, k, hands, stem)


def _read_image(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Return the bytes of an image that can be decoded, and its height and width."""
    try:
        encoded = path.read_bytes()
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED) if encoded else None
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise DatasetError(f"cannot read {path}: is the data set complete?")
    return encoded, (image.shape[0], image.shape[1])


def _hand(hand: dict[str, Any], k: Intrinsics) -> RenderedHand:
    known = RenderedHand(int(hand["instance"]), float(hand["hand_length_m"]))
    if "joints_m" not in hand:
        return known
    x, y, z = np.array(hand["joints_m"], np.float32).T
    return known._replace(joints=np.column_stack((k[0] * x / z + k[2], k[1] * y / z + k[3], z)))


def _rgba(image: np.ndarray) -> np.ndarray:
    """Convert grey, BGR or BGRA pixels to RGBA."""
    if image.ndim == 3 and image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    bgr = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))


def _shrink(view: StoredView, scale: float) -> StoredView:
    if scale == 1.0:
        return view
    pixels = view.decode()
    size = (round(view.size[1] * scale), round(view.size[0] * scale))
    rgba = cv2.resize(pixels.rgba, size, interpolation=cv2.INTER_AREA)
    depth, mask = (
        cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
        for image in (decode_image(view.depth), pixels.mask)
    )
    fx, fy, cx, cy = (value * scale for value in view.k)
    smaller = np.array((scale, scale, 1), np.float32)
    return view._replace(
        colour=_png(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)),
        depth=_png(depth),
        mask=_png(mask),
        size=size[::-1],
        k=(fx, fy, cx, cy),
        hands=tuple(hand._replace(joints=hand.joints * smaller) for hand in view.hands),
    )


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()
