"""The `hand-depth` command: a table of sub-commands, each imported only when it is called.

Imports nothing heavy: `hand-depth --help` answers without torch, OpenCV or ROS. Exit codes: 0 ok,
1 failed, 2 wrong usage, 130 after Ctrl-C. Errors that the package raises on purpose are printed as
one line on stderr.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from hand_depth_ros import __version__
from hand_depth_ros.cli import interrupt
from hand_depth_ros.errors import HandDepthError, MissingDependencyError

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


@dataclass(frozen=True)
class SubCommand:
    """Module and function of a sub-command, and its line in `hand-depth --help`."""

    module: str
    function: str
    summary: str


COMMANDS: dict[str, SubCommand] = {
    "infer": SubCommand("hand_depth_ros.infer.cli", "infer", "Estimate the depth of hands in image files."),
    "bag": SubCommand("hand_depth_ros.bag.cli", "bag", "Add depth topics to a recorded bag (no ROS needed)."),
    "node": SubCommand(
        "hand_depth_ros.cli.main", "node", "Run the ROS 2 node; takes --ros-args like ros2 run."
    ),
    "doctor": SubCommand(
        "hand_depth_ros.doctor.cli", "doctor", "Find what keeps a running node or its consumers from working."
    ),
    "demo": SubCommand(
        "hand_depth_ros.demo.cli", "demo", "Play a clip through the real node; write images and a report."
    ),
    "calibrate": SubCommand(
        "hand_depth_ros.calibration.cli", "calibrate", "Measure one person's hand length for the parameter."
    ),
    "evaluate": SubCommand(
        "hand_depth_ros.evaluation.cli", "evaluate", "Measure accuracy on a data set with known depth."
    ),
    "synth": SubCommand(
        "hand_depth_ros.synthesis.cli", "synth", "Render a data set with exact depth and masks."
    ),
    "train": SubCommand("hand_depth_ros.training.cli", "train", "Train the detector and the depth network."),
    "archive": SubCommand(
        "hand_depth_ros.training.cli", "archive", "Archive a training set for transfer to another machine."
    ),
}

RENAMED_COMMANDS = {"pack": "archive"}
"""Earlier names of sub-commands, with their names now."""

EXTRAS: dict[str, str] = {
    "anny": "synth",
    "bpy": "synth",
    "diagnostic_msgs": "ros",
    "lightning": "train",
    "matplotlib": "view",
    "rclpy": "ros",
    "rosbags": "bag",
    "scipy": "synth",
    "sensor_msgs": "ros",
}
"""Optional modules, with the extra of this package that installs each."""


def node(
    context: typer.Context,
    preset: Annotated[
        str | None,
        typer.Option(help="Publish as this driver does: realsense, orbbec, azure_kinect, openni or depthai."),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(help="With --preset, the camera's name.  [default: the driver's]", show_default=False),
    ] = None,
    image: Annotated[
        str,
        typer.Option(help="With --preset, the colour topic.  [default: the driver's]", show_default=False),
    ] = "",
    frame: Annotated[
        str,
        typer.Option(
            help="With --preset, frame id of the outputs: driver (needs tf2_ros), or image to keep the image's."
        ),
    ] = "driver",
) -> None:
    """Run the ROS 2 node, like `ros2 run hand_depth_ros hand_depth_node`.

    All other arguments after `node` are passed to ROS, for example:

    hand-depth node --ros-args -r image:=/camera/color/image_raw -p device:=cpu
    """
    from hand_depth_ros.ros.node.main import main as run_node

    arguments = list(context.args)
    if preset is not None:
        from hand_depth_ros.ros.presets import Preset

        if frame not in ("driver", "image"):
            raise typer.BadParameter(f"--frame is {frame!r}: give driver or image")
        setup = Preset.load(preset).setup(camera, image, frame == "driver")
        if setup.needs_relay:
            print(
                f"hand-depth: nothing republishes the colour image as {setup.colour}: let consumers read "
                f"{setup.image}, or start colour_relay beside this node (rgbd_camera.launch.py does)",
                file=sys.stderr,
            )
        arguments = setup.ros_arguments(*arguments)
    elif camera is not None or image or frame != "driver":
        raise typer.BadParameter("--camera, --image and --frame need --preset")
    raise typer.Exit(run_node(arguments) or 0)


class LazyCommand(typer.core.TyperCommand):
    """Placeholder for a sub-command that imports the real one when it is called."""

    def __init__(self, name: str, entry: SubCommand) -> None:
        """Take the name and the table entry of the sub-command."""
        super().__init__(name, help=entry.summary)
        self.entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the sub-command and parse its arguments."""
        with interrupt.exit_on_sigint():
            function = getattr(importlib.import_module(self.entry.module), self.entry.function)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        settings = PASS_THROUGH if self.entry.function == "node" else None
        single.command(self.name, context_settings=settings)(function)
        command = typer.main.get_command(single)
        return command.make_context(info_name, args, parent=parent, **extra)


class LazyGroup(typer.core.TyperGroup):
    """Group of the sub-commands in COMMANDS."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the placeholder of a sub-command, or None if there is no such name.

        Raises:
            UsageError: The sub-command was renamed; the message has its name now.
        """
        if cmd_name in RENAMED_COMMANDS:
            ctx.fail(f"{cmd_name} is now called {RENAMED_COMMANDS[cmd_name]}")
        return LazyCommand(cmd_name, COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; print one line on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print(interrupt.MESSAGE, file=sys.stderr)
            sys.exit(interrupt.EXIT_CODE)


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def hand_depth(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Metric depth of hands from one colour camera, published the way an RGBD camera does."""


def main() -> None:
    """Run the command; entry point of the console script through `__main__`."""
    run_cli(lambda: app(prog_name="hand-depth"))


def run_cli(run: Callable[[], object]) -> None:
    """Call `run`; print an expected error as one line and exit with code 1. For scripts, too."""
    try:
        run()
    except HandDepthError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _fail(MissingDependencyError.for_extra(EXTRAS[package], package))
    except OSError as error:  # disk or permissions, not a bug
        _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))


def _fail(error: HandDepthError | str) -> None:
    line = " ".join(str(error).split())
    print(f"hand-depth: {line}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
