"""A GPU that fails: with `device` auto the CPU takes over until the GPU works again.

There is no GPU here: `FakeGpu` stands for one, with PyTorch's own exceptions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.fakes import FakeEstimator

from hand_depth_ros.errors import DeviceError, WeightsError
from hand_depth_ros.estimation.device import device_failure
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.node import fallback_estimator
from hand_depth_ros.ros.node.fallback_estimator import FallbackEstimator
from hand_depth_ros.ros.parameters import DEFAULTS

CAMERA = Camera.from_hfov(64, 48, 60.0)
RGB = np.zeros((48, 64, 3), np.uint8)
OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")
GONE = RuntimeError(
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"
)
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


class FakeGpu:
    """A GPU that works until it is made to fail, and everything that was made on it or instead of
    it."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.made: list[Any] = []

    def factory(self, values: Any) -> FakeEstimator:
        gpu, on_cpu = self, values["device"] == "cpu"
        if not on_cpu and gpu.failure is not None and gpu.made:
            raise gpu.failure  # no room for the weights either

        class OnDevice(FakeEstimator):
            device = "cpu" if on_cpu else "cuda"

            def warm_up(self, camera: Camera) -> None:
                super().warm_up(camera)
                self.estimate(np.zeros((camera.height, camera.width, 3), np.uint8), camera)

            def estimate(self, rgb: np.ndarray, camera: Camera, **how: Any) -> Any:
                if not on_cpu and gpu.failure is not None:
                    raise gpu.failure
                return super().estimate(rgb, camera, **how)

        gpu.made.append(OnDevice(max_hands=values["max_hands"]))
        return gpu.made[-1]


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu()


@pytest.fixture
def make(gpu: FakeGpu) -> Callable[..., tuple[FallbackEstimator, list[str]]]:
    def make(**values: Any) -> tuple[FallbackEstimator, list[str]]:
        logged: list[str] = []
        return FallbackEstimator(gpu.factory, {**DEFAULTS, **values}, logged.append), logged

    return make


@pytest.mark.parametrize("failure", [OUT_OF_MEMORY, GONE, CUBLAS], ids=["out of memory", "gone", "cuBLAS"])
def test_falls_back_to_the_cpu_without_losing_the_frame_and_logs_it(gpu, make, failure: Exception) -> None:
    estimator, logged = make()
    assert estimator.device == "cuda" and not estimator.fallback
    gpu.failure = failure
    frame = estimator.estimate(RGB, CAMERA)
    assert len(frame.hands) == 2 and estimator.device == "cpu"
    reason = str(failure).partition("\n")[0]
    (line,) = logged
    assert (
        estimator.fallback == reason
        and "the GPU has failed, continuing on the CPU" in line
        and reason in line
    )
    assert gpu.made[0].closed and gpu.made[1].warm_ups == 1
    estimator.estimate(RGB, CAMERA)
    assert len(gpu.made) == 2 and len(logged) == 1, "it is not tried at every frame"


def test_returns_to_the_gpu_when_it_works_again(gpu, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback_estimator, "RETRY_S", 0.0)
    estimator, logged = make()
    gpu.failure = OUT_OF_MEMORY
    estimator.estimate(RGB, CAMERA)
    estimator.estimate(RGB, CAMERA)
    assert (
        estimator.device == "cpu"
        and "still does not work" in logged[-1]
        and "CUDA out of memory" in logged[-1]
    )
    estimator.configure({**DEFAULTS, "max_hands": 1})
    gpu.failure = None
    assert len(estimator.estimate(RGB, CAMERA).hands) == 1, "with the parameters as they are by now"
    assert estimator.device == "cuda" and estimator.fallback == "" and logged[-1] == "back on the GPU: cuda"
    assert gpu.made[1].closed and gpu.made[-1].warm_ups == 1


def test_stays_on_the_cpu_if_pytorch_no_longer_sees_the_gpu(
    gpu, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback_estimator, "RETRY_S", 0.0)
    estimator, logged = make()
    gpu.failure = GONE
    estimator.estimate(RGB, CAMERA)
    made = gpu.factory
    monkeypatch.setattr(
        estimator, "_factory", lambda values: made({**values, "device": "cpu"})
    )  # what auto finds
    estimator.estimate(RGB, CAMERA)
    assert estimator.device == "cpu" and estimator.fallback and "PyTorch sees none" in logged[-1]
    assert gpu.made[-1].closed and not gpu.made[1].closed, "the one in use stays"


def test_stays_on_the_cpu_whatever_fails_on_the_way_back(gpu, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback_estimator, "RETRY_S", 0.0)
    estimator, logged = make()
    gpu.failure = GONE
    estimator.estimate(RGB, CAMERA)
    gpu.failure = WeightsError("the weights are gone")
    assert estimator.estimate(RGB, CAMERA).hands
    assert "WeightsError: the weights are gone" in logged[-1] and estimator.device == "cpu"


def test_frame_fails_without_a_cpu_estimator_and_the_next_one_tries_again(
    gpu, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, logged = make()

    def broken(values: Any) -> None:
        raise WeightsError("the weights are gone")

    monkeypatch.setattr(estimator, "_factory", broken)
    gpu.failure = OUT_OF_MEMORY
    with pytest.raises(WeightsError):
        estimator.estimate(RGB, CAMERA)
    gpu.failure = None
    assert estimator.estimate(RGB, CAMERA).hands and estimator.device == "cuda" and not logged


def test_never_replaces_a_device_given_by_name(gpu, make) -> None:
    estimator, logged = make(device="cuda:0")
    gpu.failure = OUT_OF_MEMORY
    with pytest.raises(
        DeviceError, match=r"CUDA out of memory.*device is cuda:0, so the CPU does not take over"
    ):
        estimator.estimate(RGB, CAMERA)
    assert estimator.device == "cuda" and not estimator.fallback and not logged and len(gpu.made) == 1
    gpu.failure = None
    assert estimator.estimate(RGB, CAMERA).hands, "and it goes on when it can"


def test_replaces_a_gpu_that_fails_in_the_warm_up(gpu, make) -> None:
    estimator, logged = make()
    gpu.failure = OUT_OF_MEMORY
    estimator.warm_up()
    assert estimator.device == "cpu" and len(logged) == 1


def test_replaces_a_gpu_without_room_for_the_weights(gpu, make) -> None:
    gpu.made.append(None)
    gpu.failure = OUT_OF_MEMORY
    estimator, logged = make()
    assert estimator.device == "cpu" and len(logged) == 1 and len(gpu.made) == 2


def test_does_not_take_the_models_own_errors_for_the_gpus(gpu, make) -> None:
    for error in (
        RuntimeError("The size of tensor a (3) must match b (4)"),
        ValueError("CUDA"),
        KeyError("x"),
    ):
        estimator, logged = make()
        gpu.failure = error
        with pytest.raises(type(error)):
            estimator.estimate(RGB, CAMERA)
        assert estimator.device == "cuda" and not logged and device_failure(error) == ""
        gpu.failure = None
        gpu.made.clear()


def test_logs_memory_that_a_dead_gpu_does_not_free(gpu, make) -> None:
    estimator, logged = make()

    def dead() -> None:
        raise RuntimeError("CUDA error: device lost")

    gpu.made[0].close = dead
    gpu.failure = GONE
    assert estimator.estimate(RGB, CAMERA).hands
    assert "memory could not be freed: CUDA error: device lost" in logged[-1]
