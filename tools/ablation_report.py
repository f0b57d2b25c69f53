"""Make docs/ablation.md from docs/ablation.json: four columns, all rows."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = ROOT / "docs" / "ablation.json"
BASE = "ours"
"""Name of the row that the others differ from."""

HEADS = {
    "found": "hands found, %",
    "shape": "shape, mm",
    "known": "absolute, length known, mm",
    "guessed": "absolute, guessed, mm",
    "iou": "mask IoU, %",
}
WIDTH = 100
_MANY_SAMPLES = 200_000
_WITH_BACKBONE = (
    "All rows have the shipped network's backbone, which is not trained, except where a row says "
    "otherwise: what they differ in is learned on top of it."
)
_WITHOUT_BACKBONE = (
    "No row has the backbone of the shipped network: the hourglasses are compared alone, on crops "
    "small enough to train all rows."
)
_SMALL_BUDGET = """
This budget is small (the shipped network has seen about two million crops): the rows show what is
learned first, not where a training ends. What ships stays the paper's variant, mask first and fed
forward, unless a row is better by more than the noise on both kinds of sets.
"""
_NOTES = """- *4 stacks* take longer: what ships has two because of the 30 frames per second on two CPU cores
  (`bench/latency.py`); the large variant, for a GPU, has four.
- *depth only*: the hourglasses get no mask; the last head still has one, because depth is published
  where it is hand.
- *resized box*: training and measuring take each box to lie around the optical axis. It costs where
  hands are off the axis: in whole frames more than in crops, whose cameras look at the hand anyway.
- *metric depth*: every hand is taken to be 0.19 m long, so that apparent size and relief are in
  metres and the network has to see from the image how large the person is; a known length is of no
  use then.
- *without the backbone*, *without the joints*: the hourglasses have to learn all that they know of
  hands within this budget.
- *synthetic only*: neither photographs with pseudo labels nor parts of photographs as negatives.
"""


def columns(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the four columns of the document as set and measure.

    Real hands' shape and absolute depth, real masks, and the shape of the last rendered set.
    """
    rendered = [title for title in numbers["images"] if title not in ("joints", "masks")]
    wanted = [("joints", "shape"), ("joints", "known"), ("masks", "iou")]
    return [*wanted, *((title, "shape") for title in rendered[-1:])]


def table(numbers: dict[str, Any]) -> str:
    """Return the rows of the ablation as a Markdown table."""
    chosen = columns(numbers)
    lines = [
        "| | " + " | ".join(f"{title}: {HEADS[key]}" for title, key in chosen) + " |",
        "|---" * (len(chosen) + 1) + "|",
    ]
    for row in numbers["rows"].values():
        cells = [row["sets"].get(title, {}).get(key) for title, key in chosen]
        shown = ["" if cell is None else f"{cell:.1f}" for cell in cells]
        lines.append(f"| {row['text']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def document(file: Path = NUMBERS) -> str:
    """Return docs/ablation.md."""
    numbers = json.loads(file.read_text())
    images = ", ".join(f"{title} {count}" for title, count in numbers["images"].items())
    constant = ", ".join(
        f"{value:.1f} mm on {title}" for title, value in numbers["constant_depth_mm"].items()
    )
    about = (
        f"Every row is trained from scratch with the same budget of {numbers['samples']:,} crops (batch "
        f"{numbers['batch']}) and the same seed, and differs from the first row only in what its name says. "
        f"{_WITH_BACKBONE if numbers['network'].get('backbone') else _WITHOUT_BACKBONE} "
        "Boxes of the hands are given: only the depth network is measured. Means over the hands whose mask "
        "is found; one run per row, so differences of a few per cent are noise. All columns, the first "
        "row's network and the other sets are in [ablation.json](ablation.json). The sets are not in this "
        "repository."
    )
    scale = (
        f"Images: {images}. *Shape* is the median-aligned error; each hand at one constant depth scores "
        f"{constant or 'nothing here'}."
    )
    command = " \\\n    ".join(textwrap.wrap(numbers["command"], WIDTH - 10))
    text = f"""# Ablation

Measured with version {numbers["version"]} by

```
{command}
```

{textwrap.fill(about, WIDTH)}

{table(numbers)}

{textwrap.fill(scale, WIDTH)}
{_SMALL_BUDGET if numbers["samples"] < _MANY_SAMPLES else ""}
{_NOTES}"""
    if numbers["not_done"]:
        missing = f"Not done yet: {'; '.join(numbers['not_done'])}."
        text += f"\n{textwrap.fill(missing, WIDTH)}\n"
    return text
