"""`hand-depth calibrate`: measure a person's hand length and print the settings that use it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import CalibrationError, HandDepthError, counted

if TYPE_CHECKING:
    from hand_depth_ros.calibration.lengths import HandLength, LengthMeasurement
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

RULER_SIGMA_M = 0.003
"""Reading error of a ruler from crease to fingertip; the crease is a few millimetres wide."""

DEPTH_SCALE_SIGMA = 0.01
"""Relative scale error of a depth camera."""


def calibrate(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images of one hand at --distance-m, or folders of them.", show_default=False),
    ] = None,
    distance_m: Annotated[
        float | None,
        typer.Option(
            help="Metres from the lens to the middle of the hand, along the optical axis.", show_default=False
        ),
    ] = None,
    distance_sigma_m: Annotated[
        float, typer.Option(min=0.0, help="One standard deviation of --distance-m, metres.")
    ] = 0.01,
    hfov: Annotated[float | None, typer.Option(help="Horizontal field of view, degrees.")] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="cameras.jsonl: cameras of the images, see infer.")
    ] = None,
    ruler_m: Annotated[
        float | None,
        typer.Option(
            help="Metres from the wrist crease to the tip of the middle finger, hand flat.",
            show_default=False,
        ),
    ] = None,
    bag: Annotated[
        Path | None, typer.Option(help="A bag with colour and registered depth.", show_default=False)
    ] = None,
    image: Annotated[
        str, typer.Option("--image", help="Colour topic in the bag.")
    ] = "/camera/color/image_raw",
    depth: Annotated[
        str, typer.Option("--depth", help="Depth topic in the bag, registered to colour.")
    ] = "/camera/aligned_depth_to_color/image_raw",
    camera_info: Annotated[
        str | None, typer.Option(help="Its CameraInfo topic.  [default: beside --image]", show_default=False)
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="A folder of one person as `hand-depth synth` writes it: calibrate on its first half, "
            "compare depth errors before and after on the second.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Like --dataset, with the bundled clip.")] = False,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Measure one person's hand length: it improves absolute depth by centimetres.

    Choose one of three ways: images with the hand at a known distance (IMAGES --distance-m 0.4
    --hfov 69); a ruler (--ruler-m 0.187); a bag of a camera that also measures depth (--bag BAG
    --image TOPIC --depth TOPIC). Prints the length, its uncertainty (one standard deviation), and
    the lines that set it. --demo shows the gain.
    """
    ways = {"IMAGES": bool(images), "--ruler-m": ruler_m is not None, "--bag": bag is not None}
    ways["--dataset or --demo"] = dataset is not None or demo
    if sum(ways.values()) != 1 or (dataset is not None and demo):
        raise typer.BadParameter(f"choose one way: {', '.join(ways)}")
    if not images and (hfov is not None or cameras is not None or distance_m is not None):
        raise typer.BadParameter("--distance-m, --hfov and --cameras are for IMAGES only")
    if ruler_m is not None:
        from hand_depth_ros.calibration.lengths import print_length

        print_length(_from_ruler(ruler_m))
        return
    if images and (distance_m is None or (hfov is None) == (cameras is None)):
        raise typer.BadParameter("IMAGES need --distance-m and their camera: --hfov or --cameras, not both")
    if distance_m is not None and not 0.1 <= distance_m <= 2.0:
        raise typer.BadParameter(f"--distance-m is {distance_m:g}: give 0.1 to 2 metres")
    options.validate_hfov(hfov)
    estimator = options.load_estimator(weights, device, options.checked(num_threads=threads))
    from hand_depth_ros.calibration.lengths import combine, print_length

    try:
        if demo or dataset is not None:
            from hand_depth_ros.calibration.before_after import before_and_after
            from hand_depth_ros.demo.cli import CLIP

            before_and_after(dataset or CLIP, estimator)
        elif bag is not None:
            from hand_depth_ros.calibration.from_bag import measure_bag

            print_length(combine(measure_bag(bag, image, depth, camera_info, estimator), DEPTH_SCALE_SIGMA))
        else:
            assert images is not None and distance_m is not None
            print_length(_at_distance(images, cameras, hfov, distance_m, distance_sigma_m, estimator))
    finally:
        estimator.close()


def _from_ruler(ruler_m: float) -> HandLength:
    from hand_depth_ros.calibration.lengths import HandLength

    shortest, longest = options.hand_length_range_m()
    if not shortest <= ruler_m <= longest:
        raise CalibrationError(
            f"{ruler_m:g} m is not the length of a hand: measure from the wrist crease to the tip of the "
            f"middle finger, in metres ({shortest:g} to {longest:g})"
        )
    return HandLength(ruler_m, RULER_SIGMA_M, 1, 1)


def _at_distance(
    images: list[Path],
    cameras: Path | None,
    hfov: float | None,
    distance_m: float,
    distance_sigma_m: float,
    estimator: HandDepthEstimator,
) -> HandLength:
    """Measure on images that each show one hand at the distance; report and skip the others."""
    from hand_depth_ros.calibration.lengths import REFERENCE_LENGTH_M, combine, measure_frame
    from hand_depth_ros.geometry.camera import Camera
    from hand_depth_ros.infer.images import jobs_from_list, jobs_from_paths, read_image

    if cameras is not None:
        jobs, errors = jobs_from_list(cameras, images)
    else:
        assert hfov is not None
        angle = hfov
        jobs, errors = jobs_from_paths(images, lambda width, height: Camera.from_hfov(width, height, angle))
    measurements: list[LengthMeasurement] = []
    readable = 0
    for number, job in enumerate(jobs):
        try:
            rgb, camera = read_image(job)
            rois: Any = None if job.roi is None else [job.roi]
            frame = estimator.estimate(rgb, camera, rois=rois, hand_length_m=REFERENCE_LENGTH_M, track=False)
        except (HandDepthError, OSError) as error:
            errors.append(f"{job.path}: {error}")
            continue
        readable += 1
        if len(frame.hands) != 1:
            errors.append(
                f"{job.path}: {counted(len(frame.hands), 'hand')} seen; show exactly one, at the distance"
            )
            continue
        measurements += measure_frame(frame, distance_m, 10.0 * number)
    for line in errors:
        print(f"hand-depth: skipped: {line}", file=sys.stderr)
    if not readable:
        raise CalibrationError("none of the images could be read, for the reasons above")
    return combine(measurements, distance_sigma_m / distance_m)
