"""Weights files: safetensors with the network's config and notes on its training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
"""Larger files are refused: far more than any network of this package needs, less than a robot's
memory."""
CALIBRATED = ("relief", "apparent_size", "length")
"""Uncertainties that a calibration factor scales."""
_RENAMED_FACTORS = {"scale": "apparent_size"}
_CONFIGS: dict[type[nn.Module], type[NetworkConfig] | type[DetectorConfig]] = {
    HandDepthNet: NetworkConfig,
    HandDetectorNet: DetectorConfig,
}
N = TypeVar("N", HandDepthNet, HandDetectorNet)


class WeightsMetadata(NamedTuple):
    """Metadata of a weights file.

    Attributes:
        kind: ``kind`` of the network's config class.
        config: The network's config.
        info: Notes of the training: its config, validation, calibration.
    """

    kind: str
    config: NetworkConfig | DetectorConfig
    info: dict[str, Any]


def save_weights(
    network: HandDepthNet | HandDetectorNet, path: Path, info: dict[str, Any] | None = None
) -> None:
    """Write a network's parameters, its config and ``info`` (JSON-able) to ``path``, atomically.

    Tensors are float32, or float16 where that loses nothing (a frozen backbone).
    """
    tensors = {
        k: _shortened(v.detach().cpu().contiguous())
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


def _shortened(values: torch.Tensor) -> torch.Tensor:
    half = values.half()
    return half if torch.equal(half.to(values.dtype), values) else values


def load_weights(path: Path, network_type: type[N]) -> tuple[N, dict[str, Any]]:
    """Load a weights file into a new network.

    Returns:
        The network in eval mode on the CPU and the file's ``info``.

    Raises:
        WeightsError: The file is missing, truncated, not safetensors, of another kind, or does not
            fit.
    """
    metadata, tensors = _read_file(path, with_tensors=True)
    kind = _CONFIGS[network_type].kind
    if metadata.kind != kind:
        raise WeightsError(f"{path} holds {metadata.kind!r} weights; {kind!r} are needed here")
    network = network_type(metadata.config)  # type: ignore[arg-type]
    _fill(network, tensors, path)
    return network.eval(), metadata.info


def read_metadata(path: Path) -> WeightsMetadata:
    """Read a file's metadata without its tensors; WeightsError as for `load_weights`."""
    return _read_file(path, with_tensors=False)[0]


def _read_file(path: Path, with_tensors: bool) -> tuple[WeightsMetadata, dict[str, torch.Tensor]]:
    _check_size(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            names = list(file.keys()) if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}): download it again") from error
    return _parse_metadata(metadata, path), tensors


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:  # no permission, a name too long
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    if size is None:
        raise WeightsError(
            f"no weights file at {path}: give a folder with hand_depth.safetensors and hand_detector.safetensors"
        )
    if size > MAX_BYTES:
        raise WeightsError(
            f"{path} has {size:,} bytes, more than {MAX_BYTES:,}: no network of this package is so large"
        )


def _parse_metadata(metadata: dict[str, str], path: Path) -> WeightsMetadata:
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is not a weights file of this package (format {metadata.get('format')!r}, expected {FORMAT!r})"
        )
    kind = str(metadata.get("kind"))
    config_types = {config.kind: config for config in _CONFIGS.values()}
    if kind not in config_types:
        raise WeightsError(f"{path} holds {kind!r} weights; this version knows {', '.join(config_types)}")
    try:
        config = config_types[kind].from_dict(json.loads(metadata["config"]))
        info = json.loads(metadata.get("info", "{}"))
        if not isinstance(info, dict):
            raise ValueError(f"info is not a mapping but {info!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"{path} has a network config that this version does not understand: {error}"
        ) from error
    return WeightsMetadata(kind, config, info)


def calibration_factors(info: dict[str, Any], path: Path) -> dict[str, float]:
    """Return the calibration factors (``CALIBRATED``) in a file's ``info``, by name.

    Raises:
        WeightsError: They are not positive numbers, or a name is unknown.
    """
    factors = info.get("calibration", {})
    usable = isinstance(factors, dict) and all(
        type(value) in (int, float) and math.isfinite(value) and value > 0 for value in factors.values()
    )
    if not usable:
        raise WeightsError(f"{path}: calibration must be positive numbers by name, not {factors!r}")
    for name in factors:
        if name not in CALIBRATED:
            hint = f"; {name} is now {_RENAMED_FACTORS[name]}" if name in _RENAMED_FACTORS else ""
            raise WeightsError(f"{path}: calibration has {name!r}, known are {', '.join(CALIBRATED)}{hint}")
    return factors


def _fill(network: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Copy tensors into a network; WeightsError if they don't fit or aren't finite."""
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
