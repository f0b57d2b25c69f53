"""Rendered views read into memory: colour with alpha, depth, hand mask, intrinsics, hand length.

Reads the folder format of ``hand-depth synth`` and the flat one of early renders (NNNNN.webp, .depth.png, .label.png).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network.hourglass import MEAN_HAND_LENGTH_M


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


def _read(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetError(f"cannot read {path}: is the data set whole?")
    return image


def _rgba(path: Path) -> np.ndarray:
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3 and image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    rgb = cv2.cvtColor(
        image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), cv2.COLOR_BGR2RGB
    )
    return np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))


def _k(line: dict[str, Any]) -> tuple[float, float, float, float]:
    return float(line["fx"]), float(line["fy"]), float(line["cx"]), float(line["cy"])


def _read_flat(folder: Path, line: dict[str, Any]) -> RenderedView:
    stem = Path(line["image"]).stem
    label = _read(folder / f"{stem}.label.png", cv2.IMREAD_UNCHANGED)
    depth = _read(folder / f"{stem}.depth.png", cv2.IMREAD_UNCHANGED).astype(np.float32) * 1e-4
    rgba = _rgba(folder / line["image"])
    hands = (RenderedHand(1, float(line["hand_length_m"])),)
    if rgba[..., 3].min() == 255:
        rgba[..., 3] = np.where(label > 0, 255, 0)
    return RenderedView(rgba, depth, (label == 1).astype(np.uint8), _k(line), hands, stem)


def _read_folder(folder: Path, line: dict[str, Any], unit: float) -> RenderedView:
    stem = Path(line["image"]).stem
    mask = _read(folder / "mask" / f"{stem}.png", cv2.IMREAD_UNCHANGED)
    depth = _read(folder / "depth" / f"{stem}.png", cv2.IMREAD_UNCHANGED).astype(np.float32) * unit
    return RenderedView(
        _rgba(folder / line["image"]),
        depth,
        mask,
        _k(line),
        tuple(_hand(hand, _k(line)) for hand in line.get("hands", ())),
        stem,
    )


def _hand(hand: dict[str, Any], k: tuple[float, float, float, float]) -> RenderedHand:
    known = RenderedHand(int(hand["instance"]), float(hand["hand_length_m"]))
    if "joints_m" not in hand:
        return known
    x, y, z = np.array(hand["joints_m"], np.float32).T
    return known._replace(joints=np.column_stack((k[0] * x / z + k[2], k[1] * y / z + k[3], z)))


def load_views(
    folder: Path, split: str | None = None, limit: int | None = None, scale: float = 1.0
) -> list[RenderedView]:
    """Views of a rendered set; ``split`` keeps only lines of that split (flat sets: every 20th view is "val")."""
    cameras = folder / "cameras.jsonl"
    if not cameras.is_file():
        raise DatasetError(
            f"no cameras.jsonl in {folder}: make a set with  hand-depth synth {folder} --count 1000"
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


def as_resized_boxes(views: list[RenderedView]) -> list[RenderedView]:
    """One view a hand, as if it lay on the optical axis, which is what cutting out and resizing its box takes for granted."""
    centred = []
    for view in views:
        for hand in view.hands:
            y, x = np.nonzero(view.mask == hand.instance)
            if len(x):
                middle = float(x.min() + x.max()) / 2, float(y.min() + y.max()) / 2
                centred.append(view._replace(k=(*view.k[:2], *middle), hands=(hand,)))
    return centred


def in_metres(views: list[RenderedView]) -> list[RenderedView]:
    """The views as if every hand had the mean length: what is learned from them is depth in metres."""
    mean = MEAN_HAND_LENGTH_M
    return [view._replace(hands=tuple(hand._replace(length_m=mean) for hand in view.hands)) for view in views]


def _shrink(view: RenderedView, scale: float) -> RenderedView:
    if scale == 1.0:
        return view
    size = (round(view.mask.shape[1] * scale), round(view.mask.shape[0] * scale))
    return view._replace(
        rgba=cv2.resize(view.rgba, size, interpolation=cv2.INTER_AREA),
        depth_m=cv2.resize(view.depth_m, size, interpolation=cv2.INTER_NEAREST),
        mask=cv2.resize(view.mask, size, interpolation=cv2.INTER_NEAREST),
        k=tuple(value * scale for value in view.k),  # type: ignore[arg-type]
        hands=tuple(
            hand._replace(joints=hand.joints * np.array((scale, scale, 1), np.float32)) for hand in view.hands
        ),
    )
