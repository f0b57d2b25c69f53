"""`hand-depth bag` on bags without camera_info: uses the given camera and says so."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the bag extra is not installed")

import yaml
from rosbags.rosbag2 import Reader
from support import bags
from support.bags import HEIGHT, IMAGE, INFO, WIDTH
from support.fakes import FakeEstimator
from typer.testing import CliRunner

from hand_depth_ros.bag.convert import BagOptions, convert
from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.errors import CameraError
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.messages import topics
from hand_depth_ros.ros.messages.calibration_file import read_calibration
from hand_depth_ros.ros.messages.settings import OutputSettings

K = [21.0, 0.0, 7.0, 0.0, 22.0, 5.0, 0.0, 0.0, 1.0]
D = [0.1, -0.05, 0.001, -0.002, 0.0]
P = [20.0, 0.0, 7.5, 0.0, 0.0, 20.5, 5.5, 0.0, 0.0, 0.0, 1.0, 0.0]


def calibration(**changes: Any) -> dict[str, Any]:
    """Return what camera_calibration writes into ost.yaml."""
    return {
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "camera_name": "head_camera",
        "camera_matrix": {"rows": 3, "cols": 3, "data": K},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": D},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": np.eye(3).ravel().tolist()},
        "projection_matrix": {"rows": 3, "cols": 4, "data": P},
        **changes,
    }


@pytest.fixture
def bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs `hand-depth bag` on a bag without camera_info."""
    images = [entry for entry in bags.pairs(2) if entry.topic == IMAGE]
    bags.write_bag(tmp_path / "in", images)
    monkeypatch.setattr(options, "load_estimator", lambda *_: FakeEstimator())
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: object, source: str = "in") -> Any:
        command = ["bag", str(tmp_path / source), str(tmp_path / "out"), "--image", IMAGE]
        return CliRunner().invoke(cli.app, [*command, *map(str, arguments)])

    return run


def added_info(folder: Path) -> Any:
    """Return the first added camera_info of OUT."""
    with Reader(folder / "out") as reader:
        found = [c for c in reader.connections if c.topic == "/depth_registered/camera_info"]
        _, _, data = next(reader.messages(found))
        return bags.STORE.deserialize_cdr(data, bags.INFO_TYPE)


def test_uses_a_calibration_file(tmp_path: Path, bag: Any) -> None:
    file = tmp_path / "ost.yaml"
    file.write_text(yaml.safe_dump(calibration()))
    result = bag("--calibration", file)
    assert result.exit_code == 0, result.output
    assert f"assumed camera: {WIDTH}x{HEIGHT}, fx 21, fy 22, cx 7, cy 5" in result.stderr
    assert f"from --calibration {file}" in result.stderr
    info = added_info(tmp_path)
    assert (info.width, info.height, info.distortion_model) == (WIDTH, HEIGHT, "plumb_bob")
    assert (list(info.k), list(info.d), list(info.p)) == (K, D, P)
    assert info.header.stamp.sec == bags.START // bags.SECOND and info.header.frame_id == "camera"


@pytest.mark.parametrize(
    ("arguments", "camera"),
    [
        (("--hfov", 60), Camera.from_hfov(WIDTH, HEIGHT, 60.0)),
        (("--fx", 21, "--fy", 22, "--cx", 7, "--cy", 5), Camera(WIDTH, HEIGHT, 21.0, 22.0, 7.0, 5.0)),
    ],
    ids=["hfov", "intrinsics"],
)
def test_uses_a_camera_that_the_options_describe(
    tmp_path: Path, bag: Any, arguments: tuple[Any, ...], camera: Camera
) -> None:
    result = bag(*arguments)
    assert result.exit_code == 0, result.output
    assert f"fx {camera.fx:g}, fy {camera.fy:g}, cx {camera.cx:g}" in result.stderr
    assert Camera.from_camera_info(added_info(tmp_path)) == camera
    assert Camera.from_camera_info(added_info(tmp_path), rectified=True) == camera


def test_uses_the_camera_of_a_list(tmp_path: Path, bag: Any) -> None:
    camera = {"width": WIDTH, "height": HEIGHT, "fx": 21.0, "fy": 22.0, "cx": 7.0, "cy": 5.0, "d": D}
    listed = tmp_path / "cameras.jsonl"
    listed.write_text("".join(json.dumps({"image": f"{n}.png", **camera}) + "\n" for n in range(2)))
    assert bag("--cameras", listed).exit_code == 0
    info = added_info(tmp_path)
    assert (info.k[0], list(info.d)) == (21.0, D)


def test_a_list_of_several_cameras_is_an_error(tmp_path: Path, bag: Any) -> None:
    camera = {"width": WIDTH, "height": HEIGHT, "fy": 22.0, "cx": 7.0, "cy": 5.0}
    listed = tmp_path / "cameras.jsonl"
    lines = [json.dumps({"image": "a.png", "fx": fx, **camera}) for fx in (21.0, 22.0)]
    listed.write_text("\n".join(lines))
    result = bag("--cameras", listed)
    assert result.exit_code == 1 and "lists 2 cameras, a bag has one" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_given_camera_replaces_recorded_camera_info(tmp_path: Path, bag: Any) -> None:
    bags.write_bag(tmp_path / "with_info", bags.pairs(2, f=20.0))
    result = bag("--hfov", 60, source="with_info")
    assert result.exit_code == 0, result.output
    assert added_info(tmp_path).k[0] == Camera.from_hfov(WIDTH, HEIGHT, 60.0).fx
    with Reader(tmp_path / "out") as reader:
        assert INFO in reader.topics


def test_a_bag_without_camera_info_names_options_that_work(tmp_path: Path, bag: Any) -> None:
    result = bag()
    message = str(result.exception)
    assert "the bag has no camera_info" in message and result.exit_code == 1
    for option in ("--calibration FILE.yaml", "--fx --fy --cx --cy", "--hfov DEGREES"):
        assert option in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hfov", 60, "--fx", 21, "--fy", 22, "--cx", 7, "--cy", 5), "describe the camera in one way"),
        (("--hfov", 200), "--hfov is 200"),
        (("--fx", 21), "--fy --cx --cy missing"),
        (("--hfov", 60, "--camera-info", INFO), "--camera-info and --hfov 60: give one camera"),
    ],
)
def test_rejects_contradicting_cameras(bag: Any, arguments: tuple[Any, ...], message: str) -> None:
    result = bag(*arguments)
    assert result.exit_code == 2 and message in " ".join(result.stderr.split())


def test_a_calibration_of_another_size_leaves_no_frame(tmp_path: Path, bag: Any) -> None:
    file = tmp_path / "ost.yaml"
    file.write_text(yaml.safe_dump(calibration(image_width=2 * WIDTH, image_height=2 * HEIGHT)))
    result = bag("--calibration", file)
    assert result.exit_code == 1 and "the image is 16x12" in str(result.exception)


def test_reads_the_forms_that_drivers_write(tmp_path: Path) -> None:
    file = tmp_path / "ost.yaml"
    content = calibration(camera_matrix=K, distortion_coefficients={"data": []})
    del content["projection_matrix"], content["rectification_matrix"], content["distortion_model"]
    file.write_text(yaml.safe_dump(content))
    fields = read_calibration(file)
    assert list(fields["k"]) == K and fields["d"].size == 0 and fields["distortion_model"] == "plumb_bob"
    assert list(fields["p"]) == [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a calibration"),
        ("a: [", "not YAML"),
        ("image_width: 4", "image_height, camera_matrix, distortion_coefficients missing"),
        (yaml.safe_dump(calibration(camera_matrix=[1.0])), "camera_matrix has 1 numbers, not 9"),
        (yaml.safe_dump(calibration(camera_matrix={"rows": 3})), "'data'"),
        (yaml.safe_dump(calibration(image_width="wide")), "wide"),
    ],
)
def test_rejects_a_file_that_is_no_calibration(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "ost.yaml"
    file.write_text(text)
    with pytest.raises(CameraError, match="camera_calibration writes") as caught:
        read_calibration(file)
    assert message in str(caught.value)
    with pytest.raises(CameraError, match="No such file"):
        read_calibration(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("step", [0, bags.SECOND // 10], ids=["stamps_0", "simulator_started_twice"])
def test_of_repeated_stamps_the_camera_info_nearest_in_time_is_used(
    tmp_path: Path, storage: str, step: int
) -> None:
    """Two runs with equal stamps, the lens changed between them."""
    entries, focal = [], []
    for number in range(8):
        stamp, f = step * (number % 4), 20.0 if number < 4 else 30.0
        received = bags.START + number * bags.SECOND // 10
        entries += [bags.image_entry(stamp, received, number), bags.info_entry(stamp, received + 1, f)]
        focal.append(f)
    bags.write_bag(tmp_path / "in", entries, storage)
    wanted = frozenset({topics.DEPTH_MM, topics.CAMERA_INFO})
    bag_options = BagOptions(IMAGE, wanted=wanted)
    summary = convert(tmp_path / "in", tmp_path / "out", FakeEstimator(), bag_options, OutputSettings())  # type: ignore[arg-type]
    with Reader(tmp_path / "out") as reader:
        found = [c for c in reader.connections if c.topic == "/depth_registered/camera_info"]
        infos = [bags.STORE.deserialize_cdr(data, bags.INFO_TYPE) for _, _, data in reader.messages(found)]
    used = [info.k[0] for info in infos]
    assert used == (focal if not step else [*focal[:4], *focal[5:]])  # the jump back has no depth
    assert sum(summary.skipped.values()) == (1 if step else 0)
