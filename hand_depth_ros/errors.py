"""Errors of this package, and helpers for their wording.

Each error says what was given and what to do about it. This module imports nothing of this package,
so every other module may import it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


class HandDepthError(Exception):
    """Base class of all errors that this package raises on purpose."""


class CameraError(HandDepthError, ValueError):
    """Intrinsics, distortion, roi or binning that cannot describe the image."""


class ImageError(HandDepthError, ValueError):
    """An image message or array that cannot be decoded without guessing."""


class WeightsError(HandDepthError, ValueError):
    """A weights file that is missing, truncated, or made for another network or program."""


class DeviceError(HandDepthError, ValueError):
    """A requested compute device that is not available."""


class BagError(HandDepthError, ValueError):
    """A bag that cannot be read or written."""


class DatasetError(HandDepthError, ValueError):
    """A data set whose layout differs from the documented one."""


class CalibrationError(HandDepthError, ValueError):
    """A measurement from which no hand length can be determined."""


class MissingDependencyError(HandDepthError, ImportError):
    """An optional dependency that is not installed."""

    @classmethod
    def for_extra(cls, extra: str, package: str) -> MissingDependencyError:
        """Return an error that names the missing package and the command that installs it."""
        return cls(f"{package} is not installed: run  pip install 'hand_depth_ros[{extra}]'")


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural unless the number is 1.

    >>> counted(1, "image"), counted(2, "image")
    ('1 image', '2 images')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def differences(there: Mapping[str, Any], here: Mapping[str, Any], but: Collection[str] = ()) -> str:
    """Describe where two sets of settings differ, for an error message; return "" where they agree.

    Args:
        there: The other side's settings.
        here: This side's settings.
        but: Keys to ignore.
    """
    return "; ".join(
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in {**there, **here}
        if key not in but and there.get(key) != here.get(key)
    )
