"""The ablation: every row trained by `hand-depth train` with the same budget, measured, and written into docs/ablation.md.

    python tools/ablation.py config/train_depth.yaml --out RUNS --samples 64000 --data DATA [--synthetic SET...]

Run it again and it goes on where it was: rows that are trained or measured are not done again, a row that was cut off is
resumed. DATA holds real_val (not in this repository), SET are sets of `hand-depth synth`, measured on their val split
(without: the config's own). The boxes of the hands are given, so that only the depth network is measured.
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

import numpy as np
import yaml
from safetensors import safe_open

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
from hand_depth_ros.training.config import TrainConfig

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "ablation.md"
BASE = "ours"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: what is different from BASE, in the network and in the rest of the config."""

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
    "synthetic_only": Row("synthetic only: without photographs", config={"landmarks": [], "real_share": 0.0}),
}


_TRUNK = (
    "All rows have the shipped network's backbone, which nothing changes, but for the one that says so: what they differ in is "
    "learned on top of it."
)
_NO_TRUNK = (
    "No row has the backbone that the shipped network has: these are the paper's question and this project's, asked of the "
    "hourglasses alone, on crops small enough to ask them all."
)


LONG = 200_000
_SHORT = """
This budget is small (the shipped network has seen about two million crops): the rows show what is learned first, not where a
training ends. What ships stays the paper's variant, mask first and fed forward, unless a row is better by more than the noise
on both kinds of sets.
"""


class ResizedBox:
    """The estimator as it would be with resized boxes: each hand's box is taken to lie around the optical axis."""

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
    """The estimator of a network that was trained in metres: a hand's length means nothing to it."""

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
        return self.estimator.estimate(rgb, camera, rois, MEAN_HAND_LENGTH_M, track)


def config_of(row: Row, base: Path, samples: int) -> dict[str, Any]:
    """The training config of a row: BASE's with the row's differences, paths absolute, nothing to start from."""
    plan = dataclasses.asdict(TrainConfig.read(base))
    plan.update(samples=samples, epoch_samples=max(plan["batch"], samples // 4), start_from=None)
    plan["network"] = {**plan["network"], **ROWS[BASE].network, **row.network}
    plan.update(row.config)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plan.items()}


def differs(name: str, arguments: argparse.Namespace) -> bool:
    """Whether a row is another one than BASE with this config."""
    plan, base = (config_of(ROWS[row], arguments.config, arguments.samples) for row in (name, BASE))
    mine, theirs = (NetworkConfig.from_dict(each.pop("network")) for each in (plan, base))
    return name == BASE or plan != base or mine != theirs


def train(name: str, arguments: argparse.Namespace) -> Path:
    """Train a row (or go on with it) unless that is done; gives a folder of weights that the estimator can load."""
    out: Path = arguments.out / name
    out.mkdir(parents=True, exist_ok=True)
    plan = config_of(ROWS[name], arguments.config, arguments.samples)
    config, text = out / "config.yaml", yaml.safe_dump(plan, sort_keys=False)
    if config.exists() and config.read_text() != text:
        raise SystemExit(f"{out} was begun with another config or budget: give another --out, or remove it")
    config.write_text(text)
    trained, steps = out / "depth.safetensors", arguments.samples // plan["batch"]
    if not trained.exists() or info_of(trained)["samples"] < steps * plan["batch"]:
        command = [
            *shlex.split(arguments.prefix),
            sys.executable,
            "-m",
            "hand_depth_ros.cli.main",
            "train",
            str(config),
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


def info_of(file: Path) -> dict[str, Any]:
    """What a weights file says of its making."""
    with safe_open(file, framework="numpy") as content:
        return json.loads(content.metadata()["info"])


def measure(name: str, weights: Path, arguments: argparse.Namespace) -> None:
    """Leave the reports of `hand-depth evaluate` by set beside the weights, unless they are there."""
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
    """The sets that are measured, only those in the folder format (the others have no split)."""
    rendered = [Path(path) for path in TrainConfig.read(arguments.config).rendered]
    return arguments.synthetic or [
        path for path in dict.fromkeys(rendered) if (path / "dataset.json").exists()
    ]


def table(numbers: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line a row; a column or two for each set, by what the set knows."""
    sets = list(next(iter(numbers.values())))
    columns = [(title, key) for title in sets for key in columns_of(numbers, title)]
    heads = [f"{title}: {HEADS[key]}" for title, key in columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, reports in numbers.items():
        cells = [
            "" if known_means_nothing(name, key) else shown(value(reports[title], key))
            for title, key in columns
        ]
        lines.append(f"| {ROWS[name].text} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


HEADS = {
    "found": "hands found, %",
    "shape": "shape, mm",
    "known": "absolute, length known, mm",
    "guessed": "absolute, guessed, mm",
    "iou": "mask IoU, %",
}


def columns_of(numbers: dict[str, dict[str, Any]], title: str) -> list[str]:
    """The columns that a set has numbers for."""
    return [
        key for key in HEADS if any(value(reports[title], key) is not None for reports in numbers.values())
    ]


def value(report: dict[str, Any], key: str) -> float | None:
    """A cell's number."""
    if key == "found":
        return None if report["hands_found"] is None else 100 * report["hands_found"]
    if key == "iou":
        iou = report["mask_iou_in_region"] if report["mask_iou_in_region"] is not None else report["mask_iou"]
        return None if iou is None else 100 * iou
    errors = report["hand_length_known" if key == "known" else "hand_length_guessed"]
    return None if errors is None else errors["shape_mm" if key == "shape" else "mae_mm"]


def known_means_nothing(name: str, key: str) -> bool:
    """A network that works in metres has no use for the hand's length."""
    return name == "metres" and key == "known"


def shown(number: float | None) -> str:
    return "" if number is None else f"{number:.1f}"


def scale(numbers: dict[str, dict[str, Any]]) -> str:
    """What the shape columns are to be held against."""
    first = next(iter(numbers.values()))
    constant = [
        f"{report['constant_depth_mm']:.1f} mm on {title}"
        for title, report in first.items()
        if report["constant_depth_mm"] is not None
    ]
    return (
        f"For scale: by the shape measure each hand at one constant depth scores {', '.join(constant)}."
        if constant
        else ""
    )


def verdict(numbers: dict[str, dict[str, Any]]) -> str:
    """Which row is best in each column that all rows have."""
    lines = []
    for title in next(iter(numbers.values())):
        for key in columns_of(numbers, title):
            found = {
                name: number
                for name, reports in numbers.items()
                if not known_means_nothing(name, key) and (number := value(reports[title], key)) is not None
            }
            if not found:
                continue
            best = (
                max(found, key=found.__getitem__)
                if key in ("found", "iou")
                else min(found, key=found.__getitem__)
            )
            ours = f", ours {shown(found.get(BASE))}" if best != BASE and BASE in found else ""
            lines.append(f"- {title}, {HEADS[key]}: {ROWS[best].text} ({shown(found[best])}{ours})")
    return "\n".join(lines)


def write(numbers: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """docs/ablation.md."""
    plan = config_of(ROWS[BASE], arguments.config, arguments.samples)
    images = ", ".join(
        f"{title} {report['images']}" for title, report in next(iter(numbers.values())).items()
    )
    missing = [row.text for name, row in ROWS.items() if name not in numbers and differs(name, arguments)]
    limit = f" --limit {arguments.limit}" if arguments.limit else ""
    command = f"{arguments.config.name} --out RUNS --samples {arguments.samples} --data DATA{limit}"
    text = f"""# Ablation

Written by `python tools/ablation.py {command}`. Every row is
trained from scratch with the same budget of {arguments.samples:,} crops (batch {plan["batch"]}), differs from the first only in
what its name says, and has the same seed. The first row's network: `{plan["network"]}`.
{_TRUNK if plan["network"].get("backbone") else _NO_TRUNK}
Boxes of the hands are given: only the depth network is measured. Means of absolute errors over the hands
whose mask is found; images: {images}. One run a row: differences of a few per cent are noise.

{table(numbers)}

{scale(numbers)}
{_SHORT if arguments.samples < LONG else ""}
Best in each column:

{verdict(numbers)}

- *4 stacks* take longer: what ships has two because of the bridge's 30 frames a second on two CPU cores
  (`bench/latency.py`); the large variant, for a GPU, has four.
- *depth only*: the hourglasses are not told of the mask; the last head still has one, as depth is published where it is hand.
- *resized box*: training and measuring take each box to lie around the optical axis. It costs where hands are off the axis:
  in whole frames more than in crops, whose cameras look at the hand as it is.
- *metric depth*: every hand is taken to be {MEAN_HAND_LENGTH_M:g} m long, so that apparent size and relief are in metres and
  the network has to see from the picture how large the person is; a known length is of no use then.
- *without the backbone*, *without the joints*: the hourglasses have to learn all that they know of hands within this budget.
- *synthetic only*: neither photographs with pseudo labels nor parts of photographs as negatives.
"""
    if missing:
        text += f"\nNot done yet: {'; '.join(missing)}.\n"
    arguments.document.write_text(text)


def main() -> None:
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
    parser.add_argument("--device", default="auto", help="where it is measured")
    parser.add_argument(
        "--prefix", default="", help="goes before the training's command, e.g. 'taskset -c 0'"
    )
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    arguments = parser.parse_args()
    TrainConfig.read(arguments.config).check_files()
    for name in ("joints", "masks"):
        if not (arguments.data / "real_val" / name).is_dir():
            raise DatasetError(f"--data {arguments.data} has no folder real_val/{name}")
    for name in (name for name in ROWS if name in arguments.rows):
        if not differs(name, arguments):
            continue  # what the row takes away, this config doesn't have
        print(f"{name}: {ROWS[name].text}", flush=True)
        measure(name, train(name, arguments), arguments)
        done = {row: arguments.out / row / "numbers.json" for row in ROWS}
        write({row: json.loads(file.read_text()) for row, file in done.items() if file.exists()}, arguments)
    print(arguments.document.read_text())


if __name__ == "__main__":
    run_cli(main)
