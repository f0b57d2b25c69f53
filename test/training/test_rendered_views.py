"""Rendered sets: read as written, kept encoded without loss, rejected when incomplete."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.drawn_hands import SKIN, plane_view, write_views

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.rendered import load_views
from hand_depth_ros.training.datasets import read_datasets
from hand_depth_ros.training.samples import frames
from hand_depth_ros.training.samples.crops import CropDataset
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape


def test_reads_rendered_set_as_written(tmp_path: Path) -> None:
    folder = write_views(tmp_path / "set", 4)
    train, val = load_views(folder, "train"), load_views(folder, "val")
    assert (len(train), len(val), len(load_views(folder)), len(load_views(folder, "train", 2))) == (
        3,
        1,
        4,
        2,
    )
    truth, _, _ = plane_view(96, 240.0, 0.17)
    view = train[0].decode()
    np.testing.assert_allclose(view.depth_m, truth.depth_m, atol=6e-5)
    assert np.array_equal(view.mask, truth.mask) and np.array_equal(view.rgba, truth.rgba)
    assert view.k == truth.k and view.hands == truth.hands and train[0].size == view.size == (96, 96)
    assert tuple(view.rgba[48, 48]) == (*SKIN, 255)


def pixels_in_files(folder: Path, name: str, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return RGBA, depth and mask of a view, read and shrunk without the package."""
    paths = [folder / part / f"{name}.png" for part in ("rgb", "depth", "mask")]
    colour, depth, mask = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths)
    rgba, metres = colour[..., [2, 1, 0, 3]], depth.astype(np.float32) * np.float32(1e-4)
    if scale != 1.0:
        size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
        rgba = cv2.resize(np.ascontiguousarray(rgba), size, interpolation=cv2.INTER_AREA)
        metres, mask = (cv2.resize(x, size, interpolation=cv2.INTER_NEAREST) for x in (metres, mask))
    return rgba, metres, mask


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_stored_views_decode_to_pixels_of_files(tmp_path: Path, scale: float) -> None:
    """Views, and samples drawn from them, are equal to the bit to those of the files' pixels."""
    folder = write_views(tmp_path / "set", 2)
    stored = load_views(folder, scale=scale)
    decoded = []
    for view in stored:
        assert not any(isinstance(value, np.ndarray) for value in view)
        assert 4 * len(view.colour + view.depth + view.mask) < view.size[0] * view.size[1] * 9
        rgba, depth_m, mask = pixels_in_files(folder, view.name, scale)
        pixels = view.decode()
        for found, true in ((pixels.rgba, rgba), (pixels.depth_m, depth_m), (pixels.mask, mask)):
            assert found.dtype == true.dtype and np.array_equal(found, true)
        decoded.append(pixels._replace(rgba=rgba, depth_m=depth_m, mask=mask))
    for make in (
        lambda views: CropDataset(TrainingData(views, [], [], 0.0, 0.0), CropShape(48, 48), 8, seed=1),
        lambda views: frames.FrameDataset(TrainingData(views, [], [], 0.0, 0.0), (96, 80), 8, seed=1),
    ):
        before, now = make(decoded), make(stored)
        for i in range(8):
            for key, value in before[i].items():
                np.testing.assert_array_equal(now[i][key], value, key)


def test_set_named_twice_is_in_memory_once(tmp_path: Path) -> None:
    folder = str(write_views(tmp_path / "set", 4))
    views = read_datasets(TrainConfig(rendered=(folder, folder)), tmp_path).train_views
    assert len(views) == 6 and all(a is b for a, b in zip(views[:3], views[3:], strict=True))


def test_missing_or_broken_set_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="hand-depth synth --out"):
        load_views(tmp_path)
    folder = write_views(tmp_path / "set", 2)
    (folder / "depth" / "00000.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"00000\.png"):
        load_views(folder)
    cv2.imwrite(str(folder / "depth" / "00000.png"), np.zeros((48, 96), np.uint16))
    with pytest.raises(DatasetError, match="not of one size"):
        load_views(folder)
