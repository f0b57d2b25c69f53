"""What a person looks like and wears, and in what light: plain data that people, scenes and the renderer share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """What a person looks like and wears. Colours are linear RGB albedos."""

    skin: tuple[float, float, float]
    cuff: float  # where the sleeve ends: 0 at the wrist, 1 at the elbow, 2 at the shoulder
    loose_m: float  # how far cloth stands off
    cloth: tuple[float, float, float]
    cloth_second: tuple[float, float, float]
    cloth_pattern: int  # 0 plain, 1 stripes, 2 checks, 3 blotches
    cloth_scale: float
    trousers: tuple[float, float, float]
    hair: tuple[float, float, float]
    hair_m: float  # thickness of the hair; 0 is bald
    nails: tuple[float, float, float]
    nail_polish: float  # 0 bare nails, 1 painted
    texture: int  # index into the skins given; ignored without
    seed: int
    freckles: float = 0.0  # 0 none .. 1 strong
    tattoo: float = 0.0  # 0 none .. 1 black
    cloth_image: int = -1  # index into the fabrics given; -1 takes the pattern


@dataclass(frozen=True)
class Accessories:
    """What arms wear: fingers (0 thumb .. 4) of each side with a ring; sides with a watch."""

    rings: tuple[tuple[str, int], ...] = ()
    watches: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Light:
    """An environment map (index into the renderer's list), turned; and a lamp far away."""

    map: int
    turn: tuple[float, float, float]  # rotation vector of the scene in the map, radians
    sun: float  # strength of the lamp relative to the map; 0 is none
    sun_direction: tuple[float, float, float]
    sun_angle: float  # radians across: soft shadows
    sun_colour: tuple[float, float, float]
    exposure: float  # brightness of lit skin: 1 is what a camera would choose
    tint: tuple[float, float, float]  # white balance that is off
    shoulder: float = 0.7  # from here on highlights are compressed; 1 clips them
