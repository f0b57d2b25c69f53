"""What view k shows: a person, a pose, a camera, a light. View k depends on (seed, k) and nothing else. numpy only.

Crops look at one hand as the estimator's crop camera does; frames show an upper body with its hands.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .body import SIDES, Person, body_model, bone, hand_axes, hand_joints
from .cast import Hits, Pinhole, cast
from .dress import Look, Wardrobe
from .mesh import FOREARM, Surface
from .poses import opened_until_free, random_angles, rotation, set_arm, set_hand, set_wrist
from .real_poses import HandView, real_poses
from .render import Light

GENERATOR = 2  # of what views show; goes up whenever view k changes, so that no set is a mixture
VIEWS_PER_PERSON = (
    8  # neighbours share person and environment map: changing these is what costs the renderer time
)
_TRIES = 200
_REAL_POSE, _REAL_VIEW = (
    0.6,
    0.45,
)  # shares of poses near fitted ones, and of crops seen as the fitted hands were

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


@dataclass(frozen=True)
class View:
    """Everything that the renderer and the writer need. hands: side -> instance; joints: side -> (21, 3) camera frame."""

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


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))


def random_person(seed: int, person: int) -> Person:
    """Adults, a few children and old people; hand lengths as measured on people (adults 0.185 m, sd 6 %)."""
    rng = _rng(seed, 1, person)
    gender = float(np.clip(rng.choice([0.1, 0.9]) + rng.normal(0, 0.1), 0, 1))
    kind = rng.random()
    age = (
        rng.uniform(0.36, 0.5)
        if kind < 0.1
        else rng.uniform(0.8, 1.0)
        if kind < 0.3
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
    return body_model().person({"gender": gender, "age": age, **shape}, float(np.clip(length, 0.125, 0.22)))


@functools.lru_cache(maxsize=2)
def wardrobe(seed: int, person: int) -> Wardrobe:
    """A person's wardrobe; kept for the neighbours of a view."""
    return Wardrobe(body_model(), random_person(seed, person))


def random_look(seed: int, person: int, rng: np.random.Generator) -> Look:
    """Skin and hair belong to the person, clothes to the view."""
    own = _rng(seed, 2, person)
    tone = own.beta(0.9, 1.1) * (len(_SKIN) - 1)
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
        int(own.integers(1 << 31)),
    )  # fmt: skip


def random_light(seed: int, person: int, rng: np.random.Generator) -> Light:
    """The map belongs to the person's group of views; how it is turned, and the lamp, to the view."""
    which = int(_rng(seed, 3, person).integers(1 << 16))
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
    sun = rng.choice([0.0, rng.uniform(0.15, 0.5), rng.uniform(0.5, 2.0)], p=[0.5, 0.3, 0.2])
    exposure = float(np.exp(rng.normal(np.log(0.85), 0.28))) * (0.45 if rng.random() < 0.08 else 1.0)
    tint = np.exp(rng.normal(0, 0.05) * np.array([1, 0, -1]) + rng.normal(0, 0.02, 3))
    return Light(
        which, tuple(axis * angle), float(sun), tuple(direction), float(rng.uniform(0.02, 0.6)),
        (1 + warm, 1.0, 1 - warm), exposure, tuple(tint),
    )  # fmt: skip


def looking(
    eye: np.ndarray, target: np.ndarray, up: np.ndarray, f: float, size: tuple[int, int], centre=None
) -> Pinhole:
    """A camera at `eye` whose axis meets `target`, with `up` upwards in the image."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, up)
    x = x / np.linalg.norm(x)
    turn = np.stack([x, np.cross(z, x), z])
    cx, cy = ((size[0] - 1) / 2, (size[1] - 1) / 2) if centre is None else centre
    return Pinhole(size[0], size[1], f, cx, cy, turn, -turn @ eye)


def random_arm(
    pose: np.ndarray, side: str, person: Person, rng: np.random.Generator, raised: bool = False
) -> HandView:
    """One arm and its hand, within what people do without effort; raised: in front of the body. Returns a view that a
    hand like this was really seen in (of any hand, where the pose is from the table of gestures)."""
    model = body_model()
    raise_, twist, adduct = (
        rng.uniform(35 if raised else -20, 105),
        rng.uniform(-40, 40),
        rng.uniform(-45, 20),
    )
    set_arm(model, pose, side, np.array([raise_, twist, adduct]), rng.uniform(0 if raised else -20, 100))
    flex, deviate = np.clip(rng.normal(-5, 22), -55, 60), np.clip(rng.normal(-3, 9), -25, 18)
    set_wrist(model, pose, side, flex, deviate, rng.uniform(-85, 85))
    angles, seen = real_poses().draw(rng)
    if rng.random() > _REAL_POSE:
        angles = random_angles(rng)
    set_hand(model, pose, side, opened_until_free(model, person, angles))
    return seen


def _any_view(rng: np.random.Generator) -> HandView:
    """A view for a hand that may be anywhere: its palm, its back, one's own hands, hands that point at the camera."""
    thumb, fingers, palm = np.eye(3)
    kind = rng.random()
    noise = rng.normal(0, 0.4, 3)
    if kind < 0.30:
        direction = palm + noise
    elif kind < 0.52:
        direction = -palm + noise
    elif kind < 0.75:  # one's own hands: over the forearm, mostly at the back of the hand
        direction = (
            -fingers * rng.uniform(0.2, 1.3)
            - palm * rng.uniform(-0.3, 1.0)
            + thumb * rng.uniform(-0.2, 0.6)
            + noise * 0.5
        )
    elif kind < 0.85:  # pointing at the camera
        direction = fingers + palm * rng.normal(0, 0.5) + noise
    else:
        direction = rng.normal(size=3)
    direction = direction / np.linalg.norm(direction)
    roll = rng.normal(0, np.radians(35)) if rng.random() < 0.65 else rng.uniform(-np.pi, np.pi)
    up = fingers - fingers @ direction * direction
    return HandView(direction, rotation(direction * roll) @ (up if np.linalg.norm(up) > 0.2 else thumb))


def finished(
    index: int, seed: int, surface: Surface, camera: Pinhole, look: Look, light: Light, hits: Hits,
    instances: dict[str, int], joints: dict[str, np.ndarray], person: Person,
) -> View:  # fmt: skip
    who = index // VIEWS_PER_PERSON
    in_camera = {side: camera.transform(j) for side, j in joints.items()}
    split = "val" if who % 10 == 9 else "train"
    return View(
        index, who, split, surface, camera, look, light, hits, instances, in_camera, person.hand_length_m,
        int(_rng(seed, 5, index).integers(1 << 31)),
    )  # fmt: skip


def in_view(surface: Surface, camera: Pinhole) -> Surface:
    """Without what is far outside the picture: it would cost time and change next to nothing."""
    p = camera.transform(surface.vertices)
    z = np.maximum(p[:, 2], 0.02)
    reach = 0.25 * z + 0.12  # metres outside the border
    ok = p[:, 2] > -0.2
    for axis, (extent, centre) in enumerate(((camera.width, camera.cx), (camera.height, camera.cy))):
        low, high = -centre / camera.f, (extent - centre) / camera.f
        ok &= (p[:, axis] > low * z - reach) & (p[:, axis] < high * z + reach)
    return surface.only(ok[surface.triangles].any(1))


def _hand_points(surface: Surface, instance: int) -> np.ndarray:
    triangles = surface.triangles[surface.label == instance]
    used = np.unique(triangles)
    return surface.vertices[used[surface.along[used] > 0]]


def _visible_share(surface: Surface, camera: Pinhole, hits: Hits, instance: int) -> float:
    """Of the hand's pixels were it alone, the share that is seen."""
    alone = cast(surface.only(surface.label == instance), camera)
    count = np.count_nonzero(alone.label == instance)
    return int(np.count_nonzero(hits.label == instance)) / max(int(count), 1)


def crop_view(seed: int, index: int, size: int) -> View:
    """A hand fills most of a square picture of `size` pixels; principal point (size - 1) / 2."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    person, model = clothes.person, body_model()
    for attempt in range(_TRIES):
        rng = _rng(seed, 10, index, attempt)
        side = SIDES[rng.integers(2)]
        other = SIDES[1 - SIDES.index(side)]
        instances = {side: 1, other: 2}
        look, light = random_look(seed, who, rng), random_light(seed, who, rng)
        pose = model.identity()
        as_seen = random_arm(pose, side, person, rng, raised=rng.random() < 0.5)
        alone = rng.random() < 0.6
        random_arm(pose, other, person, rng, raised=rng.random() < 0.4)
        if not alone and _impossible(model.bones(person, pose), person):
            continue
        hide: tuple[str, ...] = ("head", "body", other) if alone else ()
        figure = clothes.dressed(pose, look, instances, hide)
        joints = figure.joints[side]
        axes = hand_axes(joints, side)
        shown = as_seen if rng.random() < _REAL_VIEW else _any_view(rng)
        direction = shown.toward @ axes
        distance = float(np.exp(rng.uniform(np.log(0.2), np.log(1.5))))
        points = _hand_points(figure.surface, 1)
        target = (points.min(0) + points.max(0)) / 2
        eye = target + direction * distance
        up = shown.up @ axes
        camera = looking(eye, target, up, 1.0, (size, size), (0.0, 0.0))
        if camera.transform(points)[:, 2].min() < 0.07:
            continue
        box = camera.project(points)
        middle = (box.min(0) + box.max(0)) / 2 + rng.normal(0, 0.03, 2) * np.ptp(box, 0)
        target = eye + camera.rotation.T @ np.array([*middle, 1.0])
        camera = looking(eye, target, up, 1.0, (size, size), (0.0, 0.0))
        extent = 2 * np.abs(camera.project(points)).max()
        f = size / (extent * rng.uniform(1.08, 1.65))
        camera = looking(eye, target, up, f, (size, size))
        surface = in_view(figure.surface, camera)
        hits = cast(surface, camera)
        seen = hits.depth[hits.depth > 0]
        if np.count_nonzero(hits.label == 1) < 0.04 * size * size or seen.min() < 0.06:
            continue
        if _visible_share(surface, camera, hits, 1) < 0.6:
            continue
        return finished(index, seed, surface, camera, look, light, hits, instances, figure.joints, person)
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {_TRIES} tries")


def _inside_body(bones: np.ndarray, joints: np.ndarray, scale: float) -> bool:
    """Whether joints are in the trunk or the head: a flattened capsule and a ball."""
    model = body_model()
    low, high, head = (bones[model.index[n], :3, 3] for n in ("spine05", "neck01", "head"))
    axis = high - low
    t = np.clip((joints - low) @ axis / (axis @ axis), 0, 0.95)
    away = (joints - low - t[:, None] * axis) / (np.array([0.17, 0.135, 0.15]) * scale)
    ball = (joints - head - np.array([0, -0.02, 0.07]) * scale) / (np.array([0.09, 0.125, 0.14]) * scale)
    return bool(min(np.linalg.norm(away, axis=1).min(), np.linalg.norm(ball, axis=1).min()) < 1.0)


def _impossible(bones: np.ndarray, person: Person) -> bool:
    """Whether a hand or forearm is in the body, or one hand in the other."""
    joints = {side: hand_joints(body_model(), person, bones, side) for side in SIDES}
    if any(_inside_body(bones, np.vstack([joints[s], _elbow(bones, s)]), person.scale) for s in SIDES):
        return True
    apart = np.linalg.norm(joints["right"][:, None] - joints["left"][None], axis=-1)
    return bool(apart.min() < 0.03)


def frame_view(seed: int, index: int, size: tuple[int, int]) -> View:
    """An upper body with one or two hands 0.3-1.2 m away, seen by somebody else or by the person's own eyes."""
    who = index // VIEWS_PER_PERSON
    clothes = wardrobe(seed, who)
    person, model = clothes.person, body_model()
    for attempt in range(40 * _TRIES):
        rng = _rng(seed, 11, index, attempt)
        kind = _rng(seed, 12, index).random()
        main = SIDES[rng.integers(2)]
        other = SIDES[1 - SIDES.index(main)]
        pose = model.identity()
        two = rng.random() < 0.45
        random_arm(pose, main, person, rng, raised=True)
        if two:
            random_arm(pose, other, person, rng, raised=True)
        bones = model.bones(person, pose)
        if _impossible(bones, person):
            continue
        joints = {side: hand_joints(model, person, bones, side) for side in SIDES}
        centre = joints[main].mean(0)
        head = bones[model.index["head"], :3, 3] + np.array([0, -0.03, 0.06])
        half = (size[0] / 2) / np.tan(np.radians(rng.uniform(50, 75)) / 2)
        wanted = [main, other] if two else [main]
        principal = (size[0] / 2 - 0.5 + rng.normal(0, 4), size[1] / 2 - 0.5 + rng.normal(0, 4))
        if kind < 0.2:  # own eyes
            eye = head + np.array([rng.normal(0, 0.02), -0.11, rng.uniform(0.0, 0.08)])
            aim = np.mean([joints[s].mean(0) for s in wanted], 0) + rng.normal(0, 0.05, 3)
            hide: tuple[str, ...] = ("head",)
        else:
            spread = 25 if kind < 0.85 else 75
            azimuth, height = np.radians(rng.normal(0, spread)), np.radians(rng.uniform(-20, 35))
            direction = np.array(
                [np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height)]
            )
            distance = np.exp(rng.uniform(np.log(0.32), np.log(1.2)))
            eye = centre + direction * distance
            aim = (
                centre
                + rng.uniform(0, 0.7) * (head - np.array([0, 0, 0.15]) - centre)
                + rng.normal(0, 0.08, 3)
            )
            hide = ()
        up = np.array([rng.normal(0, 0.08), rng.normal(0, 0.08), 1.0])
        camera = looking(eye, aim, up, half, size, principal)
        ok = True
        for side in wanted:
            z = camera.transform(joints[side])[:, 2]
            pixels = camera.project(joints[side])
            inside = ((pixels > 0) & (pixels < np.array(size) - 1)).all(1).mean()
            ok &= bool(z.min() > 0.2 and z.mean() < 1.35 and inside > (0.95 if rng.random() < 0.85 else 0.6))
        if not ok:
            continue
        axes = hand_axes(joints[main], main)
        away = (eye - centre) / np.linalg.norm(eye - centre)
        if (abs(axes[2] @ away) < 0.4 and rng.random() < 0.6) or (axes[1] @ up < -0.3 and rng.random() < 0.7):
            continue
        look, light = random_look(seed, who, rng), random_light(seed, who, rng)
        instances = {main: 1, other: 2}
        figure = clothes.dressed(pose, look, instances, hide)
        surface = in_view(figure.surface, camera)
        hits = cast(surface, camera)
        if hits.depth[hits.depth > 0].min() < 0.1 or any(
            _visible_share(surface, camera, hits, instances[s]) < 0.5 for s in wanted
        ):
            continue
        return finished(index, seed, surface, camera, look, light, hits, instances, figure.joints, person)
    raise RuntimeError(f"view {index} of seed {seed}: no visible hand in {40 * _TRIES} tries")


def _elbow(bones: np.ndarray, side: str) -> np.ndarray:
    """(3, 3) points of the forearm: elbow, and two towards the wrist."""
    model = body_model()
    elbow, wrist = (bones[model.index[bone(n, side)], :3, 3] for n in ("lowerarm01", "wrist"))
    return np.stack([elbow + t * (wrist - elbow) for t in (0.2, 0.5, 0.8)])


def visible_hands(view: View, least_pixels: int = 20) -> list[dict]:
    """The `hands` of a line of cameras.jsonl: instances with enough visible pixels."""
    hands = []
    for side, instance in sorted(view.instances.items(), key=lambda item: item[1]):
        rows, columns = np.nonzero(view.hits.label == instance)
        if len(rows) < least_pixels or instance >= FOREARM:
            continue
        x, y = int(columns.min()), int(rows.min())
        roi = [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
        joints = [[round(float(c), 5) for c in joint] for joint in view.joints[side]]
        length = round(view.hand_length_m, 5)
        hands.append(
            {"instance": instance, "side": side, "hand_length_m": length, "roi": roi, "joints_m": joints}
        )
    return hands
