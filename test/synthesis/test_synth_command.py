"""`hand-depth synth` keeps its promises.

Exact depth, a mask that ends at the wrist, joints in the hand, resumable, the same
views from the same seed. Oracles: a brute-force ray cast in numpy, and the hand's bones.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("anny", reason="anny poses the people: pip install 'hand_depth_ros[synth]'")
pytest.importorskip(
    "bpy", reason="bpy renders them: pip install 'hand_depth_ros[synth]'", exc_type=ImportError
)

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.synthesis.cli import Kind, synth
from hand_depth_ros.synthesis.people.body import body_model, bone
from hand_depth_ros.synthesis.people.poses import penetration, resting_hand_joints
from hand_depth_ros.synthesis.people.subdivision import Subdivision
from hand_depth_ros.synthesis.render.raycast import Pinhole, raycast
from hand_depth_ros.synthesis.scene import views
from hand_depth_ros.synthesis.scene.crops import crop_view
from hand_depth_ros.synthesis.surface import CLOTH, FOREARM, Surface
from hand_depth_ros.synthesis.units import REAL_PER_RENDERED

SEED, SIZE, COUNT = 3, 64, 2


def first_hit(surface: Surface, camera: Pinhole, pixel: tuple[int, int]) -> float:
    """Return the depth of the first triangle on a pixel's ray (Moeller and Trumbore 1997), or 0."""
    a, b, c = (camera.transform(surface.vertices)[surface.triangles[:, i]] for i in range(3))
    ray = np.array([(pixel[0] - camera.cx) / camera.f, (pixel[1] - camera.cy) / camera.f, 1.0])
    ab, ac = b - a, c - a
    p = np.cross(ray, ac)
    det = (ab * p).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = -(a * p).sum(1) / det
        q = np.cross(-a, ab)
        v = (ray * q).sum(1) / det
        t = (ac * q).sum(1) / det
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return float(t[hit].min()) if hit.any() else 0.0


def make(out: Path, **changes: object) -> list[dict]:
    """Render the smallest set and return its lines."""
    options = {
        "count": COUNT,
        "kind": Kind.crops,
        "seed": SEED,
        "size": SIZE,
        "samples": 1,
        "threads": 1,
    } | changes
    synth(out, **options)
    return [json.loads(line) for line in (out / "cameras.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    out = tmp_path_factory.mktemp("synth") / "set"
    return out, make(out)


@pytest.fixture(scope="module")
def view() -> views.View:
    return crop_view(SEED, 0, SIZE)


def test_depth_is_where_the_pixels_ray_meets_the_mesh(view: views.View) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(view.hits.label == 1)
    for i in rng.choice(len(rows), 60, replace=False):
        expected = first_hit(view.surface, view.camera, (int(columns[i]), int(rows[i])))
        assert view.hits.depth[rows[i], columns[i]] == pytest.approx(expected, abs=2e-5)


def test_depth_of_a_plane_is_constant_along_the_optical_axis() -> None:
    corners = np.array([[-1.0, -1, 0.5], [1, -1, 0.5], [1, 1, 0.5], [-1, 1, 0.5]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    plane = Surface(
        corners,
        triangles,
        np.zeros((2, 3, 2)),
        np.zeros(2, int),
        np.full(2, CLOTH),
        np.ones((4, 3)),
        np.full(4, -1.0),
    )
    hits = raycast(plane, Pinhole(40, 30, 30.0, 19.5, 14.5, np.eye(3), np.zeros(3)))
    assert np.abs(hits.depth - 0.5).max() < 1e-6
    assert (hits.label == CLOTH).all()


def test_files_hold_that_depth_and_the_picture_covers_the_same_pixels(
    rendered: tuple[Path, list[dict]], view: views.View
) -> None:
    from PIL import Image

    out, lines = rendered
    unit = json.loads((out / "dataset.json").read_text())["depth_unit_m"]
    depth = cv2.imread(str(out / "depth/00000.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert np.abs(depth * unit - view.hits.depth * REAL_PER_RENDERED).max() <= unit
    rgba = np.asarray(Image.open(out / lines[0]["image"]))
    assert rgba.shape == (SIZE, SIZE, 4)
    # One sample in a pixel may miss an edge that its centre hits: they agree away from edges.
    solid = (depth > 0).astype(np.uint8)
    assert rgba[..., 3][cv2.erode(solid, np.ones((3, 3))) == 1].mean() > 250
    assert rgba[..., 3][cv2.dilate(solid, np.ones((3, 3))) == 0].max(initial=0) < 30


def test_the_mask_ends_at_the_wrist(rendered: tuple[Path, list[dict]]) -> None:
    out, lines = rendered
    for line in lines:
        hand = line["hands"][0]
        joints = np.array(hand["joints_m"])
        axis = (joints[9] - joints[0]) / np.linalg.norm(joints[9] - joints[0])
        label = cv2.imread(
            str(out / line["image"].replace("rgb", "label").replace("webp", "png")), cv2.IMREAD_UNCHANGED
        )
        depth = cv2.imread(
            str(out / line["image"].replace("rgb", "depth").replace("webp", "png")), cv2.IMREAD_UNCHANGED
        )
        rows, columns = np.nonzero((label == hand["instance"]) | (label == FOREARM))
        rays = np.stack(
            [(columns - line["cx"]) / line["fx"], (rows - line["cy"]) / line["fy"], np.ones(len(rows))], 1
        )
        points = rays * depth[rows, columns, None] * 1e-4 - joints[0]
        near = (
            np.linalg.norm(points, axis=1) < 0.08
        )  # around the wrist; a bent wrist tilts its plane by half the bend
        beyond = points @ axis
        is_hand = label[rows, columns] == hand["instance"]
        assert beyond[near & is_hand].min(initial=0.0) > -0.035
        assert beyond[near & ~is_hand].max(initial=0.0) < 0.035


def test_joints_are_inside_the_hand(view: views.View) -> None:
    side = next(side for side, instance in view.instances.items() if instance == 1)
    joints, camera = view.joints[side], view.camera
    pixels = np.rint(joints[:, :2] / joints[:, 2:] * camera.f + [camera.cx, camera.cy]).astype(int)
    inside = ((pixels >= 0) & (pixels < SIZE)).all(1)
    covered = [(view.hits.label[y, x] > 0) for x, y in pixels[inside]]
    assert np.mean(covered) > 0.95
    on_hand = inside.copy()  # at the rim a pixel's centre may be beside the finger
    solid = cv2.erode((view.hits.label == 1).astype(np.uint8), np.ones((3, 3)))
    on_hand[inside] = [solid[y, x] == 1 for x, y in pixels[inside]]
    assert on_hand.sum() > 5
    front = [view.hits.depth[y, x] for x, y in pixels[on_hand]]
    behind = joints[on_hand, 2] - np.array(front)
    assert np.median(behind) > 0.002
    assert (behind > -0.004).all()


def test_hand_length_is_the_sum_of_the_bones_of_the_middle_finger(view: views.View) -> None:
    for joints in view.joints.values():
        chain = joints[[0, 9, 10, 11, 12]]
        length = np.linalg.norm(np.diff(chain, axis=0), axis=1).sum()
        assert length == pytest.approx(
            view.hand_length_m, rel=0.02
        )  # the last joint is a little inside the finger


def test_kinematics_agree_with_anny() -> None:
    model = body_model()
    person = model.person({"age": 0.7}, 0.19)
    pose = model.identity()
    angle = np.radians(50)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    pose[model.index[bone("lowerarm01", "left")], :3, :3] = turn
    _, expected = model.posed(person, pose)
    assert (
        np.abs(model.bones(person, pose) - expected)[:, :3, 3].max() < 0.01
    )  # a search aid: what is written comes from anny


def test_fingers_that_cross_are_noticed() -> None:
    from hand_depth_ros.synthesis.people.poses import gesture

    model = body_model()
    person = model.person({"age": 0.7}, 0.19)
    assert penetration(resting_hand_joints(model, person, gesture("open")), 0.19) == 0.0
    crossed = gesture("open")
    crossed.spread[:2] = 16, -16
    assert penetration(resting_hand_joints(model, person, crossed), 0.19) > 0.5


def test_smoothing_keeps_a_flat_sheet_flat_and_a_cube_inside_itself() -> None:
    grid = np.array([[x, y, 0.0] for y in range(4) for x in range(4)])
    quads = np.array([[i, i + 1, i + 5, i + 4] for i in range(11) if i % 4 != 3])
    sheet = Subdivision(quads, grid[:, :2], quads, np.ones(len(quads), bool))
    assert np.abs(sheet(grid)[:, 2]).max() == 0
    assert len(sheet.triangles) == 8 * len(quads)
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    faces = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    smooth = Subdivision(faces, cube[:, :2], faces, np.ones(6, bool))(cube)
    # By Catmull and Clark's rule: corners move to 5/9, the middles of edges to 3/4, faces stay.
    assert np.allclose(smooth[:8], cube * 5 / 9)
    assert np.allclose(np.sort(np.linalg.norm(smooth[8:], axis=1)), [1.0] * 6 + [0.75 * np.sqrt(2)] * 12)


def test_a_killed_run_goes_on_where_it_stopped(rendered: tuple[Path, list[dict]], tmp_path: Path) -> None:
    """Views are the same, nothing is rendered twice, and other settings are refused."""
    whole, lines = rendered
    out = tmp_path / "set"
    seen = []

    class Killed(BaseException):
        pass

    from hand_depth_ros.synthesis.dataset import Writer

    real = Writer.write

    def dies(self: Writer, view: views.View, rgba: np.ndarray) -> dict:
        seen.append(view.index)
        if len(seen) == 2:
            raise Killed
        return real(self, view, rgba)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "write", dies)
        with pytest.raises(Killed):
            make(out)
    assert not (out / "cameras.jsonl").exists()
    assert make(out) == lines
    for name in ("depth/00001.png", "label/00001.png", "mask/00001.png"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not list(out.rglob("*.tmp"))
    stamp = (out / "rgb/00000.webp").stat().st_mtime_ns
    assert make(out) == lines
    assert (out / "rgb/00000.webp").stat().st_mtime_ns == stamp
    with pytest.raises(DatasetError, match=r"other settings .seed: 3 there, 4 here\)"):
        make(out, seed=SEED + 1)
