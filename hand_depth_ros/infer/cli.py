"""`hand-depth infer`: command-line options, and the printed summary."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.cli.interrupt import exit_on_sigint
from hand_depth_ros.errors import counted

if TYPE_CHECKING:
    from hand_depth_ros.geometry.camera import Camera
    from hand_depth_ros.infer.images import CameraOf, Summary


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
    fx: Annotated[float | None, typer.Option(help="Focal length, pixels; with --fy --cx --cy.")] = None,
    fy: Annotated[float | None, typer.Option(help="Focal length, pixels.")] = None,
    cx: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    cy: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    hfov: Annotated[float | None, typer.Option(help="Horizontal field of view, degrees.")] = None,
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
    it. Give the camera with --cameras, with --fx --fy --cx --cy, or with --hfov.

    cameras.jsonl has one JSON object per line. Required: image (path below the given folders or
    beside the list), width, height, fx, fy, cx, cy (pixels). Optional: distortion_model (plumb_bob,
    rational_polynomial, equidistant) with its coefficients d, as in CameraInfo; roi ([x, y, width,
    height] of the hand, pixels); hand_length_m (metres). Other keys are ignored and listed.

    Exit code: 0 if every image was processed, 1 if one was not, 2 for wrong usage.
    """
    intrinsics = {"--fx": fx, "--fy": fy, "--cx": cx, "--cy": cy}
    validate_camera_options(cameras, intrinsics, hfov)
    options.validate_folder("--out", out)
    values = options.checked(
        hand_length_m=hand_length_m,
        max_hands=max_hands,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
        num_threads=threads,
    )

    with exit_on_sigint():
        from hand_depth_ros.infer.images import Summary, jobs_from_list, jobs_from_paths, run

    if cameras is not None:
        jobs, errors = jobs_from_list(cameras, paths)
    else:
        jobs, errors = jobs_from_paths(paths, camera_of_options(fx, fy, cx, cy, hfov))
    summary = Summary()
    if jobs:
        estimator = options.load_estimator(weights, device, values)
        summary = run(jobs, estimator, out, overlay=overlay)
    errors += summary.errors
    print(summary_line(summary, out, len(errors)))
    for line in errors:
        print(f"hand-depth: {line}", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


def validate_camera_options(
    cameras: Path | None, intrinsics: dict[str, float | None], hfov: float | None
) -> None:
    """Raise typer.BadParameter unless the options describe the camera in exactly one way.

    Args:
        cameras: Value of --cameras.
        intrinsics: --fx, --fy, --cx and --cy (pixels) by option.
        hfov: Value of --hfov, degrees.
    """
    missing = [name for name, value in intrinsics.items() if value is None]
    if (cameras is not None) + (len(missing) < 4) + (hfov is not None) != 1:
        raise typer.BadParameter(
            "describe the camera in one way: --cameras FILE, or --fx --fy --cx --cy, or --hfov DEGREES"
        )
    if 0 < len(missing) < 4:
        raise typer.BadParameter(f"{' '.join(missing)} missing: give all of --fx --fy --cx --cy, in pixels")
    for name, value in intrinsics.items():
        if value is not None and not (math.isfinite(value) and (value > 0 or name in ("--cx", "--cy"))):
            raise typer.BadParameter(
                f"{name} is {value:g}: give a number of pixels; a focal length is above 0"
            )
    options.validate_hfov(hfov)


def camera_of_options(
    fx: float | None, fy: float | None, cx: float | None, cy: float | None, hfov: float | None
) -> CameraOf:
    """Return the function from image size to camera that the validated options describe."""
    from hand_depth_ros.geometry.camera import Camera

    def camera_of(width: int, height: int) -> Camera:
        if hfov is not None:
            return Camera.from_hfov(width, height, hfov)
        assert fx is not None and fy is not None and cx is not None and cy is not None
        return Camera(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)

    return camera_of


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
