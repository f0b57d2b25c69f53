"""Views: a person, a pose, a camera, a light. View k depends on (seed, k) and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_depth_ros.synthesis.appearance import Light, Look
from hand_depth_ros.synthesis.people.body import Person
from hand_depth_ros.synthesis.people.people import rng_for
from hand_depth_ros.synthesis.render.raycast import Hits, Pinhole, raycast
from hand_depth_ros.synthesis.surface import FOREARM, Surface
from hand_depth_ros.synthesis.units import REAL_PER_RENDERED

GENERATOR = 4  # goes up whenever view k changes, so that no set is a mixture
VIEWS_PER_PERSON = 8  # neighbours share person, clothes and environment map


@dataclass(frozen=True)
class View:
    """Everything that the renderer and the writer need.

    instances: side -> label of the hand; joints: side -> (21, 3) metres in the camera frame.
    """

    index: int
    person: int
    split: str
    surface: Surface
    camera: Pinhole
    look: Look
    light: Light
    hits: Hits
    instances: dict[str, int]
    joints: dict[str, np.ndarray]
    hand_length_m: float
    seed: int


def look_at(
    eye: np.ndarray, target: np.ndarray, up: np.ndarray, f: float, size: tuple[int, int], centre=None
) -> Pinhole:
    """Return a camera at `eye` whose axis meets `target`, with `up` upwards in the image."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, up)
    x = x / np.linalg.norm(x)
    turn = np.stack([x, np.cross(z, x), z])
    cx, cy = ((size[0] - 1) / 2, (size[1] - 1) / 2) if centre is None else centre
    return Pinhole(size[0], size[1], f, cx, cy, turn, -turn @ eye)


def make_view(
    index: int, seed: int, surface: Surface, camera: Pinhole, look: Look, light: Light, hits: Hits,
    instances: dict[str, int], joints: dict[str, np.ndarray], person: Person,
) -> View:  # fmt: skip
    """Return the view; every tenth person is for validation."""
    who = index // VIEWS_PER_PERSON
    in_camera = {side: camera.transform(j) for side, j in joints.items()}
    split = "val" if who % 10 == 9 else "train"
    return View(
        index, who, split, surface, camera, look, light, hits, instances, in_camera, person.hand_length_m,
        int(rng_for(seed, 5, index).integers(1 << 31)),
    )  # fmt: skip


def cull(surface: Surface, camera: Pinhole) -> Surface:
    """Drop triangles far outside the image: they cost time and change next to nothing."""
    p = camera.transform(surface.vertices)
    z = np.maximum(p[:, 2], 0.02)
    reach = 0.25 * z + 0.12  # metres outside the border
    ok = p[:, 2] > -0.2
    for axis, (extent, centre) in enumerate(((camera.width, camera.cx), (camera.height, camera.cy))):
        low, high = -centre / camera.f, (extent - centre) / camera.f
        ok &= (p[:, axis] > low * z - reach) & (p[:, axis] < high * z + reach)
    return surface.only(ok[surface.triangles].any(1))


def hand_points(surface: Surface, instance: int) -> np.ndarray:
    """Return the vertices (N, 3) of a hand beyond its wrist."""
    triangles = surface.triangles[surface.label == instance]
    used = np.unique(triangles)
    return surface.vertices[used[surface.along[used] > 0]]


def visible_fraction(surface: Surface, camera: Pinhole, hits: Hits, instance: int) -> float:
    """Return the visible fraction of the pixels that the hand would have if it were alone."""
    alone = raycast(surface.only(surface.label == instance), camera)
    count = np.count_nonzero(alone.label == instance)
    return int(np.count_nonzero(hits.label == instance)) / max(int(count), 1)


def visible_hands(view: View, min_pixels: int = 20) -> list[dict]:
    """Return `hands` of a line of cameras.jsonl: instances with enough visible pixels."""
    hands = []
    for side, instance in sorted(view.instances.items(), key=lambda item: item[1]):
        rows, columns = np.nonzero(view.hits.label == instance)
        if len(rows) < min_pixels or instance >= FOREARM:
            continue
        x, y = int(columns.min()), int(rows.min())
        roi = [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
        joints = [[round(float(c) * REAL_PER_RENDERED, 5) for c in joint] for joint in view.joints[side]]
        length = round(view.hand_length_m, 5)
        hands.append(
            {"instance": instance, "side": side, "hand_length_m": length, "roi": roi, "joints_m": joints}
        )
    return hands
