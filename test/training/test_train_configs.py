"""The training configs that the repository ships name networks that can be built, and lead from one to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.paths import ROOT

from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet, NetworkConfig, load_weights
from hand_depth_ros.training.config import TrainConfig

CONFIGS = sorted((ROOT / "config").glob("train_*.yaml"))
WEIGHTS = ROOT / "hand_depth_ros" / "weights"


def network_of(config: TrainConfig) -> HandDepthNet | HandDetectorNet:
    with torch.device("meta"):
        if config.task == "depth":
            return HandDepthNet(NetworkConfig.from_dict(config.network))
        return HandDetectorNet(DetectorConfig.from_dict(config.network))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_names_a_network_that_can_be_built(path: Path) -> None:
    config = TrainConfig.read(path)
    assert sum(p.numel() for p in network_of(config).parameters()) > 100_000
    assert config.samples >= config.epoch_samples >= config.batch


def test_the_large_variant_is_four_stacks_of_256_features() -> None:
    config = TrainConfig.read(next(path for path in CONFIGS if path.stem == "train_depth_large"))
    assert config.network["stacks"] == 4 and config.network["features"] == 256


@pytest.mark.parametrize(
    ("name", "file", "kind"),
    [
        ("train_depth", "hand_depth.safetensors", HandDepthNet),
        ("train_depth_again", "hand_depth.safetensors", HandDepthNet),
        ("train_detector", "hand_detector.safetensors", HandDetectorNet),
    ],
)
def test_the_shipped_weights_are_of_the_network_that_the_config_trains(
    name: str, file: str, kind: type
) -> None:
    config = TrainConfig.read(next(path for path in CONFIGS if path.stem == name))
    shipped, _ = load_weights(WEIGHTS / file, kind)
    assert shipped.config == network_of(config).config


def test_the_second_half_of_the_depth_network_starts_from_the_first() -> None:
    """All that the first half learns has a place in the second; what is new there is the backbone's."""
    first, second = (
        network_of(TrainConfig.read(next(path for path in CONFIGS if path.stem == name))).state_dict()
        for name in ("train_depth_small", "train_depth")
    )
    assert set(first) <= set(second) and all(first[name].shape == second[name].shape for name in first)
