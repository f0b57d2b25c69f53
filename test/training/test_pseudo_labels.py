"""Pseudo labels of a drawn hand whose mask and depth are known, and their cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.drawn_hands import PIXELS_PER_METRE, draw_hand, open_hand, write_landmarks

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.geometry.hand import hand_length
from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.labels.pseudo_labels import label_hand


def test_mask_of_drawn_hand_matches_it() -> None:
    px, world = open_hand(tilt=0.6)
    image, hand = draw_hand(px)
    label = label_hand(image, px, world)
    assert label is not None and label.weight > 0.3
    h, w = label.mask.shape
    truth = hand[label.y : label.y + h, label.x : label.x + w]
    known = label.mask != 255
    iou = (truth & known & (label.mask == 1)).sum() / ((truth | (label.mask == 1)) & known).sum()
    assert iou > 0.8 and truth.sum() > 0.95 * hand.sum()
    below = int(px[0, 1] - label.y + 0.06 * hand_length(world) * PIXELS_PER_METRE)
    assert not (label.mask[below:] == 1).any()  # the forearm is no hand


def test_relief_of_drawn_hand_is_its_tilt_in_hand_lengths() -> None:
    px, world = open_hand(tilt=0.6)
    label = label_hand(draw_hand(px)[0], px, world)
    assert label is not None
    bones = sum(np.linalg.norm(world[b] - world[a]) for a, b in ((0, 9), (9, 10), (10, 11), (11, 12)))
    length = np.exp(label.log_length_px) / PIXELS_PER_METRE
    assert length == pytest.approx(hand_length(world))
    assert 1.0 <= length / bones < 1.2  # the landmarks end short of the wrist's crease and of the tip

    def relief(joint: int) -> float:
        x, y = np.round(px[joint]).astype(int) - (label.x, label.y)
        return float(np.nanmedian(label.relief[y - 2 : y + 3, x - 2 : x + 3]))

    for near, far in ((5, 17), (6, 18), (9, 13)):  # the index's side is nearer
        expected = (world[far, 2] - world[near, 2]) / length
        assert relief(far) - relief(near) == pytest.approx(expected, abs=0.03)
    assert np.nanmedian(label.relief) == pytest.approx(0, abs=1e-5)
    assert np.array_equal(np.isfinite(label.relief) & (label.mask != 1), np.zeros_like(label.mask, bool))


def test_hand_too_small_or_outside_image_has_no_label() -> None:
    px, world = open_hand()
    image, _ = draw_hand(px)
    assert label_hand(image, px * 0.05, world) is None
    assert label_hand(image, px + 5000, world) is None


def same(a: Photograph, b: Photograph) -> bool:
    if (
        a.encoded != b.encoded
        or not np.array_equal(a.landmarks, b.landmarks)
        or len(a.labels) != len(b.labels)
    ):
        return False
    return all(
        np.array_equal(p, q, equal_nan=True) if isinstance(p, np.ndarray) else p == q
        for mine, theirs in zip(a.labels, b.labels, strict=True)
        for p, q in zip(mine, theirs, strict=True)
    )


def test_labels_are_computed_once_and_cached(tmp_path: Path) -> None:
    listing = write_landmarks(tmp_path / "photos")
    made = load_photographs(listing, tmp_path / "cache", workers=1)
    assert [len(image.labels) for image in made] == [1, 0]
    for image in (tmp_path / "photos").glob("*.jpg"):
        image.unlink()  # whatever is read now comes from the cache
    read = load_photographs(listing, tmp_path / "cache", workers=1)
    assert len(read) == len(made) and all(map(same, made, read))
    with pytest.raises(DatasetError, match=r"landmarks\.jsonl"):
        load_photographs(tmp_path / "nowhere.jsonl", tmp_path / "cache")
