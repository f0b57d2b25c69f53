"""A GPU that fails: the CPU takes over only if `device` is auto, loudly, and gives back when the GPU works again.

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
from hand_depth_ros.ros.node import fallback_estimator as steady_estimator
from hand_depth_ros.ros.node.fallback_estimator import SteadyEstimator
from hand_depth_ros.ros.parameters import DEFAULTS

CAMERA = Camera.from_hfov(64, 48, 60.0)
RGB = np.zeros((48, 64, 3), np.uint8)
OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")
GONE = RuntimeError(
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"
)
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


class FakeGpu:
    """A GPU that works until it is told to fail, and everything that was made on it or instead of it."""

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
def make(gpu: FakeGpu) -> Callable[..., tuple[SteadyEstimator, list[str]]]:
    def make(**values: Any) -> tuple[SteadyEstimator, list[str]]:
        told: list[str] = []
        return SteadyEstimator(gpu.factory, {**DEFAULTS, **values}, told.append), told

    return make


@pytest.mark.parametrize("failure", [OUT_OF_MEMORY, GONE, CUBLAS], ids=["out of memory", "gone", "cuBLAS"])
def test_the_cpu_takes_over_without_losing_the_frame_and_says_so(gpu, make, failure: Exception) -> None:
    steady, told = make()
    assert steady.device == "cuda" and not steady.fallback
    gpu.failure = failure
    frame = steady.estimate(RGB, CAMERA)
    assert len(frame.hands) == 2 and steady.device == "cpu"
    reason = str(failure).partition("\n")[0]
    (line,) = told
    assert steady.fallback == reason and "the GPU has failed, going on on the CPU" in line and reason in line
    assert gpu.made[0].closed and gpu.made[1].warm_ups == 1
    steady.estimate(RGB, CAMERA)
    assert len(gpu.made) == 2 and len(told) == 1, "it is not tried at every frame"


def test_it_returns_to_the_gpu_when_that_works_again(gpu, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_estimator, "RETRY_S", 0.0)
    steady, told = make()
    gpu.failure = OUT_OF_MEMORY
    steady.estimate(RGB, CAMERA)
    steady.estimate(RGB, CAMERA)
    assert steady.device == "cpu" and "still doesn't work" in told[-1] and "CUDA out of memory" in told[-1]
    steady.configure({**DEFAULTS, "max_hands": 1})
    gpu.failure = None
    assert len(steady.estimate(RGB, CAMERA).hands) == 1, "with the parameters as they are by now"
    assert steady.device == "cuda" and steady.fallback == "" and told[-1] == "back on the GPU: cuda"
    assert gpu.made[1].closed and gpu.made[-1].warm_ups == 1


def test_a_gpu_that_pytorch_does_not_see_any_more_is_not_taken_for_back(
    gpu, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady_estimator, "RETRY_S", 0.0)
    steady, told = make()
    gpu.failure = GONE
    steady.estimate(RGB, CAMERA)
    made = gpu.factory
    monkeypatch.setattr(
        steady, "_factory", lambda values: made({**values, "device": "cpu"})
    )  # what auto finds
    steady.estimate(RGB, CAMERA)
    assert steady.device == "cpu" and steady.fallback and "PyTorch sees none" in told[-1]
    assert gpu.made[-1].closed and not gpu.made[1].closed, "the one in use stays"


def test_whatever_keeps_it_from_the_gpu_the_cpu_serves_on(gpu, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_estimator, "RETRY_S", 0.0)
    steady, told = make()
    gpu.failure = GONE
    steady.estimate(RGB, CAMERA)
    gpu.failure = WeightsError("the weights are gone")
    assert steady.estimate(RGB, CAMERA).hands
    assert "WeightsError: the weights are gone" in told[-1] and steady.device == "cpu"


def test_without_an_estimator_for_the_cpu_the_frame_is_an_error_and_the_next_one_tries_again(
    gpu, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady, told = make()

    def broken(values: Any) -> None:
        raise WeightsError("the weights are gone")

    monkeypatch.setattr(steady, "_factory", broken)
    gpu.failure = OUT_OF_MEMORY
    with pytest.raises(WeightsError):
        steady.estimate(RGB, CAMERA)
    gpu.failure = None
    assert steady.estimate(RGB, CAMERA).hands and steady.device == "cuda" and not told


def test_a_device_asked_for_by_name_is_not_exchanged(gpu, make) -> None:
    steady, told = make(device="cuda:0")
    gpu.failure = OUT_OF_MEMORY
    with pytest.raises(DeviceError, match=r"CUDA out of memory.*device is cuda:0, so it is not exchanged"):
        steady.estimate(RGB, CAMERA)
    assert steady.device == "cuda" and not steady.fallback and not told and len(gpu.made) == 1
    gpu.failure = None
    assert steady.estimate(RGB, CAMERA).hands, "and it goes on when it can"


def test_a_gpu_that_fails_at_the_first_run_is_replaced_before_the_first_frame(gpu, make) -> None:
    steady, told = make()
    gpu.failure = OUT_OF_MEMORY
    steady.warm_up()
    assert steady.device == "cpu" and len(told) == 1


def test_a_gpu_without_room_for_the_weights_is_replaced(gpu, make) -> None:
    gpu.made.append(None)
    gpu.failure = OUT_OF_MEMORY
    steady, told = make()
    assert steady.device == "cpu" and len(told) == 1 and len(gpu.made) == 2


def test_the_models_own_errors_are_not_taken_for_the_gpus(gpu, make) -> None:
    for error in (
        RuntimeError("The size of tensor a (3) must match b (4)"),
        ValueError("CUDA"),
        KeyError("x"),
    ):
        steady, told = make()
        gpu.failure = error
        with pytest.raises(type(error)):
            steady.estimate(RGB, CAMERA)
        assert steady.device == "cuda" and not told and device_failure(error) == ""
        gpu.failure = None
        gpu.made.clear()


def test_memory_that_a_dead_gpu_does_not_give_back_is_told(gpu, make) -> None:
    steady, told = make()

    def dead() -> None:
        raise RuntimeError("CUDA error: device lost")

    gpu.made[0].close = dead
    gpu.failure = GONE
    assert steady.estimate(RGB, CAMERA).hands
    assert "memory could not be freed: CUDA error: device lost" in told[-1]
