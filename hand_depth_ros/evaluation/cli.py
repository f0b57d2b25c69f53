"""``hand-depth evaluate``: measure the accuracy of the shipped or given weights on a data set."""

from __future__ import annotations

import heapq
import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from hand_depth_ros.cli import options
from hand_depth_ros.evaluation.drawing import draw, write_sheet
from hand_depth_ros.evaluation.readers import Dataset, open_dataset
from hand_depth_ros.evaluation.report import summarise
from hand_depth_ros.evaluation.scores import Estimator, ImageScore, score
from hand_depth_ros.evaluation.tables import print_report

WORST = 16
"""Number of images on the sheet of the worst."""


def evaluate(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Folder of `hand-depth synth` or like it; recording with labels beside its images; RHD, FreiHAND, HO-3D "
            "or DexYCB as unpacked; folder of joints or masks; or images without hands."
        ),
    ],
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a sheet of the 16 worst images into this folder.")
    ] = None,
    rois: Annotated[
        bool, typer.Option("--rois", help="Give the true boxes: measure without the detector.")
    ] = False,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Photographs to lay behind a transparent set; grey without.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of a set that has some: train, val, test; 'all' for all.")
    ] = "val",
    arm_in_masks: Annotated[
        bool,
        typer.Option(
            "--arm-in-masks",
            help="The masks show the arm too: a hand is found where half of what is called hand lies in one.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Measure only so many images, evenly spread.")
    ] = None,
    max_hands: Annotated[
        int, typer.Option(min=1, max=8, help="Maximum number of hands to look for in an image.")
    ] = 2,
    hfov: Annotated[float, typer.Option(help="Horizontal field of view of unknown cameras, degrees.")] = 60.0,
) -> None:
    """Measure accuracy on a data set with known depth, joints or masks.

    For example: hand-depth evaluate my_set --json report.json --out worst/
    """
    _validate_outputs(json, out)
    options.validate_hfov(hfov)
    data = open_dataset(
        dataset,
        split=None if split == "all" else split,
        limit=limit,
        backgrounds=backgrounds,
        hfov_deg=hfov,
        arm_in_masks=arm_in_masks,
    )
    if rois and data.kind == "backgrounds":
        raise typer.BadParameter(f"--rois: {dataset} is a set of images without hands, which have no boxes")
    values = options.checked(max_hands=max_hands, num_threads=threads)
    estimator = options.load_estimator(weights, device, values)
    try:
        evaluate_dataset(data, estimator, json=json, out=out, given_boxes=rois)
    finally:
        estimator.close()


def _validate_outputs(json: Path | None, out: Path | None) -> None:
    """Reject outputs that cannot be written, before anything is measured."""
    if out is not None:
        options.validate_folder("--out", out)
    if json is not None:
        options.validate_folder("--json", json.parent)
        if json.is_dir():
            raise typer.BadParameter(f"--json is {json}, a folder: name a file")


def evaluate_dataset(
    data: Dataset,
    estimator: Estimator,
    *,
    json: Path | None = None,
    out: Path | None = None,
    given_boxes: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the estimator over a data set; print the report, write it and a sheet if asked.

    Args:
        data: The opened data set.
        estimator: What to measure.
        json: File for the report.
        out: Folder for the sheet.
        given_boxes: Give the true boxes; the detector is not used.
        console: Where the report is printed; the terminal by default.

    Returns:
        The report of :func:`~hand_depth_ros.evaluation.report.summarise`.
    """
    console = console or Console()
    scores: list[ImageScore] = []
    worst: list[tuple[tuple[float, float], int, Any]] = []
    progress = Console(stderr=True)
    for index, sample in enumerate(track(data, f"evaluate {data.path.name}", len(data), console=progress)):
        image, frame = score(sample, estimator, given_boxes)
        scores.append(image)
        if out is not None and (image.severity > (0.0, 0.0) or image.hands):
            entry = (image.severity, -index, (sample, frame, image))
            if len(worst) < WORST:
                heapq.heappush(worst, entry)
            elif entry > worst[0]:
                heapq.heapreplace(worst, entry)
    report = summarise(data, scores, given_boxes)
    print_report(report, console)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(jsonlib.dumps(report, indent=2) + "\n")
    if out is not None:
        tiles = (draw(*parts) for _, _, parts in sorted(worst, reverse=True, key=lambda entry: entry[:2]))
        write_sheet(tiles, out / f"{data.path.stem}{'_boxes' * given_boxes}_worst.jpg")
    return report
