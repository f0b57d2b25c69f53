"""What a training is made of: rendered views, photographs with labels, pictures without hands; and how they are split."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.data.photographs import RealImage, load_real_images
from hand_depth_ros.training.data.rendered import View, as_resized_boxes, in_metres, load_views
from hand_depth_ros.training.samples.crops import Sources, find_mistakes, load_backgrounds

_RUN, _HELD_OUT = 400, 20


class Material(NamedTuple):
    """Everything that a config's files hold.

    train_views, val_views   rendered views; one that counts twice is there twice, and in memory once
    photographs              all of them, in the order of the listing
    backgrounds              pictures without hands, uint8 (h, w, 3) RGB
    mistakes                 as ``Sources.mistakes``; numbers are those of the backgrounds that are trained on
    """

    train_views: list[View]
    val_views: list[View]
    photographs: list[RealImage]
    backgrounds: list[np.ndarray]
    mistakes: np.ndarray

    def sources(self, plan: TrainConfig) -> tuple[Sources, dict[str, Sources]]:
        """What is trained on, and the validation sets by name.

        Raises DatasetError where there is nothing to train or to validate on."""
        train_views, val_views = self.train_views, self.val_views
        for name, value, change in (("crop", "box", as_resized_boxes), ("unit", "metres", in_metres)):
            if getattr(plan, name) == value:
                train_views, val_views = change(train_views), change(val_views)
        # The validation part of the photographs: runs of the listing, so that neighbouring video frames stay together.
        held_out = [i % _RUN >= _RUN - _HELD_OUT for i in range(len(self.photographs))]
        train_real = [image for image, out in zip(self.photographs, held_out, strict=True) if not out]
        val_real = [image for image, out in zip(self.photographs, held_out, strict=True) if out]
        if not train_views and not train_real:
            raise DatasetError("the config names neither rendered views nor landmarks to train on")
        rooms, others = _rooms(self.backgrounds)
        more: dict[str, Any] = {name: getattr(plan, name) for name in ("edge_share", "least_seen", "stretch")}
        sources = Sources(
            train_views,
            train_real,
            rooms,
            plan.real_share,
            plan.negative_share,
            mistakes=self.mistakes,
            **more,
        )
        validation = {}
        if val_views:
            validation["rendered"] = Sources(val_views, [], others, 0.0, 0.0)
        if val_real:
            validation["real"] = Sources([], val_real, others, 1.0, 0.0)
        if not validation:
            raise DatasetError(
                "there is nothing to validate on, and so no weights would be written: a rendered set has persons of the val "
                f"split from 80 views on, photographs are held out from {_RUN} on"
            )
        return sources, validation


def _rooms(backgrounds: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Those that are trained on, and the tenth that isn't."""
    split = max(1, len(backgrounds) // 10)
    return backgrounds[split:], backgrounds[:split]


def read_material(plan: TrainConfig, cache: Path, limit_views: int | None = None) -> Material:
    """Read what the config names. ``cache`` keeps the photographs' labels; ``limit_views``: so many of each rendered set."""
    views_of = functools.cache(load_views)  # a set that is named twice is in memory once
    train_views: list[View] = []
    val_views: list[View] = []
    for folder in plan.rendered:
        train_views += views_of(Path(folder), "train", limit_views)
        val_views += views_of(Path(folder), "val", limit_views)
    seen_by = Path(plan.seen_by) if plan.seen_by else None
    photographs = [
        image for path in plan.landmarks for image in load_real_images(Path(path), cache, seen_by=seen_by)
    ]
    backgrounds = load_backgrounds(Path(plan.backgrounds) if plan.backgrounds else None)
    mistakes = np.zeros((0, 5))
    if plan.mistakes_of:
        mistakes = find_mistakes(_rooms(backgrounds)[0], Path(plan.mistakes_of))
    return Material(train_views, val_views, photographs, backgrounds, mistakes)
