"""One YAML file says everything about a training run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import yaml

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import DetectorConfig, NetworkConfig
from hand_depth_ros.network.backbone import BLOCKS as TRUNK_BLOCKS

_LISTS = ("rendered", "landmarks")
_ONE_PATH = ("backgrounds", "mistakes_of", "seen_by", "start_from", "backbone_from")
PATHS = (*_LISTS, *_ONE_PATH)
"""The options that name files and folders: where these are is no part of what is trained."""
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("samples", "epoch_samples", "val_samples", "batch"), (1, math.inf)),
    **dict.fromkeys(
        ("workers", "weight_decay", "real_weight", "backbone_lr_scale", "real_size_weight", "seed"),
        (0, math.inf),
    ),
    **dict.fromkeys(("average_decay", "real_share", "negative_share", "edge_share", "least_seen"), (0, 1)),
    "stretch": (0, 0.2),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, for how long.

    task             "depth" or "detector"
    network          fields of NetworkConfig (depth) or DetectorConfig (detector)
    rendered         folders of rendered crops (depth) or of crops and frames to paste (detector)
    landmarks        landmarks.jsonl files next to real images
    backgrounds      folder of pictures without hands, or null
    samples          the budget, counted over the whole run
    epoch_samples    samples between two validations and checkpoints
    real_share, negative_share   of the samples
    real_weight      weight of pseudo labels against exact ones
    mistakes_of      weights file of a detector whose false finds in the backgrounds are samples without a hand, or null
    seen_by          weights file of a depth network: the photographs' labels are fitted anew to what it sees in them and to
                     the usual proportions of hands, or null
    start_from       weights file to start from, or null
    backbone_from       MediaPipe's hand_landmark_full.tflite, or the weights file of a depth network, for a network whose backbone
                     start_from doesn't have; or null
    backbone_lr_scale       learning rate of the backbone, as a share of the others'; 0: it stays as it is
    backbone_frozen_blocks     so many of its 15 blocks, from the first, stay as they are. Training the last three (12) costs next to
                     nothing, training all of them (0) doubles the time
    real_size_weight weight of the photographs' apparent sizes, which a landmark model is less sure of than of shapes
    edge_share       of the rendered hands an edge of the camera's frame cuts; with any, what is beyond a rendered frame is
                     black as it is in use (0: the background goes on there)
    least_seen       rendered hands of which a smaller share of joints can be seen are not trained on (0: all are)
    stretch          of rendered hands to other proportions: deviation of log(length / breadth) / 2 (people: about 0.03)
    crop             "camera" (the virtual crop camera), or for the ablation "box" (the box cut out and resized)
    unit             of depth: "hand_lengths", or for the ablation "metres"
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
    average_decay: float = 0.999
    real_share: float = 0.4
    negative_share: float = 0.1
    real_weight: float = 0.7
    mistakes_of: str | None = None
    seen_by: str | None = None
    start_from: str | None = None
    backbone_from: str | None = None
    backbone_lr_scale: float = 0.25
    backbone_frozen_blocks: int = 0
    real_size_weight: float = 1.0
    edge_share: float = 0.0
    least_seen: float = 0.0
    stretch: float = 0.0
    crop: str = "camera"
    unit: str = "hand_lengths"
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read a YAML file; unknown keys are an error that names them. Relative paths are relative to the file."""
        try:
            values = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise DatasetError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, dict):
            raise DatasetError(f"{path} must be a mapping of training options")
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise DatasetError(f"{path}: unknown option {', '.join(unknown)}")
        for field in dataclasses.fields(cls):
            kind, value = type(field.default), values.get(field.name)
            wrong = isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind)
            if kind in (int, float) and field.name in values and wrong:
                raise DatasetError(
                    f"{path}: {field.name} is {value!r}: a {'whole ' * (kind is int)}number is needed"
                    + (" (YAML wants a point in 2.0e-3)" if isinstance(value, str) and "e" in value else "")
                )
        base = path.resolve().parent
        for key in _LISTS:
            items = values.get(key) or []
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                raise DatasetError(f"{path}: {key} is {items!r}: a list of paths is needed, [a, b]")
            values[key] = tuple(str((base / item).resolve()) for item in items)
        for key in _ONE_PATH:
            if not isinstance(values.get(key) or "", str):
                raise DatasetError(f"{path}: {key} is {values[key]!r}: one path is needed")
            values[key] = str((base / values[key]).resolve()) if values.get(key) else None
        config = cls(**values)
        if config.task not in ("depth", "detector"):
            raise DatasetError(f"{path}: task must be depth or detector, not {config.task!r}")
        try:
            (NetworkConfig if config.task == "depth" else DetectorConfig).from_dict(config.network)
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path}: network: {error}") from error
        for name, choices in (("crop", ("camera", "box")), ("unit", ("hand_lengths", "metres"))):
            if getattr(config, name) not in choices:
                raise DatasetError(
                    f"{path}: {name} must be {' or '.join(choices)}, not {getattr(config, name)!r}"
                )
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(config, name) <= most:
                bounds = f"in {least:g}..{most:g}" if math.isfinite(most) else f"{least:g} or more"
                raise DatasetError(f"{path}: {name} must be {bounds}, not {getattr(config, name)!r}")
        if not 0 < config.learning_rate < math.inf:
            raise DatasetError(f"{path}: learning_rate must be above 0, not {config.learning_rate!r}")
        if config.real_share + config.negative_share > 1:
            raise DatasetError(f"{path}: real_share and negative_share are more than 1 together")
        if config.batch > min(config.samples, config.epoch_samples):
            raise DatasetError(
                f"{path}: a batch of {config.batch} is more than samples ({config.samples}) or epoch_samples "
                f"({config.epoch_samples}): nothing would be trained"
            )
        if config.stretch and config.unit == "metres":
            raise DatasetError(f"{path}: stretch changes hand lengths, which unit: metres does not know")
        if not 0 <= config.backbone_frozen_blocks <= TRUNK_BLOCKS:
            raise DatasetError(
                f"{path}: backbone_frozen_blocks is {config.backbone_frozen_blocks}: the backbone has {TRUNK_BLOCKS} blocks"
            )
        return config

    def check_files(self, packed: bool = False) -> None:
        """DatasetError where a file or folder is missing that a training reads; ``packed``: beside its package."""
        start = (
            "start_from" if self.start_from else "backbone_from"
        )  # a backbone may come with what it starts from
        for key in (start,) if packed else (start, "mistakes_of", "seen_by"):
            name = getattr(self, key)
            if name and not Path(name).is_file():
                raise DatasetError(f"{key}: there is no file {name}")
        if not packed and self.backgrounds and not Path(self.backgrounds).is_dir():
            raise DatasetError(f"backgrounds: there is no folder {self.backgrounds}")
