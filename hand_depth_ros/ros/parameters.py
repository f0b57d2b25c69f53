"""The node's parameters, in one table. No rclpy here.

Declaration, range checks, `config/hand_depth.yaml` and the README's table all come from it; a test holds the
files to it. To print them:  python -m hand_depth_ros.ros.parameters yaml|markdown
"""

from __future__ import annotations

import difflib
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hand_depth_ros.errors import HandDepthError
from hand_depth_ros.estimation.settings import EstimatorSettings
from hand_depth_ros.ros.messages.pipeline import OutputSettings

Value = Any  # bool, int, float or str, as the parameter's default is


class ParameterError(HandDepthError, ValueError):
    """A parameter of the wrong type, out of range, or that contradicts another one."""


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is its default's. `low` and `high` are inclusive; `off` is a value outside them
    that switches the feature off."""

    name: str
    default: Value
    text: str
    low: float | None = None
    high: float | None = None
    off: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def type(self) -> str:
        return {bool: "bool", int: "int", float: "double", str: "string"}[type(self.default)]

    @property
    def range(self) -> str:
        """The allowed values in words, empty where anything goes."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None:
            return ""
        return f"{self.low:g} to {self.high:g}" + ("" if self.off is None else f", or {self.off:g} = off")

    def check(self, value: Any) -> Value:
        """`value` as this parameter's type; a whole number will do for a double. Raises ParameterError."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            allowed = f", {self.range}" if self.range else ""
            article = "an" if self.type == "int" else "a"
            raise ParameterError(f"{self.name} is {value!r}: {article} {self.type} is needed{allowed}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name} is {value!r}: it must be one of {', '.join(self.choices)}")
        in_range = self.low is None or self.high is None or self.low <= value <= self.high  # false for NaN
        if not in_range and value != self.off:
            raise ParameterError(f"{self.name} is {value}: it must be {self.range}")
        return value


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "autostart",
        True,
        "True: the node configures and activates itself, and ends with the reason if it can't. False: it waits to be "
        "told, as managed nodes do (ros2 lifecycle set /hand_depth configure, then activate).",
        read_only=True,
    ),
    Parameter(
        "weights",
        "",
        "Folder of the networks' weights (safetensors). Empty: the weights that come with the package.",
        read_only=True,
    ),
    Parameter(
        "device",
        "auto",
        "Where the networks run: cpu, cuda, cuda:1, ... A device asked for by name that isn't there is "
        "an error; auto takes the GPU where there is one, else the CPU.",
        read_only=True,
    ),
    Parameter(
        "num_threads",
        0,
        "CPU threads for the networks. 0: half of the cores, so that camera and DDS have the others.",
        low=0,
        high=256,
        read_only=True,
    ),
    Parameter(
        "image_transport",
        "raw",
        "How the colour image comes in: raw (sensor_msgs/Image on the topic image) or compressed "
        "(sensor_msgs/CompressedImage, jpeg or png, on image/compressed).",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    Parameter(
        "image_is_rectified",
        False,
        "True for image_rect and image_rect_color: camera_info's P counts then, and there is no distortion. "
        "False for image_raw: K and the distortion count.",
    ),
    Parameter(
        "max_hands",
        2,
        "Hands that are measured at most, the surest first. Time grows with each.",
        low=1,
        high=8,
    ),
    Parameter(
        "hand_length_m",
        0.0,
        "Length of the user's hand in metres, wrist crease to middle fingertip: worth centimetres of "
        "absolute depth. 0: estimated from the image.",
        low=0.08,
        high=0.30,
        off=0.0,
    ),
    Parameter("min_range_m", 0.1, "Depth nearer than this is made invalid, in metres.", low=0.01, high=10.0),
    Parameter("max_range_m", 2.0, "Depth farther than this is made invalid, in metres.", low=0.05, high=20.0),
    Parameter(
        "max_sigma_m",
        0.0,
        "Pixels less sure than this (one standard deviation, metres) are made invalid. 0: all are kept.",
        low=0.0001,
        high=1.0,
        off=0.0,
    ),
    Parameter(
        "detection_interval",
        5,
        "Look for new hands in the whole image every this many frames; known hands are followed in between.",
        low=1,
        high=1000,
    ),
    Parameter(
        "detection_threshold",
        0.15,
        "How sure the search must be of a hand before it is looked at closely. Higher: fewer false hands.",
        low=0.01,
        high=1.0,
    ),
    Parameter(
        "mask_threshold",
        0.5,
        "Probability from which a pixel counts as hand. Higher: tighter outlines.",
        low=0.5,
        high=0.99,
    ),
    Parameter(
        "background",
        "invalid",
        "What the depth images say where there is no hand: invalid (0 or NaN, as RGBD cameras do), or far "
        "(far_m, for consumers that take holes for near things). Sigma, mask and points are not touched.",
        choices=("invalid", "far"),
    ),
    Parameter(
        "far_m",
        4.0,
        "Depth of the background in metres when background is far; beyond max_range_m.",
        low=0.1,
        high=65.0,
    ),
    Parameter(
        "points_organized",
        False,
        "True: the point cloud has one point a pixel, NaN where there is no hand. False: hand points only.",
    ),
    Parameter(
        "depth_frame_id",
        "",
        "Frame of the outputs. Empty: the colour image's own frame_id. Otherwise this name, and a static "
        "identity transform from the colour optical frame to it is broadcast (needs tf2_ros).",
        read_only=True,
    ),
)
BY_NAME: dict[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}
DEFAULTS: dict[str, Value] = {parameter.name: parameter.default for parameter in PARAMETERS}

QOS_OVERRIDES = "qos_overrides."
QOS_VALUES: dict[str, tuple[str, ...]] = {
    "history": ("keep_last", "keep_all", "system_default"),
    "depth": (),
    "reliability": ("reliable", "best_effort", "best_available", "system_default"),
    "durability": ("volatile", "transient_local", "best_available", "system_default"),
}

ESTIMATOR_NAMES = tuple(field.name for field in fields(EstimatorSettings) if field.name in BY_NAME)


def check_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """A whole set of values, each of its type and in its range, none contradicting another.

    Raises:
        ParameterError: Naming the parameter and what it may be.
    """
    checked = {name: BY_NAME[name].check(value) for name, value in values.items()}
    if checked["min_range_m"] >= checked["max_range_m"]:
        raise ParameterError(
            f"min_range_m {checked['min_range_m']} must be below max_range_m {checked['max_range_m']}"
        )
    if checked["background"] == "far" and checked["far_m"] <= checked["max_range_m"]:
        raise ParameterError(
            f"far_m {checked['far_m']} must be beyond max_range_m {checked['max_range_m']}, "
            "or the background would look like a hand"
        )
    return checked


def validate_misspelt(names: Iterable[str]) -> list[str]:
    """Look through names that were set and are no parameters of the node: ROS would ignore them without a word.

    Returns:
        The names that are like none of ours (a file for several nodes may hold them).

    Raises:
        ParameterError: A name is nearly one of ours.
    """
    foreign = [name for name in names if not name.startswith(QOS_OVERRIDES)]
    for name in foreign:
        close = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.75)
        if close:
            raise ParameterError(f"unknown parameter {name!r}: did you mean {close[0]}?")
    return foreign


def check_change(name: str, value: Any, known: bool) -> None:
    """Check one parameter that is to be set at run time.

    Args:
        name: Of any parameter.
        value: As it was sent; None to delete the parameter.
        known: Whether the node has it.

    Raises:
        ParameterError: Naming the parameter, what is allowed, and what to do.
    """
    parameter = BY_NAME.get(name)
    if name.startswith(QOS_OVERRIDES) or (parameter is not None and parameter.read_only):
        raise ParameterError(f"{name} is read-only, fixed at start: start the node anew with -p {name}:=...")
    if not known:
        validate_misspelt([name])
        changeable = ", ".join(p.name for p in PARAMETERS if not p.read_only)
        raise ParameterError(
            f"unknown parameter {name!r}: those of this node that can be set are {changeable}"
        )
    if parameter is not None:
        parameter.check(value)


def check_qos_overrides(overrides: Mapping[str, Any]) -> None:
    """Check the values of `qos_overrides.TOPIC.publisher|subscription.POLICY` among parameters that were set.

    Raises:
        ParameterError: Naming the parameter and what it may be.
    """
    for name, value in overrides.items():
        if not name.startswith(QOS_OVERRIDES):
            continue
        head, _, policy = name.rpartition(".")
        if policy not in QOS_VALUES or not head.endswith((".publisher", ".subscription")):
            raise ParameterError(
                f"{name}: it must be {QOS_OVERRIDES}TOPIC.publisher.POLICY or .subscription.POLICY, "
                f"POLICY one of {', '.join(QOS_VALUES)}"
            )
        if policy == "depth":
            Parameter(name, 5, "", low=0, high=1_000_000).check(value)
        else:
            Parameter(name, "", "", choices=QOS_VALUES[policy]).check(value)


def estimator_settings(values: Mapping[str, Value]) -> dict[str, Any]:
    """The values that the estimator takes, in its terms (None for off)."""
    return {name: None if values[name] == BY_NAME[name].off else values[name] for name in ESTIMATOR_NAMES}


def output_settings(values: Mapping[str, Value]) -> OutputSettings:
    """The values that say what is made of an estimate."""
    return OutputSettings(
        background=str(values["background"]),
        far_m=float(values["far_m"]),
        points_organized=bool(values["points_organized"]),
        image_is_rectified=bool(values["image_is_rectified"]),
    )


def config_yaml() -> str:
    """`config/hand_depth.yaml`: every parameter with its default, explained."""
    lines = [
        "# Parameters of hand_depth_node at their defaults. Written from hand_depth_ros/ros/parameters.py.",
        "# Use:  ros2 run hand_depth_ros hand_depth_node --ros-args --params-file hand_depth.yaml",
        "# A parameter changes at run time (ros2 param set) unless it is marked: fixed at start.",
        "/**:",
        "  ros__parameters:",
    ]
    for parameter in PARAMETERS:
        notes = [parameter.text]
        notes += [f"Allowed: {parameter.range}."] if parameter.range else []
        notes += ["Fixed at start."] if parameter.read_only else []
        lines.append("")
        lines += [f"    # {line}" for line in textwrap.wrap(" ".join(notes), 100)]
        lines.append(f"    {parameter.name}: {_yaml(parameter.default)}")
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """The README's table."""
    rows = [
        "| parameter | type | default | allowed | at run time | what it does |",
        "|---|---|---|---|---|---|",
    ]
    for p in PARAMETERS:
        changes = "no" if p.read_only else "yes"
        rows.append(
            f"| `{p.name}` | {p.type} | `{_yaml(p.default)}` | {p.range or 'any'} | {changes} | {p.text} |"
        )
    return "\n".join(rows) + "\n"


def _yaml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    print({"yaml": config_yaml, "markdown": markdown_table}[sys.argv[1]](), end="")
