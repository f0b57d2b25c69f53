"""Label photographs from their landmarks, once; later runs read the cache."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.data.photographs import Photograph, PseudoLabel
from hand_depth_ros.training.labels.pseudo_labels import VERSION, label_hand

_MAX_SIDE_PX = 2000


def load_photographs(
    landmarks: Path, cache: Path, workers: int = 2, relabel_with: Path | None = None
) -> list[Photograph]:
    """Return the labelled photographs of a listing.

    Args:
        landmarks: A landmarks.jsonl next to its images.
        cache: Folder for the labels; one file for each listing and network.
        workers: Processes that label.
        relabel_with: Weights file of a depth network; the labels are then refitted to its
            predictions (`skeleton_fit`).

    Raises:
        DatasetError: The listing, or an image that it names, is missing.
    """
    if not landmarks.is_file():
        raise DatasetError(
            f"no landmarks file at {landmarks}: give the path of a landmarks.jsonl next to its images"
        )
    if relabel_with is not None:
        return _relabelled(landmarks, cache, workers, relabel_with)
    key = hashlib.sha256(landmarks.read_bytes() + bytes([VERSION])).hexdigest()[:16]
    store = cache / f"pseudo-{key}.npz"
    if store.is_file():
        return _read_store(store)
    lines = [json.loads(line) for line in landmarks.read_text().splitlines() if line.strip()]
    jobs = [(landmarks.parent / line["image"], line) for line in lines]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # OpenCV's threads do not survive a fork
        labelled = track(pool.map(_label, jobs, chunksize=8), total=len(jobs), description="pseudo labels")
        photographs = [photograph for photograph in labelled if photograph is not None]
    cache.mkdir(parents=True, exist_ok=True)
    _write_store(photographs, store)
    return photographs


def _label(job: tuple[Path, dict[str, Any]]) -> Photograph | None:
    """Label one line of a listing; None for an image that cannot be decoded or is too large."""
    cv2.setNumThreads(1)
    path, line = job
    if not path.is_file():
        raise DatasetError(f"no image at {path}: landmarks.jsonl names it")
    encoded = path.read_bytes()
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None or max(image.shape) > _MAX_SIDE_PX:
        return None
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    points = np.array([hand["px"] for hand in line["hands"]], np.float64).reshape(-1, 21, 3)[..., :2]
    labels = [
        label_hand(image, px, np.array(hand["world_m"]))
        for px, hand in zip(points, line["hands"], strict=True)
    ]
    return Photograph(encoded, tuple(label for label in labels if label is not None), points)


def _relabelled(landmarks: Path, cache: Path, workers: int, relabel_with: Path) -> list[Photograph]:
    from hand_depth_ros.network import HandDepthNet, load_weights
    from hand_depth_ros.training.labels import skeleton_fit

    network, _ = load_weights(relabel_with, HandDepthNet)
    content = landmarks.read_bytes() + bytes([VERSION, skeleton_fit.VERSION]) + relabel_with.read_bytes()
    store = cache / f"pseudo-relabelled-{hashlib.sha256(content).hexdigest()[:16]}.npz"
    if not store.is_file():
        _write_store(skeleton_fit.relabel(load_photographs(landmarks, cache, workers), network), store)
    return _read_store(store)


def _write_store(photographs: list[Photograph], store: Path) -> None:
    """Write all labels as flat arrays, one after the other, with their sizes."""
    labels = [label for image in photographs for label in image.labels]
    arrays = {
        "encoded": np.frombuffer(b"".join(image.encoded for image in photographs), np.uint8),
        "sizes": np.array(
            [(len(i.encoded), len(i.labels), len(i.landmarks)) for i in photographs], np.int64
        ).reshape(-1, 3),
        "landmarks": np.concatenate([image.landmarks for image in photographs]),
        "windows": np.array([(la.x, la.y, *la.mask.shape) for la in labels], np.int64).reshape(-1, 4),
        "joints": np.array([la.joints for la in labels], np.float32).reshape(-1, 21, 3),
        "numbers": np.array([(la.log_length_px, la.weight) for la in labels], np.float64).reshape(-1, 2),
        "masks": np.concatenate([label.mask.ravel() for label in labels] or [np.zeros(0, np.uint8)]),
        "reliefs": np.concatenate([label.relief.ravel() for label in labels] or [np.zeros(0, np.float32)]),
    }
    temporary = store.with_name(store.stem + ".partial.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(store)


def _read_store(store: Path) -> list[Photograph]:
    with np.load(store, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    photographs, byte, mark, number, pixel = [], 0, 0, 0, 0
    for size, label_count, mark_count in data["sizes"].tolist():
        labels: list[PseudoLabel] = []
        for x, y, h, w in data["windows"][number : number + label_count].tolist():
            mask = data["masks"][pixel : pixel + h * w].reshape(h, w)
            relief = data["reliefs"][pixel : pixel + h * w].reshape(h, w)
            log_length, weight = data["numbers"][number + len(labels)].tolist()
            joints = data["joints"][number + len(labels)]
            labels.append(PseudoLabel(x, y, mask, relief, log_length, weight, joints))
            pixel += h * w
        encoded = data["encoded"][byte : byte + size].tobytes()
        photographs.append(Photograph(encoded, tuple(labels), data["landmarks"][mark : mark + mark_count]))
        byte, mark, number = byte + size, mark + mark_count, number + label_count
    return photographs
