"""Give a new network the weights that its config starts from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import HandDepthNet, HandDetectorNet, load_weights
from hand_depth_ros.network.backbone import Backbone
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.mediapipe_weights import fill_backbone

_MAY_GROW = ("bottom", "extra_blocks")
"""Counts of zero-initialised blocks: a network may start from one with fewer."""


def load_start(network: HandDepthNet | HandDetectorNet, config: TrainConfig) -> None:
    """Fill a network with the weights that the config names, in place.

    A depth network with a backbone may start from one without; the backbone then comes from
    ``backbone_from`` and has no effect at first. So do blocks that the start lacks (``_MAY_GROW``).

    Raises:
        DatasetError: The weights are those of another network, or the backbone's are missing.
    """
    backbone = getattr(network, "backbone", None)
    if config.start_from and _load_network(network, Path(config.start_from)):
        return
    if backbone is not None:
        if not config.backbone_from:
            raise DatasetError(
                "a network with a backbone needs backbone_from: docs/training.md says where to get it"
            )
        _load_backbone(backbone, Path(config.backbone_from))


def _load_network(network: HandDepthNet | HandDetectorNet, path: Path) -> bool:
    """Load a weights file; return True if that filled the backbone too, or there is none."""
    kind: Any = type(network)
    start, _ = load_weights(path, kind)
    weights = start.state_dict()
    lacks_backbone = getattr(network, "backbone", None) is not None and not any(
        name.startswith("backbone.") for name in weights
    )
    smaller = {name: getattr(start.config, name) for name in _MAY_GROW if hasattr(start.config, name)}
    if lacks_backbone:
        smaller["backbone"] = False
    try:
        network.load_state_dict({**weights, **_added_weights(network, smaller)})
    except RuntimeError as error:
        mine, its = dataclasses.asdict(network.config), dataclasses.asdict(start.config)
        other = ", ".join(f"{name}: {its[name]}" for name in its if its[name] != mine[name])
        raise DatasetError(
            f"start_from: the network in {path} differs from this config's ({other})"
        ) from error
    return not lacks_backbone


def _load_backbone(backbone: Backbone, path: Path) -> None:
    if path.suffix != ".safetensors":
        fill_backbone(backbone, path)
        return
    giver: Any = getattr(load_weights(path, HandDepthNet)[0], "backbone", None)
    if giver is None:
        raise DatasetError(f"backbone_from: the network in {path} has no backbone")
    backbone.load_state_dict(giver.state_dict())


def _added_weights(network: HandDepthNet | HandDetectorNet, smaller: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights of ``network`` that a network with the settings ``smaller`` lacks."""
    other = type(network)(dataclasses.replace(network.config, **smaller)).state_dict()  # type: ignore[arg-type]
    return {name: value for name, value in network.state_dict().items() if name not in other}
