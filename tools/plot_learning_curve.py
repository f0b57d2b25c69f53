"""Draw the learning curves of training runs from what `hand-depth train` logged.

    python tools/plot_learning_curve.py RUN... [--out docs/learning_curve.png]

Needs `pip install '.[view]'`. RUN is a folder of `hand-depth train --out`. A resumed run has a log
for each part (log/version_N); they are joined.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from hand_depth_ros.network.weights import read_metadata

LENGTH_MM = 190.0
"""Length of the hand for which relief (in hand lengths) is shown in millimetres."""

Curves = dict[str, list[tuple[int, float]]]


def read_run(folder: Path) -> Curves:
    """Return every logged value by name as (step, value), in order.

    Where logs overlap the later one counts.
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    logs = sorted(
        folder.glob("log/version_*/metrics.csv"), key=lambda log: int(log.parent.name.split("_")[1])
    )
    if not logs:
        raise SystemExit(f"{folder} has no log/version_*/metrics.csv: give the folder of a training run")
    for log in logs:
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                step = int(row["step"])
                for name, text in row.items():
                    if name not in ("step", "epoch") and text and math.isfinite(value := float(text)):
                        values[name][step] = value
    return {name: sorted(found.items()) for name, found in values.items()}


def batch_of(folder: Path) -> int:
    """Return the samples per step, from the exported weights."""
    for file in sorted(folder.glob("*.safetensors")):
        return int(read_metadata(file).info["config"]["batch"])
    raise SystemExit(f"{folder} has no weights yet: let the run finish an epoch")


def smooth(points: list[tuple[int, float]], fraction: float = 0.02) -> list[tuple[int, float]]:
    """Return the running mean over a fraction of the points."""
    window = max(1, round(fraction * len(points)))
    out, total = [], 0.0
    for i, (step, value) in enumerate(points):
        total += value - (points[i - window][1] if i >= window else 0.0)
        out.append((step, total / min(i + 1, window)))
    return out


PANELS: dict[str, tuple[str, float]] = {
    "validation: mask IoU": ("iou", 1.0),
    f"validation: shape error, mm of a {LENGTH_MM:g} mm hand": ("shape", LENGTH_MM),
    "validation: error of the apparent size, %": ("apparent_size", 100.0),
    "validation: error of the hand length, %": ("length", 100.0),
    "validation: hands found, fraction": ("found", 1.0),
}
"""Title to the logged name that is drawn of each validation set, and the factor to its unit."""


def panels(curves: Curves) -> dict[str, dict[str, tuple[str, float]]]:
    """Return title to line label to (logged name, factor); panels without a value are left out."""
    losses = {name.split("/")[1]: (name, 1.0) for name in curves if name.startswith("train/")}
    found = {"training loss": losses}
    for title, (key, factor) in PANELS.items():
        names = [name for name in curves if name.endswith(f"/{key}") and not name.startswith("train/")]
        found[title] = {name.split("/")[0]: (name, factor) for name in names}
    return {title: lines for title, lines in found.items() if lines}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "learning_curve.png"
    )
    arguments = parser.parse_args()
    runs = {folder.name: (read_run(folder), batch_of(folder)) for folder in arguments.runs}
    titles = list(dict.fromkeys(title for curves, _ in runs.values() for title in panels(curves)))
    rows = -(-len(titles) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, 3.2 * rows), squeeze=False, layout="constrained")
    for axis, title in zip(axes.flat, titles, strict=False):
        for run, (curves, batch) in runs.items():
            for label, (name, factor) in panels(curves).get(title, {}).items():
                points = smooth(curves[name]) if name.startswith("train/") else curves[name]
                x = [(step + 1) * batch / 1000 for step, _ in points]
                y = [factor * value for _, value in points]
                axis.plot(x, y, label=f"{run} {label}" if len(runs) > 1 else label)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("thousand samples")
        axis.set_ylim(bottom=None if "loss" in title else 0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    figure.savefig(arguments.out, dpi=110)
    print(f"{arguments.out}: {', '.join(runs)}")


if __name__ == "__main__":
    main()
