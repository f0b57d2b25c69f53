"""The commands ``hand-depth train`` and ``hand-depth archive``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import MissingDependencyError


def train(
    config: Annotated[
        Path,
        typer.Argument(
            help="YAML file, for example config/training/detector.yaml.", exists=True, dir_okay=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints, curves and weights; run again to resume.")
    ],
    cache: Annotated[
        Path | None, typer.Option(help="Folder for pseudo labels.  [default: OUT/cache]", show_default=False)
    ] = None,
    devices: Annotated[
        str, typer.Option(help="Number or indices of devices, as for Lightning's Trainer: auto, 2, 0,1.")
    ] = "auto",
    num_nodes: Annotated[int, typer.Option(help="Number of machines, for Lightning's DDP.", min=1)] = 1,
    precision: Annotated[
        str, typer.Option(help="As for Lightning's Trainer: bf16-mixed, 32-true, ...")
    ] = "bf16-mixed",
    limit_views: Annotated[
        int | None,
        typer.Option(help="Read at most this many rendered views of each set, for a trial run.", min=1),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            help="Read the data from this folder of `hand-depth archive`, not from the config's paths."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Train for this long instead of a number of samples; the learning rate follows the clock.",
            min=0.01,
        ),
    ] = None,
    packed: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train the depth network or the detector on rendered sets and photographs with landmarks."""
    options.validate_folder("--out", out)
    if packed is not None:
        raise typer.BadParameter("--packed is now called --archive")
    if archive is not None and limit_views is not None:
        raise typer.BadParameter("--limit-views does not go with --archive, whose views are all read")
    try:
        import lightning  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError.for_extra("train", "lightning") from error
    from hand_depth_ros.training.archive import read_archive
    from hand_depth_ros.training.config import TrainConfig
    from hand_depth_ros.training.datasets import read_datasets
    from hand_depth_ros.training.run import TrainerOptions, find_checkpoint, run_training

    settings = TrainConfig.read(config)
    settings.check_files(from_archive=archive is not None)
    checkpoint = find_checkpoint(out, settings)
    datasets = (
        read_archive(archive) if archive else read_datasets(settings, cache or out / "cache", limit_views)
    )
    trainer_options = TrainerOptions(devices, num_nodes, precision, minutes)
    run_training(settings, datasets, out, trainer_options, checkpoint)


def archive(
    config: Annotated[
        Path, typer.Argument(help="YAML file of a training, as for `train`.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the archive.")],
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pseudo labels, which need not be transferred.  [default: OUT-labels]",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[int, typer.Option(help="WebP quality of images, 1 to 100.", min=1, max=100)] = 75,
    shard_mb: Annotated[int, typer.Option(help="Maximum size of a shard in MB.", min=1, max=2000)] = 250,
) -> None:
    """Archive everything that a training reads in a few files, for `train --archive`."""
    options.validate_folder("--out", out)
    from hand_depth_ros.training.archive import write_archive
    from hand_depth_ros.training.config import TrainConfig
    from hand_depth_ros.training.datasets import read_datasets

    settings = TrainConfig.read(config)
    settings.check_files()
    datasets = read_datasets(settings, cache or out.resolve().with_name(f"{out.resolve().name}-labels"))
    shards = write_archive(datasets, out, quality, shard_mb * 1_000_000)
    size_mb = sum(path.stat().st_size for path in shards) / 1e6
    print(
        f"{len(datasets.train_views)} views to train on and {len(datasets.val_views)} to validate on, "
        f"{len(datasets.photographs)} photographs, {len(datasets.backgrounds)} backgrounds: "
        f"{len(shards)} shards, {size_mb:.1f} MB in {out}"
    )
