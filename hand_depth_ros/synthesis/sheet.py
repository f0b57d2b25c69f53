"""Contact sheet of a data set: random views side by side, in front of plain backgrounds.

python -m hand_depth_ros.synthesis.sheet SET --out docs/synthetic.jpg
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from hand_depth_ros.errors import DatasetError


def tile(rgba: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square uint8 RGB image of `side` pixels.

    rgba (H, W, 4) in front of a soft gradient.
    """
    corners = np.clip(rng.uniform(30, 225) + rng.normal(0, 22, (2, 2, 3)), 0, 255).astype(np.float32)
    height, width = rgba.shape[:2]
    background = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    whole = (rgba[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)
    square = min(height, width)
    top, left = (height - square) // 2, (width - square) // 2
    middle = whole[top : top + square, left : left + square]
    return np.asarray(cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA))


def contact_sheet(folder: Path, columns: int, rows: int, side: int, seed: int = 0) -> np.ndarray:
    """Return random views of a set as uint8 RGB (rows * side, columns * side, 3)."""
    from PIL import Image

    listing = folder / "cameras.jsonl"
    if not listing.exists():
        raise DatasetError(f"{listing} does not exist: give a folder that `hand-depth synth` made")
    images = [json.loads(line)["image"] for line in listing.read_text().splitlines()]
    if len(images) < columns * rows:
        raise DatasetError(f"{listing} lists {len(images)} views, fewer than {columns} x {rows}")
    rng = np.random.default_rng(seed)
    chosen = [images[k] for k in rng.choice(len(images), columns * rows, replace=False)]
    tiles = [tile(np.asarray(Image.open(folder / name).convert("RGBA")), side, rng) for name in chosen]
    return np.vstack([np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)])


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Image to write.")],
    columns: Annotated[int, typer.Option(min=1)] = 8,
    rows: Annotated[int, typer.Option(min=1)] = 8,
    side: Annotated[int, typer.Option(min=16, help="Pixels of a view.")] = 112,
    seed: Annotated[int, typer.Option(min=0, help="Which views.")] = 0,
) -> None:
    """Draw a contact sheet of random views of a rendered data set."""
    from PIL import Image

    Image.fromarray(contact_sheet(folder, columns, rows, side, seed)).save(out, quality=88)


if __name__ == "__main__":
    typer.run(main)
