"""`hand-depth bag`: command-line options, and the printed summary."""

from __future__ import annotations

import re
import signal
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.cli.camera_options import CameraOptions
from hand_depth_ros.cli.interrupt import exit_on_sigint
from hand_depth_ros.errors import DatasetError, counted

if TYPE_CHECKING:
    from hand_depth_ros.bag.convert import BagSummary
    from hand_depth_ros.ros.messages.assumed_camera import AssumedCamera

NAMESPACE = re.compile(r"/?|/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*/?")


IMAGE_OPTIONS = ("bit_depth", "untyped_encoding")
"""Parameters that messages about images name; here they are options."""


class Storage(str, Enum):
    """Storage plugins that can be written."""

    sqlite3 = "sqlite3"
    mcap = "mcap"


def bag(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A rosbag2 folder, or a .db3 or .mcap file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The new bag; must not exist.")],
    image: Annotated[str, typer.Option("--image", help="Colour topic: Image or CompressedImage.")],
    camera_info: Annotated[
        str | None, typer.Option(help="Its CameraInfo topic.  [default: beside --image]", show_default=False)
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Use this camera instead of camera_info: YAML as camera_calibration writes it."),
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="The same from a cameras.jsonl, see infer, that has one camera.")
    ] = None,
    fx: Annotated[
        float | None, typer.Option(help="The same by focal length, pixels; with --fy --cx --cy.")
    ] = None,
    fy: Annotated[float | None, typer.Option(help="Focal length, pixels.")] = None,
    cx: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    cy: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    hfov: Annotated[
        float | None, typer.Option(help="The same roughly, by horizontal field of view, degrees.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Prefix for the names of the added topics.")] = "/",
    points: Annotated[bool, typer.Option("--points", help="Also add the point cloud.")] = False,
    points_organized: options.PointsOrganized = False,
    debug: Annotated[bool, typer.Option("--debug", help="Also add debug/image.")] = False,
    compressed_depth: Annotated[
        bool,
        typer.Option(
            "--compressed-depth", help="Depth and sigma as compressedDepth (PNG) instead of raw images."
        ),
    ] = False,
    image_is_rectified: options.ImageIsRectified = False,
    far_m: options.FarDepth = None,
    bit_depth: options.BitDepth = None,
    untyped_encoding: options.UntypedEncoding = None,
    storage: Annotated[
        Storage | None, typer.Option(help="Storage of OUT.  [default: as IN]", show_default=False)
    ] = None,
    zstd: Annotated[
        bool, typer.Option("--zstd", help="Compress OUT; empty depth shrinks much.  [default: as IN]")
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
    """Add the node's depth topics to a recorded bag; no ROS needed.

    For example: hand-depth bag my_bag my_bag_depth --image /camera/color/image_raw

    A bag without camera_info needs a camera: --calibration, --fx --fy --cx --cy, or --hfov.

    Every recorded message is copied unchanged. Added messages take header stamp, frame id and
    receive time from their colour message. OUT appears only when it is complete.

    A colour frame that cannot be used (broken image, no valid calibration, a stamp that jumps
    back) gets no depth; the summary counts such frames and says why. Exit code: 0 if at least one
    frame has depth, 1 if none has or the bag cannot be read or written, 2 for wrong usage.
    """
    with exit_on_sigint():
        from hand_depth_ros.bag.writer import validate_new_path

    if not NAMESPACE.fullmatch(namespace):
        raise typer.BadParameter(
            f"--namespace is {namespace!r}: give a ROS name, parts of letters, digits and _ that do not "
            "start with a digit, for example /left/hand"
        )
    values = options.checked(
        hand_length_m=hand_length_m,
        max_hands=max_hands,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
        num_threads=threads,
        points_organized=points_organized,
        image_is_rectified=image_is_rectified,
        background=None if far_m is None else "far",
        far_m=far_m,
        bit_depth=bit_depth,
        untyped_encoding=untyped_encoding,
    )
    camera_options = CameraOptions(cameras, fx, fy, cx, cy, hfov, calibration)
    camera_options.validate(required=False, with_calibration=True)
    if camera_options.given and camera_info is not None:
        raise typer.BadParameter(f"--camera-info and {camera_options.given[0]}: give one camera")
    validate_new_path(target)
    with exit_on_sigint():
        from hand_depth_ros.bag.convert import BagOptions, convert
        from hand_depth_ros.ros.parameters import decode_settings, output_settings
    bag_options = BagOptions(
        image=image,
        camera_info=camera_info,
        namespace=namespace,
        wanted=wanted_topics(points or points_organized, debug, compressed_depth),
        storage=None if storage is None else storage.value,
        zstd=zstd,
        decode=decode_settings(values),
        camera=given_camera(camera_options),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the unfinished bag is removed
    estimator = options.load_estimator(weights, device, values)
    print_summary(convert(source, target, estimator, bag_options, output_settings(values)), target)


def given_camera(camera: CameraOptions) -> AssumedCamera | None:
    """Return the camera that the options describe, or None.

    Raises:
        CameraError: The calibration file cannot be used.
        DatasetError: The list of cameras cannot be used.
    """
    from hand_depth_ros.infer.camera_list import read_camera_list
    from hand_depth_ros.ros.messages.assumed_camera import AssumedCamera
    from hand_depth_ros.ros.messages.calibration_file import fields_of_camera, read_calibration

    if not camera.given:
        return None
    (origin,) = camera.given
    if camera.calibration is not None:
        fields = read_calibration(camera.calibration)
        return AssumedCamera(origin, lambda width, height: fields)
    if camera.cameras is not None:
        listed = read_camera_list(camera.cameras)
        if listed.errors:
            raise DatasetError(listed.errors[0])
        known = {one.camera for one in listed.images}
        if len(known) != 1:
            raise DatasetError(
                f"{camera.cameras}: it lists {len(known)} cameras, a bag has one: give a list of one camera, "
                "or --calibration"
            )
        fields = fields_of_camera(known.pop())
        return AssumedCamera(origin, lambda width, height: fields)
    return AssumedCamera(origin, lambda width, height: fields_of_camera(camera.for_size(width, height)))


def wanted_topics(points: bool, debug: bool, compressed_depth: bool) -> frozenset[str]:
    """Return the names of the output topics to add: raw depth or compressedDepth, never both."""
    from hand_depth_ros.ros.messages import topics

    unwanted = {topics.POINTS: not points, topics.DEBUG: not debug}
    for name in topics.COMPRESSED:
        unwanted[name] = not compressed_depth
        unwanted[name.removesuffix(topics.COMPRESSED_DEPTH)] = compressed_depth
    return frozenset(topic.name for topic in topics.OUTPUT_TOPICS if not unwanted.get(topic.name))


def print_summary(summary: BagSummary, target: Path) -> None:
    """Print how many frames have depth, why the others have none, and the notes."""
    for note in summary.notes:
        print(f"hand-depth: {note}", file=sys.stderr)
    skipped = sum(summary.skipped.values())
    print(
        f"{counted(summary.frames, 'frame')} with depth added to {target}, {summary.with_hands} of them "
        f"with the depth of a hand; {counted(skipped, 'colour frame')} left without depth"
    )
    for reason, count in summary.skipped.items():
        text = options.name_options(reason, IMAGE_OPTIONS)
        print(f"hand-depth: {counted(count, 'frame')} without depth: {text}", file=sys.stderr)
    for notice, count in summary.notices.items():
        text = options.name_options(notice, IMAGE_OPTIONS)
        print(f"hand-depth: {counted(count, 'frame')}: {text}", file=sys.stderr)
