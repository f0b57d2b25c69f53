"""Read everything that a config names and split it into training and validation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.photographs import Photograph
from hand_depth_ros.training.data.rendered import View, as_resized_boxes, in_metres, load_views
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.samples.training_data import (
    TrainingData,
    find_hard_negatives,
    load_backgrounds,
)

_RUN, _HELD_OUT = 400, 20
"""Validate on the last photographs of every run of a listing: run length, number."""
_HELD_OUT_BACKGROUNDS = 10
"""One in so many backgrounds is validated on."""


class Datasets(NamedTuple):
    """Contents of a config's files.

    Attributes:
        train_views: Rendered views to train on. A view of a set that is named twice is listed
            twice, and in memory once.
        val_views: Rendered views to validate on.
        photographs: All photographs, in the order of the listings.
        backgrounds: Images without hands, uint8 (h, w, 3) RGB.
        hard_negatives: As `TrainingData.hard_negatives`; indices are those of the training
            backgrounds.
    """

    train_views: list[View]
    val_views: list[View]
    photographs: list[Photograph]
    backgrounds: list[np.ndarray]
    hard_negatives: np.ndarray

    def split(self, config: TrainConfig) -> tuple[TrainingData, dict[str, TrainingData]]:
        """Return the training data and the validation sets by name.

        Raises:
            DatasetError: There is nothing to train or to validate on.
        """
        train_photographs, val_photographs = split_photographs(self.photographs)
        train_views, val_views = (
            _for_ablation(self.train_views, config),
            _for_ablation(self.val_views, config),
        )
        if not train_views and not train_photographs:
            raise DatasetError("the config names neither rendered views nor landmarks to train on")
        train_backgrounds, val_backgrounds = _split_backgrounds(self.backgrounds)
        training = TrainingData(
            train_views,
            train_photographs,
            train_backgrounds,
            real_fraction=config.real_fraction,
            negative_fraction=config.negative_fraction,
            hard_negatives=self.hard_negatives,
            truncation_prob=config.truncation_prob,
            min_visible_fraction=config.min_visible_fraction,
            aspect_jitter_std=config.aspect_jitter_std,
            occlusion_prob=config.occlusion_prob,
            exposure_prob=config.exposure_prob,
            motion_blur_prob=config.motion_blur_prob,
        )
        validation = {}
        if val_views:
            validation["rendered"] = TrainingData(val_views, [], val_backgrounds, 0.0, 0.0)
        if val_photographs:
            validation["real"] = TrainingData([], val_photographs, val_backgrounds, 1.0, 0.0)
        if not validation:
            raise DatasetError(
                "there is nothing to validate on, so no weights would be written: a rendered set holds "
                f"out persons (split val) from 80 views on, photographs are held out from {_RUN} on"
            )
        return training, validation


def split_photographs(photographs: list[Photograph]) -> tuple[list[Photograph], list[Photograph]]:
    """Split into training and validation by runs, which keeps video neighbours together."""
    held_out = [i % _RUN >= _RUN - _HELD_OUT for i in range(len(photographs))]
    train = [image for image, out in zip(photographs, held_out, strict=True) if not out]
    val = [image for image, out in zip(photographs, held_out, strict=True) if out]
    return train, val


def read_datasets(config: TrainConfig, cache: Path, limit_views: int | None = None) -> Datasets:
    """Read everything that the config names.

    Args:
        config: The training config.
        cache: Folder for the photographs' labels, which are computed once.
        limit_views: Read at most this many views of each rendered set and split.
    """
    views_of = functools.cache(load_views)  # keeps a set that is named twice in memory once
    train_views: list[View] = []
    val_views: list[View] = []
    for folder in config.rendered:
        train_views += views_of(Path(folder), "train", limit_views)
        val_views += views_of(Path(folder), "val", limit_views)
    relabel_with = Path(config.relabel_with) if config.relabel_with else None
    photographs = [
        photograph
        for listing in config.landmarks
        for photograph in load_photographs(Path(listing), cache, relabel_with=relabel_with)
    ]
    backgrounds = load_backgrounds(Path(config.backgrounds) if config.backgrounds else None)
    hard_negatives = np.zeros((0, 5))
    if config.hard_negatives_from:
        train_backgrounds, _ = _split_backgrounds(backgrounds)
        hard_negatives = find_hard_negatives(train_backgrounds, Path(config.hard_negatives_from))
    return Datasets(train_views, val_views, photographs, backgrounds, hard_negatives)


def _for_ablation(views: list[View], config: TrainConfig) -> list[View]:
    if config.crop == "box":
        views = as_resized_boxes(views)
    return in_metres(views) if config.unit == "metres" else views


def _split_backgrounds(backgrounds: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Split into training and validation backgrounds."""
    split = max(1, len(backgrounds) // _HELD_OUT_BACKGROUNDS)
    return backgrounds[split:], backgrounds[:split]
