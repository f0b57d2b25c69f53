"""Compare the depth error on images with known depth before and after a calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hand_depth_ros.calibration.lengths import (
    REFERENCE_LENGTH_M,
    HandLength,
    LengthMeasurement,
    combine,
    measure_frame,
    print_length,
)
from hand_depth_ros.errors import CalibrationError
from hand_depth_ros.estimation.estimator import HandDepthEstimator
from hand_depth_ros.evaluation.files import read_json
from hand_depth_ros.evaluation.metrics import depth_errors
from hand_depth_ros.evaluation.readers import Sample, open_dataset
from hand_depth_ros.evaluation.scores import match_hands


def before_and_after(folder: Path, estimator: HandDepthEstimator) -> tuple[HandLength, dict[str, float]]:
    """Calibrate on the first half of a data set, measure on the second, and print both.

    Returns:
        The measured length, and the mean absolute depth error (mm) over hands by the hand length
        that the estimator was given.
    """
    samples = [sample for sample in open_dataset(folder, split=None) if sample.hands]
    if len(samples) < 2 or any(hand.depth_m is None for sample in samples for hand in sample.hands):
        raise CalibrationError(f"{folder}: needs images with hands of known depth, two or more")
    half = len(samples) // 2
    found = combine(_measure(samples[:half], folder, estimator))
    print_length(found)
    true_lengths = {hand.hand_length_m for sample in samples for hand in sample.hands} - {None}
    given: dict[str, float | None] = {"none (estimated)": None, "calibrated": found.length_m}
    if len(true_lengths) == 1:
        given["the true length"] = true_lengths.pop()
    errors: dict[str, list[float]] = {name: [] for name in given}
    for sample in track(samples[half:], "measure", console=Console(stderr=True)):
        for name, length in given.items():
            errors[name] += _errors(sample, estimator, length)
    means = {name: float(np.mean(values)) for name, values in errors.items() if values}
    _print_table(given, errors, means)
    return found, means


def _measure(samples: list[Sample], folder: Path, estimator: HandDepthEstimator) -> list[LengthMeasurement]:
    about = folder / "dataset.json"
    # Without a frame rate the images are moments of their own, a second apart.
    fps = float(read_json(about).get("fps", 1.0)) if about.exists() else 1.0
    measurements: list[LengthMeasurement] = []
    for number, sample in enumerate(track(samples, "calibrate", console=Console(stderr=True))):
        frame = estimator.estimate(sample.rgb, sample.camera, hand_length_m=REFERENCE_LENGTH_M, track=False)
        measurements += measure_frame(frame, _true_depth(sample), number / fps)
    return measurements


def _print_table(
    given: dict[str, float | None], errors: dict[str, list[float]], means: dict[str, float]
) -> None:
    table = Table(
        "hand length",
        "m",
        "mean absolute depth error, mm",
        "hands",
        title="on the other half of the images",
    )
    for name, length in given.items():
        metres = "" if length is None else f"{length:.3f}"
        table.add_row(name, metres, f"{means[name]:.1f}" if name in means else "", str(len(errors[name])))
    Console().print(table)


def _true_depth(sample: Sample) -> np.ndarray:
    known = [hand.depth_m for hand in sample.hands if hand.depth_m is not None]
    return np.fmax.reduce(known)


def _errors(sample: Sample, estimator: HandDepthEstimator, length: float | None) -> list[float]:
    """Return the mean absolute depth error (mm) of each hand that was found."""
    frame = estimator.estimate(sample.rgb, sample.camera, hand_length_m=length, track=False)
    found = []
    for true, predicted in match_hands(sample.hands, frame)[1].items():
        own = np.where(frame.mask == frame.hands[predicted].id, frame.depth, np.float32(np.nan))
        surface = sample.hands[true].depth_m
        errors = depth_errors(own, surface) if surface is not None else None
        if errors is not None:
            found.append(errors.mae_mm)
    return found
