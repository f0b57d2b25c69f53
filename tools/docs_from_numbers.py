"""Documents that come from measurements: tables of accuracy, speed and the demo, the model card.

    make demo                                            # demo_out/report.json
    python bench/latency.py --json > demo_out/latency.json
    python bench/accuracy.py --data DATA --synthetic SET # hand_depth_ros/weights/numbers.json

Each function returns None if its measurement is not there.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hand_depth_ros.demo.report import table
from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE, SHIPPED_WEIGHTS
from hand_depth_ros.network.weights import read_metadata

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

from accuracy import HELD_OUT  # noqa: E402
from latency import LIMITS  # noqa: E402

TEMPLATE = Path(__file__).with_name("model_card.template.md")
CARD = SHIPPED_WEIGHTS / "MODEL_CARD.md"
NUMBERS = SHIPPED_WEIGHTS / "numbers.json"
FAILURES = ROOT / "docs" / "failures"
SUMMARY = ("joints", "masks", HELD_OUT)
"""Data sets in the README."""
DEMO_ROWS = (
    "rate in",
    "rate out",
    "latency, median",
    "hands found",
    "mask IoU",
    "depth error, hand length guessed",
    "shape error (median removed)",
)
"""Rows of the demo's report in the README."""

Reports = dict[str, dict[str, Any]]


def read_numbers() -> Reports:
    """Return the reports of `bench/accuracy.py` on the shipped weights, by data set."""
    return json.loads(NUMBERS.read_text())


def machine() -> str:
    """Return the processor and the number of its cores that we have."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*: (.*)", text)
    return f"{os.cpu_count()} cores of {found[1].strip() if found else 'an unknown processor'}, no GPU"


def demo_block(folder: Path) -> str | None:
    """Return the table of what `make demo` measured."""
    file = folder / "report.json"
    if not file.exists():
        return None
    known = {key: value for key, value in json.loads(file.read_text()).items() if value is not None}
    lines = [
        f"On {machine()}, two hands, depth, sigma, mask and cloud read:\n",
        "| `make demo` measured | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in table(known) if name in DEMO_ROWS),
    ]
    return "\n".join(lines) + "\n"


def latency_block(folder: Path) -> str | None:
    """Return the table of what `bench/latency.py --json` measured."""
    file = folder / "latency.json"
    if not file.exists():
        return None
    lines = [
        f"On {machine()}, one hand, one depth image read:\n",
        "| `bench/latency.py` measured | | fraction of the limit |",
        "| --- | --- | --- |",
    ]
    for name, value in json.loads(file.read_text()).items():
        limit = f"{value / LIMITS[name]:.2f} of {LIMITS[name]:g}" if name in LIMITS else ""
        lines.append(f"| {name.replace('_', ' ')} | {value:.1f} | {limit} |")
    return "\n".join(lines) + "\n"


def accuracy_block() -> str:
    """Return the accuracy for the README: a few data sets, and what sigma is worth."""
    reports = read_numbers()
    summary = {name: reports[name] for name in SUMMARY}
    return f"{accuracy_table(summary)}\n\n{sigma_sentence(reports['joints'])}\n"


def sigma_sentence(joints: dict[str, Any]) -> str:
    """Return what the published sigma is worth on real hands."""
    known, guessed = (
        [f"{100 * joints[f'within_{n}_sigma{kind}']:.0f} %" for n in (1, 2)] for kind in ("_known", "")
    )
    error = joints["hand_length_error"]
    return textwrap.fill(
        f"Is sigma right? With the hand length known, {known[0]} of the *joints* lie within one sigma and "
        f"{known[1]} within two (Gaussian: 68 % and 95 %); with it guessed {guessed[0]} and {guessed[1]}. "
        f"The set shows one or two people; the network "
        f"{'under' if error < 0 else 'over'}estimates their hand length by {100 * abs(error):.0f} %.",
        100,
    )


def accuracy_table(reports: Reports) -> str:
    """Return a table with one line per data set."""
    rows = []
    for name, r in _with_half_visible(reports):
        guessed, known = r["hand_length_guessed"] or {}, r["hand_length_known"] or {}
        iou = r["mask_iou_in_region"] if r["mask_iou_in_region"] is not None else r["mask_iou"]
        cells = (
            name,
            str(r["images"]),
            _percent(r["hands_found"]),
            _number(guessed.get("shape_mm")),
            _number(r["constant_depth_mm"]),
            f"{_number(known.get('mae_mm')) or '-'} / {_number(guessed.get('mae_mm'))}" if guessed else "",
            _number(iou, 3),
            _percent(r["images_with_false_hand"]),
        )
        rows.append(cells)
    return _markdown(
        (
            "data set",
            "images",
            "hands found",
            "shape mm",
            "at one constant depth mm",
            "absolute mm, length known / guessed",
            "mask IoU",
            "images with a false hand",
        ),
        rows,
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without the columns that are empty in all rows; a remark for no rows."""
    if not rows:
        return "Not measured yet."
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def size_table(reports: Reports) -> str:
    """Return the table of absolute depth apart from a common scale, and of invented hands.

    One line per data set that was measured for it.
    """
    rows = []
    for name, r in reports.items():
        if r["median_depth_ratio"] is None:
            continue
        worst = (r["poses"] or {}).get("worst")
        pose = (
            f"{worst['openness']}, {worst['direction']}: {100 * worst['ratio_against_set']:+.1f} %"
            if worst
            else ""
        )
        cells = (
            name,
            _number(r["median_depth_ratio"], 3),
            _percent(r["scatter"]),
            _number(r["common_scale_mae_mm"]),
            _percent(r["gross_errors"]),
            _percent(r["images_with_invented_hand"]),
            pose,
        )
        rows.append(cells)
    return _markdown(
        (
            "data set",
            "predicted over true depth, median",
            "scatter",
            "one common scale, mm",
            "off by a third or more",
            "images with a hand too many",
            "worst pose, against the set",
        ),
        rows,
    )


def versions(reports: Reports) -> str:
    """Return the versions of this package that the data sets were measured with."""
    names: dict[str, list[str]] = {}
    for name, report in reports.items():
        names.setdefault(report["version"], []).append(name)
    return "\n".join(
        textwrap.fill(f"- version {version}: {'; '.join(names[version])}", 100, subsequent_indent="  ")
        for version in sorted(names)
    )


def coverage_table(reports: Reports) -> str:
    """Return the table of pixels (joints) within one and two sigma, and of the guessed length."""
    rows = []
    for name, r in _with_half_visible(reports):
        if r["within_1_sigma"] is not None:
            known = " / ".join(_percent(r[f"within_{n}_sigma_known"]) for n in (1, 2)).strip(" /")
            cells = [name, _percent(r["within_1_sigma"]), _percent(r["within_2_sigma"]), known]
            rows.append([*cells, _percent(r["hand_length_error"]), _percent(r["hand_length_abs_error"])])
    return _markdown(
        (
            "data set",
            "within 1 sigma",
            "within 2 sigma",
            "within 1, 2 sigma, hand length known",
            "hand length, mean error",
            "mean absolute error",
        ),
        rows,
    )


def model_card() -> str:
    """Return the model card of the shipped weights."""
    reports = read_numbers()
    depth, detector = (_info(SHIPPED_WEIGHTS / name) for name in (DEPTH_FILE, DETECTOR_FILE))
    card = TEMPLATE.read_text()
    for key, value in {
        "NUMBERS": accuracy_table(reports),
        "VERSIONS": versions(reports),
        "SIZE": size_table(reports),
        "COVERAGE": coverage_table(reports),
        "FAILURES": _failures(),
        "DEPTH_CONFIG": json.dumps(depth["network"]),
        "DETECTOR_CONFIG": json.dumps(detector["network"]),
        "DEPTH_SAMPLES": f"{depth.get('samples', 0):,}",
        "DETECTOR_SAMPLES": f"{detector.get('samples', 0):,}",
        "MEGABYTES": f"{(depth['bytes'] + detector['bytes']) / 1e6:.1f}",
    }.items():
        card = card.replace("{{" + key + "}}", value)
    return card


def _failures() -> str:
    """Return the lines that show the pictures of failures in the card."""
    files = sorted(FAILURES.glob("*_worst.jpg"))
    if not files:
        return ""
    lines = [
        "The worst synthetic images (colour, our depth, true depth; white: true outline, red: ours):",
        "",
    ]
    for file in files:
        lines.append(f"![{file.stem.removesuffix('_worst')}]({os.path.relpath(file, CARD.parent)})")
    return "\n".join(lines)


def _with_half_visible(reports: Reports) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every report, and after it the numbers of its hands that are at least half visible."""
    for name, report in reports.items():
        yield name, report
        if report["half_visible"]:
            yield f"{name}: at least half visible", {**report, **report["half_visible"]}


def _info(path: Path) -> dict[str, Any]:
    """Return what a weights file says about itself."""
    metadata = read_metadata(path)
    network = json.loads(metadata.config.to_json())
    return {**metadata.info, "network": network, "bytes": path.stat().st_size}


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
