"""What a scene may be furnished with: the files given, and how the light falls. No bpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Assets:
    """objects: folders of textured meshes; cloths: how many fabrics there are; exposure: normal, over, under, mixed."""

    objects: tuple[Path, ...] = ()
    cloths: int = 0
    exposure: str = "normal"
