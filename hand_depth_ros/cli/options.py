"""Command-line options that several sub-commands share, and their validation.

Options named after a parameter of the node take their help, range and default from the parameter
table, so the two cannot disagree. Imports torch only inside functions, which keeps `--help` fast.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.models import OptionInfo

from hand_depth_ros.cli.interrupt import exit_on_sigint
from hand_depth_ros.ros.parameters import BY_NAME, DEFAULTS, ParameterError, check_values, estimator_settings

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator

__all__ = ["checked", "hand_length_range_m", "load_estimator", "parameter_option"]


def parameter_option(name: str, *flags: str, default: str = "") -> OptionInfo:
    """Return the command-line option for the parameter `name`: its help, range and default.

    The function that takes the option gives it the default None ("not given"); `checked` fills in
    the parameter's own default. A bool becomes a flag that is off by default.

    Args:
        name: Name of a parameter of the node.
        flags: Names of the option; none: the name of the function's argument.
        default: What the help names as the default, where that is not the parameter's.
    """
    parameter = BY_NAME[name]
    parts = [parameter.help]
    parts += [f"Allowed: {parameter.range}."] if parameter.range else []
    default = default or ("" if isinstance(parameter.default, bool) else str(parameter.default))
    parts += [f" [default: {default}]"] if default else []
    option: OptionInfo = typer.Option(*flags, help=" ".join(parts), show_default=False)
    return option


Weights = Annotated[Path | None, parameter_option("weights", default="those shipped")]
Device = Annotated[str, parameter_option("device")]
Threads = Annotated[int | None, parameter_option("num_threads", "--threads")]
MaxHands = Annotated[int | None, parameter_option("max_hands")]
HandLength = Annotated[float | None, parameter_option("hand_length_m")]
MinRange = Annotated[float | None, parameter_option("min_range_m")]
MaxRange = Annotated[float | None, parameter_option("max_range_m")]
MaxSigma = Annotated[float | None, parameter_option("max_sigma_m")]
ImageIsRectified = Annotated[bool, parameter_option("image_is_rectified", "--image-is-rectified")]
PointsOrganized = Annotated[bool, parameter_option("points_organized", "--points-organized")]
BitDepth = Annotated[int | None, parameter_option("bit_depth")]
UntypedEncoding = Annotated[str | None, parameter_option("untyped_encoding", default="refuse them")]
FarDepth = Annotated[float | None, parameter_option("far_m", default="no background")]


def checked(**given: Any) -> dict[str, Any]:
    """Return a value for every parameter of the node: those given, the others at their defaults.

    Args:
        given: Values by parameter name; None means not given.

    Raises:
        typer.BadParameter: The node would refuse a value; the message names the option.
    """
    values = {name: value for name, value in given.items() if value is not None}
    try:
        return check_values({**DEFAULTS, **values})
    except ParameterError as error:
        raise typer.BadParameter(name_options(str(error))) from error


def name_options(message: str, parameters: Collection[str] = tuple(BY_NAME)) -> str:
    """Return a message with these parameters called by the names of their options: --max-hands."""
    names = "|".join(sorted(parameters, key=len, reverse=True))
    return re.sub(rf"\b({names})\b", lambda match: _flag(match[0]), message)


def _flag(name: str) -> str:
    return "--threads" if name == "num_threads" else "--" + name.replace("_", "-")


def hand_length_range_m() -> tuple[float, float]:
    """Return the shortest and the longest hand length, in metres, that hand_length_m takes."""
    low, high = BY_NAME["hand_length_m"].low, BY_NAME["hand_length_m"].high
    assert low is not None and high is not None
    return low, high


def validate_folder(option: str, folder: Path) -> None:
    """Raise typer.BadParameter if nothing can be written to `folder`, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise typer.BadParameter(f"{option} is {folder}, but {existing} is a file: name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise typer.BadParameter(
            f"{option} is {folder}, but {existing} cannot be written to: name another folder"
        )


def validate_hfov(hfov: float | None) -> None:
    """Raise typer.BadParameter unless `hfov` is None or an angle of view in degrees."""
    if hfov is not None and not 0.0 < hfov < 180.0:
        raise typer.BadParameter(f"--hfov is {hfov:g}: give an angle between 0 and 180 degrees")


def load_estimator(weights: Path | None, device: str, values: dict[str, Any]) -> HandDepthEstimator:
    """Return the estimator for the values of `checked`, and limit torch to their num_threads.

    Raises:
        WeightsError: The weights cannot be used.
        DeviceError: The device is missing.
    """
    with exit_on_sigint():
        from hand_depth_ros.estimation.device import use_threads
        from hand_depth_ros.estimation.estimator import HandDepthEstimator

        use_threads(values["num_threads"])
        return HandDepthEstimator.from_pretrained(
            weights=weights, device=device, **estimator_settings(values)
        )
