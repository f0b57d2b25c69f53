"""Appearance, clothes and light of a person.

Plain data that people, scenes and the renderer share.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """A person's skin, hair and clothes. Colours are linear RGB albedos."""

    skin: tuple[float, float, float]
    cuff: float  # where the sleeve ends: 0 wrist, 1 elbow, 2 shoulder
    loose_m: float  # distance of cloth from skin
    cloth: tuple[float, float, float]
    cloth_second: tuple[float, float, float]
    cloth_pattern: int  # 0 plain, 1 stripes, 2 checks, 3 blotches
    cloth_scale: float
    trousers: tuple[float, float, float]
    hair: tuple[float, float, float]
    hair_m: float  # thickness of the hair; 0 is bald
    nails: tuple[float, float, float]
    nail_polish: float  # 0 bare nails, 1 painted
    texture: int  # index into the skin textures, if any
    seed: int
    freckles: float = 0.0  # 0 none .. 1 strong
    tattoo: float = 0.0  # 0 none .. 1 black
    cloth_image: int = -1  # index into the fabrics given; -1 takes the pattern


@dataclass(frozen=True)
class Accessories:
    """Rings and watches: (side, finger 0 thumb .. 4) with a ring; sides with a watch."""

    rings: tuple[tuple[str, int], ...] = ()
    watches: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Light:
    """An environment map, turned, a lamp far away, and how the camera exposes.

    map: index into the renderer's list.
    """

    map: int
    turn: tuple[float, float, float]  # rotation vector of the scene in the map, radians
    sun: float  # strength of the lamp relative to the map; 0 is none
    sun_direction: tuple[float, float, float]
    sun_angle: float  # radians across: soft shadows
    sun_colour: tuple[float, float, float]
    exposure: float  # brightness of lit skin; 1 is a camera's choice
    tint: tuple[float, float, float]  # error of the white balance
    shoulder: float = 0.7  # from here on highlights are compressed; 1 clips them
