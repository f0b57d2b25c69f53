"""Archive a training set for transfer to another machine.

``hand-depth archive`` writes, ``hand-depth train --archive`` reads. An archive is a folder of
shards, plain NumPy archives of limited size. It drops depth off the hands, which nothing is trained
on, quantizes depth and relief to 8 bits (``_DEPTH_STEP_M``,
``_RELIEF_STEP``, coarser for hands with a larger range), and stores images as WebP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.data.photographs import Photograph, PseudoLabel
from hand_depth_ros.training.data.rendered import (
    RenderedHand,
    StoredView,
    View,
    decode_image,
    dequantize,
    quantize,
)
from hand_depth_ros.training.datasets import Datasets

FORMAT = 2
_DEPTH_STEP_M, _RELIEF_STEP = 0.001, 0.004
_ITEMS_PER_PART = 64
_CONTENTS = "contents.json"

Arrays = dict[str, np.ndarray]
_Part = tuple[str, Arrays]
"""Kind of items ("photographs", ...) and their arrays."""


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
    pending: list[_Part] = []
    size = 0
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # OpenCV's threads do not survive a fork
        for part in track(pool.map(_encode_part, jobs), total=len(jobs), description="archiving"):
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
    items: dict[str, list[Any]] = {name: [] for name in _DECODERS}
    for name, size in contents["shards"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise DatasetError(f"{path} is missing or incomplete: it should have {size:,} bytes")
        for kind, arrays in _read_shard(path):
            items[kind] += _DECODERS[kind](arrays)
    train_indices, val_indices = contents["repeats"]
    return Datasets(
        [items["train_views"][i] for i in train_indices],
        [items["val_views"][i] for i in val_indices],
        items["photographs"],
        items["backgrounds"],
        np.array(contents["hard_negatives"], float).reshape(-1, 5),
    )


def archive_view(view: View, quality: int) -> StoredView:
    """Return a view as it is archived; ``quality`` is the WebP quality of its colours."""
    pixels = view.decode()
    bgra = cv2.cvtColor(pixels.rgba, cv2.COLOR_RGBA2BGRA)
    bgra[pixels.rgba[..., 3] == 0] = 0
    on_hands = (pixels.mask > 0) & (pixels.depth_m > 0)
    depth, step_m, nearest_m = quantize(pixels.depth_m, on_hands, _DEPTH_STEP_M)
    return StoredView(
        colour=_webp(bgra, quality),
        depth=depth,
        mask=_png(pixels.mask),
        unit_m=step_m,
        size=pixels.size,
        k=pixels.k,
        hands=pixels.hands,
        name=pixels.name,
        nearest_m=nearest_m,
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


def _encode_part(job: tuple[str, Sequence[Any], int]) -> _Part:
    cv2.setNumThreads(1)
    kind, items, quality = job
    return kind, _ENCODERS[kind](items, quality)


def _write_shard(parts: Sequence[_Part], folder: Path, number: int) -> Path:
    path = folder / f"shard-{number:03}.npz"
    arrays = {
        f"{i:04}/{kind}/{key}": value for i, (kind, part) in enumerate(parts) for key, value in part.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def _read_shard(path: Path) -> Iterator[_Part]:
    parts: dict[tuple[str, str], Arrays] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            number, kind, array = key.split("/")
            parts.setdefault((number, kind), {})[array] = file[key]
    for (_, kind), arrays in sorted(parts.items()):
        yield kind, arrays


def _join(name: str, items: Sequence[bytes]) -> Arrays:
    """Store byte strings one after the other, with their sizes."""
    return {
        name: np.frombuffer(b"".join(items), np.uint8),
        f"{name}_sizes": np.array([len(item) for item in items], np.int64),
    }


def _split(arrays: Arrays, name: str) -> Iterator[bytes]:
    joined, start = arrays[name].tobytes(), 0
    for size in arrays[f"{name}_sizes"].tolist():
        yield joined[start : start + size]
        start += size


def _webp(image: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def _png(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def _encode_views(views: Sequence[View], quality: int) -> Arrays:
    stored = [archive_view(view, quality) for view in views]
    images = [image for view in stored for image in (view.colour, view.depth, view.mask)]
    numbers = [(v.unit_m, v.nearest_m, *v.size, *v.k, len(v.hands)) for v in stored]
    hands = [(h.instance, h.length_m, *h.joints.ravel()) for v in stored for h in v.hands]
    return {
        **_join("images", images),
        "names": np.array([view.name for view in stored], np.str_),
        "views": np.array(numbers, np.float64).reshape(-1, 9),
        "hands": np.array(hands, np.float64).reshape(-1, 65),
    }


def _decode_views(arrays: Arrays) -> Iterable[StoredView]:
    images, hands = list(_split(arrays, "images")), iter(arrays["hands"])
    for i, (name, numbers) in enumerate(zip(arrays["names"].tolist(), arrays["views"].tolist(), strict=True)):
        unit_m, nearest_m, h, w, fx, fy, cx, cy, hand_count = numbers
        colour, depth, mask = images[3 * i : 3 * i + 3]
        rows = [next(hands) for _ in range(int(hand_count))]
        yield StoredView(
            colour=colour,
            depth=depth,
            mask=mask,
            unit_m=unit_m,
            size=(int(h), int(w)),
            k=(fx, fy, cx, cy),
            hands=tuple(
                RenderedHand(int(instance), float(length_m), np.array(joints, np.float32).reshape(21, 3))
                for instance, length_m, *joints in rows
            ),
            name=name,
            nearest_m=nearest_m,
        )


def _encode_photographs(photographs: Sequence[Photograph], quality: int) -> Arrays:
    labels = [label for photograph in photographs for label in photograph.labels]
    reliefs = [quantize(label.relief, np.isfinite(label.relief), _RELIEF_STEP) for label in labels]
    images = [_webp(cv2.cvtColor(p.decode(), cv2.COLOR_RGB2BGR), quality) for p in photographs]
    numbers = [
        (label.x, label.y, label.log_length_px, label.weight, step, lowest)
        for label, (_, step, lowest) in zip(labels, reliefs, strict=True)
    ]
    counts = [(len(photograph.labels), len(photograph.landmarks)) for photograph in photographs]
    return {
        **_join("images", images),
        **_join("reliefs", [relief for relief, _, _ in reliefs]),
        **_join("masks", [_png(label.mask) for label in labels]),
        "counts": np.array(counts, np.int64).reshape(-1, 2),
        "labels": np.array(numbers, np.float64).reshape(-1, 6),
        "joints": np.array([label.joints for label in labels], np.float32).reshape(-1, 21, 3),
        "landmarks": np.concatenate([p.landmarks for p in photographs]).reshape(-1, 21, 2),
    }


def _decode_photographs(arrays: Arrays) -> Iterable[Photograph]:
    labels = zip(
        arrays["labels"].tolist(), arrays["joints"], _split(arrays, "reliefs"), _split(arrays, "masks"), strict=True
    )  # fmt: skip
    first = 0
    for encoded, (label_count, landmark_count) in zip(
        _split(arrays, "images"), arrays["counts"].tolist(), strict=True
    ):
        own = tuple(_decode_label(*next(labels)) for _ in range(label_count))
        yield Photograph(encoded, own, arrays["landmarks"][first : first + landmark_count])
        first += landmark_count


def _decode_label(numbers: Sequence[float], joints: np.ndarray, relief: bytes, mask: bytes) -> PseudoLabel:
    x, y, log_length_px, weight, step, lowest = numbers
    return PseudoLabel(
        int(x),
        int(y),
        decode_image(mask),
        dequantize(relief, step, lowest, np.nan),
        log_length_px,
        weight,
        joints,
    )


def _encode_backgrounds(images: Sequence[np.ndarray], quality: int) -> Arrays:
    return _join("images", [_webp(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality) for image in images])


def _decode_backgrounds(arrays: Arrays) -> Iterable[np.ndarray]:
    for encoded in _split(arrays, "images"):
        yield cv2.cvtColor(decode_image(encoded), cv2.COLOR_BGR2RGB)


_ENCODERS: dict[str, Callable[[Sequence[Any], int], Arrays]] = {
    "train_views": _encode_views,
    "val_views": _encode_views,
    "photographs": _encode_photographs,
    "backgrounds": _encode_backgrounds,
}
_DECODERS: dict[str, Callable[[Arrays], Iterable[Any]]] = {
    "train_views": _decode_views,
    "val_views": _decode_views,
    "photographs": _decode_photographs,
    "backgrounds": _decode_backgrounds,
}
