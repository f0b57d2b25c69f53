"""Real images with landmarks: pseudo labels made once, kept in a cache folder, and read back for training."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.labels.pseudo_labels import VERSION, PseudoLabel, label_hand

MIN_WEIGHT = 0.15
"""Labels of photographs with no more weight than this are not trained on."""


class RealImage(NamedTuple):
    """One photograph: JPEG bytes as on disk, the labels of its hands (usable ones), and all the landmarks in it (k, 21, 2)."""

    encoded: bytes
    labels: tuple[PseudoLabel, ...]
    landmarks: np.ndarray

    @property
    def usable(self) -> list[PseudoLabel]:
        """The labels that are trained on."""
        return [label for label in self.labels if label.weight > MIN_WEIGHT]

    def decode(self) -> np.ndarray:
        """uint8 (H, W, 3) RGB."""
        image = cv2.imdecode(np.frombuffer(self.encoded, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None  # it was decoded when it was labelled
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _label(job: tuple[Path, dict[str, Any]]) -> RealImage | None:
    cv2.setNumThreads(1)
    path, line = job
    if not path.is_file():
        raise DatasetError(f"no image at {path}: landmarks.jsonl names it")
    encoded = path.read_bytes()
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None or max(image.shape) > 2000:
        return None
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    points = np.array([hand["px"] for hand in line["hands"]], np.float64).reshape(-1, 21, 3)[..., :2]
    labels = [
        label_hand(image, px, np.array(hand["world_m"]))
        for px, hand in zip(points, line["hands"], strict=True)
    ]
    return RealImage(encoded, tuple(label for label in labels if label is not None), points)


def load_real_images(
    landmarks: Path, cache: Path, workers: int = 2, seen_by: Path | None = None
) -> list[RealImage]:
    """All the images that ``landmarks`` (a landmarks.jsonl) lists, labelled; the labels are computed once into ``cache``.

    seen_by: weights file of a depth network; the labels are then fitted anew to what it sees (:mod:`.skeleton`)."""
    if not landmarks.is_file():
        raise DatasetError(
            f"no landmarks file at {landmarks}: give the path of a landmarks.jsonl next to its images"
        )
    if seen_by is not None:
        return _relabelled(landmarks, cache, workers, seen_by)
    key = hashlib.sha256(landmarks.read_bytes() + bytes([VERSION])).hexdigest()[:16]
    store = cache / f"pseudo-{key}.npz"
    if store.is_file():
        return _unpack(store)
    lines = [json.loads(line) for line in landmarks.read_text().splitlines() if line.strip()]
    jobs = [(landmarks.parent / line["image"], line) for line in lines]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # OpenCV's threads do not survive a fork
        found = track(pool.map(_label, jobs, chunksize=8), total=len(jobs), description="pseudo labels")
        images = [image for image in found if image is not None]
    cache.mkdir(parents=True, exist_ok=True)
    _pack(images, store)
    return images


def _relabelled(landmarks: Path, cache: Path, workers: int, seen_by: Path) -> list[RealImage]:
    from hand_depth_ros.network import HandDepthNet, load_weights
    from hand_depth_ros.training.labels import skeleton_fit as skeleton

    network, _ = load_weights(seen_by, HandDepthNet)
    key = hashlib.sha256(
        landmarks.read_bytes() + bytes([VERSION, skeleton.VERSION]) + seen_by.read_bytes()
    ).hexdigest()[:16]
    store = cache / f"pseudo-seen-{key}.npz"
    if not store.is_file():
        _pack(skeleton.relabel(load_real_images(landmarks, cache, workers), network), store)
    return _unpack(store)


def _pack(images: list[RealImage], store: Path) -> None:
    """Plain arrays, one after the other, with their sizes."""
    labels = [label for image in images for label in image.labels]
    arrays = {
        "encoded": np.frombuffer(b"".join(image.encoded for image in images), np.uint8),
        "sizes": np.array(
            [(len(i.encoded), len(i.labels), len(i.landmarks)) for i in images], np.int64
        ).reshape(-1, 3),
        "landmarks": np.concatenate([image.landmarks for image in images]),
        "places": np.array([(la.x, la.y, *la.mask.shape) for la in labels], np.int64).reshape(-1, 4),
        "joints": np.array([la.joints for la in labels], np.float32).reshape(-1, 21, 3),
        "numbers": np.array([(la.log_length_px, la.weight) for la in labels], np.float64).reshape(-1, 2),
        "masks": np.concatenate([label.mask.ravel() for label in labels] or [np.zeros(0, np.uint8)]),
        "reliefs": np.concatenate([label.relief.ravel() for label in labels] or [np.zeros(0, np.float32)]),
    }
    temporary = store.with_name(store.stem + ".partial.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(store)


def _unpack(store: Path) -> list[RealImage]:
    with np.load(store, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    images, byte, mark, number, pixel = [], 0, 0, 0, 0
    for size, label_count, mark_count in data["sizes"].tolist():
        labels: list[PseudoLabel] = []
        for x, y, h, w in data["places"][number : number + label_count].tolist():
            mask = data["masks"][pixel : pixel + h * w].reshape(h, w)
            relief = data["reliefs"][pixel : pixel + h * w].reshape(h, w)
            log_length, weight = data["numbers"][number + len(labels)].tolist()
            joints = data["joints"][number + len(labels)]
            labels.append(PseudoLabel(x, y, mask, relief, log_length, weight, joints))
            pixel += h * w
        encoded = data["encoded"][byte : byte + size].tobytes()
        images.append(RealImage(encoded, tuple(labels), data["landmarks"][mark : mark + mark_count]))
        byte, mark, number = byte + size, mark + mark_count, number + label_count
    return images
