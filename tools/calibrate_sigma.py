"""Calibrate the standard deviation that the estimator publishes, on held-out images.

    python tools/calibrate_sigma.py SET... --weights FOLDER --out FOLDER [--split val]
                                    [--backgrounds DIR] [--limit N]
    python tools/calibrate_sigma.py --real SET... [--weights FOLDER] [--limit N]

SET are folder sets of `hand-depth synth` (people that were not trained on). The people of each are
dealt into two halves: the factors on the parts of sigma are found on one and confirmed on the
other. FOLDER gets the same networks with the factors inside.

With ``--real`` SET are real recordings with depth or joints (grasp, joints). The one factor that
the step from rendered to real hands asks for, the domain gap, is found on half of their sequences
and confirmed on the other half; the hand lengths are known, or make each set right on average. It
is printed, nothing is written.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.estimation.estimator import (
    DEPTH_FILE,
    DETECTOR_FILE,
    SHIPPED_WEIGHTS,
    HandDepthEstimator,
)
from hand_depth_ros.evaluation import sigma
from hand_depth_ros.evaluation.metrics import common_scale, depth_ratio
from hand_depth_ros.evaluation.readers import Dataset, Sample, open_dataset
from hand_depth_ros.evaluation.scores import score, true_length
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M
from hand_depth_ros.network import HandDepthNet, load_weights, save_weights
from hand_depth_ros.network.weights import calibration_factors

BLOCKS = 8
"""A recording is cut into so many pieces, which go to the two halves in turn.

Neighbouring images, which are alike, stay together.
"""

Errors = list[sigma.HandErrors]
Halves = tuple[dict[str, Errors], dict[str, Errors]]


def rendered_errors(sets: list[Dataset], estimator: HandDepthEstimator) -> Halves:
    """Return the errors with known and guessed hand length, of every other person and the rest."""
    halves: Halves = ({"known": [], "guessed": []}, {"known": [], "guessed": []})
    for data in sets:
        people: dict[object, int] = {}
        for i, sample in enumerate(_tracked(data)):
            half = halves[people.setdefault(data.lines[i].get("person", i), len(people)) % 2]
            half["known"] += sigma.hand_errors(sample, estimator, "true")
            half["guessed"] += sigma.hand_errors(sample, estimator)
    return halves


def real_errors(data: Dataset, estimator: HandDepthEstimator) -> tuple[Errors, Errors]:
    """Return the errors of a recording's two halves, hand lengths known."""
    length = None
    if any(true_length(hand) is None for sample in data for hand in sample.hands):
        length = matching_length(data, estimator)
    halves: tuple[Errors, Errors] = ([], [])
    for i, sample in enumerate(_tracked(data)):
        half = halves[i * BLOCKS // len(data) % 2]
        half += sigma.hand_errors(sample, estimator, "true" if length is None else length)
    return halves


def matching_length(data: Dataset, estimator: HandDepthEstimator) -> float:
    """Return the hand length (m) with which a recording of one person is right on average."""
    ratios = []
    for sample in _tracked(data):
        image, frame = score(sample, estimator, given_boxes=True)
        for hand, predicted in zip(image.hands, frame.hands, strict=False):
            if hand.pairs is not None:
                ratios.append(depth_ratio(hand.pairs) * MEAN_HAND_LENGTH_M / predicted.hand_length_m)
    return MEAN_HAND_LENGTH_M * common_scale(ratios)


def _tracked(data: Dataset) -> Iterable[Sample]:
    """Return the samples with a progress bar."""
    return track(data, data.path.name, len(data), console=Console(stderr=True))


def calibrate_rendered(arguments: argparse.Namespace, estimator: HandDepthEstimator) -> None:
    """Find the factors on rendered sets and write the weights with them."""
    split = None if arguments.split == "all" else arguments.split
    sets = [
        open_dataset(path, split=split, limit=arguments.limit, backgrounds=arguments.backgrounds)
        for path in arguments.sets
    ]
    first, second = rendered_errors(sets, estimator)
    length, rest = sigma.factors(first["known"], first["guessed"])
    table = Table("hand length", "hands", "within 1 and 2 sigma before", "after", title="on the other half")
    covered = {}
    for name, hands in second.items():
        before = sigma.coverage(hands)
        after = sigma.coverage(hands, 1.0 if name == "known" else length, rest)
        covered[name] = [round(fraction, 4) for fraction in after]
        table.add_row(name, str(len(hands)), _percent(before), _percent(after))
    Console().print(table)
    write_weights(arguments, {"relief": rest, "apparent_size": rest, "length": length}, covered)


def write_weights(
    arguments: argparse.Namespace, factors: dict[str, float], covered: dict[str, list[float]]
) -> None:
    """Write the weights with the factors applied to those that they had."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    network, info = load_weights(arguments.weights / DEPTH_FILE, HandDepthNet)
    before = {**dict.fromkeys(factors, 1.0), **calibration_factors(info, arguments.weights / DEPTH_FILE)}
    info["calibration"] = {name: round(before[name] * factor, 5) for name, factor in factors.items()}
    info["coverage"] = {"sets": [path.name for path in arguments.sets], **covered}
    save_weights(network, arguments.out / DEPTH_FILE, info)
    if arguments.out.resolve() != arguments.weights.resolve():
        shutil.copyfile(arguments.weights / DETECTOR_FILE, arguments.out / DETECTOR_FILE)
    print(f"factors {info['calibration']} written to {arguments.out / DEPTH_FILE}")


def measure_domain_gap(arguments: argparse.Namespace, estimator: HandDepthEstimator) -> None:
    """Find the factor on half of the real recordings and print what it does on the other half."""
    sets = [open_dataset(path, limit=arguments.limit) for path in arguments.real]
    halves = {data.path.name: real_errors(data, estimator) for data in sets}
    factor = sigma.domain_gap([first for first, _ in halves.values()])
    table = Table("set", "hands", "within 1 and 2 sigma before", "after", title="on the other half")
    for name, (_, second) in halves.items():
        before, after = sigma.coverage(second), sigma.coverage(second, 1.0, factor)
        table.add_row(name, str(len(second)), _percent(before), _percent(after))
    others = [second for _, second in halves.values()]
    mean = [sigma.mean_coverage(others, each) for each in (1.0, factor)]
    table.add_row("mean of sets", "", _percent(mean[0]), _percent(mean[1]))
    console = Console()
    console.print(table)
    console.print(f"domain gap: factor {factor:.2f} on relief and apparent size", highlight=False)


def _percent(fractions: Sequence[float]) -> str:
    return " / ".join(f"{100 * fraction:.1f} %" for fraction in fractions)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", type=Path, nargs="*", metavar="SET", help="rendered sets")
    parser.add_argument("--real", type=Path, nargs="+", metavar="SET", help="measure the domain gap on these")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--out", type=Path, help="folder for the calibrated weights")
    parser.add_argument("--split", default="val", help="split of the rendered sets, 'all' for all")
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--limit", type=int, help="use only so many images of each set")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    if bool(arguments.real) == bool(arguments.sets):
        parser.error("give rendered sets, or real ones after --real")
    if arguments.sets and arguments.out is None:
        parser.error("--out is needed: a folder for the calibrated weights")
    estimator = HandDepthEstimator.from_pretrained(arguments.weights, arguments.device)
    (measure_domain_gap if arguments.real else calibrate_rendered)(arguments, estimator)


if __name__ == "__main__":
    run_cli(main)
