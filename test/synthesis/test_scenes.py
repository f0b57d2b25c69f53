"""What people do in rendered views is possible.

Things lie in hands and not inside them, hands that touch do touch,
rings sit on fingers. Oracles: distances between the surfaces that are rendered.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("anny", reason="anny poses the people: pip install 'hand_depth_ros[synth]'")
from scipy.spatial import cKDTree

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.synthesis.appearance import Accessories, Look
from hand_depth_ros.synthesis.people.arms import arms_collide
from hand_depth_ros.synthesis.people.body import SIDES, body_model, bone, hand_axes, hand_joints
from hand_depth_ros.synthesis.people.people import random_look, wardrobe
from hand_depth_ros.synthesis.people.poses import gesture, hand_spheres, set_hand
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.scene import crops
from hand_depth_ros.synthesis.scene.grasp import local_joints, random_grasp
from hand_depth_ros.synthesis.scene.things import KINDS, Thing
from hand_depth_ros.synthesis.scene.two_hands import reach
from hand_depth_ros.synthesis.surface import FOREARM, METAL, OBJECT, SKIN, Surface, vertex_normals

SEED = 11


@pytest.fixture(scope="module")
def look() -> Look:
    return random_look(SEED, 0, np.random.default_rng(0))


def samples(surface: Surface, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) points all over the triangles."""
    a, b, c = (surface.vertices[surface.triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    k = rng.choice(len(a), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[k] + u * (b - a)[k] + v * (c - a)[k]


def deepest(first: Surface, second: Surface) -> tuple[float, float]:
    """Return the smallest distance of two surfaces, and the depth of the second in the first."""
    normals = vertex_normals(first.vertices, first.triangles)
    away, k = cKDTree(first.vertices).query(second.vertices)
    inside = -((second.vertices - first.vertices[k]) * normals[k]).sum(1)
    below = inside > 0.8 * away  # and not beside
    return float(away.min()), float(inside[below & (away < 0.02)].max(initial=0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_distance_to_a_thing_is_the_distance_to_its_surface(kind: str) -> None:
    rng = np.random.default_rng(2)
    half = {"ball": [0.03, 0.03, 0.03], "cylinder": [0.02, 0.02, 0.05], "box": [0.02, 0.01, 0.04]}[kind]
    thing = Thing(kind, np.array(half), rotation(rng.normal(size=3)), rng.normal(size=3))
    surface = thing.surface(rng)
    assert (surface.label == OBJECT).all()
    dense = samples(surface, 60_000, rng)
    probes = thing.centre + rng.normal(0, 0.04, (300, 3))
    assert np.abs(thing.distance(probes)) == pytest.approx(cKDTree(dense).query(probes)[0], abs=1.2e-3)
    assert thing.distance(thing.centre[None])[0] < 0
    outwards = vertex_normals(surface.vertices, surface.triangles)
    assert (thing.distance(surface.vertices + 0.002 * outwards) > 0).all()


def test_a_held_thing_touches_either_hand_and_is_not_inside_it() -> None:
    model = body_model()
    person = model.person({"age": 0.7}, 0.19)
    rng = np.random.default_rng(5)
    made = [random_grasp(model, person, rng) for _ in range(6)]
    grasps = [grasp for grasp in made if grasp is not None]
    assert len(grasps) >= 5
    assert len({grasp.thing.kind for grasp in grasps}) > 1
    for grasp in grasps:
        points, radius, _ = hand_spheres(local_joints(model, person, grasp.angles), 0.19)
        gap = grasp.thing.distance(points) - radius
        assert -0.005 < gap.min() < 0.007
        for side in SIDES:
            pose = model.identity()
            set_hand(model, pose, side, grasp.angles)
            joints = hand_joints(model, person, model.bones(person, pose), side)
            thing = grasp.thing.moved(hand_axes(joints, side), joints[0])
            assert np.linalg.det(thing.rotation) == pytest.approx(1)
            there = thing.distance(hand_spheres(joints, 0.19)[0]) - radius
            assert np.abs(there - gap).max() < 0.002


def test_two_hands_touch_and_do_not_pass_through_each_other(look: Look) -> None:
    done = 0
    for k in range(12):
        scene = crops._Scene(wardrobe(SEED, 0), look, SIDES[k % 2], "two", SEED, np.random.default_rng(k))
        figure = scene.show(False)
        if figure is None:
            continue
        done += 1
        hands = [figure.surface.only(figure.surface.label == instance) for instance in (1, 2)]
        near, inside = deepest(*hands)
        assert near < 0.003
        assert inside < 0.006
        wrist_to_wrist = figure.joints[scene.other][0] - figure.joints[scene.side][0]
        assert np.linalg.norm(wrist_to_wrist) < 0.5
    assert done >= 3


def test_an_arm_reaches_a_point_before_the_face() -> None:
    model, person = body_model(), wardrobe(SEED, 0).person
    rng = np.random.default_rng(3)
    pose = model.identity()
    head = model.bones(person, pose)[model.index["head"], :3, 3]
    target = head + np.array([0.0, -0.2, 0.0]) * person.scale
    away = min(reach(pose, person, "left", target, rng) for _ in range(3))
    assert away < 0.03
    assert not arms_collide(model.bones(person, model.identity()), person)
    pose = model.identity()
    reach(pose, person, "left", head + np.array([0.0, -0.05, 0.05]) * person.scale, rng)
    assert arms_collide(model.bones(person, pose), person)


def test_rings_are_hand_and_watches_are_not(look: Look) -> None:
    clothes = wardrobe(SEED, 0)
    model = clothes.model
    bare = Look(**{**vars(look), "cuff": 1.4})
    pose = model.identity()
    set_hand(model, pose, "left", gesture("open"))
    figure = clothes.dressed(
        pose, bare, {"right": 1, "left": 2}, (), Accessories((("left", 3),), ("right",), 1)
    )
    surface, joints = figure.surface, figure.joints
    ring = surface.only((surface.material == METAL) & (surface.label == 2))
    low, high = joints["left"][13], joints["left"][14]
    axis = (high - low) / np.linalg.norm(high - low)
    off = ring.vertices - low
    height = off @ axis
    around = np.linalg.norm(off - height[:, None] * axis, axis=1)
    assert len(ring.vertices) > 50
    assert 0 < height.min() < height.max() < np.linalg.norm(high - low)
    assert 0.005 < around.mean() < 0.012
    skin = surface.only((surface.material == SKIN) & (surface.label == 2))
    k = cKDTree(skin.vertices).query(ring.vertices)[1]
    away = ((ring.vertices - skin.vertices[k]) * vertex_normals(skin.vertices, skin.triangles)[k]).sum(1)
    assert -0.001 < np.percentile(away, 5) < np.median(away) < 0.003
    watch = surface.only((surface.material == METAL) & (surface.label == FOREARM))
    wrist = joints["right"][0]
    elbow = figure.bones[model.index[bone("lowerarm01", "right")], :3, 3]
    beyond = (watch.vertices - wrist) @ (elbow - wrist) / np.linalg.norm(elbow - wrist)
    assert 0 < beyond.min() < beyond.max() < 0.08


def test_each_kind_of_crop_shows_what_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, label in (("thing", OBJECT), ("two", 2)):
        monkeypatch.setattr(crops, "_KINDS", {kind: 1.0})
        view = crops.crop_view(SEED, 1, 48)
        assert (view.surface.label == label).any()
        assert np.count_nonzero(view.hits.label == 1) > 0.04 * 48**2


def test_a_set_of_another_generator_is_not_continued(tmp_path: Path) -> None:
    from hand_depth_ros.synthesis.dataset import Writer

    Writer(tmp_path, "crops", {"generator": 2, "seed": 0})
    with pytest.raises(DatasetError, match="generator: 2 there, 3 here"):
        Writer(tmp_path, "crops", {"generator": 3, "seed": 0})


def test_a_contact_sheet_shows_views_of_the_set(tmp_path: Path) -> None:
    from PIL import Image

    from hand_depth_ros.synthesis.sheet import contact_sheet

    (tmp_path / "rgb").mkdir()
    lines = []
    for k in range(4):
        Image.new("RGBA", (40, 30), (60 * k, 0, 0, 255)).save(tmp_path / f"rgb/{k}.png")
        lines.append(json.dumps({"image": f"rgb/{k}.png"}))
    (tmp_path / "cameras.jsonl").write_text("\n".join(lines) + "\n")
    sheet = contact_sheet(tmp_path, 2, 2, 16)
    assert sheet.shape == (32, 32, 3)
    assert sorted({int(v) for v in sheet[8::16, 8::16, 0].ravel()}) == [0, 60, 120, 180]
    with pytest.raises(DatasetError, match="fewer"):
        contact_sheet(tmp_path, 3, 2, 16)
