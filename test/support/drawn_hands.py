"""Drawn hands with known joints, and views of slanted planes in the format of rendered sets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from hand_depth_ros.training.data.rendered import RenderedHand, RenderedView

PIXELS_PER_METRE = 800.0
SKIN, WALL = (205, 150, 120), (60, 90, 140)


def open_hand(tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints of a flat open right hand: px (21, 2), world_m (21, 3).

    Args:
        tilt: Added depth per metre to the right.
    """
    knuckles = [(-0.040, -0.030), (-0.028, -0.088), (-0.008, -0.092), (0.011, -0.088), (0.028, -0.078)]
    directions = [(-0.70, -0.72), (-0.16, -0.99), (0.0, -1.0), (0.14, -0.99), (0.30, -0.95)]
    bones = [(0.038, 0.030, 0.025), (0.042, 0.025, 0.020), (0.046, 0.028, 0.021), (0.042, 0.026, 0.020)]
    bones.append((0.033, 0.020, 0.018))
    flat = [(0.0, 0.0)]
    for start, direction, lengths in zip(knuckles, directions, bones, strict=True):
        along = np.concatenate(([0.0], np.cumsum(lengths)))
        flat += [(start[0] + direction[0] * s, start[1] + direction[1] * s) for s in along]
    xy = np.array(flat)
    world = np.column_stack((xy, tilt * xy[:, 0]))
    return xy * PIXELS_PER_METRE + (150.0, 200.0), world


def draw_hand(px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (280, 300, 3) uint8 of a hand with its forearm, and the hand's mask, bool."""
    hand = np.zeros((280, 300), np.uint8)
    points = np.round(px).astype(int)
    for finger in range(5):
        chain = points[1 + 4 * finger : 5 + 4 * finger]
        cv2.polylines(hand, [chain], False, 1, 17 if finger else 20)
    palm = points[[0, 1, 5, 9, 13, 17]]
    cv2.fillConvexPoly(hand, cv2.convexHull(palm), 1)
    cv2.polylines(hand, [cv2.convexHull(palm)], True, 1, 18)
    hand[points[0][1] :] = 0
    body = hand.copy()
    cv2.rectangle(body, (points[0][0] - 26, points[0][1]), (points[0][0] + 26, 279), 1, -1)
    image = np.where(body[..., None] > 0, np.array(SKIN), np.array(WALL))
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), hand > 0


def write_landmarks(folder: Path, tilt: float = 0.3) -> Path:
    """Write two images, one with a drawn hand and one without, and their landmarks.jsonl."""
    px, world = open_hand(tilt)
    image, _ = draw_hand(px)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "hand.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "wall.jpg"), np.full((100, 120, 3), 90, np.uint8))
    marks = np.column_stack((px, np.zeros(21))).tolist()
    lines = [
        {"image": "hand.jpg", "hands": [{"px": marks, "world_m": world.tolist()}]},
        {"image": "wall.jpg", "hands": []},
    ]
    (folder / "landmarks.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder / "landmarks.jsonl"


def plane_view(
    side: int = 160, f: float = 400.0, length: float = 0.18, offset: float = 0.0
) -> tuple[RenderedView, np.ndarray, float]:
    """Return a view of a slanted disc, its points (n, 3) and its distance, both in metres."""
    normal, distance = np.array([0.35, -0.2, 0.9]), 0.42
    normal /= np.linalg.norm(normal)
    c = (side - 1) / 2
    y, x = np.mgrid[:side, :side].astype(float)
    rays = np.stack(((x - c) / f, (y - c) / f, np.ones_like(x)), -1)
    depth = distance / (rays @ normal)
    mask = (x - c - offset) ** 2 + (y - c + offset) ** 2 <= (0.3 * side) ** 2
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[mask] = (*SKIN, 255)
    points = (rays * depth[..., None])[mask]
    depth = np.where(mask, depth, 0).astype(np.float32)
    view = RenderedView(rgba, depth, mask.astype(np.uint8), (f, f, c, c), (RenderedHand(1, length),), "plane")
    return view, points, distance


def write_views(folder: Path, count: int = 4) -> Path:
    """Write a rendered set of plane views in the package's folder format; the last is "val"."""
    for name in ("rgb", "depth", "mask"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(count):
        view, _, _ = plane_view(96, 240.0, 0.17 + 0.01 * i, offset=3.0 * i)
        stem = f"{i:05d}"
        cv2.imwrite(str(folder / "rgb" / f"{stem}.png"), cv2.cvtColor(view.rgba, cv2.COLOR_RGBA2BGRA))
        cv2.imwrite(str(folder / "depth" / f"{stem}.png"), np.round(view.depth_m * 1e4).astype(np.uint16))
        cv2.imwrite(str(folder / "mask" / f"{stem}.png"), view.mask)
        fx, fy, cx, cy = view.k
        hands = [{"instance": 1, "side": "right", "hand_length_m": view.hands[0].length_m}]
        line = {"image": f"rgb/{stem}.png", "width": 96, "height": 96, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
        lines.append({**line, "hands": hands, "split": "val" if i == count - 1 else "train"})
    (folder / "cameras.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    info = {"format": 1, "depth_unit_m": 1e-4, "transparent": True, "kind": "crops"}
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder
