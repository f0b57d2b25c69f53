"""The node's estimator: on the GPU while that works, else on the CPU. No rclpy here.

It falls back only with `device` auto: a GPU that runs out of memory, or is gone, then costs no
frame and is logged as an error. A new estimator is made on the CPU, and the GPU is tried again now
and then. A device given by name is never replaced: its failure is an error, frame by frame, until
it works again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hand_depth_ros.errors import DeviceError
from hand_depth_ros.estimation.device import device_failure, free_device_memory
from hand_depth_ros.estimation.result import HandDepthFrame
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.parameters import Value, estimator_settings

EstimatorFactory = Callable[[Mapping[str, Value]], Any]
RETRY_S = 30.0
"""Time between two attempts to return to the GPU."""
_USUAL_FRAME = Camera.from_hfov(640, 480, 60.0)


class FallbackEstimator:
    """An estimator that survives its GPU. Not thread-safe, like the estimator inside.

    Args:
        factory: Makes an estimator from parameter values; called again with another `device` when
            one fails.
        values: All parameters.
        log: Takes a line for the log: a device has failed, or is back.

    Raises:
        WeightsError: The factory's, when there is nothing to fall back on.
        DeviceError: Likewise.
    """

    def __init__(
        self, factory: EstimatorFactory, values: Mapping[str, Value], log: Callable[[str], None]
    ) -> None:
        self._factory, self._values, self._log = factory, dict(values), log
        self.fallback = ""
        """Why the CPU is used although a GPU is there, or ""."""
        self._retry_at = 0.0
        self._estimator: Any = None
        self._guarded(self._make)

    @property
    def device(self) -> str:
        """The device in use."""
        return str(self._estimator.device)

    def warm_up(self) -> None:
        """Run on an empty frame of the usual size, so that the first real one is not slow."""
        self._guarded(lambda: self._estimator.warm_up(_USUAL_FRAME))

    def estimate(self, rgb: np.ndarray, camera: Camera) -> HandDepthFrame:
        """Estimate one frame, as `HandDepthEstimator.estimate` does."""
        if self.fallback and time.monotonic() >= self._retry_at:
            self._try_to_return()
        return self._guarded(lambda: self._estimator.estimate(rgb, camera))

    def configure(self, values: Mapping[str, Value]) -> None:
        """Apply the parameter values that have changed, all or nothing.

        Raises:
            ValueError: A value cannot be used.
        """
        old, new = estimator_settings(self._values), estimator_settings(values)
        self._estimator.configure(**{name: new[name] for name in new if new[name] != old[name]})
        self._values = dict(values)

    def reset(self) -> None:
        """Drop all tracks."""
        self._estimator.reset()

    def recalibrate(self) -> int:
        """Discard the estimated lengths of tracked hands; return how many hands there are."""
        return self._estimator.recalibrate()

    def close(self) -> None:
        """Free memory, including the device's."""
        estimator, self._estimator = self._estimator, None
        if estimator is not None:
            estimator.close()

    def _make(self) -> None:
        if self._estimator is None:
            self._estimator = self._factory(self._values)

    def _guarded(self, act: Callable[[], Any]) -> Any:
        """Return what `act` returns; if the device fails in it, what it returns on the CPU."""
        try:
            return act()
        except Exception as error:
            reason = device_failure(error)
            if not reason or self.fallback:
                raise
            if self._values["device"] != "auto":
                raise DeviceError(
                    f"{reason}: device is {self._values['device']}, so the CPU does not take over "
                    "(with auto it would)"
                ) from error
        self._fall_back(reason)  # not in the except clause: the error's frames hold the device's memory
        return act()

    def _fall_back(self, reason: str) -> None:
        """Replace the estimator whose device has failed by one on the CPU."""
        estimator = self._factory({**self._values, "device": "cpu"})
        estimator.warm_up(_USUAL_FRAME)
        failed, self._estimator, self.fallback = self._estimator, estimator, reason
        self._retry_at = time.monotonic() + RETRY_S
        self._log(
            f"the GPU has failed, continuing on the CPU, slower: {reason}; "
            f"it is tried again every {RETRY_S:.0f} s"
        )
        self._free(failed)

    def _try_to_return(self) -> None:
        """Make and try a second estimator on the GPU; use it if it works."""
        estimator, reason = None, ""
        try:
            estimator = self._factory(self._values)
            estimator.warm_up(_USUAL_FRAME)
            if str(estimator.device) == "cpu":
                reason = "PyTorch sees none"
        except Exception as error:  # the CPU still serves
            reason = device_failure(error) or f"{type(error).__name__}: {error}"
        self._retry_at = time.monotonic() + RETRY_S
        if reason:
            self._log(f"the GPU still does not work, continuing on the CPU: {reason}")
            self._free(estimator)
            return
        self._estimator.close()
        self._estimator, self.fallback = estimator, ""
        self._log(f"back on the GPU: {self.device}")

    def _free(self, estimator: Any) -> None:
        """Free an estimator whose device has failed, if the device can still free memory."""
        try:
            if estimator is not None:
                estimator.close()
            free_device_memory()
        except RuntimeError as error:
            self._log(f"the GPU's memory could not be freed: {error}")
