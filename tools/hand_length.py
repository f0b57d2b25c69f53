"""What a joints set's absolute depth error is with each way to read the hand's length from its annotation, boxes given.

    python tools/hand_length.py JOINTS [--weights FOLDER]        (the table of docs/hand_length.md)

JOINTS is a folder that `hand-depth evaluate` takes as a joints set (real_val/joints). Depth grows with the length, so
the last line also tells which length the network's own view of size asks for.
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

EARLIER_SHARE = 0.49
"""What model cards before the eighth weights divided the middle finger by."""


def lengths(samples: list[Sample]) -> dict[str, np.ndarray]:
    """Metres for each sample, by the way that they were read."""
    joints = [hand.joints for sample in samples for hand in sample.hands if hand.joints is not None]
    chain = np.array([metrics.hand_length_of(each) for each in joints])
    finger = np.array([metrics.hand_length_from_finger(each) for each in joints])
    earlier = finger * metrics.FINGER_FRACTION / EARLIER_SHARE

    def over_the_set(values: np.ndarray) -> np.ndarray:
        return np.full_like(values, np.median(values))

    return {
        "the annotation's chain, per image": chain,
        "the annotation's chain, median": over_the_set(chain),
        f"finger bones / {EARLIER_SHARE:g}, median (earlier cards)": over_the_set(earlier),
        f"finger bones / {metrics.FINGER_FRACTION:g}, per image": finger,
        f"finger bones / {metrics.FINGER_FRACTION:g}, median (what evaluate takes)": over_the_set(finger),
    }


def known_error_mm(sample: Sample, length_m: float, estimator: HandDepthEstimator) -> float:
    """Mean absolute depth error with that length given; NaN where nothing could be measured."""
    hands = tuple(dataclasses.replace(hand, hand_length_m=length_m) for hand in sample.hands)
    image, _ = score(dataclasses.replace(sample, hands=hands), estimator, given_boxes=True)
    known = image.hands[0].known
    return np.nan if known is None else known.mae_mm


def asked_for(sample: Sample, estimator: HandDepthEstimator) -> float:
    """The length (m) with which the median depth error of the joints would be nought."""
    hand = sample.hands[0]
    assert hand.joints is not None
    frame = estimator.estimate(sample.rgb, sample.camera, [roi_of(hand)], 0.2, track=False)
    surface = hand.joints[list(metrics.SURFACE_JOINTS)]
    seen = metrics.median_around(frame.depth, sample.camera.project(surface))
    return 0.2 * float(np.nanmedian((surface[:, 2] - metrics.SURFACE_TO_JOINT_M) / seen))


def main() -> None:
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
    wanted = np.array([asked_for(sample, estimator) for sample in track(samples, "size", console=progress)])
    console = Console()
    console.print(table)
    spread = float(np.nanstd(np.log(wanted)))
    console.print(
        f"What the network sees asks for {1e3 * np.nanmedian(wanted):.0f} mm (median), {spread:.1%} from image to image."
    )
    estimator.close()


if __name__ == "__main__":
    run_cli(main)
