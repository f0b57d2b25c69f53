"""Weights files: safetensors only, the network's config and what made it inside the same file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from hand_depth_ros.errors import WeightsError
from hand_depth_ros.network.config import DetectorConfig, NetworkConfig
from hand_depth_ros.network.detector import HandDetectorNet
from hand_depth_ros.network.hourglass import HandDepthNet

FORMAT = "hand_depth_ros.1"
MAX_BYTES = 2_000_000_000
"""Largest file that is opened: far more than any network of this package needs, less than a robot's memory."""
_NETWORKS: dict[type[nn.Module], type[NetworkConfig] | type[DetectorConfig]] = {
    HandDepthNet: NetworkConfig,
    HandDetectorNet: DetectorConfig,
}
N = TypeVar("N", HandDepthNet, HandDetectorNet)


def save_weights(
    network: HandDepthNet | HandDetectorNet, path: Path, info: dict[str, Any] | None = None
) -> None:
    """Write the network's parameters as float32 tensors, or as float16 ones where that loses nothing (a backbone that stayed as
    it was), its config and ``info`` (JSON-able) to ``path``."""
    tensors = {
        k: _short(v.detach().cpu().contiguous())
        for k, v in network.state_dict().items()
        if "num_batches" not in k
    }
    metadata = {
        "format": FORMAT,
        "kind": network.config.kind,
        "config": network.config.to_json(),
        "info": json.dumps(info or {}, sort_keys=True),
    }
    temporary = path.with_name(path.name + ".partial")
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(path)


def _short(values: torch.Tensor) -> torch.Tensor:
    half = values.half()
    return half if torch.equal(half.to(values.dtype), values) else values


def load_weights(path: Path, network_type: type[N]) -> tuple[N, dict[str, Any]]:
    """Read a weights file into a new network in eval mode on the CPU, and return it with the file's ``info``.

    Raises WeightsError when the file is missing, truncated, not safetensors, of another kind, or does not fit.
    """
    config_type = _NETWORKS[network_type]
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:  # no right to look, a name too long
        raise WeightsError(f"{path} cannot be looked at: {error.strerror}") from error
    if size is None:
        raise WeightsError(
            f"no weights file at {path}: give a folder with hand_depth.safetensors and hand_detector.safetensors"
        )
    if size > MAX_BYTES:
        raise WeightsError(
            f"{path} has {size:,} bytes, more than {MAX_BYTES:,}: no network of this package has"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}): get it again") from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is not a weights file of this package (format {metadata.get('format')!r}, expected {FORMAT!r})"
        )
    if metadata.get("kind") != config_type.kind:
        raise WeightsError(
            f"{path} holds {metadata.get('kind')!r} weights; {config_type.kind!r} are needed here"
        )
    try:
        config = config_type.from_dict(json.loads(metadata["config"]))
        info = json.loads(metadata.get("info", "{}"))
        if not isinstance(info, dict):
            raise ValueError(f"info is not a mapping but {info!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"{path} has a network config that this version does not understand: {error}"
        ) from error
    network = network_type(config)  # type: ignore[arg-type]
    _fill(network, tensors, path)
    return network.eval(), info


def calibration_factors(info: dict[str, Any], path: Path) -> dict[str, float]:
    """The factors on the network's own uncertainties that ``info`` of the file ``path`` has; WeightsError if they are none."""
    factors = info.get("calibration", {})
    usable = isinstance(factors, dict) and all(
        type(value) in (int, float) and math.isfinite(value) and value > 0 for value in factors.values()
    )
    if not usable:
        raise WeightsError(f"{path}: calibration must be positive numbers by name, not {factors!r}")
    return factors


def _fill(network: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    expected = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise WeightsError(f"{path} does not fit its config: missing {missing[:3]}, unknown {extra[:3]}")
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(value.shape)}, the network needs {tuple(expected[name].shape)}"
            )
        if not bool(torch.isfinite(value.float()).all()):
            raise WeightsError(
                f"{path}: {name} has values that are not finite; the training that made it went wrong"
            )
    network.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
