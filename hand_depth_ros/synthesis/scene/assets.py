"""Furnishings of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Assets:
    """External assets of a scene.

    objects: folders of textured meshes; cloths: number of fabrics; exposure: normal, over, under,
    mixed.
    """

    objects: tuple[Path, ...] = ()
    cloths: int = 0
    exposure: str = "normal"
