"""The config of a training run: one YAML file, read and checked key by key."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import yaml

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import DetectorConfig, NetworkConfig
from hand_depth_ros.network.backbone import BLOCKS

PATH_LISTS = ("rendered", "landmarks")
SINGLE_PATHS = ("backgrounds", "hard_negatives_from", "relabel_with", "start_from", "backbone_from")
PATHS = (*PATH_LISTS, *SINGLE_PATHS)
"""Keys that name files and folders; moving those files does not make it another training."""

RENAMED = {
    "average_decay": "ema_decay",
    "edge_share": "truncation_prob",
    "least_seen": "min_visible_fraction",
    "mistakes_of": "hard_negatives_from",
    "negative_share": "negative_fraction",
    "real_share": "real_fraction",
    "seen_by": "relabel_with",
    "stretch": "aspect_jitter_std",
    "trunk_from": "backbone_from",
    "trunk_frozen": "backbone_frozen_blocks",
    "trunk_rate": "backbone_lr_scale",
}
"""Keys of earlier config files and their names now."""

_CHOICES = {
    "task": ("depth", "detector"),
    "crop": ("camera", "box"),
    "unit": ("hand_lengths", "metres"),
}
_COUNT, _AT_LEAST_ZERO, _FRACTION = (1.0, math.inf), (0.0, math.inf), (0.0, 1.0)
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("samples", "epoch_samples", "val_samples", "batch"), _COUNT),
    **dict.fromkeys(("workers", "weight_decay", "backbone_lr_scale", "seed"), _AT_LEAST_ZERO),
    **dict.fromkeys(("real_weight", "real_size_weight"), _AT_LEAST_ZERO),
    **dict.fromkeys(("ema_decay", "real_fraction", "negative_fraction"), _FRACTION),
    **dict.fromkeys(("truncation_prob", "min_visible_fraction", "occlusion_prob"), _FRACTION),
    **dict.fromkeys(("exposure_prob", "motion_blur_prob"), _FRACTION),
    "aspect_jitter_std": (0.0, 0.2),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Config of one training run: network, data and budget.

    Attributes:
        task: "depth" or "detector".
        network: Fields of NetworkConfig (depth) or DetectorConfig (detector).
        rendered: Folders of rendered views. A folder that is named twice is drawn from twice as
            often.
        landmarks: landmarks.jsonl files next to their photographs.
        backgrounds: Folder of images without hands, or None.
        samples: Budget of the whole run.
        epoch_samples: Samples between two validations and checkpoints.
        val_samples: Samples of each validation set.
        batch: Samples per step and device.
        workers: Processes that draw samples.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Of the weights with more than one dimension.
        ema_decay: Decay per step of the moving average that is validated and exported.
        real_fraction: Fraction of samples from photographs.
        negative_fraction: Fraction of samples without a hand; the rest is rendered.
        real_weight: Weight of pseudo labels, relative to exact labels.
        real_size_weight: Weight of the photographs' apparent sizes, which a landmark model knows
            less well than shapes.
        hard_negatives_from: Weights file of a detector. Its false detections in the backgrounds
            become samples without a hand.
        relabel_with: Weights file of a depth network. The photographs' labels are refitted to its
            predictions and to the usual proportions of hands.
        start_from: Weights file to start from, or None.
        backbone_from: MediaPipe's hand_landmark_full.tflite, or the weights file of a depth
            network, for a network whose backbone ``start_from`` lacks.
        backbone_lr_scale: Learning rate of the backbone over that of the rest; 0 freezes it.
        backbone_frozen_blocks: Leading blocks (of 15) that stay frozen. Training the last three
            costs little, training all doubles the time.
        truncation_prob: Probability that an edge of the frame cuts a rendered hand. Above 0, the
            area outside a rendered frame is black, as in inference.
        min_visible_fraction: Rendered hands with fewer visible joints than this are skipped.
        aspect_jitter_std: Standard deviation of log(length / breadth) / 2 by which rendered hands
            are stretched (people: about 0.03).
        occlusion_prob: Detector: probability that something is laid across the hands of a frame.
        exposure_prob: Detector: probability that a frame is burnt out, nearly black or unevenly
            lit.
        motion_blur_prob: Detector: probability that a frame is blurred by motion.
        crop: "camera" (the virtual crop camera) or, for the ablation, "box" (a resized box).
        unit: Unit of depth: "hand_lengths" or, for the ablation, "metres".
        seed: Seed of the samples.
    """

    task: str = "depth"
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    rendered: tuple[str, ...] = ()
    landmarks: tuple[str, ...] = ()
    backgrounds: str | None = None
    samples: int = 300_000
    epoch_samples: int = 19_200
    val_samples: int = 192
    batch: int = 32
    workers: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    ema_decay: float = 0.999
    real_fraction: float = 0.4
    negative_fraction: float = 0.1
    real_weight: float = 0.7
    hard_negatives_from: str | None = None
    relabel_with: str | None = None
    start_from: str | None = None
    backbone_from: str | None = None
    backbone_lr_scale: float = 0.25
    backbone_frozen_blocks: int = 0
    real_size_weight: float = 1.0
    truncation_prob: float = 0.0
    min_visible_fraction: float = 0.0
    aspect_jitter_std: float = 0.0
    occlusion_prob: float = 0.0
    exposure_prob: float = 0.0
    motion_blur_prob: float = 0.0
    crop: str = "camera"
    unit: str = "hand_lengths"
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read and check a YAML file. Relative paths in it are relative to the file.

        Raises:
            DatasetError: The file is not YAML, has an unknown or renamed key, or a value that
                cannot be.
        """
        try:
            values = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise DatasetError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, dict):
            raise DatasetError(f"{path} must be a mapping of training options")
        try:
            _check_keys(values)
            _check_numbers(values)
            config = cls(**_with_absolute_paths(values, path.resolve().parent))
            _check_choices(config)
            _check_network(config)
            _check_ranges(config)
            _check_combinations(config)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
        return config

    def check_files(self, from_archive: bool = False) -> None:
        """Raise DatasetError if a file or folder that the training reads is missing.

        Args:
            from_archive: Check only what is read beside an archive.
        """
        start = "start_from" if self.start_from else "backbone_from"  # start_from may hold a backbone
        for key in (start,) if from_archive else (start, "hard_negatives_from", "relabel_with"):
            name = getattr(self, key)
            if name and not Path(name).is_file():
                raise DatasetError(f"{key}: there is no file {name}")
        if not from_archive and self.backgrounds and not Path(self.backgrounds).is_dir():
            raise DatasetError(f"backgrounds: there is no folder {self.backgrounds}")


def _check_keys(values: dict[str, Any]) -> None:
    for key in sorted(map(str, values)):
        if key in RENAMED:
            raise DatasetError(f"{key} is now called {RENAMED[key]}")
    unknown = sorted(set(map(str, values)) - {field.name for field in dataclasses.fields(TrainConfig)})
    if unknown:
        raise DatasetError(f"unknown option {', '.join(unknown)}")


def _check_numbers(values: dict[str, Any]) -> None:
    for field in dataclasses.fields(TrainConfig):
        kind, value = type(field.default), values.get(field.name)
        if field.name not in values or kind not in (int, float):
            continue
        allowed: Any = (int, float) if kind is float else int
        if isinstance(value, bool) or not isinstance(value, allowed):
            hint = " (YAML wants a point in 2.0e-3)" if isinstance(value, str) and "e" in value else ""
            number = "a whole number" if kind is int else "a number"
            raise DatasetError(f"{field.name} is {value!r}: {number} is needed{hint}")


def _with_absolute_paths(values: dict[str, Any], base: Path) -> dict[str, Any]:
    values = dict(values)
    for key in PATH_LISTS:
        items = values.get(key) or []
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise DatasetError(f"{key} is {items!r}: a list of paths is needed, [a, b]")
        values[key] = tuple(str((base / item).resolve()) for item in items)
    for key in SINGLE_PATHS:
        if not isinstance(values.get(key) or "", str):
            raise DatasetError(f"{key} is {values[key]!r}: one path is needed")
        values[key] = str((base / values[key]).resolve()) if values.get(key) else None
    return values


def _check_choices(config: TrainConfig) -> None:
    for name, choices in _CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise DatasetError(f"{name} must be {' or '.join(choices)}, not {value!r}")


def _check_network(config: TrainConfig) -> None:
    kind = NetworkConfig if config.task == "depth" else DetectorConfig
    try:
        kind.from_dict(config.network)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"network: {error}") from error


def _check_ranges(config: TrainConfig) -> None:
    for name, (low, high) in _RANGES.items():
        value = getattr(config, name)
        if not low <= value <= high:
            bounds = f"in {low:g}..{high:g}" if math.isfinite(high) else f"{low:g} or more"
            raise DatasetError(f"{name} must be {bounds}, not {value!r}")
    if not 0 < config.learning_rate < math.inf:
        raise DatasetError(f"learning_rate must be above 0, not {config.learning_rate!r}")
    if not 0 <= config.backbone_frozen_blocks <= BLOCKS:
        raise DatasetError(
            f"backbone_frozen_blocks is {config.backbone_frozen_blocks}: the backbone has {BLOCKS} blocks"
        )


def _check_combinations(config: TrainConfig) -> None:
    if config.real_fraction + config.negative_fraction > 1:
        raise DatasetError("real_fraction and negative_fraction add up to more than 1")
    if config.batch > min(config.samples, config.epoch_samples):
        raise DatasetError(
            f"a batch of {config.batch} is more than samples ({config.samples}) or epoch_samples "
            f"({config.epoch_samples}): nothing would be trained"
        )
    if config.aspect_jitter_std and config.unit == "metres":
        raise DatasetError("aspect_jitter_std changes hand lengths, which unit: metres does not know")
