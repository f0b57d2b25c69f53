"""tools/plot_learning_curve.py: joins the logs of a run that was resumed, and draws them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("matplotlib", reason="drawing needs the extra 'view'")

from support.paths import ROOT
from support.small_networks import TINY

from hand_depth_ros.network import HandDepthNet, save_weights

SCRIPT = ROOT / "tools" / "plot_learning_curve.py"


def test_joins_the_curves_of_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        0: "epoch,real/iou,step,train/mask\n0,,19,0.9\n0,0.5,39,\n1,0.6,79,\n",
        1: "epoch,real/iou,step,train/mask\n1,0.7,79,\n2,,99,0.3\n",
        10: "epoch,real/iou,step,train/mask\n3,0.8,119,nan\n",
    }
    for part, text in parts.items():
        (tmp_path / f"log/version_{part}").mkdir(parents=True)
        (tmp_path / f"log/version_{part}/metrics.csv").write_text(text)
    script = runpy.run_path(str(SCRIPT))
    curves = script["read_run"](tmp_path)
    assert curves == {"real/iou": [(39, 0.5), (79, 0.7), (119, 0.8)], "train/mask": [(19, 0.9), (99, 0.3)]}
    monkeypatch.setattr(sys, "argv", ["plot", str(tmp_path), "--out", str(tmp_path / "curve.png")])
    with pytest.raises(SystemExit, match="no weights yet"):
        script["main"]()
    save_weights(HandDepthNet(TINY), tmp_path / "depth.safetensors", {"config": {"batch": 16}})
    script["main"]()
    assert cv2.imread(str(tmp_path / "curve.png")).shape[1] > 800
    with pytest.raises(SystemExit, match="no log"):
        script["read_run"](tmp_path / "log")
