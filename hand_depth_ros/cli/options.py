"""Command line options that several sub-commands share, their check, and the estimator that they describe.

Imports torch only inside the functions, so that `--help` stays fast. The ranges in the help are those of the
node's parameters; a test holds them to that table.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hand_depth_ros.cli.interrupt import exit_on_sigint

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

Weights = Annotated[
    Path | None, typer.Option(help="Folder of weights.  [default: those shipped]", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[
    int, typer.Option("--threads", help="CPU threads for the networks, 0 to 256. 0: half of the cores.")
]
MaxHands = Annotated[int, typer.Option(help="Most hands per image, 1 to 8.")]
HandLength = Annotated[
    float | None,
    typer.Option(
        help="Wrist crease to middle fingertip of the person, in metres, 0.08 to 0.3, or 0 = off.  "
        "[default: off, the network's guess]",
        show_default=False,
    ),
]
MinRange = Annotated[float, typer.Option(help="Nearer depth is invalid, metres, 0.01 to 10.")]
MaxRange = Annotated[float, typer.Option(help="Farther depth is invalid, metres, 0.05 to 20.")]
MaxSigma = Annotated[
    float | None,
    typer.Option(
        help="Pixels less sure than this are invalid, metres, 0.0001 to 1, or 0 = off.  [default: off]",
        show_default=False,
    ),
]


def checked(**given: Any) -> dict[str, Any]:
    """All parameters of the node: those given (None: not given), the others at their defaults.

    Raises:
        typer.BadParameter: What the node would refuse, said of the option.
    """
    with exit_on_sigint():
        from hand_depth_ros.ros.parameters import BY_NAME, DEFAULTS, ParameterError, check_values

    wanted = {name: value for name, value in given.items() if value is not None}
    try:
        return check_values({**DEFAULTS, **wanted})
    except ParameterError as error:
        names = "|".join(sorted(BY_NAME, key=len, reverse=True))
        said = re.sub(rf"\b({names})\b", lambda name: _option(name[0]), str(error))
        raise typer.BadParameter(said) from error


def _option(name: str) -> str:
    return "--threads" if name == "num_threads" else "--" + name.replace("_", "-")


def hand_length_range_m() -> tuple[float, float]:
    """The hand lengths (metres) that may be given, listed or measured: the range of the parameter hand_length_m."""
    from hand_depth_ros.ros.parameters import BY_NAME

    low, high = BY_NAME["hand_length_m"].low, BY_NAME["hand_length_m"].high
    assert low is not None and high is not None
    return low, high


def validate_folder(option: str, folder: Path) -> None:
    """Raises typer.BadParameter when nothing can be written to `folder`, which need not exist yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise typer.BadParameter(f"{option} is {folder}, but {there} is a file: name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise typer.BadParameter(
            f"{option} is {folder}, but {there} cannot be written to: name another folder"
        )


def validate_hfov(hfov: float | None) -> None:
    """Raises typer.BadParameter for what is no angle of view."""
    if hfov is not None and not 0.0 < hfov < 180.0:
        raise typer.BadParameter(f"--hfov is {hfov:g}: an angle between 0 and 180 degrees")


def load_estimator(weights: Path | None, device: str, values: dict[str, Any]) -> HandDepthEstimator:
    """The estimator with these values of `checked`, in as many threads as their num_threads says; raises WeightsError or
    DeviceError with the reason."""
    with exit_on_sigint():
        from hand_depth_ros.estimation.device import use_threads
        from hand_depth_ros.estimation.estimator import HandDepthEstimator
        from hand_depth_ros.ros.parameters import estimator_settings

        use_threads(values["num_threads"])
        return HandDepthEstimator.from_pretrained(
            weights=weights, device=device, **estimator_settings(values)
        )
