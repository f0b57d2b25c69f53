"""Every training config in the repository is live: its files exist and it trains a step."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("lightning", reason="training needs the extra 'train'")

from support.drawn_hands import write_landmarks, write_views
from support.paths import ROOT

from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet, NetworkConfig, load_weights
from hand_depth_ros.training.cli import train
from hand_depth_ros.training.config import PATH_LISTS, SINGLE_PATHS, TrainConfig

CONFIGS = sorted((ROOT / "config" / "training").glob("*.yaml"))
WEIGHTS = ROOT / "hand_depth_ros" / "weights"
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers


def config_named(name: str) -> TrainConfig:
    return TrainConfig.read(ROOT / "config" / "training" / f"{name}.yaml")


def network_of(config: TrainConfig) -> HandDepthNet | HandDetectorNet:
    with torch.device("meta"):
        if config.task == "depth":
            return HandDepthNet(NetworkConfig.from_dict(config.network))
        return HandDetectorNet(DetectorConfig.from_dict(config.network))


def test_there_are_configs() -> None:
    assert {"detector", "depth", "depth_gpu", "ablation"} <= {path.stem for path in CONFIGS}
    assert not list((ROOT / "config").glob("train_*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_names_only_its_data_folder_and_files_of_the_repository(path: Path) -> None:
    config, data = TrainConfig.read(path), ROOT / "data"
    named = [item for key in PATH_LISTS for item in getattr(config, key)]
    named += [getattr(config, key) for key in SINGLE_PATHS if getattr(config, key)]
    for item in map(Path, named):
        assert data in item.parents or item.is_file(), item


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_step_is_trained_with_every_config(path: Path, tmp_path: Path) -> None:
    """One step of two samples on drawn data, in place of the config's data folder."""
    values = yaml.safe_load(path.read_text())
    config = TrainConfig.read(path)
    values.update({key: getattr(config, key) for key in SINGLE_PATHS if getattr(config, key)})
    values["rendered"] = [str(write_views(tmp_path / "views", 3))]
    if config.landmarks:
        values["landmarks"] = [str(write_landmarks(tmp_path / "photographs"))]
    if config.backgrounds:
        values["backgrounds"] = str(write_backgrounds(tmp_path / "backgrounds"))
    values.update(samples=2, epoch_samples=2, val_samples=2, batch=2, workers=0)
    small = tmp_path / path.name
    small.write_text(json.dumps(values))
    train(small, tmp_path / "out", None, "1", 1, "32-true", None, None, None)
    kind: Any = HandDepthNet if config.task == "depth" else HandDetectorNet
    network, info = load_weights(tmp_path / "out" / f"{config.task}.safetensors", kind)
    assert info["samples"] == 2 and network.config == network_of(config).config


@pytest.mark.parametrize(
    ("name", "file", "kind"),
    [
        ("depth", "hand_depth.safetensors", HandDepthNet),
        ("depth_gpu", "hand_depth.safetensors", HandDepthNet),
        ("detector", "hand_detector.safetensors", HandDetectorNet),
    ],
)
def test_shipped_weights_are_of_the_network_that_the_config_trains(name: str, file: str, kind: type) -> None:
    shipped, _ = load_weights(WEIGHTS / file, kind)
    assert shipped.config == network_of(config_named(name)).config


def test_quick_configs_train_the_shipped_networks_on_rendered_views_alone() -> None:
    for task in ("depth", "detector"):
        quick, full = config_named(f"quick_{task}"), config_named(task)
        assert network_of(quick).config == network_of(full).config and quick.start_from == full.start_from
        assert quick.rendered and not quick.landmarks and quick.backgrounds is None
        assert quick.samples < full.samples / 10


def test_config_fields_are_documented() -> None:
    documented = TrainConfig.__doc__ or ""
    assert all(f"    {field.name}: " in documented for field in dataclasses.fields(TrainConfig))


def write_backgrounds(folder: Path) -> Path:
    import cv2

    folder.mkdir()
    for i, grey in enumerate((60, 120)):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((90, 120, 3), grey, np.uint8))
    return folder
