"""Measure the weights on every data set at hand and write the model card from what was measured.

    python tools/model_card.py --data DATA [--weights FOLDER] [--synthetic FOLDER] [--untrained FOLDER] [--pictures DIR]
                               [--failures docs/failures] [--jobs N]

``--data`` holds real_val/joints, real_val/masks and backgrounds (not redistributable, so not in this repository);
``--synthetic`` are sets of ``hand-depth synth``, measured on their val split; ``--untrained`` are sets that were not
trained on at all. The numbers and the card are written beside the weights. ``--pictures`` gets the worst images of every
set, the real ones not ours to publish; ``--failures`` those of the synthetic sets, laid over grey, which the card shows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE, SHIPPED_WEIGHTS, HandDepthEstimator
from hand_depth_ros.evaluation.cli import evaluate_dataset
from hand_depth_ros.evaluation.readers import open_dataset

FAILURES_OF = 200
"""So many images of a synthetic set are looked through for the worst."""

HELD_OUT = "backgrounds, the tenth not trained on"
"""The first by name, as ``hand-depth train`` splits them."""

TEMPLATE = Path(__file__).with_name("model_card.template.md")


class Run(NamedTuple):
    """One of the data sets that are measured; ``options`` are those of open_dataset."""

    name: str
    path: Path
    options: dict[str, Any]
    given_boxes: bool = False


def runs(arguments: argparse.Namespace) -> Iterator[Run]:
    """All of them, in the order of the tables."""
    real, backgrounds = arguments.data / "real_val", arguments.data / "backgrounds"
    yield Run("joints", real / "joints", {})
    yield Run("joints, boxes given", real / "joints", {}, given_boxes=True)
    yield Run("masks", real / "masks", {})
    yield Run("backgrounds", backgrounds, {})
    yield Run(HELD_OUT, backgrounds, {})
    for split, folders in (("val", arguments.synthetic), (None, arguments.untrained)):
        for folder in folders:
            options = {"split": split, "backgrounds": backgrounds}
            yield Run(f"synthetic {folder.name}", folder, options)
            yield Run(f"synthetic {folder.name}, boxes given", folder, options, given_boxes=True)


def report(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    """That of `hand-depth evaluate`."""
    estimator = HandDepthEstimator.from_pretrained(weights=arguments.weights, device="cpu")
    data, pictures = open_dataset(run.path, limit=arguments.limit, **run.options), arguments.pictures
    if run.name == HELD_OUT:
        data = dataclasses.replace(data, lines=data.lines[: max(1, len(data.lines) // 10)])
        pictures = None  # they are among those of the whole set, in a file of the same name
    return evaluate_dataset(data, estimator, given_boxes=run.given_boxes, out=pictures)


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The reports by name."""
    todo = list(runs(arguments))
    if arguments.jobs == 1:
        return {run.name: report(run, arguments) for run in todo}
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        found = pool.map(report, todo, [arguments] * len(todo))
        return {run.name: numbers for run, numbers in zip(todo, found, strict=True)}


def show_failures(arguments: argparse.Namespace) -> str:
    """Pictures of the worst synthetic images over grey, and the lines that show them in the card."""
    if arguments.failures is None:
        return ""
    estimator = HandDepthEstimator.from_pretrained(weights=arguments.weights, device="cpu")
    lines = [
        "The worst synthetic images (colour, our depth, true depth; white: true outline, red: ours):",
        "",
    ]
    for folder in [*arguments.synthetic, *arguments.untrained]:
        split = "val" if folder in arguments.synthetic else None
        data = open_dataset(folder, split=split, limit=min(arguments.limit or FAILURES_OF, FAILURES_OF))
        evaluate_dataset(data, estimator, out=arguments.failures)
        file = arguments.failures / f"{folder.stem}_worst.jpg"
        lines.append(f"![{folder.name}]({os.path.relpath(file, arguments.weights)})")
    return "\n".join(lines)


def rows(reports: dict[str, dict[str, Any]]) -> str:
    """One table line a data set."""
    lines = [
        "| data set | images | hands found | shape mm | at one constant depth mm | absolute mm, length known / guessed "
        "| mask IoU | images with a false hand |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in _with_half_visible(reports):
        guessed, known = r["hand_length_guessed"] or {}, r["hand_length_known"] or {}
        iou = r["mask_iou_in_region"] if r["mask_iou_in_region"] is not None else r["mask_iou"]
        cells = (
            name,
            str(r["images"]),
            _percent(r["hands_found"]),
            _number(guessed.get("shape_mm")),
            _number(r["constant_depth_mm"]),
            f"{_number(known.get('mae_mm'))} / {_number(guessed.get('mae_mm'))}" if guessed else "",
            _number(iou, 3),
            _percent(r["images_with_false_hand"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _with_half_visible(reports: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every report, and after it, where there are any, the numbers of those of its hands that are at least half visible."""
    for name, report in reports.items():
        yield name, report
        if report["half_visible"]:
            yield f"{name}: at least half visible", {**report, **report["half_visible"]}


def coverage(reports: dict[str, dict[str, Any]]) -> str:
    """How many pixels (joints) lie within one and two sigma, and how far off the guessed hand length is."""
    lines = [
        "| data set | within 1 sigma | within 2 sigma | within 1, 2 sigma, hand length known | hand length, mean error "
        "| mean absolute error |",
        "|---|---|---|---|---|---|",
    ]
    for name, r in _with_half_visible(reports):
        if r["within_1_sigma"] is not None:
            known = " / ".join(_percent(r[f"within_{n}_sigma_known"]) for n in (1, 2))
            cells = [_percent(r["within_1_sigma"]), _percent(r["within_2_sigma"]), known]
            cells += [_percent(r["hand_length_error"]), _percent(r["hand_length_abs_error"])]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _info(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    return {
        "config": json.loads(metadata["config"]),
        "bytes": path.stat().st_size,
        **json.loads(metadata["info"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--synthetic", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--untrained", type=Path, nargs="*", default=[], help="sets of which nothing was trained on"
    )
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="so many sets at once, a process each")
    parser.add_argument("--failures", type=Path)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    reports = measure(arguments)
    depth, detector = _info(arguments.weights / DEPTH_FILE), _info(arguments.weights / DETECTOR_FILE)
    plain = {k: {n: v for n, v in r.items() if n != "median_ms_per_image"} for k, r in reports.items()}
    (arguments.weights / "numbers.json").write_text(json.dumps(plain, indent=1) + "\n")
    card = TEMPLATE.read_text()
    for key, value in {
        "NUMBERS": rows(reports),
        "COVERAGE": coverage(reports),
        "FAILURES": show_failures(arguments),
        "DEPTH_CONFIG": json.dumps(depth["config"]),
        "DETECTOR_CONFIG": json.dumps(detector["config"]),
        "DEPTH_SAMPLES": f"{depth.get('samples', 0):,}",
        "DETECTOR_SAMPLES": f"{detector.get('samples', 0):,}",
        "MEGABYTES": f"{(depth['bytes'] + detector['bytes']) / 1e6:.1f}",
    }.items():
        card = card.replace("{{" + key + "}}", value)
    (arguments.weights / "MODEL_CARD.md").write_text(card)
    print(card)


if __name__ == "__main__":
    run_cli(main)
