"""`hand-depth train` on a handful of tiny pictures: weights come out, an interrupted run goes on where it was."""

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
from hand_depth_ros.training.modules.base import Average, NetworkTraining, one_cycle
from hand_depth_ros.training.modules.depth import DepthTraining
from hand_depth_ros.training.modules.mediapipe_weights import fill_backbone
from hand_depth_ros.training.samples.crops import Sources

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_views(folder / "set", 3)
    write_landmarks(folder / "photos")
    return folder


def plan(data: Path, name: str, network: Any, **options: Any) -> Path:
    """A config file for steps of two samples each, validated and saved after every two steps."""
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
        "packed": None,
        "minutes": None,
        "precision": "32-true",
        "devices": "1",
    }
    train(config, out, num_nodes=1, **{**more, **options})


def test_a_run_leaves_weights_that_load_and_say_where_they_are_from(data: Path, tmp_path: Path) -> None:
    run(plan(data, "whole", TINY, samples=4), tmp_path)
    network, info = load_weights(tmp_path / "depth.safetensors", HandDepthNet)
    assert network.config == TINY and info["samples"] == 4
    assert {"rendered/iou", "rendered/shape", "rendered/apparent_size"} <= set(info["validation"])
    assert str(data) not in json.dumps(info)  # no paths of the machine that trained


def test_a_run_gives_a_trained_network_a_backbone_that_stays_as_it_is(data: Path, tmp_path: Path) -> None:
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
    run(plan(data, "backbone", dataclasses.replace(bare, backbone=True), samples=4, **options), tmp_path)
    network, info = load_weights(tmp_path / "depth.safetensors", HandDepthNet)
    assert network.config.backbone and str(data) not in json.dumps(info)
    found = network.backbone.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in backbone.state_dict().items())
    assert network.guide.weight.abs().max() > 0  # what it says of the hand has begun to count


def test_a_backbone_may_come_from_another_depth_network(data: Path, tmp_path: Path) -> None:
    with_backbone = dataclasses.replace(TINY, crop_size=128, joints=True, backbone=True)
    giver = HandDepthNet(with_backbone)
    save_weights(giver, data / "giver.safetensors")
    wider = dataclasses.replace(with_backbone, features=16)
    options = {"backbone_from": "giver.safetensors", "backbone_lr_scale": 0.0}
    run(plan(data, "given", wider, samples=2, **options), tmp_path)
    network, _ = load_weights(tmp_path / "depth.safetensors", HandDepthNet)
    found = network.backbone.state_dict()
    assert network.config == wider
    assert all(torch.equal(value, found[name]) for name, value in giver.backbone.state_dict().items())


def test_a_network_without_a_backbone_has_none_to_give(data: Path, tmp_path: Path) -> None:
    save_weights(HandDepthNet(TINY), data / "poor.safetensors")
    with_backbone = dataclasses.replace(TINY, crop_size=128, joints=True, backbone=True)
    with pytest.raises(DatasetError, match="has no backbone"):
        run(plan(data, "ungiven", with_backbone, backbone_from="poor.safetensors"), tmp_path)


def test_a_budget_in_minutes_ends_by_the_clock_and_counts_what_ran_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes on by 6 s a look: a minute ends after a few steps, and a second one after as many more."""
    now = iter(range(0, 100_000, 6))
    monkeypatch.setattr("hand_depth_ros.training.modules.base.monotonic", lambda: float(next(now)))
    config = plan(data, "clock", TINY, samples=10**9)
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


def test_the_average_is_where_the_network_is(data: Path) -> None:
    """On a GPU both have to be there; the device that holds nothing stands for one."""
    module = DepthTraining(TrainConfig(network=json.loads(TINY.to_json())), Sources([], [], []), {}).to(
        "meta"
    )
    module.on_fit_start()
    module.average.update(module.network)
    assert all(value.is_meta for value in module.average.network.state_dict().values())


def test_by_the_clock_the_learning_rate_goes_as_by_the_samples() -> None:
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=1001, pct_start=0.03, final_div_factor=100.0
    )
    for step in range(1001):
        if step >= 30 or step == 0:  # OneCycleLR's rise ends a step early
            assert one_cycle(step / 1000) == pytest.approx(scheduler.get_last_lr()[0], rel=0.01, abs=1e-5)
        optimizer.step()
        if step < 1000:
            scheduler.step()


def test_a_detector_is_trained_by_the_same_command(data: Path, tmp_path: Path) -> None:
    config = plan(data, "detector", TINY_DETECTOR, task="detector", samples=4, landmarks=[])
    run(config, tmp_path)
    network, info = load_weights(tmp_path / "detector.safetensors", HandDetectorNet)
    assert network.config == TINY_DETECTOR and "rendered/found" in info["validation"]


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = plan(data, "cut", TINY, samples=8), tmp_path

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
    assert all("rendered/iou" in log for log in logs)  # the first part of the curve is still there


def test_the_last_weights_are_those_of_the_whole_budget(data: Path, tmp_path: Path) -> None:
    run(plan(data, "odd", TINY, samples=6), tmp_path)  # an epoch and a half
    assert load_weights(tmp_path / "depth.safetensors", HandDepthNet)[1]["samples"] == 6
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 3


def test_a_finished_run_can_be_exported_again(data: Path, tmp_path: Path) -> None:
    config = plan(data, "again", TINY, samples=4)
    run(config, tmp_path)
    before = load_weights(tmp_path / "depth.safetensors", HandDepthNet)[0].state_dict()
    (tmp_path / "depth.safetensors").unlink()
    run(config, tmp_path)
    after = load_weights(tmp_path / "depth.safetensors", HandDepthNet)[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_config_without_anything_to_train_on_says_so(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="rendered views nor landmarks"):
        run(plan(data, "none", TINY, rendered=[], landmarks=[]), tmp_path)


def test_the_average_starts_at_once_and_then_follows_slowly() -> None:
    network = torch.nn.Linear(1, 1)
    average = Average(network, decay=0.99)
    values = []
    for step in range(1200):
        with torch.no_grad():
            network.bias.fill_(float(step < 1000))
        average.update(network)
        values.append(float(average.network.bias))
    assert values[50] > 0.9 and values[999] == pytest.approx(1.0, abs=1e-3)
    half = next(i for i, v in enumerate(values[1000:]) if v < 0.5)
    assert half == pytest.approx(69, abs=2)  # log(0.5) / log(0.99)


def test_a_run_with_nothing_to_validate_on_does_not_begin(data: Path, tmp_path: Path) -> None:
    write_views(tmp_path / "set", 3)
    lines = (tmp_path / "set" / "cameras.jsonl").read_text().replace('"val"', '"train"')
    (tmp_path / "set" / "cameras.jsonl").write_text(lines)
    with pytest.raises(DatasetError, match="nothing to validate on"):
        run(plan(tmp_path, "blind", TINY, landmarks=[]), tmp_path / "out")


def test_a_run_is_not_resumed_with_another_config(data: Path, tmp_path: Path) -> None:
    run(plan(data, "one", TINY, samples=4), tmp_path)
    with pytest.raises(
        DatasetError, match=r"another config .samples: 4 there, 8 here; seed: 0 there, 3 here"
    ):
        run(plan(data, "two", TINY, samples=8, seed=3), tmp_path)
    run(plan(data, "same", TINY, samples=4, val_samples=3), tmp_path)  # how it is validated may change


def test_a_checkpoint_that_was_cut_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\3\4")
    with pytest.raises(DatasetError, match=r"last\.ckpt cannot be read"):
        run(plan(data, "torn", TINY), tmp_path)


@pytest.mark.parametrize("option", [{"precision": "blah"}, {"devices": "0"}, {"devices": "abc"}])
def test_an_option_that_lightning_does_not_know_is_wrong_usage(
    data: Path, tmp_path: Path, option: dict[str, str]
) -> None:
    with pytest.raises(typer.BadParameter, match=r"--devices .* --precision"):
        run(plan(data, "option", TINY), tmp_path, **option)


def test_after_ctrl_c_it_is_said_how_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def ctrl_c(self: NetworkTraining) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NetworkTraining, "on_train_epoch_start", ctrl_c, raising=False)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(plan(data, "stopped", TINY), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning has it ignored
    assert "the same command goes on from the end of the last epoch" in capsys.readouterr().err
