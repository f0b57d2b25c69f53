"""What a calibration is worth: the depth error on pictures with known depth, before and after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hand_depth_ros.calibration.cli import tell
from hand_depth_ros.calibration.lengths import REFERENCE_LENGTH_M, HandLength, Look, combine, looks_at
from hand_depth_ros.errors import CalibrationError
from hand_depth_ros.estimation.estimator import HandDepthEstimator
from hand_depth_ros.evaluation.files import read_json
from hand_depth_ros.evaluation.metrics import depth_errors
from hand_depth_ros.evaluation.readers import Sample, open_dataset
from hand_depth_ros.evaluation.scores import match_hands


def before_and_after(folder: Path, estimator: HandDepthEstimator) -> tuple[HandLength, dict[str, float]]:
    """Calibrate on the first half of a folder set, measure on the second; print both and give them.

    The numbers: mean absolute depth error (mm) over hands, by what the estimator was told of the hand's length.
    """
    samples = [sample for sample in open_dataset(folder, split=None) if sample.hands]
    if len(samples) < 2 or any(hand.depth_m is None for sample in samples for hand in sample.hands):
        raise CalibrationError(f"{folder}: pictures with hands of known depth are needed, two or more")
    half = len(samples) // 2
    progress = Console(stderr=True)
    looks: list[Look] = []
    about = folder / "dataset.json"
    fps = (
        float(read_json(about).get("fps", 1.0)) if about.exists() else 1.0
    )  # pictures of a set are moments of their own
    for number, sample in enumerate(track(samples[:half], "calibrate", console=progress)):
        frame = estimator.estimate(sample.rgb, sample.camera, hand_length_m=REFERENCE_LENGTH_M, track=False)
        looks += looks_at(frame, _true_depth(sample), number / fps)
    found = combine(looks)
    tell(found)
    true = {hand.hand_length_m for sample in samples for hand in sample.hands} - {None}
    told: dict[str, float | None] = {"nothing (guessed)": None, "calibrated": found.length_m}
    if len(true) == 1:
        told["the true length"] = true.pop()
    errors: dict[str, list[float]] = {name: [] for name in told}
    for sample in track(samples[half:], "measure", console=progress):
        for name, length in told.items():
            errors[name] += _errors(sample, estimator, length)
    means = {name: float(np.mean(values)) for name, values in errors.items() if values}
    table = Table(
        "hand length",
        "m",
        "mean absolute depth error, mm",
        "hands",
        title="on the other half of the pictures",
    )
    for name, length in told.items():
        metres = "" if length is None else f"{length:.3f}"
        table.add_row(name, metres, f"{means[name]:.1f}" if name in means else "", str(len(errors[name])))
    Console().print(table)
    return found, means


def _true_depth(sample: Sample) -> np.ndarray:
    known = [hand.depth_m for hand in sample.hands if hand.depth_m is not None]
    return np.fmax.reduce(known)


def _errors(sample: Sample, estimator: HandDepthEstimator, length: float | None) -> list[float]:
    """Mean absolute error (mm) of each hand that was found."""
    frame = estimator.estimate(sample.rgb, sample.camera, hand_length_m=length, track=False)
    found = []
    for true, predicted in match_hands(sample.hands, frame)[1].items():
        own = np.where(frame.mask == frame.hands[predicted].id, frame.depth, np.float32(np.nan))
        surface = sample.hands[true].depth_m
        errors = depth_errors(own, surface) if surface is not None else None
        if errors is not None:
            found.append(errors.mae_mm)
    return found
