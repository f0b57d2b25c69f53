"""`hand-depth archive`: it holds what training would read; incomplete archives are rejected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs the extra 'train'")

from support.drawn_hands import plane_view, write_landmarks, write_views
from support.small_networks import TINY
from typer import BadParameter

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import HandDepthNet, load_weights
from hand_depth_ros.training.archive import read_archive, write_archive
from hand_depth_ros.training.cli import archive, train
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.rendered import RenderedView, dequantize, quantize
from hand_depth_ros.training.datasets import Datasets, read_datasets

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_views(data / "set", 4)
    write_landmarks(data / "photos")
    (data / "rooms").mkdir()
    import cv2

    for i, grey in enumerate((60, 90, 120)):
        cv2.imwrite(str(data / "rooms" / f"{i}.png"), np.full((50, 70, 3), grey, np.uint8))
    values = {
        "network": json.loads(TINY.to_json()),
        "rendered": ["set", "set"],
        "landmarks": ["photos/landmarks.jsonl"],
        "backgrounds": "rooms",
        "samples": 4,
        "epoch_samples": 4,
        "val_samples": 2,
        "batch": 2,
        "workers": 0,
    }
    path = data / "config.yaml"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture(scope="module")
def archived(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    archive(config, folder, cache=None, quality=90, shard_mb=1)
    return folder


def test_archive_holds_views_photographs_and_backgrounds(
    config: Path, archived: Path, tmp_path: Path
) -> None:
    before, after = read_datasets(TrainConfig.read(config), tmp_path), read_archive(archived)
    assert [len(part) for part in after] == [len(part) for part in before]
    assert all(a is b for a, b in zip(after.train_views[:3], after.train_views[3:], strict=True))
    for old, new in zip(
        before.train_views + before.val_views, after.train_views + after.val_views, strict=True
    ):
        one, other = old.decode(), new.decode()
        assert (one.k, one.name, one.size) == (other.k, other.name, other.size)
        assert np.array_equal(one.mask, other.mask) and np.array_equal(one.rgba[..., 3], other.rgba[..., 3])
        assert np.abs(one.depth_m - other.depth_m)[one.mask > 0].max() <= 0.0005 + 1e-5
        for mine, yours in zip(one.hands, other.hands, strict=True):
            assert mine[:2] == yours[:2]
            np.testing.assert_array_equal(mine.joints, yours.joints)
    for photo, again in zip(before.photographs, after.photographs, strict=True):
        np.testing.assert_array_equal(photo.landmarks, again.landmarks)
        assert np.abs(photo.decode().astype(int) - again.decode()).mean() < 6
        for label, kept in zip(photo.labels, again.labels, strict=True):
            assert (label.x, label.y, label.log_length_px, label.weight) == kept[:2] + kept[4:6]
            np.testing.assert_array_equal(label.mask, kept.mask)
            np.testing.assert_array_equal(label.joints, kept.joints)
            np.testing.assert_allclose(kept.relief, label.relief, atol=0.002 + 1e-6)
    for room, wall in zip(before.backgrounds, after.backgrounds, strict=True):
        assert room.shape == wall.shape and np.abs(room.astype(int) - wall).max() <= 4


def test_trains_from_archive_without_original_files(config: Path, archived: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "config.yaml"
    elsewhere.write_text(config.read_text())
    train(elsewhere, tmp_path / "run", None, "1", 1, "32-true", None, archived, None)
    _, info = load_weights(tmp_path / "run" / "depth.safetensors", HandDepthNet)
    assert info["samples"] == 4 and "rendered/iou" in info["validation"]
    with pytest.raises(BadParameter, match="limit-views"):
        train(elsewhere, tmp_path / "other", None, "1", 1, "32-true", 2, archived, None)


def test_shards_keep_to_size_and_all_are_needed(config: Path, tmp_path: Path) -> None:
    datasets = read_datasets(TrainConfig.read(config), tmp_path / "cache")
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (200, 200, 3), np.uint8) for _ in range(200)]
    datasets = datasets._replace(backgrounds=noise)
    shards = write_archive(datasets, tmp_path / "parts", 75, 2_500_000)
    assert len(shards) > 1 and all(path.stat().st_size < 2_600_000 for path in shards)
    assert len(read_archive(tmp_path / "parts").backgrounds) == 200
    again = write_archive(datasets, tmp_path / "parts", 20, 100_000_000)
    assert sorted((tmp_path / "parts").glob("*.npz")) == again != shards
    shards = write_archive(datasets, tmp_path / "parts", 75, 2_500_000)
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-1])
    with pytest.raises(DatasetError, match=r"shard-001.npz is missing or incomplete"):
        read_archive(tmp_path / "parts")
    shards[1].unlink()
    with pytest.raises(DatasetError, match=r"shard-001.npz is missing or incomplete"):
        read_archive(tmp_path / "parts")


def test_rejects_folder_that_is_no_complete_archive(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="hand-depth archive CONFIG --out"):
        read_archive(tmp_path)
    nothing = Datasets([], [], [], [], np.zeros((0, 5)))
    (tmp_path / "shard-000.npz").write_text("something else")
    with pytest.raises(DatasetError, match="holds something else"):
        write_archive(nothing, tmp_path, 75, 10**6)
    (tmp_path / "contents.json").write_text(json.dumps({"format": 2, "shards": None}))
    with pytest.raises(DatasetError, match="is incomplete"):
        read_archive(tmp_path)
    (tmp_path / "contents.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(DatasetError, match="another version"):
        read_archive(tmp_path)


@pytest.mark.parametrize("span", [0.1, 0.6])
def test_quantize_uses_asked_step_unless_range_needs_coarser(span: float) -> None:
    values = np.linspace(0.3, 0.3 + span, 5000, dtype=np.float32).reshape(50, 100)
    known = np.ones(values.shape, bool)
    known[:, 50:] = False
    encoded, step, lowest = quantize(values, known, 0.001)
    assert step == pytest.approx(max(0.001, float(np.ptp(values[known])) / 254)) and lowest == values.min()
    found = dequantize(encoded, step, lowest, np.nan)
    assert np.abs(found - values)[known].max() <= step / 2 + 1e-6 and np.isnan(found[~known]).all()
    nothing = dequantize(*quantize(values, np.zeros_like(known), 0.001), unknown=0.0)
    assert nothing.shape == values.shape and not nothing.any()


def test_archived_view_is_smaller(tmp_path: Path) -> None:
    from hand_depth_ros.training.archive_codec import archive_view

    view, _, _ = plane_view()
    assert isinstance(view, RenderedView)
    small = archive_view(view, 60)
    assert len(small.colour + small.depth + small.mask) < view.mask.size / 4
    assert torch.isfinite(torch.from_numpy(small.decode().depth_m)).all()


def test_old_name_of_the_command_is_rejected_with_its_new_name() -> None:
    from typer.testing import CliRunner

    from hand_depth_ros.cli.main import app

    result = CliRunner().invoke(app, ["pack", "config.yaml"])
    assert result.exit_code == 2 and "pack is now called archive" in result.output
