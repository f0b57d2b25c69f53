"""Rendered views read into memory, encoded: colour with alpha, depth, hand mask, intrinsics, hand length.

Reads the folder format of ``hand-depth synth`` and the flat one of early renders (NNNNN.webp, .depth.png, .label.png).
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
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M, WRIST
from hand_depth_ros.synthesis.units import DEPTH_UNIT_M


class RenderedHand(NamedTuple):
    """One hand of a view: ``instance`` is its value in the mask, ``length_m`` its length, ``joints`` float32 (21, 3) where
    its joints are: x, y in pixels of the view, z in metres along the optical axis; NaN where unknown."""

    instance: int
    length_m: float
    joints: np.ndarray = np.full((21, 3), np.nan, np.float32)


class RenderedView(NamedTuple):
    """One rendered picture, pinhole, no distortion.

    rgba      uint8 (h, w, 4), straight alpha (255 everywhere when the set isn't transparent)
    depth_m   float32 (h, w) metres along the optical axis, 0 where unknown
    mask      uint8 (h, w): 0 not a hand, k the hand with that instance
    k         (fx, fy, cx, cy) pixels
    """

    rgba: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray
    k: tuple[float, float, float, float]
    hands: tuple[RenderedHand, ...]
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.mask.shape[0], self.mask.shape[1]

    def decode(self) -> RenderedView:
        """Itself: where stored views are taken, one that is decoded will do."""
        return self


class StoredView(NamedTuple):
    """A view as it is kept in memory: the bytes of its files, a twentieth of its pixels.

    colour, depth, mask   encoded pictures; depth in units of ``unit_m``
    size                  height and width, pixels
    flat                  of early renders: the mask is a label, 1 the hand, more the rest of the person, and says what is
                          transparent where the colour doesn't
    nearest_m             of packed views: depth is as :func:`quantize` has it, and this the nearest; else None
    """

    colour: bytes
    depth: bytes
    mask: bytes
    unit_m: float
    flat: bool
    size: tuple[int, int]
    k: tuple[float, float, float, float]
    hands: tuple[RenderedHand, ...]
    name: str
    nearest_m: float | None = None

    def decode(self) -> RenderedView:
        """The view with its pixels: a millisecond."""
        mask, rgba = decoded(self.mask), _rgba(decoded(self.colour))
        if self.flat:
            if rgba[..., 3].min() == 255:
                rgba[..., 3] = np.where(mask > 0, 255, 0)
            mask = (mask == 1).astype(np.uint8)
        if self.nearest_m is None:
            depth_m = decoded(self.depth).astype(np.float32) * self.unit_m
        else:
            depth_m = dequantize(self.depth, self.unit_m, self.nearest_m, 0.0)
        return RenderedView(rgba, depth_m, mask, self.k, self.hands, self.name)


View = RenderedView | StoredView
_LOSSLESS = 101  # quality over 100, to OpenCV


def quantize(values: np.ndarray, known: np.ndarray, least: float) -> tuple[bytes, float, float]:
    """Values (h, w), where they are ``known``, as a lossless picture of 8 bits, the step and the lowest value: pixel k > 0 is
    lowest + (k - 1) * step, 0 is unknown. The step is ``least`` or what the range asks for."""
    steps = np.zeros(values.shape, np.uint8)
    lowest, step = 0.0, least
    if known.any():
        lowest = float(values[known].min())
        step = max(least, (float(values[known].max()) - lowest) / 254)
        steps[known] = np.round((values[known] - lowest) / step) + 1
    encoded = cv2.imencode(".webp", cv2.merge([steps] * 3), [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])[1]
    return encoded.tobytes(), step, lowest


def dequantize(encoded: bytes, step: float, lowest: float, unknown: float) -> np.ndarray:
    """Float32 (h, w), what :func:`quantize` made small; ``unknown`` where it isn't known."""
    steps = decoded(encoded)[..., 0]
    values = lowest + (steps.astype(np.float32) - 1) * np.float32(step)
    return np.where(steps > 0, values, np.float32(unknown)).astype(np.float32)


def decoded(encoded: bytes) -> np.ndarray:
    """The pixels, as OpenCV has them, of a stored picture."""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None  # it was decoded when it was read
    return image


def _encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _rgba(image: np.ndarray) -> np.ndarray:
    """Pixels as OpenCV decodes them, grey, BGR or BGRA, as RGBA."""
    if image.ndim == 3 and image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    rgb = cv2.cvtColor(
        image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), cv2.COLOR_BGR2RGB
    )
    return np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))


def _k(line: dict[str, Any]) -> tuple[float, float, float, float]:
    return float(line["fx"]), float(line["fy"]), float(line["cx"]), float(line["cy"])


def _read(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a picture that can be decoded, its height and width."""
    try:
        encoded = path.read_bytes()
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED) if encoded else None
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise DatasetError(f"cannot read {path}: is the data set whole?")
    return encoded, (image.shape[0], image.shape[1])


def _stored(
    colour: Path, depth: Path, mask: Path, line: dict[str, Any], unit_m: float, flat: bool
) -> StoredView:
    pictures = [_read(path) for path in (colour, depth, mask)]
    if len({size for _, size in pictures}) != 1:
        raise DatasetError(f"{colour}, {depth} and {mask} are not of one size: is the data set whole?")
    (rgba, size), (metres, _), (instances, _) = pictures
    if flat:
        hands: tuple[RenderedHand, ...] = (
            RenderedHand(1, float(line["hand_length_m"]), _stance(decoded(instances))),
        )
    else:
        hands = tuple(_hand(hand, _k(line)) for hand in line.get("hands", ()))
    return StoredView(rgba, metres, instances, unit_m, flat, size, _k(line), hands, colour.stem)


def _read_flat(folder: Path, line: dict[str, Any]) -> StoredView:
    stem = Path(line["image"]).stem
    paths = (folder / line["image"], folder / f"{stem}.depth.png", folder / f"{stem}.label.png")
    return _stored(*paths, line, DEPTH_UNIT_M, flat=True)


def _read_folder(folder: Path, line: dict[str, Any], unit_m: float) -> StoredView:
    stem = Path(line["image"]).stem
    paths = (folder / line["image"], folder / "depth" / f"{stem}.png", folder / "mask" / f"{stem}.png")
    return _stored(*paths, line, unit_m, flat=False)


def _stance(label: np.ndarray) -> np.ndarray:
    """The joints of a hand of which only the label is known (1 hand, 3 and 4 the arm): the wrist, where hand meets arm, and the
    knuckles, taken to be in the hand's middle. That is enough to tell which way is up; no depths, so they teach nothing."""
    joints = np.full((21, 3), np.nan, np.float32)
    hand, arm = label == 1, np.isin(label, (3, 4))
    seam = np.argwhere(hand & (cv2.dilate(arm.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0))
    if len(seam):
        joints[:, :2] = np.argwhere(hand).mean(0)[::-1]
        joints[WRIST, :2] = seam.mean(0)[::-1]
    return joints


def _hand(hand: dict[str, Any], k: tuple[float, float, float, float]) -> RenderedHand:
    known = RenderedHand(int(hand["instance"]), float(hand["hand_length_m"]))
    if "joints_m" not in hand:
        return known
    x, y, z = np.array(hand["joints_m"], np.float32).T
    return known._replace(joints=np.column_stack((k[0] * x / z + k[2], k[1] * y / z + k[3], z)))


def load_views(
    folder: Path, split: str | None = None, limit: int | None = None, scale: float = 1.0
) -> list[StoredView]:
    """Views of a rendered set; ``split`` keeps only lines of that split (flat sets: every 20th view is "val").

    Raises DatasetError for a set that is missing or not whole."""
    cameras = folder / "cameras.jsonl"
    if not cameras.is_file():
        raise DatasetError(
            f"no cameras.jsonl in {folder}: make a set with  hand-depth synth --out {folder} --count 1000"
        )
    lines = [json.loads(line) for line in cameras.read_text().splitlines() if line.strip()]
    info = json.loads((folder / "dataset.json").read_text()) if (folder / "dataset.json").is_file() else None
    if split is not None:
        flat = ("val" if number % 20 == 0 else "train" for number in range(len(lines)))
        lines = [line for line, guess in zip(lines, flat, strict=True) if line.get("split", guess) == split]
    lines = lines[:limit]
    read = (
        _read_flat(folder, ln) if info is None else _read_folder(folder, ln, info["depth_unit_m"])
        for ln in lines
    )
    return [
        _shrink(view, scale) for view in track(read, total=len(lines), description=f"reading {folder.name}")
    ]


def as_resized_boxes(views: Sequence[View]) -> list[View]:
    """One view a hand, as if it lay on the optical axis, which is what cutting out and resizing its box takes for granted."""
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
    """The views as if every hand had the mean length: what is learned from them is depth in metres."""
    mean = MEAN_HAND_LENGTH_M
    return [view._replace(hands=tuple(hand._replace(length_m=mean) for hand in view.hands)) for view in views]


def _shrink(view: StoredView, scale: float) -> StoredView:
    if scale == 1.0:
        return view
    whole = view.decode()
    size = (round(view.size[1] * scale), round(view.size[0] * scale))
    rgba = cv2.resize(whole.rgba, size, interpolation=cv2.INTER_AREA)
    depth, mask = (
        cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
        for image in (decoded(view.depth), whole.mask)
    )
    return view._replace(
        colour=_encoded(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)),
        depth=_encoded(depth),
        mask=_encoded(mask),
        flat=False,
        size=size[::-1],
        k=tuple(value * scale for value in view.k),  # type: ignore[arg-type]
        hands=tuple(
            hand._replace(joints=hand.joints * np.array((scale, scale, 1), np.float32)) for hand in view.hands
        ),
    )
