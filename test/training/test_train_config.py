"""Training configs: paths, keys and values that are rejected, files that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.config import RENAMED, TrainConfig
from hand_depth_ros.training.samples.training_data import load_backgrounds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- 1", "mapping"),
        ("sample: 3", "sample"),
        ("task: hands", "task"),
        ("samples: many", "samples is 'many': a whole number"),
        ("batch: 1.5", "batch is 1.5: a whole number"),
        ("learning_rate: 2e-3", "learning_rate is '2e-3': a number is needed .*2.0e-3"),
        ("learning_rate: -1", "learning_rate must be above 0"),
        ("learning_rate: .nan", "learning_rate must be above 0"),
        ("samples: -5", "samples must be 1 or more"),
        ("batch: 0", "batch must be 1 or more"),
        ("workers: -1", "workers must be 0 or more"),
        ("real_fraction: 1.5", r"real_fraction must be in 0\.\.1"),
        ("occlusion_prob: 2", r"occlusion_prob must be in 0\.\.1"),
        ("{real_fraction: 0.7, negative_fraction: 0.7}", "add up to more than 1"),
        ("{batch: 400, samples: 64}", "a batch of 400 is more than samples"),
        ("{batch: 16, epoch_samples: 8}", "a batch of 16 is more than .* epoch_samples"),
        ("rendered: ../set", "rendered is '../set': a list of paths"),
        ("start_from: [a]", "start_from is .*: one path"),
        ("network: {featurs: 8}", "network: NetworkConfig has no featurs"),
        ("network: {crop_size: 63}", "network: crop_size 63"),
        ("network: {levels: deep}", "network: NetworkConfig.levels"),
        ("{task: detector, network: {input_height: 48}}", "network: .*multiples of 32"),
    ],
)
def test_rejects_invalid_config(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=reason):
        TrainConfig.read(path)


@pytest.mark.parametrize(
    "key", ["start_from", "backbone_from", "relabel_with", "hard_negatives_from", "backgrounds"]
)
def test_missing_file_is_named(tmp_path: Path, key: str) -> None:
    config = TrainConfig(**{key: str(tmp_path / "none")})
    with pytest.raises(DatasetError, match=f"{key}: there is no f.* {tmp_path / 'none'}"):
        config.check_files()
    if key in ("relabel_with", "hard_negatives_from", "backgrounds"):
        config.check_files(from_archive=True)  # the archive holds what they gave


def test_rejects_background_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images in"):
        load_backgrounds(tmp_path)


def test_paths_are_relative_to_config_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "train.yaml"
    path.parent.mkdir()
    path.write_text(
        "{rendered: [../set], landmarks: [real/landmarks.jsonl], backgrounds: ../walls, backbone_from: ../a.tflite}"
    )
    config = TrainConfig.read(path)
    assert config.rendered == (str(tmp_path / "set"),)
    assert config.landmarks == (str(tmp_path / "deep" / "real" / "landmarks.jsonl"),)
    assert config.backgrounds == str(tmp_path / "walls") and config.start_from is None
    assert config.backbone_from == str(tmp_path / "a.tflite")


@pytest.mark.parametrize("key", RENAMED)
def test_renamed_key_is_rejected_with_its_new_name(tmp_path: Path, key: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(f"{key}: 1")
    with pytest.raises(DatasetError, match=f"{key} is now called {RENAMED[key]}$"):
        TrainConfig.read(path)


def test_renamed_keys_lead_to_keys_that_exist() -> None:
    fields = set(TrainConfig.__dataclass_fields__)
    assert set(RENAMED.values()) <= fields and not set(RENAMED) & fields
