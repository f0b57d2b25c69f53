"""Measure a joints set's depth error with each way to read the hand's length from its annotation.

    python tools/hand_length.py JOINTS [--weights FOLDER]        (the table of docs/hand_length.md)

JOINTS is a folder that `hand-depth evaluate` takes as a joints set (real_val/joints); boxes are
given. Depth grows with the length, so the last line also says which length would be right for the
apparent size that the network sees.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.estimation.estimator import SHIPPED_WEIGHTS, HandDepthEstimator
from hand_depth_ros.evaluation import metrics
from hand_depth_ros.evaluation.readers import Dataset, Sample, open_dataset
from hand_depth_ros.evaluation.scores import roi_of, score
from hand_depth_ros.geometry.hand import FINGER_FRACTION, hand_length, hand_length_from_finger

TRIAL_LENGTH_M = 0.2


def lengths(samples: list[Sample]) -> dict[str, np.ndarray]:
    """Return the hand length (m) of each sample, by the way that it is read."""
    joints = [hand.joints for sample in samples for hand in sample.hands if hand.joints is not None]
    chain = np.array([hand_length(each) for each in joints])
    finger = np.array([hand_length_from_finger(each) for each in joints])

    def over_the_set(values: np.ndarray) -> np.ndarray:
        return np.full_like(values, np.median(values))

    return {
        "the annotation's chain, per image": chain,
        "the annotation's chain, median": over_the_set(chain),
        f"finger bones / {FINGER_FRACTION:g}, per image": finger,
        f"finger bones / {FINGER_FRACTION:g}, median (as in evaluate)": over_the_set(finger),
    }


def known_error_mm(sample: Sample, length_m: float, estimator: HandDepthEstimator) -> float:
    """Return the mean absolute depth error with that length given; NaN if nothing was measured."""
    hands = tuple(dataclasses.replace(hand, hand_length_m=length_m) for hand in sample.hands)
    image, _ = score(dataclasses.replace(sample, hands=hands), estimator, given_boxes=True)
    known = image.hands[0].known
    return np.nan if known is None else known.mae_mm


def matching_length(sample: Sample, estimator: HandDepthEstimator) -> float:
    """Return the length (m) with which the median depth error of the joints would be zero."""
    hand = sample.hands[0]
    assert hand.joints is not None
    frame = estimator.estimate(sample.rgb, sample.camera, [roi_of(hand)], TRIAL_LENGTH_M, track=False)
    surface = hand.joints[list(metrics.SURFACE_JOINTS)]
    predicted = metrics.median_around(frame.depth, sample.camera.project(surface))
    return TRIAL_LENGTH_M * float(np.nanmedian((surface[:, 2] - metrics.SURFACE_TO_JOINT_M) / predicted))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("joints", type=Path, metavar="JOINTS")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    data: Dataset = open_dataset(arguments.joints)
    if data.kind != "joints":
        parser.error(f"{arguments.joints} is a set of kind {data.kind}: a joints set is needed")
    estimator = HandDepthEstimator.from_pretrained(arguments.weights, arguments.device)
    samples = list(data)
    progress = Console(stderr=True)
    table = Table("length of", "median, mm", "mean absolute error, mm")
    for name, values in lengths(samples).items():
        pairs = track(list(zip(samples, values, strict=True)), name, console=progress)
        errors = [known_error_mm(sample, float(value), estimator) for sample, value in pairs]
        table.add_row(name, f"{1e3 * np.median(values):.0f}", f"{np.nanmean(errors):.1f}")
    wanted = np.array(
        [matching_length(sample, estimator) for sample in track(samples, "size", console=progress)]
    )
    console = Console()
    console.print(table)
    deviation = float(np.nanstd(np.log(wanted)))
    console.print(
        f"The apparent size that the network sees fits a hand of {1e3 * np.nanmedian(wanted):.0f} mm (median); "
        f"standard deviation from image to image {deviation:.1%}."
    )
    estimator.close()


if __name__ == "__main__":
    run_cli(main)
