"""Train and measure the ablation: every row by `hand-depth train` with the same budget.

    python tools/ablation.py CONFIG --out RUNS --samples 64000 --data DATA [--synthetic SET...]

The numbers go to docs/ablation.json; `python tools/write_docs.py` makes docs/ablation.md of them.
Run it again to continue: rows that are trained or measured are not done again, a row that was cut
off is resumed. DATA holds real_val (not in this repository), SET are sets of `hand-depth synth`,
measured on their val split (without: the config's own). The boxes of the hands are given, so that
only the depth network is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ablation_report
import numpy as np
import yaml
from ablation_report import BASE, ROOT

import hand_depth_ros
from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.errors import DatasetError
from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE, SHIPPED_WEIGHTS, HandDepthEstimator
from hand_depth_ros.estimation.result import HandDepthFrame
from hand_depth_ros.evaluation.cli import evaluate_dataset
from hand_depth_ros.evaluation.readers import open_dataset
from hand_depth_ros.geometry.boxes import Box
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.geometry.hand import MEAN_HAND_LENGTH_M
from hand_depth_ros.network import NetworkConfig
from hand_depth_ros.network.weights import read_metadata
from hand_depth_ros.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        text: Name in the document.
        network: Differences of the network from BASE.
        config: Differences of the rest of the training config from BASE.
    """

    text: str
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


ROWS: dict[str, Row] = {
    BASE: Row("ours: 2 stacks, mask first and fed forward", {"stacks": 2, "mask_stacks": 1}),
    "one_stack": Row("1 stack, mask and depth jointly", {"stacks": 1, "mask_stacks": 0}),
    "four_stacks": Row("4 stacks, mask in the first 2, fed forward", {"stacks": 4, "mask_stacks": 2}),
    "depth_only": Row("depth only: no mask in the hourglasses", {"predict_mask": False, "mask_stacks": 0}),
    "jointly": Row("mask and depth jointly in both stacks", {"mask_stacks": 0}),
    "not_fed": Row("mask first, not fed forward", {"feed_mask": False}),
    "last_loss": Row("without intermediate supervision", {"intermediate": False}),
    "resized_box": Row("resized box instead of the virtual crop camera", config={"crop": "box"}),
    "metres": Row("metric depth instead of depth in hand lengths", config={"unit": "metres"}),
    "no_joints": Row(
        "without the joints (and so not upright, without a backbone)", {"joints": False, "backbone": False}
    ),
    "no_backbone": Row("without the backbone", {"backbone": False}),
    "synthetic_only": Row(
        "synthetic only: without photographs", config={"landmarks": [], "real_fraction": 0.0}
    ),
}


class ResizedBox:
    """An estimator with resized boxes: takes each hand's box to lie around the optical axis."""

    def __init__(self, estimator: HandDepthEstimator) -> None:
        self.estimator = estimator

    def estimate(
        self,
        rgb: np.ndarray,
        camera: Camera,
        rois: Sequence[Box] | None = None,
        hand_length_m: float | None = None,
        *,
        track: bool = True,
    ) -> HandDepthFrame:
        """Return the estimates of all boxes, each made with a camera centred on its box."""
        shape = rgb.shape[:2]
        empty = np.full(shape, np.nan, np.float32)
        frame = HandDepthFrame(empty, empty.copy(), np.zeros(shape, np.uint8), (), {})
        for number, roi in enumerate(rois or (), 1):
            x, y, width, height = roi
            centred = Camera(
                camera.width, camera.height, camera.fx, camera.fy, x + (width - 1) / 2, y + (height - 1) / 2
            )
            one = self.estimator.estimate(rgb, centred, [roi], hand_length_m, track)
            free = (one.mask > 0) & (frame.mask == 0)
            frame = HandDepthFrame(
                np.where(free, one.depth, frame.depth),
                np.where(free, one.sigma, frame.sigma),
                np.where(free, np.uint8(number), frame.mask),
                (*frame.hands, *(dataclasses.replace(hand, id=number) for hand in one.hands)),
                {},
            )
        return frame


class Metres:
    """The estimator of a network trained in metres: it ignores the hand length."""

    def __init__(self, estimator: HandDepthEstimator) -> None:
        self.estimator = estimator

    def estimate(
        self,
        rgb: np.ndarray,
        camera: Camera,
        rois: Any = None,
        hand_length_m: Any = None,
        *,
        track: bool = True,
    ) -> HandDepthFrame:
        """Return the estimate for a hand of the mean length."""
        return self.estimator.estimate(rgb, camera, rois, MEAN_HAND_LENGTH_M, track)


def config_of(row: Row, base: Path, samples: int) -> dict[str, Any]:
    """Return the training config of a row: paths absolute, no weights to start from."""
    config = dataclasses.asdict(TrainConfig.read(base))
    config.update(samples=samples, epoch_samples=max(config["batch"], samples // 4), start_from=None)
    config["network"] = {**config["network"], **ROWS[BASE].network, **row.network}
    config.update(row.config)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


def differs(name: str, arguments: argparse.Namespace) -> bool:
    """Tell whether a row differs from BASE with this config."""
    config, base = (config_of(ROWS[row], arguments.config, arguments.samples) for row in (name, BASE))
    mine, theirs = (NetworkConfig.from_dict(each.pop("network")) for each in (config, base))
    return name == BASE or config != base or mine != theirs


def train(name: str, arguments: argparse.Namespace) -> Path:
    """Train a row or resume it; return a folder of weights that the estimator can load."""
    out: Path = arguments.out / name
    out.mkdir(parents=True, exist_ok=True)
    config = config_of(ROWS[name], arguments.config, arguments.samples)
    file, text = out / "config.yaml", yaml.safe_dump(config, sort_keys=False)
    if file.exists() and file.read_text() != text:
        raise SystemExit(f"{out} was started with another config or budget: give another --out, or remove it")
    file.write_text(text)
    trained, steps = out / "depth.safetensors", arguments.samples // config["batch"]
    if not trained.exists() or read_metadata(trained).info["samples"] < steps * config["batch"]:
        command = [
            *shlex.split(arguments.prefix),
            sys.executable,
            "-m",
            "hand_depth_ros.cli.main",
            "train",
            str(file),
        ]
        command += ["--out", str(out), "--cache", str(arguments.out / "cache")]
        command += ["--precision", arguments.precision, "--devices", "1"]
        subprocess.run(command, check=True)
    if not trained.exists():
        raise SystemExit(
            f"{name} left no weights: the config needs views of the val split, or 400 photographs, to validate on"
        )
    weights = out / "weights"
    weights.mkdir(exist_ok=True)
    shutil.copyfile(trained, weights / DEPTH_FILE)
    shutil.copyfile(SHIPPED_WEIGHTS / DETECTOR_FILE, weights / DETECTOR_FILE)
    return weights


def measure(name: str, weights: Path, arguments: argparse.Namespace) -> None:
    """Write the reports of `hand-depth evaluate` beside the weights, unless they are there."""
    file = arguments.out / name / "numbers.json"
    if file.exists():
        return
    estimator: Any = HandDepthEstimator.from_pretrained(weights, device=arguments.device)
    wrapped = (
        ResizedBox(estimator)
        if name == "resized_box"
        else Metres(estimator)
        if name == "metres"
        else estimator
    )
    backgrounds = TrainConfig.read(arguments.config).backgrounds
    sets = {"joints": arguments.data / "real_val" / "joints", "masks": arguments.data / "real_val" / "masks"}
    sets |= {f"synthetic {path.name}": path for path in synthetic_sets(arguments)}
    reports = {}
    for title, path in sets.items():
        data = open_dataset(
            path, limit=arguments.limit, backgrounds=Path(backgrounds) if backgrounds else None
        )
        reports[title] = evaluate_dataset(data, wrapped, given_boxes=True)
    file.write_text(json.dumps(reports, indent=1) + "\n")


def synthetic_sets(arguments: argparse.Namespace) -> list[Path]:
    """Return the rendered sets to measure: those in the folder format, which have splits."""
    rendered = [Path(path) for path in TrainConfig.read(arguments.config).rendered]
    return arguments.synthetic or [
        path for path in dict.fromkeys(rendered) if (path / "dataset.json").exists()
    ]


def measures(name: str, report: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that a row has on one set, in the units of ablation_report.HEADS."""
    iou = report["mask_iou_in_region"] if report["mask_iou_in_region"] is not None else report["mask_iou"]
    guessed, known = report["hand_length_guessed"] or {}, report["hand_length_known"] or {}
    found = {
        "found": None if report["hands_found"] is None else 100 * report["hands_found"],
        "shape": guessed.get("shape_mm"),
        # a network that works in metres has no use for the hand's length
        "known": None if name == "metres" else known.get("mae_mm"),
        "guessed": guessed.get("mae_mm"),
        "iou": None if iou is None else 100 * iou,
    }
    return {key: round(value, 3) for key, value in found.items() if value is not None}


def shown_path(file: Path) -> str:
    """Return a file's path from the repository's root, of one outside of it the name alone."""
    resolved = file.resolve()
    return str(resolved.relative_to(ROOT) if resolved.is_relative_to(ROOT) else resolved.name)


def write(reports: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Write the numbers of all rows that are done."""
    config = config_of(ROWS[BASE], arguments.config, arguments.samples)
    first = next(iter(reports.values()))
    limit = f" --limit {arguments.limit}" if arguments.limit else ""
    numbers = {
        "version": hand_depth_ros.__version__,
        "command": f"python tools/ablation.py {shown_path(arguments.config)} --out RUNS "
        f"--samples {arguments.samples} --data DATA{limit}",
        "samples": arguments.samples,
        "batch": config["batch"],
        "network": config["network"],
        "images": {title: report["images"] for title, report in first.items()},
        "constant_depth_mm": {
            title: round(report["constant_depth_mm"], 3)
            for title, report in first.items()
            if report["constant_depth_mm"] is not None
        },
        "not_done": [
            row.text for name, row in ROWS.items() if name not in reports and differs(name, arguments)
        ],
        "rows": {
            name: {
                "text": ROWS[name].text,
                "sets": {title: measures(name, report) for title, report in of_row.items()},
            }
            for name, of_row in reports.items()
        },
    }
    arguments.numbers.write_text(json.dumps(numbers, indent=1) + "\n")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the runs, outside of the repository"
    )
    parser.add_argument("--samples", type=int, required=True, help="the budget of each row, crops")
    parser.add_argument("--data", type=Path, required=True, help="folder with real_val")
    parser.add_argument("--synthetic", type=Path, nargs="*", default=[])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--limit", type=int, help="measure only so many images of each set")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--device", default="auto", help="device to measure on")
    parser.add_argument("--prefix", default="", help="prefix of the training command, e.g. 'taskset -c 0'")
    parser.add_argument(
        "--numbers", type=Path, default=ablation_report.NUMBERS, help="file for the numbers of all rows"
    )
    arguments = parser.parse_args()
    TrainConfig.read(arguments.config).check_files()
    for name in ("joints", "masks"):
        if not (arguments.data / "real_val" / name).is_dir():
            raise DatasetError(f"--data {arguments.data} has no folder real_val/{name}")
    for name in (name for name in ROWS if name in arguments.rows):
        if not differs(name, arguments):
            continue  # this config does not have what the row takes away
        print(f"{name}: {ROWS[name].text}", flush=True)
        measure(name, train(name, arguments), arguments)
        done = {row: arguments.out / row / "numbers.json" for row in ROWS}
        write({row: json.loads(file.read_text()) for row, file in done.items() if file.exists()}, arguments)
    print(ablation_report.document(arguments.numbers))


if __name__ == "__main__":
    run_cli(main)
