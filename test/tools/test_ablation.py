"""The ablation: its switches change what they say and nothing else; the command trains, measures,
writes, and resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra 'train'")

import ablation
import ablation_report
from support.drawn_hands import open_hand, plane_view, write_landmarks, write_views
from support.paths import ROOT
from support.small_networks import TINY

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.estimation.estimator import HandDepthEstimator
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.network.weights import read_metadata
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.rendered import RenderedHand, as_resized_boxes, in_metres
from hand_depth_ros.training.samples.rendered_crops import rendered_sample
from hand_depth_ros.training.samples.training_data import TrainingData
from hand_depth_ros.training.samples.warp import CropShape

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers


def test_resized_boxes_lie_around_the_optical_axis() -> None:
    """Two hands in a view become two views, each with its principal point in the middle of its own
    hand.
    """
    view, _, _ = plane_view(side=160)
    mask = np.zeros((160, 160), np.uint8)
    mask[10:30, 20:61], mask[100:111, 90:150] = 1, 2
    hands = (RenderedHand(1, 0.17), RenderedHand(2, 0.17), RenderedHand(3, 0.17))  # the third is hidden
    one, two = as_resized_boxes([view._replace(mask=mask, hands=hands)])
    assert one.k == (400, 400, 40, 19.5) and two.k == (400, 400, 119.5, 105)
    assert [v.hands[0].instance for v in (one, two)] == [1, 2] and all(len(v.hands) == 1 for v in (one, two))


def test_targets_in_metres_do_not_depend_on_the_hand_length() -> None:
    """Depth in hand lengths: a shorter hand in the same image looks smaller and has more relief.
    In metres not.
    """

    def target(length: float, metres: bool) -> tuple[np.ndarray, np.ndarray]:
        view, _, _ = plane_view(length=length)
        (view,) = in_metres([view]) if metres else (view,)
        sample = rendered_sample(
            view, view.hands[0], TrainingData([], [], []), CropShape(64, 64), np.random.default_rng(5)
        )
        assert sample is not None
        return sample["scalars"], np.nanstd(sample["relief"])

    (scalars, relief), (other, more) = target(0.19, False), target(0.16, False)
    assert scalars[0] - other[0] == pytest.approx(np.log(0.19 / 0.16), abs=1e-5)
    assert more / relief == pytest.approx(0.19 / 0.16, rel=1e-4)
    (scalars, relief), (other, more) = target(0.19, True), target(0.16, True)
    np.testing.assert_allclose(scalars, other)
    assert more == relief and scalars[1] == 0


def test_resized_box_estimate_does_not_depend_on_the_box_position() -> None:
    """The same pixels in the middle and in the corner of a wide image: one crop, one depth."""
    estimator = HandDepthEstimator.untrained(network=TINY, mask_threshold=0.5)
    camera = Camera(400, 300, 200.0, 200.0, 199.5, 149.5)
    rng = np.random.default_rng(0)
    patch = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64))
    frames = []
    for x, y in ((168, 118), (300, 200)):
        rgb = np.zeros((300, 400, 3), np.uint8)
        rgb[y : y + 64, x : x + 64] = patch
        roi = (float(x), float(y), 64.0, 64.0)
        frame = ablation.ResizedBox(estimator).estimate(rgb, camera, [roi], 0.19, track=False)
        frames.append(frame.depth[y - 8 : y + 72, x - 8 : x + 72])
    np.testing.assert_allclose(*frames, rtol=1e-4)
    assert np.isfinite(frames[0]).any()


def test_rejects_unknown_values_of_switches(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("unit: inches")
    with pytest.raises(DatasetError, match="unit must be hand_lengths or metres"):
        TrainConfig.read(tmp_path / "config.yaml")


def test_every_row_differs_from_the_base_only_where_it_says(tmp_path: Path) -> None:
    config = {
        "network": json.loads(TINY.to_json()),
        "rendered": ["set"],
        "landmarks": ["l.jsonl"],
        "start_from": "w",
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    base = ablation.config_of(ablation.ROWS["ours"], tmp_path / "config.yaml", 640)
    assert base["samples"] == 640 and base["start_from"] is None
    for row in ablation.ROWS.values():
        config = ablation.config_of(row, tmp_path / "config.yaml", 640)
        changed = {key for key in config if config[key] != base[key]} - {"network"}
        assert changed <= set(row.config)
        differing = {key for key, value in config["network"].items() if value != base["network"][key]}
        assert differing <= set(row.network)
        ablation.HandDepthEstimator.untrained(network=type(TINY).from_dict(config["network"]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered set, photographs with landmarks, and a joints and a masks set of one image each,
    as real_val has them.
    """
    root = tmp_path_factory.mktemp("ablation")
    write_views(root / "set", 3)
    write_landmarks(root / "photos")
    real = root / "real_val"
    for name in ("joints", "masks"):
        (real / name).mkdir(parents=True)
        cv2.imwrite(str(real / name / "0.jpg"), cv2.imread(str(root / "photos" / "hand.jpg")))
    cv2.imwrite(str(real / "masks" / "0.png"), np.full((280, 300), 255, np.uint8))
    px, world = open_hand()
    size = {"width": 300, "height": 280}
    camera = {"fx": 400, "fy": 400, "cx": 150, "cy": 200}
    joints = 1000 * (world + (0, 0, 0.5))
    line = {"image": "joints/0.jpg", **size, **camera, "joints_mm": joints.tolist()}
    (real / "joints.jsonl").write_text(json.dumps(line))
    line = {"image": "masks/0.jpg", **size, "hands": [{"px": np.column_stack((px, px[:, 0])).tolist()}]}
    (real / "masks.jsonl").write_text(json.dumps(line))
    config = {
        "network": json.loads(TINY.to_json()),
        "rendered": ["set"],
        "landmarks": ["photos/landmarks.jsonl"],
        "batch": 2,
        "workers": 0,
        "val_samples": 2,
    }
    (root / "config.yaml").write_text(json.dumps(config))
    return root


def test_command_trains_measures_writes_and_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, runs = tmp_path / "ablation.json", tmp_path / "runs"

    def run(*rows: str, samples: int = 4) -> str:
        given = ["ablation.py", str(data / "config.yaml"), "--out", str(runs), "--samples", str(samples)]
        given += [
            "--data",
            str(data),
            "--numbers",
            str(numbers),
            "--precision",
            "32-true",
            "--device",
            "cpu",
        ]
        monkeypatch.setattr(sys, "argv", [*given, "--rows", *rows])
        ablation.main()
        return ablation_report.document(numbers)

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = run("metres")
    text = " ".join(text.split())
    assert "budget of 4 crops" in text and "metric depth instead" in text and str(data) not in text
    weights = runs / "metres" / "depth.safetensors"
    made = weights.stat().st_mtime_ns
    assert read_metadata(weights).info["config"]["unit"] == "metres"
    numbers.unlink()
    (runs / "jointly").mkdir()  # as another row's numbers would be, from an earlier call
    (runs / "jointly" / "numbers.json").write_text((runs / "metres" / "numbers.json").read_text())
    text = run("metres")
    assert weights.stat().st_mtime_ns == made  # not trained again
    rows = [line for line in text.splitlines() if line.startswith(("| metric", "| mask and"))]
    assert len(rows) == 2 and all(len(row.split("|")) == len(rows[0].split("|")) for row in rows)
    assert "Not done yet: ours: 2 stacks" in text
    with pytest.raises(SystemExit, match="another config or budget"):
        run("metres", samples=6)


def test_leaves_out_rows_that_take_away_what_the_config_lacks(data: Path) -> None:
    arguments = argparse.Namespace(config=data / "config.yaml", samples=4)
    assert not ablation.differs("no_backbone", arguments)
    assert all(
        ablation.differs(name, arguments) for name in (ablation.BASE, "jointly", "metres", "synthetic_only")
    )
