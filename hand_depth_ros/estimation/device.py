"""Compute devices: by name, their number type, threads and failures."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from hand_depth_ros.errors import DeviceError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: "cpu", "cuda", "cuda:1", or "auto" (CUDA if there is one).

    Raises:
        DeviceError: The name is unknown or the device isn't there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r} is not known: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {name!r} was asked for but PyTorch sees {count} CUDA devices: use auto or cpu"
            )
    elif device.type != "cpu":
        raise DeviceError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:N")
    return device


@cache
def inference_dtype(device: torch.device) -> torch.dtype:
    """Return the type of the networks' parameters on a device.

    It is bfloat16 on a CPU that multiplies it in hardware (x86's avx512_bf16, amx_bf16), where it
    takes two thirds of the time, and float32 elsewhere.
    """
    import torch

    if device.type != "cpu":
        return torch.float32
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # not Linux
        return torch.float32
    return (
        torch.bfloat16
        if re.search(r"^flags\b.*\b(avx512_bf16|amx_bf16)\b", cpuinfo, re.MULTILINE)
        else torch.float32
    )


def use_threads(count: int = 0) -> None:
    """Let the networks and OpenCV use ``count`` threads of this process; 0: half of the cores.

    On all the cores a network's threads wait for each other, spinning, whenever anything else needs
    one of them.
    """
    import torch

    threads = count or max(1, (os.cpu_count() or 2) // 2)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def device_failure(error: BaseException) -> str:
    """One line on what a GPU died of, if that is what `error` says; "" for every other error.

    PyTorch has a class for memory alone; what CUDA, cuBLAS and cuDNN report comes as a RuntimeError
    that names them.
    """
    torch = sys.modules.get("torch")
    line = str(error).strip().partition("\n")[0]
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return line or "CUDA out of memory"
    return line if isinstance(error, RuntimeError) and re.search(r"CUDA|CUBLAS|CUDNN", line) else ""


def free_device_memory() -> None:
    """Return PyTorch's cached memory to the GPU, if one is in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
