"""Calibrate the standard deviation that the estimator publishes, on held-out pictures with known depth.

    python tools/calibrate_sigma.py SET... --weights FOLDER --out FOLDER [--split val] [--backgrounds DIR] [--limit N]

SET are folder sets of `hand-depth synth` (persons that were not trained on). The persons of each are dealt into two halves:
the factors are found on one and confirmed on the other. FOLDER gets the same networks with the factors inside.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE, SHIPPED_WEIGHTS, HandDepthEstimator
from hand_depth_ros.evaluation import sigma
from hand_depth_ros.evaluation.readers import Dataset, open_dataset
from hand_depth_ros.network import HandDepthNet, load_weights, save_weights
from hand_depth_ros.network.weights import calibration_factors

Halves = tuple[dict[str, list[sigma.HandErrors]], dict[str, list[sigma.HandErrors]]]


def errors_of(sets: list[Dataset], estimator: HandDepthEstimator) -> Halves:
    """Of every other person, and of the rest: the errors with the hand length known and guessed."""
    halves: Halves = ({"known": [], "guessed": []}, {"known": [], "guessed": []})
    for data in sets:
        persons: dict[object, int] = {}
        for i, sample in enumerate(track(data, data.path.name, len(data), console=Console(stderr=True))):
            half = halves[persons.setdefault(data.lines[i].get("person", i), len(persons)) % 2]
            for name, known in (("known", True), ("guessed", False)):
                half[name] += sigma.hand_errors(sample, estimator, known)
    return halves


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="val", help="'all' for all")
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--limit", type=int, help="only so many pictures of each set")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    split = None if arguments.split == "all" else arguments.split
    sets = [
        open_dataset(path, split=split, limit=arguments.limit, backgrounds=arguments.backgrounds)
        for path in arguments.sets
    ]
    estimator = HandDepthEstimator.from_pretrained(arguments.weights, arguments.device)
    found_on, other = errors_of(sets, estimator)
    length, rest = sigma.factors(found_on["known"], found_on["guessed"])

    table = Table("hand length", "hands", "within 1 and 2 sigma before", "after", title="on the other half")
    covered = {}
    for name, hands in other.items():
        before, after = sigma.coverage(hands), sigma.coverage(hands, 1.0 if name == "known" else length, rest)
        covered[name] = [round(share, 4) for share in after]
        cells = [" / ".join(f"{100 * share:.1f} %" for share in shares) for shares in (before, after)]
        table.add_row(name, str(len(hands)), *cells)
    Console().print(table)

    arguments.out.mkdir(parents=True, exist_ok=True)
    network, info = load_weights(arguments.weights / DEPTH_FILE, HandDepthNet)
    old = {
        "relief": 1.0,
        "apparent_size": 1.0,
        "length": 1.0,
        **calibration_factors(info, arguments.weights / DEPTH_FILE),
    }
    factors = {"relief": rest, "apparent_size": rest, "length": length}
    info["calibration"] = {name: round(old[name] * factor, 5) for name, factor in factors.items()}
    info["coverage"] = {"sets": [path.name for path in arguments.sets], **covered}
    save_weights(network, arguments.out / DEPTH_FILE, info)
    if arguments.out.resolve() != arguments.weights.resolve():
        shutil.copyfile(arguments.weights / DETECTOR_FILE, arguments.out / DETECTOR_FILE)
    print(f"factors {info['calibration']} written to {arguments.out / DEPTH_FILE}")


if __name__ == "__main__":
    run_cli(main)
