"""Draw people, their looks and their light at random, the same for the same key."""

from __future__ import annotations

import colorsys
import functools
from dataclasses import replace

import numpy as np

from hand_depth_ros.synthesis.appearance import Accessories, Light, Look
from hand_depth_ros.synthesis.people.body import SIDES, Person, body_model
from hand_depth_ros.synthesis.people.dress import Wardrobe
from hand_depth_ros.synthesis.rotations import rotation

# Linear albedos of skin from light to very dark.
_SKIN = np.array(
    [
        [0.66, 0.44, 0.34],
        [0.56, 0.35, 0.25],
        [0.45, 0.26, 0.17],
        [0.32, 0.17, 0.105],
        [0.20, 0.10, 0.062],
        [0.10, 0.052, 0.035],
        [0.05, 0.028, 0.02],
    ]
)


def rng_for(*key: int) -> np.random.Generator:
    """Return the generator of a key."""
    return np.random.default_rng(list(key))


def random_person(seed: int, person: int) -> Person:
    """Return an adult, a child or an old person.

    Hand lengths as measured (adults 0.185 m, sd 6 %).
    """
    rng = rng_for(seed, 1, person)
    gender = float(np.clip(rng.choice([0.1, 0.9]) + rng.normal(0, 0.1), 0, 1))
    kind = rng.random()
    age = (
        rng.uniform(0.36, 0.5)
        if kind < 0.14
        else rng.uniform(0.8, 1.0)
        if kind < 0.34
        else rng.uniform(0.6, 0.78)
    )
    shape = {
        key: float(np.clip(rng.normal(0.5, 0.17), 0.1, 0.9))
        for key in ("muscle", "weight", "height", "proportions")
    }
    if age < 0.55:  # children grow from about 0.13 m at six
        length = float(np.interp(age, [0.36, 0.5], [0.135, 0.165]) * (1 + rng.normal(0, 0.05)))
    else:
        length = rng.normal(0.194 - 0.018 * gender, 0.0085)  # anny: 0 is male, 1 female
    # People's middle fingers are 0.46 to 0.52 of the hand, longer than the sculptor's.
    fingers = float(np.clip(rng.normal(0.35, 0.25), -0.2, 0.9)), float(np.clip(rng.normal(0, 0.4), -1, 1))
    return body_model().person(
        {"gender": gender, "age": age, **shape}, float(np.clip(length, 0.125, 0.22)), fingers
    )


@functools.lru_cache(maxsize=2)
def wardrobe(seed: int, person: int) -> Wardrobe:
    """Return a person's wardrobe; kept for the neighbours of a view."""
    return Wardrobe(body_model(), random_person(seed, person))


def random_look(seed: int, person: int, rng: np.random.Generator) -> Look:
    """Return a look: skin and hair belong to the person, clothes to the view."""
    own = rng_for(seed, 2, person)
    # Steps of the golden ratio: any few persons in a row cover light to dark evenly.
    tone = (person * 0.6180339887 + rng_for(seed, 6).random()) % 1 * (len(_SKIN) - 1)
    skin = np.stack([np.interp(tone, np.arange(len(_SKIN)), np.log(_SKIN[:, c])) for c in range(3)])
    skin = np.exp(skin + own.normal(0, 0.06) + own.normal(0, 0.035, 3))
    hair = np.array([0.035, 0.022, 0.014]) * np.exp(own.normal(0, 0.8)) * own.uniform(0.7, 1.3, 3)
    if own.random() < 0.15:
        hair = np.full(3, own.uniform(0.2, 0.6))
    polish = float(own.random() < 0.12)
    nails = own.uniform(0, 0.8, 3) ** 1.5 if polish else (skin * [1.25, 1.05, 1.1]).clip(0, 0.85)
    kind = rng.random()
    cuff = (
        rng.uniform(-0.02, 0.2)
        if kind < 0.35
        else rng.uniform(0.2, 0.9)
        if kind < 0.55
        else rng.uniform(1.2, 1.7)
    )

    def dye() -> tuple[float, float, float]:
        grey = rng.random() ** 2 * 0.8
        red, green, blue = np.clip(grey + rng.normal(0, 0.12, 3) * (rng.random() < 0.6), 0.01, 0.85).tolist()
        return red, green, blue

    return Look(
        tuple(skin), cuff, rng.uniform(0.0015, 0.009), dye(), dye(), int(rng.choice(4, p=[0.55, 0.15, 0.1, 0.2])),
        float(np.exp(rng.uniform(np.log(8), np.log(120)))), dye(), tuple(hair.clip(0.004, 0.7)),
        0.0 if own.random() < 0.12 else own.uniform(0.004, 0.02), tuple(nails), polish, int(own.integers(1 << 16)),
        int(own.integers(1 << 31)), freckles=own.uniform(0.15, 0.6) * (own.random() < 0.2),
        tattoo=own.uniform(0.6, 1.0) * (own.random() < 0.12),
    )  # fmt: skip


def with_sleeves(look: Look, rng: np.random.Generator, cloths: int) -> Look:
    """Return the look, more often with sleeves to the wrist, cut from one of so many fabrics."""
    cuff = rng.uniform(-0.06, 0.08) if rng.random() < 0.5 else look.cuff
    image = int(rng.integers(cloths)) if cloths and rng.random() < 0.6 else -1
    return replace(look, cuff=cuff, loose_m=look.loose_m * rng.uniform(0.8, 1.6), cloth_image=image)


def with_exposure(light: Light, exposure: str, rng: np.random.Generator) -> Light:
    """Return the light with skin burnt white ("over"), dark ("under") or 20 % of each ("mixed")."""
    if exposure == "mixed":
        exposure = str(rng.choice(["normal", "over", "under"], p=[0.6, 0.2, 0.2]))
    if exposure == "over":
        gain = float(np.exp(rng.uniform(np.log(2.0), np.log(6.0))))
        return replace(light, exposure=gain, shoulder=float(rng.uniform(0.85, 1.0)))
    if exposure == "under":
        return replace(light, exposure=float(np.exp(rng.uniform(np.log(0.03), np.log(0.25)))))
    return light


def random_accessories(key: int, rng: np.random.Generator) -> Accessories:
    """Return rings and watches: rings belong to the person `key`, watches to the view."""
    own = rng_for(4, key)
    fingers = own.choice(5, p=[0.06, 0.2, 0.25, 0.39, 0.1], size=3)
    count = int(own.choice(4, p=[0.62, 0.23, 0.1, 0.05]))
    rings = {(SIDES[int(own.integers(2))], int(finger)) for finger in fingers[:count]}
    watches = (SIDES[int(rng.integers(2))],) if rng.random() < 0.2 else ()
    return Accessories(tuple(sorted(rings)), watches, key)


def random_light(seed: int, person: int, rng: np.random.Generator) -> Light:
    """Return a light: the map belongs to the person's views; its turn and the lamp to the view."""
    which = int(rng_for(seed, 3, person).integers(1 << 16))
    turn = rotation(np.array([rng.normal(0, 0.15), rng.normal(0, 0.15), 0.0])) @ rotation(
        np.array([0, 0, rng.uniform(0, 6.283)])
    )
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / max(
        2 * np.sin(angle), 1e-6
    )
    direction = rng.normal(size=3) + [0, -0.5, 0.6]
    direction = direction / np.linalg.norm(direction)
    warm = rng.normal(0, 0.12)
    colour = (1 + warm, 1.0, 1 - warm)
    sun = rng.choice(
        [0.0, rng.uniform(0.15, 0.5), rng.uniform(0.5, 2.0), rng.uniform(2, 5)], p=[0.45, 0.27, 0.18, 0.1]
    )
    if rng.random() < 0.12:  # a coloured lamp: a screen, a neon sign
        sun = rng.uniform(0.4, 2.5)
        colour = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 0.95), 1.2)
    exposure = float(np.exp(rng.normal(np.log(0.85), 0.28))) * (
        rng.uniform(0.25, 0.5) if rng.random() < 0.12 else 1.0
    )
    tint = np.exp(rng.normal(0, 0.05) * np.array([1, 0, -1]) + rng.normal(0, 0.02, 3))
    return Light(
        which, tuple(axis * angle), float(sun), tuple(direction), float(rng.uniform(0.02, 0.6)),
        colour, exposure, tuple(tint),
    )  # fmt: skip
