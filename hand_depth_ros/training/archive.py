"""Archive a training set for transfer to another machine.

``hand-depth archive`` writes, ``hand-depth train --archive`` reads. An archive is a folder of
shards, plain NumPy archives of limited size. It drops depth off the hands, which nothing is trained
on, quantizes depth and relief to 8 bits (steps of 1 mm and 0.004 hand lengths, coarser for hands
with a larger range), and stores images as WebP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.archive_codec import Part, decode_part, encode_part
from hand_depth_ros.training.data.rendered import View
from hand_depth_ros.training.datasets import Datasets

FORMAT = 2
_ITEMS_PER_PART = 64
_CONTENTS = "contents.json"
_KINDS = ("train_views", "val_views", "photographs", "backgrounds")


def write_archive(
    datasets: Datasets, folder: Path, quality: int, shard_bytes: int, workers: int = 2
) -> list[Path]:
    """Write an archive and return the paths of its shards. An archive in ``folder`` is replaced.

    Args:
        datasets: What to archive.
        folder: An empty or new folder, or an older archive.
        quality: WebP quality of the images, 1..100.
        shard_bytes: Size of a shard in bytes, at most.
        workers: Processes that encode.

    Raises:
        DatasetError: The folder holds something else.
    """
    items: dict[str, Sequence[Any]] = {
        "train_views": _distinct(datasets.train_views),
        "val_views": _distinct(datasets.val_views),
        "photographs": datasets.photographs,
        "backgrounds": datasets.backgrounds,
    }
    jobs = [
        (name, each[start : start + _ITEMS_PER_PART], quality)
        for name, each in items.items()
        for start in range(0, len(each), _ITEMS_PER_PART)
    ]
    _clear(folder)
    shards: list[Path] = []
    pending: list[Part] = []
    size = 0
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # OpenCV's threads do not survive a fork
        for part in track(pool.map(encode_part, jobs), total=len(jobs), description="archiving"):
            part_size = sum(array.nbytes for array in part[1].values())
            if pending and size + part_size > shard_bytes:
                shards.append(_write_shard(pending, folder, len(shards)))
                pending, size = [], 0
            pending.append(part)
            size += part_size
        shards.append(_write_shard(pending, folder, len(shards)))
    contents = {
        "format": FORMAT,
        "shards": {path.name: path.stat().st_size for path in shards},
        "repeats": [_indices(datasets.train_views), _indices(datasets.val_views)],
        "hard_negatives": np.asarray(datasets.hard_negatives).tolist(),
    }
    (folder / _CONTENTS).write_text(json.dumps(contents))
    return shards


def read_archive(folder: Path) -> Datasets:
    """Read what `write_archive` wrote.

    Raises:
        DatasetError: There is no archive, it is incomplete, or another version wrote it.
    """
    contents = _read_contents(folder)
    items: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    for name, size in contents["shards"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise DatasetError(f"{path} is missing or incomplete: it should have {size:,} bytes")
        for part in _read_shard(path):
            items[part[0]] += decode_part(part)
    train_indices, val_indices = contents["repeats"]
    return Datasets(
        [items["train_views"][i] for i in train_indices],
        [items["val_views"][i] for i in val_indices],
        items["photographs"],
        items["backgrounds"],
        np.array(contents["hard_negatives"], float).reshape(-1, 5),
    )


def _clear(folder: Path) -> None:
    """Mark ``folder`` as an unfinished archive and remove its shards; other files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / _CONTENTS).is_file():
        raise DatasetError(f"{folder} holds something else: give an empty folder, or an older archive")
    (folder / _CONTENTS).write_text(json.dumps({"format": FORMAT, "shards": None}))
    for old in folder.glob("shard-*.npz"):
        old.unlink()


def _read_contents(folder: Path) -> dict[str, Any]:
    try:
        contents: dict[str, Any] = json.loads((folder / _CONTENTS).read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"no training archive in {folder}: make it with  hand-depth archive CONFIG --out {folder}"
        ) from error
    if contents.get("format") != FORMAT:
        raise DatasetError(
            f"{folder} was written by another version (format {contents.get('format')!r}): archive again"
        )
    if contents["shards"] is None:
        raise DatasetError(f"{folder} is incomplete: run hand-depth archive again")
    return contents


def _distinct(views: Sequence[View]) -> list[View]:
    return list({id(view): view for view in views}.values())


def _indices(views: Sequence[View]) -> list[int]:
    """Return for every view its index among the distinct ones."""
    number = {id(view): i for i, view in enumerate(_distinct(views))}
    return [number[id(view)] for view in views]


def _write_shard(parts: Sequence[Part], folder: Path, number: int) -> Path:
    path = folder / f"shard-{number:03}.npz"
    arrays = {
        f"{i:04}/{kind}/{key}": value for i, (kind, part) in enumerate(parts) for key, value in part.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def _read_shard(path: Path) -> Iterator[Part]:
    parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            number, kind, array = key.split("/")
            parts.setdefault((number, kind), {})[array] = file[key]
    for (_, kind), arrays in sorted(parts.items()):
        yield kind, arrays
