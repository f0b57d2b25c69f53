"""Errors of this package: each says what was given and what to do about it.

Anyone may import this module; it imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


class HandDepthError(Exception):
    """Base of every error that this package raises on purpose."""


class CameraError(HandDepthError, ValueError):
    """Intrinsics, distortion, roi or binning that cannot describe the image."""


class ImageError(HandDepthError, ValueError):
    """An image (message or array) that cannot be decoded without guessing."""


class WeightsError(HandDepthError, ValueError):
    """A weights file that is missing, truncated, foreign or made for another network."""


class DeviceError(HandDepthError, ValueError):
    """A compute device that was asked for and is not there."""


class BagError(HandDepthError, ValueError):
    """A bag that cannot be read or written."""


class DatasetError(HandDepthError, ValueError):
    """A data set folder that is not laid out as documented."""


class CalibrationError(HandDepthError, ValueError):
    """A measurement of the hand from which its length cannot be told."""


class MissingDependencyError(HandDepthError, ImportError):
    """An optional stack that is not installed."""

    @classmethod
    def for_extra(cls, extra: str, package: str) -> MissingDependencyError:
        """Name the package that is missing and the command that installs it."""
        return cls(f"{package} is not installed: run  pip install 'hand_depth_ros[{extra}]'")


def differences(there: Mapping[str, Any], here: Mapping[str, Any], but: Collection[str] = ()) -> str:
    """What two sets of settings disagree on, leaving out the keys ``but``, for a message; "" where they don't."""
    return "; ".join(
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in {**there, **here}
        if key not in but and there.get(key) != here.get(key)
    )
