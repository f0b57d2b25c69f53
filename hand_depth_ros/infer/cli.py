"""`hand-depth infer`: command-line options, and the printed summary."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.cli.camera_options import CameraOptions
from hand_depth_ros.cli.interrupt import exit_on_sigint
from hand_depth_ros.errors import HandDepthError, ImageError, counted

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator
    from hand_depth_ros.infer.images import CameraOf, Job, Summary


def infer(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Images, folders of images (subfolders are not searched), or videos."),
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
    calibration: Annotated[
        Path | None, typer.Option(help="Camera of all images: YAML as camera_calibration writes it.")
    ] = None,
    bit_depth: options.BitDepth = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write NAME.overlay.png.")] = False,
    as_video: Annotated[
        bool, typer.Option("--video", help="Of videos, write only NAME.overlay.mp4.")
    ] = False,
    hand_length_m: options.HandLength = None,
    max_hands: options.MaxHands = None,
    min_range_m: options.MinRange = None,
    max_range_m: options.MaxRange = None,
    max_sigma_m: options.MaxSigma = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Estimate the depth of hands in image and video files.

    For example: hand-depth infer photos/ --hfov 69 --out depth/

    Writes NAME.depth.png (16-bit, mm, 0 = no hand) and NAME.sigma.png (16-bit, 0.1 mm). NAME is
    the file name without its extension; images of the same name keep their folder or extension in
    it. Give the camera with --cameras, --calibration, --fx --fy --cx --cy, or --hfov; a camera for
    all images is that of the pixels as stored, and turns with photographs that EXIF turns.

    In a video (mp4, avi, mkv, webm, ...) hands are followed from frame to frame. Its files are
    NAME/000000.depth.png and so on, and NAME/times.csv; with --video, NAME.overlay.mp4 instead.

    cameras.jsonl has one JSON object per line. Required: image (path below the given folders or
    beside the list), width, height, fx, fy, cx, cy (pixels). Optional: distortion_model (plumb_bob,
    rational_polynomial, equidistant) with its coefficients d, as in CameraInfo; roi ([x, y, width,
    height] of the hand, pixels); hand_length_m (metres). Other keys are ignored and listed.

    Exit code: 0 if every image and frame was processed, 1 if one was not, 2 for wrong usage.
    """
    camera = CameraOptions(cameras, fx, fy, cx, cy, hfov, calibration)
    camera.validate(required=True, with_calibration=True)
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
        from hand_depth_ros.infer import video
        from hand_depth_ros.infer.images import Summary, jobs_from_list, jobs_from_paths, output_names, run

    videos = [path for path in paths if path.suffix.lower() in video.SUFFIXES and path.is_file()]
    images = [path for path in paths if path not in videos]
    if as_video and not videos:
        raise typer.BadParameter("--video is for videos: give an mp4, avi, mkv or webm file")
    if videos and cameras is not None:
        raise typer.BadParameter(
            f"--cameras lists images: describe the camera of {videos[0]} with --calibration, "
            "--fx --fy --cx --cy, or --hfov"
        )
    jobs: list[Job] = []
    errors: list[str] = []
    if cameras is not None:
        jobs, errors = jobs_from_list(cameras, paths)
    elif images:
        jobs, errors = jobs_from_paths(images, camera.for_size)
    estimator = options.load_estimator(weights, device, values) if jobs or videos else None
    if images:
        summary = Summary()
        if jobs and estimator is not None:
            summary = run(jobs, estimator, out, overlay, values["bit_depth"])
        errors += summary.errors
        print_images(summary, out, len(errors))
    for path, name in zip(videos, output_names(videos), strict=True):
        assert estimator is not None
        errors += infer_video(path, estimator, camera.for_size, out / name, overlay, as_video)
    for line in errors:
        print(f"hand-depth: {line}", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


def infer_video(
    path: Path, estimator: HandDepthEstimator, camera_of: CameraOf, base: Path, overlay: bool, as_video: bool
) -> list[str]:
    """Process a video file and print what was written; return one line for each problem."""
    from rich.console import Console
    from rich.progress import Progress

    from hand_depth_ros.infer.video import Video, run_video

    try:
        video = Video(path)
    except ImageError as error:
        return [f"{path}: {error}"]
    try:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task(path.name, total=video.length or None)
            summary = run_video(
                video, estimator, camera_of, base, overlay, as_video, lambda: progress.advance(task)
            )
    except (HandDepthError, OSError) as error:
        return [f"{path}: {error}"]
    finally:
        video.close()
    target = f"{base}.overlay.mp4" if as_video else base
    print(
        f"{counted(summary.written, 'frame')} of {path} written to {target}, "
        f"{summary.with_hands} with the depth of a hand"
    )
    errors = []
    if summary.broken:
        numbers = ", ".join(map(str, summary.broken[:10])) + ", ..." * (len(summary.broken) > 10)
        broken = counted(len(summary.broken), "frame")
        errors.append(f"{path}: {broken} cannot be decoded, skipped: {numbers}")
    if summary.missing:
        errors.append(
            f"{path}: {counted(summary.missing, 'frame')} fewer than the file announces: it is damaged or cut "
            "short, copy it again"
        )
    return errors


def print_images(summary: Summary, out: Path, failed: int) -> None:
    """Print what was done with the images, and the bit depths that were found."""
    print(summary_line(summary, out, failed))
    for bits, count in sorted(summary.bit_depths.items()):
        print(
            f"hand-depth: {counted(count, '16-bit image')} read with {bits} bits, as found in the data: "
            "give --bit-depth if that is wrong",
            file=sys.stderr,
        )


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
