"""A plain folder of images without hands: whatever is found in them is false."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hand_depth_ros.evaluation.files import image_files, read_rgb
from hand_depth_ros.evaluation.readers.layout import Layout, OpenOptions
from hand_depth_ros.evaluation.samples import Dataset, Sample
from hand_depth_ros.geometry.camera import Camera


def _matches(path: Path) -> bool:
    return path.is_dir() and bool(image_files(path))


def _open(path: Path, options: OpenOptions) -> Dataset:
    notes = (
        "no annotation found: taken as images without hands, whatever is found counts as false",
        f"camera unknown: {options.hfov_deg:g} degrees of horizontal field of view assumed",
    )
    lines = [{"image": file.name} for file in image_files(path)]
    return Dataset(path, "backgrounds", lines, path, _read, notes, hfov_deg=options.hfov_deg)


def _read(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    rgb = read_rgb(dataset.root / line["image"])
    camera = Camera.from_hfov(rgb.shape[1], rgb.shape[0], dataset.hfov_deg)
    return Sample(Path(line["image"]).stem, rgb, camera)


LAYOUT = Layout("backgrounds", _matches, _open)
