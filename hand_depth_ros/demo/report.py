"""Measure the played frames; write report.json and report.md, and make the terminal's table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hand_depth_ros.evaluation.metrics import constant_depth_shape_mm, coverage, depth_errors, mask_iou
from hand_depth_ros.ros.messages import topics

if TYPE_CHECKING:
    from hand_depth_ros.demo.player import Sent
    from hand_depth_ros.evaluation.readers import Sample

ROWS = (
    ("frames in", "frames_in", "{:d}"),
    ("frames out", "frames_out", "{:d}"),
    ("rate in", "fps_in", "{:.1f} fps"),
    ("rate out", "fps_out", "{:.1f} fps"),
    ("latency, median", "latency_p50_ms", "{:.1f} ms"),
    ("latency, 95 %", "latency_p95_ms", "{:.1f} ms"),
    ("node ready after", "ready_s", "{:.1f} s"),
    ("node's memory", "resident_mb", "{:.0f} MB"),
    ("hands found", "hands_found", "{:.1%}"),
    ("mask IoU", "mask_iou", "{:.3f}"),
    ("depth error, hand length guessed", "mae_mm", "{:.1f} mm"),
    ("shape error (median removed)", "shape_mm", "{:.1f} mm"),
    ("shape error of a constant depth", "constant_depth_shape_mm", "{:.1f} mm"),
    ("truth within 1 sigma", "within_1_sigma", "{:.1%}"),
    ("truth within 2 sigma", "within_2_sigma", "{:.1%}"),
)
NOTES = (
    "Latency: from publishing the colour image to receiving its depth image, in another process.",
    "Depth and shape error: mean absolute, over the hand pixels that truth and node agree on, hand by hand.",
    "Constant depth: the shape error of an oracle that puts each hand at its own true median.",
)
MIN_FOUND_FRACTION = 0.3


def measure(frames: Sequence[Sample], played: Sequence[Sent], fps: float) -> dict[str, Any]:
    """Return rates, latency and accuracy; NaN where nothing can be measured."""
    from hand_depth_ros.demo.player import to_pixels

    answered = [sent for sent in played if sent.depth_s is not None]
    latencies = [sent.latency_ms for sent in answered]
    arrivals = sorted(sent.depth_s for sent in answered if sent.depth_s is not None)
    hands: list[dict[str, float]] = []
    ious: list[float] = []
    for sent in answered:
        if not {topics.SIGMA, topics.HAND_MASK} <= sent.outputs.keys():
            continue
        millimetres = to_pixels(sent.outputs[topics.DEPTH_MM])
        depth = np.where(millimetres > 0, millimetres * 1e-3, np.nan)
        sigma = to_pixels(sent.outputs[topics.SIGMA])
        mask = to_pixels(sent.outputs[topics.HAND_MASK]) > 0
        truth = frames[sent.index]
        true_mask = np.zeros(mask.shape, bool)
        for hand in truth.hands:
            if hand.mask is None or hand.depth_m is None:
                continue
            true_mask |= hand.mask
            hands.append(_measure_hand(depth, sigma, hand.mask, hand.depth_m))
        ious.append(mask_iou(mask, true_mask))
    return {
        "frames_in": len(played),
        "frames_out": len(answered),
        "fps_in": fps,
        "fps_out": (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else float("nan"),
        "latency_p50_ms": float(np.median(latencies)) if latencies else float("nan"),
        "latency_p95_ms": float(np.percentile(latencies, 95)) if latencies else float("nan"),
        "mask_iou": _mean(ious),
        **{name: _mean([hand[name] for hand in hands]) for name in _measure_nothing()},
    }


def table(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the report's rows: what was measured, and the number with its unit."""
    return [(text, form.format(numbers[key])) for text, key, form in ROWS if key in numbers]


def write(folder: Path, numbers: dict[str, Any], images: Sequence[str], setting: str) -> None:
    """Write report.json (NaN as null) and report.md."""
    plain = {key: None if value != value else value for key, value in numbers.items()}
    (folder / "report.json").write_text(json.dumps(plain, indent=2) + "\n")
    lines = ["# hand-depth demo", "", setting, "", "| measured | |", "| --- | --- |"]
    lines += [f"| {text} | {value} |" for text, value in table(numbers)]
    lines += ["", *(f"- {note}" for note in NOTES), "", "Colour, depth, sigma, cloud from the side:", ""]
    lines += [f"![{name}]({name})" for name in images]
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def _measure_hand(
    depth: np.ndarray, sigma: np.ndarray, mask: np.ndarray, true: np.ndarray
) -> dict[str, float]:
    inside = np.where(mask, depth, np.nan)
    numbers = _measure_nothing()
    numbers["hands_found"] = float(np.isfinite(inside).sum() >= MIN_FOUND_FRACTION * mask.sum())
    numbers["constant_depth_shape_mm"] = constant_depth_shape_mm(true)
    if not numbers["hands_found"]:
        return numbers
    errors = depth_errors(inside, true)
    within = coverage(inside, true, sigma)
    if errors is not None:
        numbers |= {"mae_mm": errors.mae_mm, "shape_mm": errors.shape_mm}
    if within is not None:
        numbers |= {"within_1_sigma": within[0], "within_2_sigma": within[1]}
    return numbers


def _measure_nothing() -> dict[str, float]:
    names = (
        "hands_found",
        "mae_mm",
        "shape_mm",
        "constant_depth_shape_mm",
        "within_1_sigma",
        "within_2_sigma",
    )
    return dict.fromkeys(names, float("nan"))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
