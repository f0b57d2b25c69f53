"""Metric depth of hands from one colour camera, published the way an RGBD camera does.

>>> from hand_depth_ros import Camera, HandDepthEstimator

Camera                Intrinsics and distortion of the colour camera, in pixels.
HandDepthEstimator    Estimate the depth of every hand in an image: ``estimate(rgb, camera)``.
HandDepthFrame, Hand  Result: depth and sigma in metres, instance mask, one entry a hand.
EstimatorSettings     Options of the estimator.
HandDepthError        Base of every error that is raised on purpose.

Images are RGB numpy arrays (H, W, 3). Lengths are in metres. Pixel centres lie at integer
coordinates. The camera frame is the optical frame of REP 103: x right, y down, z forward. Importing
this package imports neither torch nor ROS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hand_depth_ros.errors import HandDepthError as HandDepthError
    from hand_depth_ros.estimation.estimator import HandDepthEstimator as HandDepthEstimator
    from hand_depth_ros.estimation.result import Hand as Hand
    from hand_depth_ros.estimation.result import HandDepthFrame as HandDepthFrame
    from hand_depth_ros.estimation.settings import EstimatorSettings as EstimatorSettings
    from hand_depth_ros.geometry.camera import Camera as Camera

__version__ = "0.2.0"

_MODULES = {
    "Camera": "geometry.camera",
    "EstimatorSettings": "estimation.settings",
    "Hand": "estimation.result",
    "HandDepthError": "errors",
    "HandDepthEstimator": "estimation.estimator",
    "HandDepthFrame": "estimation.result",
}
__all__ = ["Camera", "EstimatorSettings", "Hand", "HandDepthError", "HandDepthEstimator", "HandDepthFrame"]


def __getattr__(name: str) -> Any:
    """Import a public class when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
