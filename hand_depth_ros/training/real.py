"""Real images with landmarks: pseudo labels made once, kept in a cache folder, and read back for training."""

from __future__ import annotations

import hashlib
import json
import pickle  # noqa: S403 - only for our own cache, written and read by this module
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.progress import track

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.pseudo import PseudoLabel, label_hand


class RealImage(NamedTuple):
    """One photograph: JPEG bytes as on disk, the labels of its hands (usable ones), and all the landmarks in it (k, 21, 2)."""

    encoded: bytes
    labels: tuple[PseudoLabel, ...]
    landmarks: np.ndarray

    def decode(self) -> np.ndarray:
        """uint8 (H, W, 3) RGB."""
        return cv2.cvtColor(
            cv2.imdecode(np.frombuffer(self.encoded, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        )


def _label(job: tuple[Path, dict[str, Any]]) -> RealImage | None:
    cv2.setNumThreads(1)
    path, line = job
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


def load_real_images(landmarks: Path, cache: Path, workers: int = 2) -> list[RealImage]:
    """All the images that ``landmarks`` (a landmarks.jsonl) lists, labelled; the labels are computed once into ``cache``."""
    if not landmarks.is_file():
        raise DatasetError(
            f"no landmarks file at {landmarks}: give the path of a landmarks.jsonl next to its images"
        )
    source = Path(__file__).with_name("pseudo.py").read_bytes()
    key = hashlib.sha256(landmarks.read_bytes() + source).hexdigest()[:16]
    store = cache / f"pseudo-{key}.pickle"
    if store.is_file():
        return pickle.loads(store.read_bytes())  # noqa: S301 - our own cache
    lines = [json.loads(line) for line in landmarks.read_text().splitlines() if line.strip()]
    jobs = [(landmarks.parent / line["image"], line) for line in lines]
    with ProcessPoolExecutor(workers) as pool:
        found = track(pool.map(_label, jobs, chunksize=8), total=len(jobs), description="pseudo labels")
        images = [image for image in found if image is not None]
    cache.mkdir(parents=True, exist_ok=True)
    temporary = store.with_suffix(".partial")
    temporary.write_bytes(pickle.dumps(images, protocol=5))
    temporary.replace(store)
    return images
