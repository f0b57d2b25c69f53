"""`hand-depth infer`: command-line options, and the printed summary."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.cli.camera_options import CameraOptions
from hand_depth_ros.cli.interrupt import exit_on_sigint
from hand_depth_ros.errors import counted

if TYPE_CHECKING:
    from hand_depth_ros.infer.images import Summary


def infer(
    paths: Annotated[
        list[Path], typer.Argument(help="Images, or folders of images (subfolders are not searched).")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for NAME.depth.png (mm) and NAME.sigma.png (0.1 mm).")
    ],
    cameras: Annotated[
        Path | None, typer.Option(help="cameras.jsonl: process exactly the images that it lists.")
    ] = None,
    fx: Annotated[
        float | None, typer.Option(help="Focal length, pixels of the image as stored; with --fy --cx --cy.")
    ] = None,
    fy: Annotated[float | None, typer.Option(help="Focal length, pixels.")] = None,
    cx: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    cy: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    hfov: Annotated[
        float | None, typer.Option(help="Horizontal field of view of the image as stored, degrees.")
    ] = None,
    bit_depth: options.BitDepth = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write NAME.overlay.png.")] = False,
    hand_length_m: options.HandLength = None,
    max_hands: options.MaxHands = None,
    min_range_m: options.MinRange = None,
    max_range_m: options.MaxRange = None,
    max_sigma_m: options.MaxSigma = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Estimate the depth of hands in image files.

    For example: hand-depth infer photos/ --hfov 69 --out depth/

    Writes NAME.depth.png (16-bit, mm, 0 = no hand) and NAME.sigma.png (16-bit, 0.1 mm). NAME is
    the file name without its extension; images of the same name keep their folder or extension in
    it. Give the camera with --cameras, with --fx --fy --cx --cy, or with --hfov; a camera for all
    images is that of the pixels as stored, and turns with photographs that EXIF turns.

    cameras.jsonl has one JSON object per line. Required: image (path below the given folders or
    beside the list), width, height, fx, fy, cx, cy (pixels). Optional: distortion_model (plumb_bob,
    rational_polynomial, equidistant) with its coefficients d, as in CameraInfo; roi ([x, y, width,
    height] of the hand, pixels); hand_length_m (metres). Other keys are ignored and listed.

    Exit code: 0 if every image was processed, 1 if one was not, 2 for wrong usage.
    """
    camera = CameraOptions(cameras, fx, fy, cx, cy, hfov)
    camera.validate(required=True)
    options.validate_folder("--out", out)
    values = options.checked(
        hand_length_m=hand_length_m,
        max_hands=max_hands,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
        num_threads=threads,
        bit_depth=bit_depth,
    )

    with exit_on_sigint():
        from hand_depth_ros.infer.images import Summary, jobs_from_list, jobs_from_paths, run

    if cameras is not None:
        jobs, errors = jobs_from_list(cameras, paths)
    else:
        jobs, errors = jobs_from_paths(paths, camera.for_size)
    summary = Summary()
    if jobs:
        estimator = options.load_estimator(weights, device, values)
        summary = run(jobs, estimator, out, overlay=overlay, bit_depth=values["bit_depth"])
    errors += summary.errors
    print(summary_line(summary, out, len(errors)))
    for bits, count in sorted(summary.bit_depths.items()):
        print(
            f"hand-depth: {counted(count, '16-bit image')} read with {bits} bits, as found in the data: "
            "give --bit-depth if that is wrong",
            file=sys.stderr,
        )
    for line in errors:
        print(f"hand-depth: {line}", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


def summary_line(summary: Summary, out: Path, failed: int) -> str:
    """Return one line that says what a run did."""
    to = f" written to {out}" if summary.written else " written"
    parts = [counted(summary.written, "image") + to]
    if summary.written:
        parts.append(f"{summary.with_hands} with the depth of a hand")
    if summary.without_depth:
        hands = counted(summary.without_depth, "hand")
        parts.append(
            f"{hands} seen but out of range or not certain enough "
            "(--min-range-m, --max-range-m, --max-sigma-m)"
        )
    return ", ".join([*parts, f"{failed} failed"])
