"""`hand-depth demo`: the clip goes through a node in its own process over DDS, and what is reported
is what came out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not there: source it, or pip install 'hand_depth_ros[ros]'")

from support.domains import Domain
from support.fakes import DEPTH_M, disc_centres
from support.paths import PROCESSES, ROOT, TEST

from hand_depth_ros.demo import node_process, report
from hand_depth_ros.demo.cli import CLIP, load_clip, run
from hand_depth_ros.demo.node_process import dds_environment
from hand_depth_ros.demo.panel import HEIGHT, panel, side_view, span
from hand_depth_ros.errors import DatasetError, HandDepthError

FAKE_NODE = (sys.executable, str(PROCESSES / "fake_node.py"))
WIDE, HIGH, FRAMES = 160, 120, 12
BEHIND_M = 0.02
OWN_DOMAIN = node_process.own_domain


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the demo a domain that no other test has; undo what it sets for its own processes."""
    domain = Domain.take()
    monkeypatch.setattr(node_process, "own_domain", lambda: domain)
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(TEST), os.environ.get("PYTHONPATH", "")])
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plane 2 cm behind each of the stand-in's two discs, so that every number is known: error 20
    mm, shape 0."""
    folder = tmp_path_factory.mktemp("clip")
    for name in ("rgb", "depth", "mask"):
        (folder / name).mkdir()
    y, x = np.mgrid[:HIGH, :WIDE]
    mask = np.zeros((HIGH, WIDE), np.uint8)
    for index, (cx, cy) in enumerate(disc_centres(WIDE, HIGH, 2)):
        mask[(x - cx) ** 2 + (y - cy) ** 2 < (0.15 * HIGH) ** 2] = index + 1
    depth = np.where(mask > 0, round((DEPTH_M + BEHIND_M) * 1e4), 0).astype(np.uint16)
    lines = []
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"rgb/{index:03d}.jpg"), np.full((HIGH, WIDE, 3), 90 + index, np.uint8))
        cv2.imwrite(str(folder / f"depth/{index:03d}.png"), depth)
        cv2.imwrite(str(folder / f"mask/{index:03d}.png"), mask)
        hands = [{"instance": i, "side": "right", "hand_length_m": 0.19} for i in (1, 2)]
        camera = {"width": WIDE, "height": HIGH, "fx": 150.0, "fy": 150.0, "cx": 79.5, "cy": 59.5}
        lines.append(json.dumps({"image": f"rgb/{index:03d}.jpg", **camera, "hands": hands}))
    (folder / "cameras.jsonl").write_text("\n".join(lines) + "\n")
    about = {"format": 1, "depth_unit_m": 1e-4, "transparent": False, "kind": "frames"}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def test_reports_what_came_out_of_the_node(clip: Path, tmp_path: Path) -> None:
    numbers = run(clip, tmp_path / "out", 10.0, FAKE_NODE)

    assert numbers["frames_in"] == 60  # six seconds at 10 fps
    assert 0 < numbers["frames_out"] <= numbers["frames_in"]
    assert numbers["mae_mm"] == pytest.approx(1e3 * BEHIND_M, abs=0.01)
    assert numbers["shape_mm"] == pytest.approx(0.0, abs=0.01)
    assert numbers["mask_iou"] == 1.0 and numbers["hands_found"] == 1.0
    assert numbers["latency_p50_ms"] > 0 and numbers["fps_out"] > 0

    saved = json.loads((tmp_path / "out" / "report.json").read_text())
    assert saved == pytest.approx(numbers, nan_ok=True)
    text = (tmp_path / "out" / "report.md").read_text()
    for _, value in report.table(numbers):
        assert value in text
    images = sorted((tmp_path / "out").glob("demo_*.png"))
    assert len(images) == 6 and all(image.name in text for image in images)
    assert cv2.imread(str(images[0])).shape[0] > HEIGHT


def test_a_node_that_cannot_start_is_an_error_with_its_log(clip: Path, tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "import sys; sys.exit('no weights for you')")
    with pytest.raises(HandDepthError, match="no weights for you"):
        run(clip, tmp_path / "out", 10.0, broken)


def test_a_missing_clip_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no such clip"):
        load_clip(Path("nowhere"))


def test_dds_stays_on_this_machine_with_room_for_images() -> None:
    environment = dds_environment()
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101 and 1 <= OWN_DOMAIN() <= 101
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        assert "segment_size" in Path(environment[name]).read_text(), name


def test_the_side_view_puts_far_right_and_down_below() -> None:
    def brightest(point: tuple[float, float, float]) -> tuple[float, float]:
        anchor = np.array([[0.0, 0.0, 0.5]] * 3, np.float32)
        white = np.full((1, 3), 255, np.uint8)
        view = side_view(np.array([point], np.float32), white, anchor)
        rows, columns = np.nonzero((view == 255).all(axis=-1))
        return float(rows.mean()), float(columns.mean())

    middle = brightest((0.0, 0.0, 0.5))
    assert brightest((0.1, 0.0, 0.5)) == middle
    assert brightest((0.0, 0.0, 0.55))[1] > middle[1]
    assert brightest((0.0, 0.05, 0.5))[0] > middle[0]


def test_the_panel_shows_both_hands_and_their_sigma() -> None:
    """Near and far hand have colours of their own, sigma of 30 to 120 mm is no solid patch, both
    clouds are seen."""
    depth, sigma = np.full((2, 120, 160), np.nan, np.float32)
    depth[30:80, 20:60], depth[30:80, 100:140] = 0.4, 0.8
    sigma[30:80, 20:60], sigma[30:80, 100:140] = 0.03, 0.12
    rows, columns = np.nonzero(np.isfinite(depth))
    z = depth[rows, columns]
    points = np.stack([(columns - 80) / 150 * z, (rows - 60) / 150 * z, z], 1)
    green = np.tile(np.array([[0, 255, 0]], np.uint8), (len(points), 1))
    image = panel(np.zeros((120, 160, 3), np.uint8), depth, sigma, points, green, points).astype(int)
    _, depth_view, sigma_view, side = np.split(image[-HEIGHT:], (480, 960, 1440), axis=1)
    for view in (depth_view, sigma_view):
        near, far, nothing = view[165, 120], view[165, 360], view[300, 120]
        assert min(abs(a - b).sum() for a, b in ((near, far), (near, nothing), (far, nothing))) > 100
    drawn = np.nonzero((side == (0, 255, 0)).all(axis=-1))[1]
    assert drawn.min() < HEIGHT / 4 and drawn.max() > HEIGHT * 3 / 4


def test_the_colours_cover_what_is_there() -> None:
    assert span(np.array([np.nan, np.nan]), 5, 95)[0] == 0.0
    assert span(np.full(5, 0.5), 5, 95) == pytest.approx((0.495, 0.505))
    assert span(np.append(np.linspace(0.3, 0.7, 101), np.nan), 5, 95) == pytest.approx((0.32, 0.68))


def test_the_bundled_clip_is_whole() -> None:
    if not CLIP.is_dir():
        pytest.skip("the clip is not rendered yet")
    frames = load_clip(CLIP)
    assert len(frames) >= 30
    for frame in frames:
        assert frame.rgb.shape[:2] == (frame.camera.height, frame.camera.width)
        for hand in frame.hands:
            assert hand.depth_m is not None and 0.1 < np.nanmedian(hand.depth_m) < 2.0
