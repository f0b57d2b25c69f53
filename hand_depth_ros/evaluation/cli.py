"""``hand-depth evaluate``: how accurate the shipped (or given) weights are on a data set."""

from __future__ import annotations

import heapq
import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from hand_depth_ros.cli import options
from hand_depth_ros.evaluation.readers import Dataset, open_dataset
from hand_depth_ros.evaluation.report import WORST, draw, print_table, summarise, write_pictures
from hand_depth_ros.evaluation.scores import Estimator, ImageScore, score


def evaluate(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="A folder of `hand-depth synth` or like it; RHD, FreiHAND, HO-3D or DexYCB as unpacked; a folder of joints "
            "or masks; or pictures without hands."
        ),
    ],
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write pictures of the 16 worst images into this folder.")
    ] = None,
    rois: Annotated[
        bool, typer.Option("--rois", help="Give the true boxes: measure without the detector.")
    ] = False,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Photographs to lay behind a transparent set; without: grey.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Which split of a set that has some: train, val, test; 'all' for all.")
    ] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many images, evenly spread.")] = None,
    max_hands: Annotated[
        int, typer.Option(min=1, max=8, help="Most hands that are looked for in an image.")
    ] = 2,
    hfov: Annotated[
        float, typer.Option(help="Horizontal field of view, degrees, of unknown cameras.")
    ] = 60.0,
) -> None:
    """Measure accuracy on a data set with known depth, joints or masks. For example:

    hand-depth evaluate my_set --json report.json --out worst/
    """
    options.validate_hfov(hfov)
    if out is not None:
        options.validate_folder("--out", out)
    if json is not None:
        options.validate_folder("--json", json.parent)
        if json.is_dir():
            raise typer.BadParameter(f"--json is {json}, a folder: name a file")
    data = open_dataset(
        dataset,
        split=None if split == "all" else split,
        limit=limit,
        backgrounds=backgrounds,
        hfov_deg=hfov,
    )
    if rois and data.kind == "backgrounds":
        raise typer.BadParameter(f"--rois: {dataset} is a set of pictures without hands, which have no boxes")
    values = options.checked(max_hands=max_hands, num_threads=threads)
    estimator = options.load_estimator(weights, device, values)
    try:
        evaluate_dataset(data, estimator, json=json, out=out, given_boxes=rois)
    finally:
        estimator.close()


def evaluate_dataset(
    data: Dataset,
    estimator: Estimator,
    *,
    json: Path | None = None,
    out: Path | None = None,
    given_boxes: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the estimator over a data set and print the table; JSON and pictures are written where asked.

    Gives the report of :func:`~hand_depth_ros.evaluation.report.summarise`.
    """
    console = console or Console()
    scores: list[ImageScore] = []
    worst: list[tuple[tuple[float, float], int, Any]] = []
    progress = Console(stderr=True)
    for index, sample in enumerate(track(data, f"evaluate {data.path.name}", len(data), console=progress)):
        image, frame = score(sample, estimator, given_boxes)
        scores.append(image)
        if out is not None and (image.badness > (0.0, 0.0) or image.hands):
            entry = (image.badness, -index, (sample, frame, image))
            if len(worst) < WORST:
                heapq.heappush(worst, entry)
            elif entry > worst[0]:
                heapq.heapreplace(worst, entry)
    report = summarise(data, scores, given_boxes)
    print_table(report, console)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(jsonlib.dumps(report, indent=2) + "\n")
    if out is not None:
        tiles = (draw(*parts) for _, _, parts in sorted(worst, reverse=True, key=lambda entry: entry[:2]))
        write_pictures(tiles, out / f"{data.path.stem}{'_boxes' * given_boxes}_worst.jpg")
    return report
