"""`hand-depth train` on a few tiny images: it exports weights and resumes an interrupted run."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

pytest.importorskip("lightning", reason="training needs the extra 'train'")
pytest.importorskip("tflite", reason="training needs the extra 'train'")

from support.drawn_hands import write_landmarks, write_views
from support.small_networks import TINY, TINY_DETECTOR
from support.tflite_writer import landmark_layers, write_tflite

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import HandDepthNet, HandDetectorNet, load_weights, save_weights
from hand_depth_ros.network.backbone import Backbone
from hand_depth_ros.training.cli import train
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.base import NetworkTraining, one_cycle
from hand_depth_ros.training.modules.depth import DepthTraining
from hand_depth_ros.training.modules.ema import EMA
from hand_depth_ros.training.modules.mediapipe_weights import fill_backbone
from hand_depth_ros.training.samples.training_data import TrainingData

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_views(folder / "set", 3)
    write_landmarks(folder / "photos")
    return folder


def write_config(data: Path, name: str, network: Any, **options: Any) -> Path:
    """Write a config for steps of two samples, validated and saved after every two steps."""
    values = {
        "task": "depth",
        "network": json.loads(network.to_json()),
        "rendered": ["set"],
        "landmarks": ["photos/landmarks.jsonl"],
        "samples": 8,
        "epoch_samples": 4,
        "val_samples": 2,
        "batch": 2,
        "workers": 0,
        **options,
    }
    path = data / f"{name}.yaml"
    path.write_text(json.dumps(values))  # YAML takes JSON as it is
    return path


def run(config: Path, out: Path, **options: Any) -> None:
    more = {
        "cache": None,
        "limit_views": None,
        "archive": None,
        "minutes": None,
        "precision": "32-true",
        "devices": "1",
    }
    train(config, out, num_nodes=1, **{**more, **options})


def test_run_exports_weights_with_their_origin(data: Path, tmp_path: Path) -> None:
    run(write_config(data, "whole", TINY, samples=4), tmp_path)
    network, info = load_weights(tmp_path / "depth.safetensors", HandDepthNet)
    assert network.config == TINY and info["samples"] == 4
    assert {"rendered/iou", "rendered/shape", "rendered/apparent_size"} <= set(info["validation"])
    assert str(data) not in json.dumps(info)  # no paths of the machine that trained


def test_backbone_is_added_and_stays_frozen(data: Path, tmp_path: Path) -> None:
    backbone = Backbone()
    write_tflite(data / "landmarks.tflite", landmark_layers(backbone), np.float16)
    fill_backbone(backbone, data / "landmarks.tflite")
    bare = dataclasses.replace(TINY, crop_size=128, joints=True)
    save_weights(HandDepthNet(bare), data / "bare.safetensors")
    options = {
        "start_from": "bare.safetensors",
        "backbone_from": "landmarks.tflite",
        "backbone_lr_scale": 0.0,
    }
    run(
        write_config(data, "backbone", dataclasses.replace(bare, backbone=True), samples=4, **options),
        tmp_path,
    )
    network, info = load_weights(tmp_path / "depth.safetensors", HandDepthNet)
    assert network.config.backbone and str(data) not in json.dumps(info)
    found = network.backbone.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in backbone.state_dict().items())
    assert network.guide.weight.abs().max() > 0  # it has begun to influence the depth


def test_backbone_may_come_from_another_depth_network(data: Path, tmp_path: Path) -> None:
    with_backbone = dataclasses.replace(TINY, crop_size=128, joints=True, backbone=True)
    giver = HandDepthNet(with_backbone)
    save_weights(giver, data / "giver.safetensors")
    wider = dataclasses.replace(with_backbone, features=16)
    options = {"backbone_from": "giver.safetensors", "backbone_lr_scale": 0.0}
    run(write_config(data, "given", wider, samples=2, **options), tmp_path)
    network, _ = load_weights(tmp_path / "depth.safetensors", HandDepthNet)
    found = network.backbone.state_dict()
    assert network.config == wider
    assert all(torch.equal(value, found[name]) for name, value in giver.backbone.state_dict().items())


def test_rejects_backbone_from_network_without_one(data: Path, tmp_path: Path) -> None:
    save_weights(HandDepthNet(TINY), data / "poor.safetensors")
    with_backbone = dataclasses.replace(TINY, crop_size=128, joints=True, backbone=True)
    with pytest.raises(DatasetError, match="has no backbone"):
        run(write_config(data, "ungiven", with_backbone, backbone_from="poor.safetensors"), tmp_path)


def test_budget_in_minutes_includes_earlier_runs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that advances 6 s a reading ends one minute after a few steps, then the second."""
    now = iter(range(0, 100_000, 6))
    monkeypatch.setattr("hand_depth_ros.training.modules.base.monotonic", lambda: float(next(now)))
    config = write_config(data, "clock", TINY, samples=10**9)
    run(config, tmp_path, minutes=1.0)
    first = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert 2 <= first["global_step"] < 12 and first["seconds"] == pytest.approx(60)
    assert (
        load_weights(tmp_path / "depth.safetensors", HandDepthNet)[1]["samples"] == 2 * first["global_step"]
    )
    run(config, tmp_path, minutes=2.0)
    second = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert second["seconds"] == pytest.approx(120)
    assert first["global_step"] < second["global_step"] < 2 * first["global_step"] + 4


def test_ema_moves_to_device_of_network(data: Path) -> None:
    """The meta device stands for a GPU."""
    module = DepthTraining(TrainConfig(network=json.loads(TINY.to_json())), TrainingData([], [], []), {}).to(
        "meta"
    )
    module.on_fit_start()
    module.ema.update(module.network)
    assert all(value.is_meta for value in module.ema.network.state_dict().values())


def test_learning_rate_by_clock_equals_one_cycle_by_samples() -> None:
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=1001, pct_start=0.03, final_div_factor=100.0
    )
    for step in range(1001):
        if step >= 30 or step == 0:  # OneCycleLR ends its warm-up one step early
            assert one_cycle(step / 1000) == pytest.approx(scheduler.get_last_lr()[0], rel=0.01, abs=1e-5)
        optimizer.step()
        if step < 1000:
            scheduler.step()


def test_trains_detector(data: Path, tmp_path: Path) -> None:
    config = write_config(data, "detector", TINY_DETECTOR, task="detector", samples=4, landmarks=[])
    run(config, tmp_path)
    network, info = load_weights(tmp_path / "detector.safetensors", HandDetectorNet)
    assert network.config == TINY_DETECTOR and "rendered/found" in info["validation"]


def test_interrupted_run_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = write_config(data, "cut", TINY, samples=8), tmp_path

    def power_cut(self: NetworkTraining) -> None:
        if self.current_epoch == 1:
            raise InterruptedError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(NetworkTraining, "on_train_epoch_start", power_cut)
        with pytest.raises(InterruptedError):
            run(config, out)
    assert load_weights(out / "depth.safetensors", HandDepthNet)[1]["samples"] == 4
    capsys.readouterr()
    run(config, out)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("samples ")]
    assert [line.split(":")[0] for line in said] == ["samples 8"]
    assert load_weights(out / "depth.safetensors", HandDepthNet)[1]["samples"] == 8
    logs = [(out / f"log/version_{part}/metrics.csv").read_text() for part in (0, 1)]
    assert all("rendered/iou" in log for log in logs)  # the first part of the curve is kept


def test_last_weights_have_whole_budget(data: Path, tmp_path: Path) -> None:
    run(write_config(data, "odd", TINY, samples=6), tmp_path)  # an epoch and a half
    assert load_weights(tmp_path / "depth.safetensors", HandDepthNet)[1]["samples"] == 6
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 3


def test_finished_run_exports_again(data: Path, tmp_path: Path) -> None:
    config = write_config(data, "again", TINY, samples=4)
    run(config, tmp_path)
    before = load_weights(tmp_path / "depth.safetensors", HandDepthNet)[0].state_dict()
    (tmp_path / "depth.safetensors").unlink()
    run(config, tmp_path)
    after = load_weights(tmp_path / "depth.safetensors", HandDepthNet)[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_rejects_config_without_training_data(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="rendered views nor landmarks"):
        run(write_config(data, "none", TINY, rendered=[], landmarks=[]), tmp_path)


def test_ema_warms_up_then_follows_slowly() -> None:
    network = torch.nn.Linear(1, 1)
    ema = EMA(network, decay=0.99)
    values = []
    for step in range(1200):
        with torch.no_grad():
            network.bias.fill_(float(step < 1000))
        ema.update(network)
        values.append(float(ema.network.bias))
    assert values[50] > 0.9 and values[999] == pytest.approx(1.0, abs=1e-3)
    half = next(i for i, v in enumerate(values[1000:]) if v < 0.5)
    assert half == pytest.approx(69, abs=2)  # log(0.5) / log(0.99)


def test_rejects_run_without_validation_data(data: Path, tmp_path: Path) -> None:
    write_views(tmp_path / "set", 3)
    lines = (tmp_path / "set" / "cameras.jsonl").read_text().replace('"val"', '"train"')
    (tmp_path / "set" / "cameras.jsonl").write_text(lines)
    with pytest.raises(DatasetError, match="nothing to validate on"):
        run(write_config(tmp_path, "blind", TINY, landmarks=[]), tmp_path / "out")


def test_does_not_resume_with_another_config(data: Path, tmp_path: Path) -> None:
    run(write_config(data, "one", TINY, samples=4), tmp_path)
    with pytest.raises(
        DatasetError, match=r"another config .samples: 4 there, 8 here; seed: 0 there, 3 here"
    ):
        run(write_config(data, "two", TINY, samples=8, seed=3), tmp_path)
    run(
        write_config(data, "same", TINY, samples=4, val_samples=3), tmp_path
    )  # validation settings may change


def test_truncated_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\3\4")
    with pytest.raises(DatasetError, match=r"last\.ckpt cannot be read"):
        run(write_config(data, "torn", TINY), tmp_path)


@pytest.mark.parametrize("option", [{"precision": "blah"}, {"devices": "0"}, {"devices": "abc"}])
def test_rejects_option_unknown_to_lightning(data: Path, tmp_path: Path, option: dict[str, str]) -> None:
    with pytest.raises(typer.BadParameter, match=r"--devices .* --precision"):
        run(write_config(data, "option", TINY), tmp_path, **option)


def test_ctrl_c_prints_how_to_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def ctrl_c(self: NetworkTraining) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NetworkTraining, "on_train_epoch_start", ctrl_c, raising=False)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(write_config(data, "stopped", TINY), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it
    assert "run the same command to resume from the last epoch's end" in capsys.readouterr().err


def test_rejects_checkpoint_of_another_version(data: Path, tmp_path: Path) -> None:
    torch.save({"plan": {}}, tmp_path / "last.ckpt")
    with pytest.raises(DatasetError, match="from another version"):
        run(write_config(data, "old", TINY), tmp_path)


def test_old_name_of_archive_option_is_rejected_with_its_new_name(data: Path, tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--packed is now called --archive"):
        run(write_config(data, "renamed", TINY), tmp_path, packed="folder")
