"""Options that describe a camera: --cameras, --calibration, --fx --fy --cx --cy, --hfov."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import CameraError

if TYPE_CHECKING:
    from hand_depth_ros.geometry.camera import Camera


@dataclass(frozen=True)
class CameraOptions:
    """Values of the options, None where not given: pixels; `hfov` in degrees."""

    cameras: Path | None = None
    fx: float | None = None
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None
    hfov: float | None = None
    calibration: Path | None = None

    @property
    def intrinsics(self) -> dict[str, float | None]:
        """Values of --fx, --fy, --cx and --cy by option."""
        return {"--fx": self.fx, "--fy": self.fy, "--cx": self.cx, "--cy": self.cy}

    @property
    def given(self) -> list[str]:
        """The ways in which the camera is described; "" for none."""
        ways = [f"--{name} {value}" for name in ("cameras", "calibration") if (value := getattr(self, name))]
        if any(value is not None for value in self.intrinsics.values()):
            ways.append("--fx --fy --cx --cy")
        if self.hfov is not None:
            ways.append(f"--hfov {self.hfov:g}")
        return ways

    def validate(self, required: bool, with_calibration: bool = False) -> None:
        """Raise typer.BadParameter if the camera is described twice or impossibly.

        Args:
            required: Whether a description is needed.
            with_calibration: Whether the command has --calibration.
        """
        if len(self.given) > 1 or (required and not self.given):
            calibration = ", or --calibration FILE" if with_calibration else ""
            raise typer.BadParameter(
                f"describe the camera in one way: --cameras FILE{calibration}, or --fx --fy --cx --cy, "
                "or --hfov DEGREES"
            )
        missing = [name for name, value in self.intrinsics.items() if value is None]
        if 0 < len(missing) < 4:
            raise typer.BadParameter(
                f"{' '.join(missing)} missing: give all of --fx --fy --cx --cy, in pixels"
            )
        for name, value in self.intrinsics.items():
            if value is not None and not (math.isfinite(value) and (value > 0 or name in ("--cx", "--cy"))):
                raise typer.BadParameter(
                    f"{name} is {value:g}: give a number of pixels; a focal length is above 0"
                )
        options.validate_hfov(self.hfov)

    def for_size(self, width: int, height: int) -> Camera:
        """Return the camera of --calibration, --hfov or --fx --fy --cx --cy for an image size.

        Raises:
            CameraError: The calibration cannot be used, or is for another size.
        """
        from hand_depth_ros.geometry.camera import Camera

        if self.calibration is not None:
            return _calibrated(self.calibration, width, height)
        if self.hfov is not None:
            return Camera.from_hfov(width, height, self.hfov)
        assert self.fx is not None and self.fy is not None and self.cx is not None and self.cy is not None
        return Camera(width=width, height=height, fx=self.fx, fy=self.fy, cx=self.cx, cy=self.cy)


@lru_cache(maxsize=8)
def _calibrated(file: Path, width: int, height: int) -> Camera:
    """Return the camera of a calibration file, which must be for this size."""
    from hand_depth_ros.geometry.camera import Camera
    from hand_depth_ros.ros.messages.calibration_file import read_calibration

    fields = read_calibration(file)
    if (fields["width"], fields["height"]) != (width, height):
        raise CameraError(
            f"{file} is for {fields['width']}x{fields['height']} but the image is {width}x{height} as stored: "
            "calibrate at this size"
        )
    k = fields["k"]
    return Camera(width, height, k[0], k[4], k[2], k[5], fields["distortion_model"], tuple(fields["d"]))
