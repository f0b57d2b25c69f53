"""Measure the weights on every data set at hand and write numbers.json beside them.

    python bench/accuracy.py --data DATA [--weights FOLDER] [--synthetic SET...] [--untrained SET]
                             [--only NAME...] [--sheets DIR] [--failures docs/failures] [--jobs N]

DATA holds real_val/ (joints, masks and the recordings) and backgrounds/, which are not
redistributable and so not in this repository. ``--synthetic`` are sets of ``hand-depth synth``,
measured on their val split; ``--untrained`` are sets of which nothing was trained on. Reports of
sets that are not measured this time stay in numbers.json. ``--sheets`` gets the worst images of
every set, the real ones not ours to publish; ``--failures`` those of the synthetic sets, laid over
grey, which the model card shows. ``python tools/write_docs.py`` then writes the model card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import hand_depth_ros
from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.estimation.estimator import SHIPPED_WEIGHTS, HandDepthEstimator
from hand_depth_ros.evaluation.cli import evaluate_dataset
from hand_depth_ros.evaluation.readers import open_dataset

FAILURES_OF = 200
"""Number of images of a synthetic set that are searched for the worst."""

HELD_OUT = "backgrounds, the tenth not trained on"
"""The first by name, as ``hand-depth train`` splits them."""

RECORDINGS: dict[str, dict[str, Any]] = {
    "grasp": {},
    "desk": {"arm_in_masks": True},
    "holding": {},
    "ego": {},
    "dark_far": {},
}
"""Recordings in real_val/ with labels beside their images, and how they are opened."""


class Run(NamedTuple):
    """One of the data sets that are measured.

    Attributes:
        name: Key of the report.
        path: Of the data set.
        options: For open_dataset.
        given_boxes: Measure without the detector.
    """

    name: str
    path: Path
    options: dict[str, Any]
    given_boxes: bool = False


def runs(arguments: argparse.Namespace) -> Iterator[Run]:
    """Yield all runs, in the order of the tables."""
    real, backgrounds = arguments.data / "real_val", arguments.data / "backgrounds"
    yield Run("joints", real / "joints", {})
    yield Run("joints, boxes given", real / "joints", {}, given_boxes=True)
    for name, options in RECORDINGS.items():
        yield Run(name, real / name, options)
    yield Run("grasp, boxes given", real / "grasp", {}, given_boxes=True)
    yield Run("masks", real / "masks", {})
    yield Run("backgrounds", backgrounds, {})
    yield Run(HELD_OUT, backgrounds, {})
    for split, folders in (("val", arguments.synthetic), (None, arguments.untrained)):
        for folder in folders:
            options = {"split": split, "backgrounds": backgrounds}
            yield Run(f"synthetic {folder.name}", folder, options)
            yield Run(f"synthetic {folder.name}, boxes given", folder, options, given_boxes=True)


def measure_run(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the report of `hand-depth evaluate` and our version, without the time it took."""
    estimator = HandDepthEstimator.from_pretrained(weights=arguments.weights, device="cpu")
    data, sheets = open_dataset(run.path, limit=arguments.limit, **run.options), arguments.sheets
    if run.name == HELD_OUT:
        data = dataclasses.replace(data, lines=data.lines[: max(1, len(data.lines) // 10)])
        sheets = None  # they are among those of the whole set, in a file of the same name
    report = evaluate_dataset(data, estimator, given_boxes=run.given_boxes, out=sheets)
    del report["median_ms_per_image"]
    return {"version": hand_depth_ros.__version__, **report}


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the reports by name."""
    todo = [run for run in runs(arguments) if not arguments.only or run.name in arguments.only]
    if arguments.jobs == 1:
        return {run.name: measure_run(run, arguments) for run in todo}
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        found = pool.map(measure_run, todo, [arguments] * len(todo))
        return {run.name: numbers for run, numbers in zip(todo, found, strict=True)}


def draw_failures(arguments: argparse.Namespace) -> None:
    """Draw the worst images of the synthetic sets over grey."""
    estimator = HandDepthEstimator.from_pretrained(weights=arguments.weights, device="cpu")
    for folder in [*arguments.synthetic, *arguments.untrained]:
        split = "val" if folder in arguments.synthetic else None
        data = open_dataset(folder, split=split, limit=min(arguments.limit or FAILURES_OF, FAILURES_OF))
        evaluate_dataset(data, estimator, out=arguments.failures)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--synthetic", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--untrained", type=Path, nargs="*", default=[], help="sets of which nothing was trained on"
    )
    parser.add_argument("--only", nargs="*", default=[], help="measure only the runs of these names")
    parser.add_argument("--sheets", type=Path, help="folder for the worst images of every set")
    parser.add_argument("--failures", type=Path, help="folder for the worst synthetic images")
    parser.add_argument("--jobs", type=int, default=1, help="number of sets at once, a process each")
    parser.add_argument("--limit", type=int, help="measure only so many images of each set")
    arguments = parser.parse_args()
    names = [run.name for run in runs(arguments)]
    if unknown := sorted(set(arguments.only) - set(names)):
        parser.error(f"--only: there is no run {', '.join(unknown)}, give some of: {'; '.join(names)}")
    file = arguments.weights / "numbers.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    after = {**before, **measure(arguments)}
    ordered = {name: after.pop(name) for name in names if name in after}
    file.write_text(json.dumps({**ordered, **after}, indent=1) + "\n")
    if arguments.failures is not None:
        draw_failures(arguments)
    print(f"{file} written, now run  python tools/write_docs.py")


if __name__ == "__main__":
    run_cli(main)
