"""``hand-depth calibrate``: the hand length of a person and its uncertainty, and where to put it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import CalibrationError, HandDepthError, counted

if TYPE_CHECKING:
    from hand_depth_ros.calibration.lengths import HandLength, Look
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

RULER_SIGMA_M = 0.003
"""How well a ruler from crease to fingertip is read, the crease being a few millimetres wide."""

DEPTH_SIGMA = 0.01
"""How wrong the scale of a depth camera may be, relative."""


def calibrate(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures of one hand at --distance-m, or folders of them.", show_default=False),
    ] = None,
    distance_m: Annotated[
        float | None,
        typer.Option(
            help="Metres from the lens to the middle of the hand, along the optical axis.", show_default=False
        ),
    ] = None,
    distance_sigma_m: Annotated[float, typer.Option(min=0.0, help="How sure that is, metres.")] = 0.01,
    hfov: Annotated[float | None, typer.Option(help="Horizontal field of view, degrees.")] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="cameras.jsonl: the cameras of the pictures, see infer.")
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
            help="A folder as `hand-depth synth` writes, of one person: calibrated on its first half, depth errors before "
            "and after on the second.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The same with the bundled clip.")] = False,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Measure one person's hand length: worth centimetres of absolute depth.

    In one of three ways: pictures with the hand at a known distance (IMAGES --distance-m 0.4 --hfov 69); a ruler
    (--ruler-m 0.187); a bag of a camera that also measures depth (--bag BAG --image TOPIC --depth TOPIC). Prints the
    length, its uncertainty (one standard deviation), and the lines that set it. --demo shows what it is worth.
    """
    ways = {"IMAGES": bool(images), "--ruler-m": ruler_m is not None, "--bag": bag is not None}
    ways["--dataset or --demo"] = dataset is not None or demo
    if sum(ways.values()) != 1 or (dataset is not None and demo):
        raise typer.BadParameter(f"choose one way: {', '.join(ways)}")
    if not images and (hfov is not None or cameras is not None or distance_m is not None):
        raise typer.BadParameter("--distance-m, --hfov and --cameras are for IMAGES alone")
    if ruler_m is not None:
        tell(_measured_by_ruler(ruler_m))
        return
    if images and (distance_m is None or (hfov is None) == (cameras is None)):
        raise typer.BadParameter("pictures need --distance-m and their camera: --hfov or --cameras, not both")
    if distance_m is not None and not 0.1 <= distance_m <= 2.0:
        raise typer.BadParameter(f"--distance-m is {distance_m:g}: 0.1 to 2 metres are possible")
    options.validate_hfov(hfov)
    estimator = options.load_estimator(weights, device, options.checked(num_threads=threads))
    try:
        if demo or dataset is not None:
            from hand_depth_ros.calibration.before_after import before_and_after
            from hand_depth_ros.demo.cli import CLIP

            before_and_after(dataset or CLIP, estimator)
        elif bag is not None:
            from hand_depth_ros.calibration.from_bag import looks_in_bag
            from hand_depth_ros.calibration.lengths import combine

            tell(combine(looks_in_bag(bag, image, depth, camera_info, estimator), DEPTH_SIGMA))
        else:
            assert images is not None and distance_m is not None
            tell(_at_distance(images, cameras, hfov, distance_m, distance_sigma_m, estimator))
    finally:
        estimator.close()


def tell(found: HandLength) -> None:
    """Print the length and where to put it."""
    length = f"{found.length_m:.3f}"
    print(
        f"hand_length_m: {length} +- {found.sigma_m:.3f} m (one standard deviation, "
        f"{100 * found.sigma_m / found.length_m:.1f} %), from {counted(found.looks, 'look')} at "
        f"{counted(found.moments, 'moment')}\n"
        f"in config/hand_depth.yaml:   hand_length_m: {length}\n"
        f"or for the running node:     ros2 param set /hand_depth hand_length_m {length}\n"
        f"or for one command:          --hand-length-m {length}"
    )
    if found.sigma_m > 0.04 * found.length_m:
        print(
            "hand-depth: this is hardly better than the guess from the picture (about 6 %): take more pictures of the "
            "flat hand in different places, or use a ruler",
            file=sys.stderr,
        )


def _measured_by_ruler(ruler_m: float) -> HandLength:
    from hand_depth_ros.calibration.lengths import HandLength

    shortest, longest = options.hand_length_range_m()
    if not shortest <= ruler_m <= longest:
        raise CalibrationError(
            f"{ruler_m:g} m is no length of a hand: measure from the wrist crease to the tip of the middle finger, in metres "
            f"({shortest:g} to {longest:g})"
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
    """From pictures that each show one hand at the distance; those that don't are told and left out."""
    from hand_depth_ros.calibration.lengths import REFERENCE_LENGTH_M, combine, looks_at
    from hand_depth_ros.geometry.camera import Camera
    from hand_depth_ros.infer.images import jobs_of_list, jobs_of_paths, read_image

    if cameras is not None:
        jobs, errors = jobs_of_list(cameras, images)
    else:
        assert hfov is not None
        angle = hfov
        jobs, errors = jobs_of_paths(images, lambda width, height: Camera.from_hfov(width, height, angle))
    looks: list[Look] = []
    seen = 0
    for number, job in enumerate(jobs):
        try:
            rgb, camera = read_image(job)
            rois: Any = None if job.roi is None else [job.roi]
            frame = estimator.estimate(rgb, camera, rois=rois, hand_length_m=REFERENCE_LENGTH_M, track=False)
        except (HandDepthError, OSError) as error:
            errors.append(f"{job.path}: {error}")
            continue
        seen += 1
        if len(frame.hands) != 1:
            errors.append(
                f"{job.path}: {counted(len(frame.hands), 'hand')} seen, one at the distance is needed"
            )
            continue
        looks += looks_at(frame, distance_m, 10.0 * number)
    for line in errors:
        print(f"hand-depth: left out: {line}", file=sys.stderr)
    if not seen:
        raise CalibrationError("none of the pictures could be read, for the reasons above")
    return combine(looks, distance_sigma_m / distance_m)
