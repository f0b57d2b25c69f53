"""Views of own hands at a desk and of hands that hold things.

The geometry is possible, and labels tell what is seen.

Oracles: distances of simple solids, and the surfaces that are rendered.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

pytest.importorskip("anny", reason="anny poses the people: pip install 'hand_depth_ros[synth]'")

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.synthesis.people.body import Person, body_model
from hand_depth_ros.synthesis.people.people import random_light, random_look, rng_for, with_exposure
from hand_depth_ros.synthesis.people.poses import hand_spheres
from hand_depth_ros.synthesis.render.fabric import PATCHES, fabric_patch
from hand_depth_ros.synthesis.render.tonemap import tonemap
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.scene.assets import Assets
from hand_depth_ros.synthesis.scene.ego import ego_view
from hand_depth_ros.synthesis.scene.grasp import local_joints
from hand_depth_ros.synthesis.scene.holding import holding_view
from hand_depth_ros.synthesis.scene.object_grasp import object_grasp
from hand_depth_ros.synthesis.scene.objects import MeshThing, load_object, object_folders, texture_of
from hand_depth_ros.synthesis.scene.things import Thing
from hand_depth_ros.synthesis.surface import DESK, OBJECT, SKIN, TEXTURED, vertex_normals

SIZE = (64, 48)
HALF = np.array([0.02, 0.03, 0.06])


def write_box(folder: Path, half: np.ndarray = HALF) -> Path:
    """Write a box as a textured mesh, beside the origin and turned, as scanned objects are."""
    surface = Thing("box", half, rotation(np.array([0, 0, 0.5])), np.array([0.04, -0.01, half[2]])).surface(
        np.random.default_rng(0)
    )
    folder.mkdir(parents=True)
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in surface.vertices]
    lines += ["vt 0 0", "vt 1 0", "vt 0 1"]
    lines += [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3" for a, b, c in surface.triangles]
    (folder / "textured.obj").write_text("\n".join(lines) + "\n")
    cv2.imwrite(str(folder / "texture_map.jpg"), np.full((8, 8, 3), 90, np.uint8))
    return folder


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    write_box(folder / "box")
    return folder


@pytest.fixture(scope="module")
def box(objects: Path) -> MeshThing:
    return MeshThing(load_object(objects / "box", 0), np.eye(3), np.zeros(3))


@pytest.fixture(scope="module")
def person() -> Person:
    return body_model().person({"age": 0.7}, 0.19)


def test_distance_to_a_mesh_is_the_distance_to_the_solid_it_shows(box: MeshThing) -> None:
    solid = Thing("box", HALF, np.eye(3), np.zeros(3))
    assert np.sort(box.half) == pytest.approx(np.sort(HALF), abs=1e-4)
    turn = np.eye(3)[[0, 1, 2] if box.half[0] < box.half[1] else [1, 0, 2]]
    probes = np.random.default_rng(1).normal(0, 0.04, (400, 3))
    assert box.distance(probes @ turn) == pytest.approx(solid.distance(probes), abs=0.003)
    assert box.distance(np.zeros((1, 3)))[0] < 0


def test_a_mesh_in_a_left_hand_lies_as_its_mirror_image_and_faces_outwards(box: MeshThing) -> None:
    rng = np.random.default_rng(2)
    placed = box.placed(rotation(rng.normal(size=3)), rng.normal(0, 0.1, 3))
    axes = rotation(rng.normal(size=3)) * [[1.0], [1.0], [-1.0]]
    moved = placed.moved(axes, np.array([0.3, 0.2, 0.1]))
    probes = rng.normal(0, 0.1, (50, 3))
    there = probes @ axes + np.array([0.3, 0.2, 0.1])
    assert moved.distance(there) == pytest.approx(placed.distance(probes), abs=1e-9)
    surface = moved.surface(rng)
    assert np.linalg.det(moved.rotation) == pytest.approx(1)
    outwards = vertex_normals(surface.vertices, surface.triangles)
    assert (moved.distance(surface.vertices + 0.002 * outwards) > 0).all()
    assert (surface.material == TEXTURED).all()


@pytest.mark.parametrize("half", [[0.004, 0.01, 0.07], [0.03, 0.03, 0.07], [0.02, 0.09, 0.13]])
def test_things_from_pinch_to_larger_than_the_hand_are_held(person: Person, half: list[float]) -> None:
    rng = np.random.default_rng(4)
    thing = Thing("box", np.array(half), np.eye(3), np.zeros(3))
    grasps = [object_grasp(body_model(), person, thing, rng) for _ in range(4)]
    held = [grasp for grasp in grasps if grasp is not None]
    assert len(held) >= 2
    for grasp in held:
        points, radius, owner = hand_spheres(local_joints(body_model(), person, grasp.angles), 0.19)
        gap = grasp.thing.distance(points) - radius
        assert gap.min() > -0.0051
        assert sum(gap[owner == finger].min() < 0.0061 for finger in range(6)) >= 1


def test_a_holding_view_shows_the_hand_and_what_it_holds(objects: Path) -> None:
    assets = Assets(tuple(object_folders(objects)), 3, "normal")
    view = holding_view(5, 0, SIZE, assets)
    hand, thing = (int(np.count_nonzero(view.hits.label == label)) for label in (1, OBJECT))
    assert hand > 10
    assert thing > 0
    assert (view.surface.label == OBJECT).any()


def test_own_hands_are_over_the_desk(objects: Path) -> None:
    assets = Assets(tuple(object_folders(objects)), 0, "normal")
    views = [ego_view(6, k, SIZE, assets) for k in range(2)]
    desks = 0
    for view in views:
        surface = view.surface
        assert np.count_nonzero(view.hits.label == 1) > 5
        desk = surface.only(surface.material == DESK)
        if not len(desk.triangles):
            continue
        desks += 1
        edge = desk.vertices[:, 1].max()
        hands = surface.only((surface.material == SKIN) & (surface.label <= 2)).vertices
        over = hands[hands[:, 1] < edge]
        # The lowest upward faces are the top of the board that is 3 cm thick.
        assert len(over) == 0 or over[:, 2].min() > desk.vertices[:, 2].min() + 0.028
    assert desks


@pytest.mark.parametrize(("exposure", "low", "high"), [("over", 0.5, 1.0), ("under", 0.0, 0.0)])
def test_exposure_burns_skin_white_or_leaves_it_dark(exposure: str, low: float, high: float) -> None:
    look = replace(random_look(1, 0, rng_for(0)), skin=(0.5, 0.3, 0.2))
    linear = np.ones((8, 8, 4), np.float32)
    linear[..., :3] = np.array(look.skin) * 0.2
    label = np.ones((8, 8), np.uint8)
    burnt, bright = [], []
    for k in range(20):
        light = with_exposure(random_light(1, 0, rng_for(1, k)), exposure, rng_for(2, k))
        image = tonemap(linear, label, look, light)
        burnt.append(image[..., 0].min() >= 250)
        bright.append(image[..., :3].mean())
    assert low <= np.mean(burnt) <= high
    assert np.mean(bright) > 190 if exposure == "over" else np.mean(bright) < 90


def test_a_patch_of_fabric_has_a_weave_and_no_background(tmp_path: Path) -> None:
    sheet = np.full((1024, 1024, 3), 204, np.uint8)
    weave = np.random.default_rng(3).normal((120, 60, 40), 12, (400, 500, 3)).clip(0, 255)
    sheet[100:500, 300:800] = weave
    cv2.imwrite(str(tmp_path / "suit.png"), sheet)
    for number in range(2):
        fabric_patch(tmp_path / "suit.png", number, tmp_path / "patch.png")
        patch = cv2.imread(str(tmp_path / "patch.png"))
        assert np.abs(patch.mean((0, 1)) - (120, 60, 40)).max() < 10
    assert PATCHES >= 2
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(DatasetError, match="not an image"):
        fabric_patch(tmp_path / "no.png", 0, tmp_path / "patch.png")


def test_a_folder_without_objects_or_with_a_broken_mesh_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no objects"):
        object_folders(tmp_path)
    (tmp_path / "cup").mkdir()
    (tmp_path / "cup/textured.obj").write_text("v 0 0 0\nf 1 2 3 4\n")
    with pytest.raises(DatasetError, match="not a mesh of textured triangles"):
        load_object(tmp_path / "cup", 0)
    with pytest.raises(DatasetError, match="no texture_map"):
        texture_of(tmp_path / "cup")


def test_the_command_pins_what_it_was_given_and_marks_held_out_views(objects: Path, tmp_path: Path) -> None:
    pytest.importorskip(
        "bpy", reason="bpy renders: pip install 'hand_depth_ros[synth]'", exc_type=ImportError
    )
    from hand_depth_ros.synthesis.cli import Exposure, Kind, synth

    cloth = tmp_path / "cloth"
    cloth.mkdir()
    cv2.imwrite(str(cloth / "shirt.png"), np.random.default_rng(0).integers(0, 99, (512, 512, 3), np.uint8))
    cv2.imwrite(str(cloth / "shirt_normal.png"), np.zeros((8, 8, 3), np.uint8))
    given = {"count": 1, "kind": Kind.holding, "seed": 5, "size": 64, "samples": 1, "threads": 1}
    out = tmp_path / "set"
    synth(out, **given, objects=objects, cloth=cloth, exposure=Exposure.over, held_out=True)
    made_with = json.loads((out / "dataset.json").read_text())["made_with"]
    assert made_with["objects"] == ["box"]
    assert made_with["cloth"] == ["shirt.png"]
    assert made_with["exposure"] == "over"
    assert made_with["held_out"] is True
    line = json.loads((out / "cameras.jsonl").read_text())
    assert line["split"] == "val"
    mask = cv2.imread(str(out / "mask/00000.png"), cv2.IMREAD_UNCHANGED)
    label = cv2.imread(str(out / "label/00000.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, np.where(label < 100, label, 0))
    with pytest.raises(DatasetError, match="other settings"):
        synth(out, **given, objects=objects, cloth=cloth, exposure=Exposure.under, held_out=True)
    with pytest.raises(typer.BadParameter, match="--kind ego or holding"):
        synth(tmp_path / "other", **{**given, "kind": Kind.crops}, objects=objects)
