"""One row of the parameter table: name, type, range, default, and the check of a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hand_depth_ros.errors import HandDepthError

Value = Any  # bool, int, float or str: the type of the parameter's default


class ParameterError(HandDepthError, ValueError):
    """A parameter that is unknown, of the wrong type, out of range, or contradicts another one."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: Name of the ROS parameter.
        default: Default value; its type is the parameter's type.
        help: Description for `ros2 param describe`, `--help`, the YAML file and the documentation.
        low: Smallest allowed value, None where anything goes.
        high: Largest allowed value.
        off: Value outside the range that switches the feature off (or to automatic: see
            `off_label`).
        off_label: What `off` means.
        choices: Allowed strings, empty where anything goes.
        read_only: True: fixed at start. False: can be set while the node runs.
    """

    name: str
    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    off: float | None = None
    off_label: str = "off"
    choices: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def type(self) -> str:
        """Name of the ROS parameter type."""
        return {bool: "bool", int: "int", float: "double", str: "string"}[type(self.default)]

    @property
    def range(self) -> str:
        """Return the allowed values in words, "" where anything goes."""
        if self.choices:
            return ", ".join(choice or '""' for choice in self.choices)
        if self.low is None:
            return ""
        return f"{self.low:g} to {self.high:g}" + (
            "" if self.off is None else f", or {self.off:g} = {self.off_label}"
        )

    def check(self, value: Any) -> Value:
        """Return `value` as this parameter's type; a double also takes a whole number.

        Raises:
            ParameterError: The value has the wrong type or is not allowed.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            allowed = f", {self.range}" if self.range else ""
            article = "an" if self.type == "int" else "a"
            raise ParameterError(f"{self.name} is {value!r}: {article} {self.type} is needed{allowed}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name} is {value!r}: it must be one of {self.range}")
        in_range = self.low is None or self.high is None or self.low <= value <= self.high  # false for NaN
        if not in_range and value != self.off:
            raise ParameterError(f"{self.name} is {value}: it must be {self.range}")
        return value
