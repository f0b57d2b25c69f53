"""Writes measured numbers into the README, from the files that the measuring commands left:

make demo                                                       # demo_out/report.json, demo_out/demo_*.png
python bench/latency.py --json > demo_out/latency.json
python tools/model_card.py --data DATA --synthetic SET          # hand_depth_ros/weights/numbers.json
python tools/write_numbers.py
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from hand_depth_ros.demo.report import table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

from latency import LIMITS  # noqa: E402
from model_card import rows  # noqa: E402


def machine() -> str:
    """The processor, and how many cores of it are ours."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*: (.*)", text)
    return f"{os.cpu_count()} cores of {found[1].strip() if found else 'an unknown processor'}, no GPU"


def sureness(joints: dict[str, Any]) -> str:
    """What the published sigma is worth on real hands, in a sentence."""
    known, guessed = ([f"{joints[f'within_{n}_sigma{kind}']:.0%}" for n in (1, 2)] for kind in ("_known", ""))
    return (
        f"Is sigma right? With the hand length known, {known[0]} of the *joints* lie within one sigma and "
        f"{known[1]} within two (Gauss: 68 % and 95 %); with it guessed {guessed[0]} and {guessed[1]}: they are of "
        f"one or two people, whose hands the guess takes to be {-joints['hand_length_error']:.0%} shorter than they are."
    )


def blocks() -> dict[str, str]:
    """The text of each numbers block of the README by name."""
    demo = json.loads((ROOT / "demo_out/report.json").read_text())
    known = {key: value for key, value in demo.items() if value is not None}
    speed = json.loads((ROOT / "demo_out/latency.json").read_text())
    accuracy = json.loads((ROOT / "hand_depth_ros/weights/numbers.json").read_text())
    where = f"On {machine()}"
    lines = [
        f"{where}, two hands, depth, sigma, mask and cloud read:\n\n| `make demo` measured | |",
        "| --- | --- |",
        *(f"| {a} | {b} |" for a, b in table(known)),
    ]
    latency = [
        f"{where}, one hand, one depth image read:\n\n| `bench/latency.py` measured | | share of the limit |",
        "| --- | --- | --- |",
    ]
    for name, value in speed.items():
        share = f"{value / LIMITS[name]:.2f} of {LIMITS[name]:g}" if name in LIMITS else ""
        latency.append(f"| {name.replace('_', ' ')} | {value:.1f} | {share} |")
    return {
        "demo": "\n".join(lines) + "\n",
        "latency": "\n".join(latency) + "\n",
        "accuracy": rows(accuracy) + "\n\n" + sureness(accuracy["joints"]) + "\n",
    }


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, content in blocks().items():
        block = re.compile(rf"(<!-- {name} numbers:[^\n]*-->\n).*?(<!-- /{name} numbers -->)", re.DOTALL)
        text, count = block.subn(lambda found, content=content: found[1] + content + found[2], text)
        if count != 1:
            raise SystemExit(f"README.md has {count} blocks named '{name} numbers', not one")
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
