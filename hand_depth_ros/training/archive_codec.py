"""Encode and decode the items of an archive, without torch: worker processes start fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.training.data.photographs import Photograph, PseudoLabel
from hand_depth_ros.training.data.rendered import (
    RenderedHand,
    StoredView,
    View,
    decode_image,
    dequantize,
    quantize,
)

Arrays = dict[str, np.ndarray]
Part = tuple[str, Arrays]
"""Kind of items ("photographs", ...) and their arrays."""
_DEPTH_STEP_M, _RELIEF_STEP = 0.001, 0.004


def encode_part(job: tuple[str, Sequence[Any], int]) -> Part:
    """Encode some items of one kind: (kind, items, WebP quality)."""
    cv2.setNumThreads(1)
    kind, items, quality = job
    return kind, _ENCODERS[kind](items, quality)


def decode_part(part: Part) -> Iterable[Any]:
    """Return the items of a part."""
    kind, arrays = part
    return _DECODERS[kind](arrays)


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
