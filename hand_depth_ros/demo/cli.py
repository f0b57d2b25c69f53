"""The `hand-depth demo` command: start the node, play the clip, write images and a report."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import DatasetError, HandDepthError
from hand_depth_ros.ros.node.runtime import prepare_ros
from hand_depth_ros.ros.package_files import hand_depth_command

if TYPE_CHECKING:
    import numpy as np

    from hand_depth_ros.demo.player import Sent
    from hand_depth_ros.evaluation.readers import Sample

CLIP = Path(__file__).resolve().parent / "clip"
MIN_SECONDS = 6.0
IMAGES = 6


def demo(
    out: Annotated[Path, typer.Option(help="Folder for images and report.")] = Path("demo_out"),
    clip: Annotated[
        Path, typer.Option(help="A folder of frames, as `hand-depth synth` writes it.", show_default=False)
    ] = CLIP,
    fps: Annotated[float, typer.Option(min=1.0, help="Frames per second to play.")] = 30.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Folder of weights.", show_default=False)] = None,
) -> None:
    """Play a rendered clip through the real node, over DDS, and measure what comes out.

    The node runs in its own process, on a ROS domain of its own that stays on this machine. No
    camera and no ROS installation needed. Writes images (colour | depth | sigma | cloud from the
    side), report.md and report.json.
    """
    from rich.console import Console
    from rich.table import Table

    from hand_depth_ros.demo import report
    from hand_depth_ros.demo.node_process import REAL_NODE

    options.validate_folder("--out", out)
    ros_args = ["-p", f"device:={device}"]
    if weights is not None:
        ros_args += ["-p", f"weights:={weights.resolve()}"]
    numbers = run(clip, out, fps, REAL_NODE, ros_args)
    rows = Table("measured", "", title="hand-depth demo")
    for row in report.table(numbers):
        rows.add_row(*row)
    console = Console()
    console.print(rows)
    console.print(f"images and report: {out / 'report.md'}", soft_wrap=True)


def run(
    clip: Path, out: Path, fps: float, command: Sequence[str], ros_args: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the whole demo; return what was measured.

    Args:
        clip: A folder set of frames with depth, see `evaluation.readers`.
        out: Where the files go; files of the same names are replaced.
        fps: Frames per second to publish.
        command: Starts the node; `--ros-args` and the arguments are appended.
        ros_args: More of them.

    Raises:
        HandDepthError: There is no ROS or no clip, or the node does not answer (with the end of its
            log).
    """
    from rich.console import Console
    from rich.progress import Progress

    from hand_depth_ros.demo import report
    from hand_depth_ros.demo.node_process import NodeProcess, dds_environment

    frames = load_clip(clip)
    os.environ.update(dds_environment())
    prepare_ros()
    from hand_depth_ros.demo import player as ros

    out.mkdir(parents=True, exist_ok=True)
    passes = max(1, math.ceil(MIN_SECONDS * fps / len(frames)))
    console = Console(stderr=True)
    remaps = ["-r", f"image:={ros.IMAGE}", "-r", f"camera_info:={ros.INFO}"]
    with NodeProcess(out / "node.log", [*remaps, *ros_args], command) as node, ros.Player(frames) as player:
        with console.status("starting the node"):
            ready_s = player.wait_until_ready(node.check)
        if ready_s is None:
            raise HandDepthError(f"no depth came within {ros.READY_TIMEOUT_S:.0f} s: {node.log_tail()}")
        with Progress(console=console) as progress:
            task = progress.add_task("playing", total=passes * len(frames))
            played = player.play(fps, passes, node.check, lambda: progress.advance(task))
        resident_mb = node.resident_mb()

    numbers = {
        **report.measure(frames, played, fps),
        "ready_s": ready_s,
        "resident_mb": resident_mb,
        "image": f"{frames[0].rgb.shape[1]}x{frames[0].rgb.shape[0]}",
        "cpu_cores": os.cpu_count(),
    }
    if not numbers["frames_out"]:
        raise HandDepthError(f"none of {len(played)} frames came back: {node.log_tail()}")
    images = write_images(out, frames, played)
    setting = (
        f"{len(frames)} rendered frames of {numbers['image']}, played {passes} times at {fps:g} fps through "
        f"the node in its own process over DDS; {platform.machine()}, {os.cpu_count()} CPU cores, "
        f"Python {platform.python_version()}."
    )
    report.write(out, numbers, images, setting)
    return numbers


def load_clip(clip: Path) -> list[Sample]:
    """Read the frames with their true depth."""
    from hand_depth_ros.evaluation.readers import open_dataset

    if not clip.is_dir():
        raise DatasetError(f"{clip}: no such clip: give --clip a folder with cameras.jsonl, rgb and depth")
    if missing := [name for name in ("cameras.jsonl", "rgb", "depth") if not (clip / name).exists()]:
        raise DatasetError(
            f"{clip}: no clip, it has no {' and no '.join(missing)}: render one with  "
            f"{hand_depth_command()} synth --kind clip,  or give images without known depth to  "
            f"{hand_depth_command()} infer"
        )
    return list(open_dataset(clip, split=None))


def write_images(out: Path, frames: Sequence[Sample], played: Sequence[Sent]) -> list[str]:
    """Write demo_0.png, ... of frames spread over the clip; return their names."""
    import numpy as np

    from hand_depth_ros.demo.panel import panel
    from hand_depth_ros.demo.player import OUTPUTS, to_pixels, to_points
    from hand_depth_ros.infer.images import write_pngs
    from hand_depth_ros.ros.messages import topics

    complete = {sent.index: sent for sent in played if len(sent.outputs) == len(OUTPUTS)}
    indices = sorted(complete)
    names = []
    for number, position in enumerate(
        np.linspace(0, len(indices) - 1, min(IMAGES, len(indices))).astype(int)
    ):
        sent = complete[indices[position]]
        frame = frames[sent.index]
        millimetres = to_pixels(sent.outputs[topics.DEPTH_MM])
        image = panel(
            frame.rgb,
            np.where(millimetres > 0, millimetres * 1e-3, np.nan),
            to_pixels(sent.outputs[topics.SIGMA]),
            *to_points(sent.outputs[topics.POINTS]),
            _true_points(frame),
        )
        names.append(f"demo_{number}.png")
        write_pngs({out / names[-1]: image[..., ::-1]})
    return names


def _true_points(frame: Sample) -> np.ndarray:
    """Return the true hand surface, (N, 3) metres in the optical frame."""
    import numpy as np

    rays = np.asarray(frame.camera.rays())
    parts = [np.empty((0, 3), np.float32)]
    for hand in frame.hands:
        if hand.depth_m is not None:
            valid = np.isfinite(hand.depth_m) & (hand.depth_m > 0)
            parts.append(hand.depth_m[valid][:, None] * rays[valid])
    return np.concatenate(parts).astype(np.float32)
