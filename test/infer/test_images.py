"""`hand-depth infer`: right cameras, right file names, and a bad image stops nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from support.fakes import DEPTH_M, SIGMA_M, FakeEstimator
from support.messages import sample_rgb
from typer.testing import CliRunner

from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.infer import images

HEIGHT, WIDTH = 60, 80
CAMERA = {"width": WIDTH, "height": HEIGHT, "fx": 70.0, "fy": 71.0, "cx": 40.0, "cy": 30.0}


class Recorder(FakeEstimator):
    """Record the arguments of each call."""

    def __init__(self) -> None:
        super().__init__(max_hands=1)
        self.asked: list[SimpleNamespace] = []

    def estimate(self, rgb: np.ndarray, camera: Camera, **hints: Any) -> Any:
        self.asked.append(SimpleNamespace(rgb=rgb, camera=camera, **hints))
        return super().estimate(rgb, camera)


@pytest.fixture
def estimator(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(options, "load_estimator", lambda *_: recorder)
    return recorder


def write_image(path: Path, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = sample_rgb(height, width, seed)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return rgb


def write_list(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def infer(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["infer", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_processes_exactly_the_listed_images(tmp_path: Path, estimator: Recorder) -> None:
    for name in ("a", "b", "not_listed"):
        write_image(tmp_path / f"set/rgb/{name}.png")
    listed = write_list(tmp_path / "set/cameras.jsonl", *({"image": f"rgb/{n}.png", **CAMERA} for n in "ab"))
    result = infer(tmp_path / "set", "--cameras", listed, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == ["a.depth.png", "a.sigma.png", "b.depth.png", "b.sigma.png"]
    assert [asked.camera for asked in estimator.asked] == [Camera(**CAMERA)] * 2


def test_writes_16_bit_millimetres_and_tenths_of_millimetres(tmp_path: Path, estimator: Recorder) -> None:
    rgb = write_image(tmp_path / "a.png")
    result = infer(tmp_path / "a.png", "--hfov", 60, "--out", tmp_path / "out", "--overlay")
    assert result.exit_code == 0, result.output
    depth = cv2.imread(str(tmp_path / "out/a.depth.png"), cv2.IMREAD_UNCHANGED)
    sigma = cv2.imread(str(tmp_path / "out/a.sigma.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == sigma.dtype == np.uint16
    assert depth.shape == sigma.shape == rgb.shape[:2]
    mask = FakeEstimator(max_hands=1).estimate(rgb, estimator.asked[0].camera).mask > 0
    assert set(np.unique(depth[mask])) == {1000 * DEPTH_M} and not depth[~mask].any()
    assert set(np.unique(sigma[mask])) == {10000 * SIGMA_M} and not sigma[~mask].any()
    assert cv2.imread(str(tmp_path / "out/a.overlay.png")).shape == rgb.shape
    assert np.array_equal(estimator.asked[0].rgb, rgb)


def test_estimates_each_image_on_its_own_with_the_hints_of_its_line(
    tmp_path: Path, estimator: Recorder
) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    hinted = {"image": "a.png", **CAMERA, "roi": [1, 2, 30, 40], "hand_length_m": 0.17, "person": "x"}
    lens = {"distortion_model": "plumb_bob", "d": [0.1, 0.0, 0.0, 0.0, 0.0]}
    listed = write_list(tmp_path / "cameras.jsonl", hinted, {"image": "b.png", **CAMERA, **lens})
    assert infer(tmp_path, "--cameras", listed, "--out", tmp_path / "out").exit_code == 0
    first, second = estimator.asked
    assert first.rois == [(1, 2, 30, 40)] and first.hand_length_m == 0.17 and not first.track
    assert second.rois is None and second.hand_length_m is None and not second.track
    assert second.camera.d[0] == 0.1


def test_reports_errors_at_the_end_and_processes_the_rest(tmp_path: Path, estimator: Recorder) -> None:
    write_image(tmp_path / "good.png")
    write_image(tmp_path / "small.png", height=10, width=10)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    lines = [{"image": f"{name}.png", **CAMERA} for name in ("gone", "small", "text", "empty")]
    bad = [
        "{not json",
        {"width": 3},
        {"image": "good.png", **CAMERA, "fx": 0},
        {"image": "good.png", **CAMERA, "roi": [1, 2, 3]},
        {"image": "good.png", **CAMERA, "hand_length_m": 19},
        ["good.png"],
    ]
    good = {"image": "good.png", **CAMERA}
    listed = write_list(tmp_path / "cameras.jsonl", *lines, *map(json_or_text, bad), good)
    result = infer(tmp_path, "--cameras", listed, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert names(tmp_path / "out") == ["good.depth.png", "good.sigma.png"]
    printed = result.stderr
    for piece in ("gone.png", "small.png", "text.png", "empty.png", "10x10"):
        assert piece in printed
    for number in range(5, 11):
        assert f"cameras.jsonl:{number}" in printed


def json_or_text(line: Any) -> str:
    return line if isinstance(line, str) else json.dumps(line)


def test_a_folder_without_a_list_uses_one_camera(tmp_path: Path, estimator: Recorder) -> None:
    write_image(tmp_path / "in/a.png")
    write_image(tmp_path / "in/b.jpg", height=30, width=40)
    (tmp_path / "in/notes.txt").write_text("not an image")
    pinhole = ("--fx", 70, "--fy", 71, "--cx", 40, "--cy", 30)
    assert infer(tmp_path / "in", *pinhole, "--out", tmp_path / "in").exit_code == 0
    assert [(a.camera.width, a.camera.height, a.camera.fy) for a in estimator.asked] == [
        (80, 60, 71),
        (40, 30, 71),
    ]
    estimator.asked.clear()
    assert infer(tmp_path / "in", "--hfov", 90, "--out", tmp_path / "again").exit_code == 0
    assert len(estimator.asked) == 2  # the outputs of the first run are not read as images
    camera = estimator.asked[1].camera
    assert camera.fx == pytest.approx(camera.width / 2)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--fx", 1, "--fy", 1, "--cx", 1),
        ("--hfov", 60, "--fx", 1, "--fy", 1, "--cx", 1, "--cy", 1),
        ("--hfov", 180),
    ],
)
def test_rejects_an_ambiguous_or_impossible_camera(
    tmp_path: Path, estimator: Recorder, arguments: tuple
) -> None:
    write_image(tmp_path / "a.png")
    assert infer(tmp_path / "a.png", *arguments, "--out", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path: Path, estimator: Recorder) -> None:
    for name in ("left/a.png", "right/a.png", "right/b.png", "right/b.jpg"):
        write_image(tmp_path / name)
    lines = [{"image": str(p.relative_to(tmp_path)), **CAMERA} for p in sorted(tmp_path.rglob("*.*g"))]
    listed = write_list(tmp_path / "cameras.jsonl", *lines)
    assert infer(tmp_path, "--cameras", listed, "--out", tmp_path / "out").exit_code == 0
    depths = [name for name in names(tmp_path / "out") if name.endswith(".depth.png")]
    assert depths == [
        "left/a.depth.png",
        "right/a.depth.png",
        "right/b.jpg.depth.png",
        "right/b.png.depth.png",
    ]


def test_images_that_differ_above_the_folder_do_not_overwrite_each_other(
    tmp_path: Path, estimator: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/a.png", "here/b/a.png"):
        write_image(tmp_path / name)
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(cli.app, ["infer", "../b/a.png", "b/a.png", "--hfov", "60", "--out", "out"])
    assert result.exit_code == 0
    assert set(names(tmp_path / "here/out")) == {
        f"b/{name}.{kind}.png" for name in ("a.png", "a.png_2") for kind in ("depth", "sigma")
    }
    same = [Path("../b/a.jpg"), Path("b/a.jpg"), Path("b/a.jpg_2")]
    assert len(set(images.output_names(same))) == 3


def test_names_the_output_that_cannot_be_written(
    tmp_path: Path, estimator: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "out" / "a.depth.png").mkdir(parents=True)  # a folder in place of the image
    result = infer(tmp_path / "a.png", "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1 and f"cannot write {tmp_path / 'out'}" in result.stderr


def test_rejects_an_unreadable_list(tmp_path: Path, estimator: Recorder) -> None:
    result = infer(tmp_path, "--cameras", tmp_path / "none.jsonl", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.exception is not None and "none.jsonl" in str(result.exception)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"image": "a.png", "fx": 70.0, "fy": 71.0, "cx": 40.0, "cy": 30.0}, "width, height missing"),
        (["a.png"], "no JSON object"),
        ("5", "no JSON object"),
        ({**CAMERA, "image": 5}, "image is 5: give the path"),
        ({**CAMERA, "image": "a.png", "hand_length_m": "0.19"}, "give a number of metres"),
        ({**CAMERA, "image": "a.png", "fx": "70"}, "fx is '70': give a number of pixels"),
        ({**CAMERA, "image": "a.png", "fx": 10**400}, "too large"),
        ({**CAMERA, "image": "a.png", "d": 0.1}, "give a list of numbers"),
        ({**CAMERA, "image": "a.png", "distortion_model": ["plumb_bob"]}, "give a name"),
        ({**CAMERA, "image": "a.png", "roi": "1234"}, "[x, y, width, height]"),
        ({**CAMERA, "image": "a.png", "roi": [1000, 1000, 10, 10]}, "outside the"),
        ({**CAMERA, "image": "a.png", "D": [0, 0, 0, 0]}, "unknown key 'D': is d meant?"),
        ({**CAMERA, "image": "a.png", "distortion": [0, 0, 0, 0]}, "is d meant?"),
        ({**CAMERA, "image": "a.png", "distorsion_model": "plumb_bob"}, "is distortion_model meant?"),
        ({**CAMERA, "image": "a.png", "model": "plumb_bob"}, "is distortion_model meant?"),
        ({**CAMERA, "image": "a.png", "K": [1]}, "is fx, fy, cx and cy meant?"),
        ({**CAMERA, "image": "a.png", "hand_length": 0.19}, "is hand_length_m meant?"),
    ],
)
def test_a_bad_line_gives_a_clear_error(tmp_path: Path, estimator: Recorder, line: Any, message: str) -> None:
    write_image(tmp_path / "a.png")
    listed = write_list(tmp_path / "cameras.jsonl", json_or_text(line))
    result = infer(tmp_path, "--cameras", listed, "--out", tmp_path / "out")
    assert result.exit_code == 1
    (printed,) = result.stderr.strip().splitlines()
    assert "cameras.jsonl:1: " in printed and message in printed
    assert not (tmp_path / "out").exists() and "written to" not in result.stdout


def test_lists_unused_keys_once(tmp_path: Path, estimator: Recorder) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    others = {"stamp": 7, "image_id": 3, "person": "x", "split": "val", "hands": []}
    lines = [{"image": f"{name}.png", **CAMERA, **others} for name in "ab"]
    listed = write_list(tmp_path / "cameras.jsonl", *lines)
    result = infer(tmp_path, "--cameras", listed, "--out", tmp_path / "out")
    assert result.exit_code == 0
    (printed,) = [line for line in result.stderr.splitlines() if line.startswith("hand-depth")]
    assert printed.endswith("unused keys: stamp, image_id")


def test_rejects_an_empty_list(tmp_path: Path, estimator: Recorder) -> None:
    listed = write_list(tmp_path / "cameras.jsonl", "")
    result = infer(tmp_path, "--cameras", listed, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "the list is empty" in str(result.exception)


def test_help_names_every_key_of_the_list() -> None:
    from hand_depth_ros.infer.camera_list import KEYS

    words = infer("--help").output.replace(",", " ").split()
    assert all(key in words for key in KEYS)


def test_counts_hands_without_depth(tmp_path: Path, estimator: Recorder) -> None:
    write_image(tmp_path / "a.png")
    result = infer(tmp_path / "a.png", "--hfov", 60, "--out", tmp_path / "out")
    assert f"1 image written to {tmp_path / 'out'}, 1 with the depth of a hand, 0 failed" in result.stdout
    estimator.configure(max_range_m=DEPTH_M / 2)
    result = infer(tmp_path / "a.png", "--hfov", 60, "--out", tmp_path / "out")
    assert "0 with the depth of a hand, 1 hand seen but out of range or not certain enough" in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_rejects_a_file_as_output_folder_before_the_network_runs(
    tmp_path: Path, estimator: Recorder, out: str
) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "file").write_text("precious")
    result = infer(tmp_path / "a.png", "--hfov", 60, "--out", tmp_path / out)
    assert result.exit_code == 2 and not estimator.asked
    assert (tmp_path / "file").read_text() == "precious"


def test_creates_no_folder_if_there_is_nothing_to_do(tmp_path: Path, estimator: Recorder) -> None:
    result = infer(tmp_path / "nowhere", "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "nowhere" in result.stderr
    assert result.stdout.strip() == "0 images written, 1 failed"
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    small = np.zeros((40, 50), np.uint16)
    large = np.random.default_rng(0).integers(0, 65535, (200, 300)).astype(np.uint16)
    paths = [tmp_path / "a.depth.png", tmp_path / "a.sigma.png"]
    images.write_pngs(dict.fromkeys(paths, small))
    before = {path: path.read_bytes() for path in paths}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            images.write_pngs({paths[0]: small + 1, paths[1]: large})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_reports_a_folder_without_images_in_two_short_lines(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_image(folder / "rgb" / "a.png")
    result = infer(folder, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1 and result.stdout == "0 images written, 1 failed\n"
    which, looked_for = result.stderr.splitlines()
    assert which == f"hand-depth: {folder}: no images in this folder"
    assert all(ending in looked_for for ending in images.SUFFIXES) and "not in subfolders" in looked_for
    assert len(looked_for) < 100


def test_a_full_disk_ends_the_run(
    tmp_path: Path, estimator: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate a disk that is full from the second image on."""
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png")
    write = images.write_pngs

    def full(images_by_path: dict[Path, np.ndarray]) -> None:
        if len(estimator.asked) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(images_by_path)

    monkeypatch.setattr(images, "write_pngs", full)
    result = infer(tmp_path, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1 and len(estimator.asked) == 2
    failed = f"{tmp_path / 'b.png'}: No space left on device ({tmp_path / 'out'}): stopped, 1 image not done"
    assert failed in result.stderr and "1 failed" in result.stdout
    assert names(tmp_path / "out") == ["a.depth.png", "a.sigma.png"]
