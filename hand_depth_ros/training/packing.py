"""A training's material packed small, to be carried to where a GPU is: ``hand-depth pack`` writes, ``train --packed`` reads it.

A folder of shards, plain NumPy archives of about so many bytes at most. What is lost: depth off the hands, which nothing is
trained on; depth and reliefs are in steps (``_DEPTH_STEP_M``, ``_RELIEF_STEP``, coarser for hands that span more than 254 of
them); pictures are WebP.
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
from hand_depth_ros.training.data.photographs import RealImage
from hand_depth_ros.training.data.rendered import (
    RenderedHand,
    StoredView,
    View,
    decoded,
    dequantize,
    quantize,
)
from hand_depth_ros.training.datasets import Material
from hand_depth_ros.training.labels.pseudo_labels import PseudoLabel

FORMAT = 1
_DEPTH_STEP_M, _RELIEF_STEP = 0.001, 0.004
_BATCH = 64
_CONTENTS = "contents.json"

Arrays = dict[str, np.ndarray]


def pack_view(view: View, quality: int) -> StoredView:
    """The view as it is packed; ``quality`` of the colours as WebP has it, 1 to 100."""
    pixels = view.decode()
    bgra = cv2.cvtColor(pixels.rgba, cv2.COLOR_RGBA2BGRA)
    bgra[pixels.rgba[..., 3] == 0] = 0
    depth, step_m, nearest_m = quantize(
        pixels.depth_m, (pixels.mask > 0) & (pixels.depth_m > 0), _DEPTH_STEP_M
    )
    return StoredView(
        colour=_webp(bgra, quality),
        depth=depth,
        mask=_mask(pixels.mask),
        unit_m=step_m,
        flat=False,
        size=pixels.size,
        k=pixels.k,
        hands=pixels.hands,
        name=pixels.name,
        nearest_m=nearest_m,
    )


def _webp(image: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def _mask(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def _views(views: Sequence[View], quality: int) -> Arrays:
    stored = [pack_view(view, quality) for view in views]
    pictures = [picture for view in stored for picture in (view.colour, view.depth, view.mask)]
    numbers = [(v.unit_m, v.nearest_m, *v.size, *v.k, len(v.hands)) for v in stored]
    hands = [(h.instance, h.length_m, *h.joints.ravel()) for v in stored for h in v.hands]
    return {
        **_bytes("pictures", pictures),
        "names": np.array([view.name for view in stored], np.str_),
        "views": np.array(numbers, np.float64).reshape(-1, 9),
        "hands": np.array(hands, np.float64).reshape(-1, 65),
    }


def _photographs(images: Sequence[RealImage], quality: int) -> Arrays:
    labels = [label for image in images for label in image.labels]
    reliefs = [quantize(label.relief, np.isfinite(label.relief), _RELIEF_STEP) for label in labels]
    pictures = [_webp(cv2.cvtColor(image.decode(), cv2.COLOR_RGB2BGR), quality) for image in images]
    numbers = [
        (la.x, la.y, la.log_length_px, la.weight, *steps[1:])
        for la, steps in zip(labels, reliefs, strict=True)
    ]
    return {
        **_bytes("photographs", pictures),
        **_bytes("reliefs", [relief for relief, _, _ in reliefs]),
        **_bytes("masks", [_mask(label.mask) for label in labels]),
        "counts": np.array([(len(i.labels), len(i.landmarks)) for i in images], np.int64).reshape(-1, 2),
        "labels": np.array(numbers, np.float64).reshape(-1, 6),
        "joints": np.array([label.joints for label in labels], np.float32).reshape(-1, 21, 3),
        "landmarks": np.concatenate([image.landmarks for image in images]).reshape(-1, 21, 2),
    }


def _backgrounds(pictures: Sequence[np.ndarray], quality: int) -> Arrays:
    encoded = [_webp(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality) for picture in pictures]
    return _bytes("backgrounds", encoded)


_PACKERS: dict[str, Callable[[Sequence[Any], int], Arrays]] = {
    "train_views": _views,
    "val_views": _views,
    "photographs": _photographs,
    "backgrounds": _backgrounds,
}


def _bytes(name: str, items: Sequence[bytes]) -> Arrays:
    return {
        name: np.frombuffer(b"".join(items), np.uint8),
        f"{name}_sizes": np.array([len(item) for item in items], np.int64),
    }


def _packed(job: tuple[str, Sequence[Any], int]) -> tuple[str, Arrays]:
    cv2.setNumThreads(1)
    name, items, quality = job
    return name, _PACKERS[name](items, quality)


def write_packed(
    material: Material, folder: Path, quality: int, shard_bytes: int, workers: int = 2
) -> list[Path]:
    """Write ``material`` to new shards in ``folder``, in the place of those that are there; gives their paths. ``quality`` is
    that of pictures as WebP has it. Raises DatasetError for a folder that holds something else."""
    parts: dict[str, Sequence[Any]] = {
        "train_views": _once(material.train_views),
        "val_views": _once(material.val_views),
        "photographs": material.photographs,
        "backgrounds": material.backgrounds,
    }
    jobs = [
        (name, items[start : start + _BATCH], quality)
        for name, items in parts.items()
        for start in range(0, len(items), _BATCH)
    ]
    _clear(folder)
    shards: list[Path] = []
    waiting: list[tuple[str, Arrays]] = []
    size = 0

    def flush() -> None:
        path = folder / f"shard-{len(shards):03}.npz"
        arrays = {
            f"{i:04}/{name}/{key}": value
            for i, (name, part) in enumerate(waiting)
            for key, value in part.items()
        }
        np.savez(path, **arrays)  # type: ignore[arg-type]
        shards.append(path)
        waiting.clear()

    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # OpenCV's threads do not survive a fork
        for name, arrays in track(pool.map(_packed, jobs), total=len(jobs), description="packing"):
            much = sum(array.nbytes for array in arrays.values())
            if waiting and size + much > shard_bytes:
                flush()
                size = 0
            waiting.append((name, arrays))
            size += much
        flush()
    contents = {
        "format": FORMAT,
        "shards": {path.name: path.stat().st_size for path in shards},
        "repeats": [_times(material.train_views), _times(material.val_views)],
        "mistakes": np.asarray(material.mistakes).tolist(),
    }
    (folder / _CONTENTS).write_text(json.dumps(contents))
    return shards


def _clear(folder: Path) -> None:
    """Make ``folder`` one that is being packed, without what was packed into it before; other people's files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / _CONTENTS).is_file():
        raise DatasetError(
            f"{folder} holds something else: give an empty folder, or one that was packed before"
        )
    (folder / _CONTENTS).write_text(json.dumps({"format": FORMAT, "shards": None}))
    for old in folder.glob("shard-*.npz"):
        old.unlink()


def _once(views: Sequence[View]) -> list[View]:
    return list({id(view): view for view in views}.values())


def _times(views: Sequence[View]) -> list[int]:
    """Of which of the views that are there once the list is made."""
    number = {id(view): i for i, view in enumerate(_once(views))}
    return [number[id(view)] for view in views]


def read_packed(folder: Path) -> Material:
    """What :func:`write_packed` wrote.

    Raises DatasetError where a shard is missing or cut short, or of another version."""
    try:
        contents = json.loads((folder / _CONTENTS).read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"no packed training material in {folder}: make it with  hand-depth pack CONFIG --out {folder}"
        ) from error
    if contents.get("format") != FORMAT:
        raise DatasetError(
            f"{folder} was packed by another version (format {contents.get('format')!r}): pack it anew"
        )
    if contents["shards"] is None:
        raise DatasetError(f"{folder} was not packed to its end: run hand-depth pack again")
    found: dict[str, list[Any]] = {name: [] for name in _READERS}
    for name, size in contents["shards"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise DatasetError(f"{path} is missing or not whole: it should have {size:,} bytes")
        for part, arrays in _parts(path):
            found[part] += _READERS[part](arrays)
    of_train, of_val = contents["repeats"]
    return Material(
        [found["train_views"][i] for i in of_train],
        [found["val_views"][i] for i in of_val],
        found["photographs"],
        found["backgrounds"],
        np.array(contents["mistakes"], float).reshape(-1, 5),
    )


def _parts(path: Path) -> Iterator[tuple[str, Arrays]]:
    parts: dict[tuple[str, str], Arrays] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            number, name, array = key.split("/")
            parts.setdefault((number, name), {})[array] = file[key]
    for (_, name), arrays in sorted(parts.items()):
        yield name, arrays


def _split(arrays: Arrays, name: str) -> Iterator[bytes]:
    whole, start = arrays[name].tobytes(), 0
    for size in arrays[f"{name}_sizes"].tolist():
        yield whole[start : start + size]
        start += size


def _read_views(arrays: Arrays) -> Iterable[StoredView]:
    pictures, hands = list(_split(arrays, "pictures")), iter(arrays["hands"])
    for i, (name, numbers) in enumerate(zip(arrays["names"].tolist(), arrays["views"].tolist(), strict=True)):
        unit_m, nearest_m, h, w, *k, count = numbers
        rows = [next(hands) for _ in range(int(count))]
        yield StoredView(
            colour=pictures[3 * i],
            depth=pictures[3 * i + 1],
            mask=pictures[3 * i + 2],
            unit_m=unit_m,
            flat=False,
            size=(int(h), int(w)),
            k=(k[0], k[1], k[2], k[3]),
            hands=tuple(
                RenderedHand(int(row[0]), float(row[1]), row[2:].reshape(21, 3).astype(np.float32))
                for row in rows
            ),
            name=name,
            nearest_m=nearest_m,
        )


def _read_photographs(arrays: Arrays) -> Iterable[RealImage]:
    labels = zip(
        arrays["labels"].tolist(), arrays["joints"], _split(arrays, "reliefs"), _split(arrays, "masks"), strict=True
    )  # fmt: skip
    mark = 0
    for encoded, (label_count, mark_count) in zip(
        _split(arrays, "photographs"), arrays["counts"].tolist(), strict=True
    ):
        mine = tuple(_label(*next(labels)) for _ in range(label_count))
        yield RealImage(encoded, mine, arrays["landmarks"][mark : mark + mark_count])
        mark += mark_count


def _label(numbers: Sequence[float], joints: np.ndarray, relief: bytes, mask: bytes) -> PseudoLabel:
    x, y, log_length_px, weight, step, nearest = numbers
    return PseudoLabel(
        int(x),
        int(y),
        decoded(mask),
        dequantize(relief, step, nearest, np.nan),
        log_length_px,
        weight,
        joints,
    )


def _read_backgrounds(arrays: Arrays) -> Iterable[np.ndarray]:
    for encoded in _split(arrays, "backgrounds"):
        yield cv2.cvtColor(decoded(encoded), cv2.COLOR_BGR2RGB)


_READERS: dict[str, Callable[[Arrays], Iterable[Any]]] = {
    "train_views": _read_views,
    "val_views": _read_views,
    "photographs": _read_photographs,
    "backgrounds": _read_backgrounds,
}
