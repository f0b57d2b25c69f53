"""`hand-depth calibrate`: length and uncertainty are right; bad input gives a clear error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.fakes import DEPTH_M, SIGMA_M, FakeEstimator
from typer.testing import CliRunner

from hand_depth_ros.calibration.before_after import before_and_after
from hand_depth_ros.calibration.lengths import LengthMeasurement, combine, measure_frame
from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.errors import BagError, CalibrationError
from hand_depth_ros.estimation import settings
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.ros.parameters import BY_NAME

WIDTH, HEIGHT = 160, 120
CAMERA = Camera(WIDTH, HEIGHT, 150.0, 150.0, 80.0, 60.0)
GREY = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)


class OneHand(FakeEstimator):
    """The fake with one disc, 0.5 m away for a 0.19 m hand; the given length scales its depth."""

    def estimate(self, rgb, camera, rois=None, hand_length_m=None, track=True):
        self.settings = options_of(self.settings)
        frame = super().estimate(rgb, camera)
        scale = (hand_length_m or 0.17) / 0.19
        return frame.__class__(frame.depth * scale, frame.sigma * scale, frame.mask, frame.hands, {})


def options_of(settings):
    return settings.__class__(max_hands=1)


def test_length_scales_with_true_depth() -> None:
    frame = OneHand().estimate(GREY, CAMERA, hand_length_m=0.19)
    (look,) = measure_frame(frame, 0.9 * DEPTH_M, 0.0, 0.03)
    assert look.length_m == pytest.approx(0.171)
    assert look.sigma == pytest.approx(np.hypot(SIGMA_M / DEPTH_M, 0.03), rel=1e-5)
    truth = np.full((HEIGHT, WIDTH), 0.9 * DEPTH_M, np.float32)
    truth[:, :80] = np.nan  # a hole
    (look,) = measure_frame(frame, truth, 0.0)
    assert look.length_m == pytest.approx(0.171)
    rim = (frame.mask > 0) & (cv2.erode((frame.mask > 0).astype(np.uint8), np.ones((11, 11))) == 0)
    truth[rim] = 3.0  # the background that depth cameras mix in
    assert measure_frame(frame, truth, 0.0)[0].length_m == pytest.approx(0.171)
    assert measure_frame(frame, np.full_like(truth, 2.5), 0.0) == []  # 0.95 m is no hand: the background


def test_uncertainty_shrinks_with_moments_not_with_measurements() -> None:
    """4 % for one moment, 1 % for sixteen, plus the 1 % that does not average out."""
    one = combine([LengthMeasurement(0.18, 0.04, 0.0)])
    assert one.length_m == 0.18 and one.sigma_m == pytest.approx(0.18 * np.hypot(0.04, 0.01))
    assert combine([LengthMeasurement(0.18, 0.04, 0.01 * i) for i in range(40)]).sigma_m == pytest.approx(
        one.sigma_m
    )
    many = combine([LengthMeasurement(0.18, 0.04, 3.0 * i) for i in range(16)])
    assert many.sigma_m == pytest.approx(0.18 * np.hypot(0.01, 0.01)) and (
        many.measurements,
        many.moments,
    ) == (
        16,
        16,
    )
    assert combine([LengthMeasurement(0.18, 0.0, 0.0)], 0.02).sigma_m == pytest.approx(
        0.18 * np.hypot(0.02, 0.01)
    )
    # measurements that scatter more than their sigma: the scatter is used
    scattered = combine([LengthMeasurement(value, 0.001, 0.0) for value in (0.16, 0.18, 0.20)])
    assert scattered.sigma_m == pytest.approx(0.18 * np.hypot(1.4826 * 0.02 / 0.18, 0.01))
    with pytest.raises(CalibrationError, match="no hand with a plausible length"):
        combine([])


def run(*arguments: str, estimator: FakeEstimator | None = None, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr(options, "load_estimator", lambda *_: estimator)
    return CliRunner().invoke(cli.app, ["calibrate", *arguments])


def printed_length(output: str) -> tuple[float, float]:
    found = re.search(r"hand_length_m: ([0-9.]+) \+- ([0-9.]+) m", output)
    assert found, output
    return float(found[1]), float(found[2])


def test_measures_images_at_a_known_distance(tmp_path: Path, monkeypatch) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), GREY)
    result = run(
        str(tmp_path), "--distance-m", "0.45", "--hfov", "60", estimator=OneHand(), monkeypatch=monkeypatch
    )
    assert result.exit_code == 0, result.output
    # two measurements of 2 % (the fake's sigma); 1 cm of 45 cm for the distance; 1 % systematic
    sigma = 0.171 * np.sqrt(0.02**2 / 2 + (0.01 / 0.45) ** 2 + 0.01**2)
    assert printed_length(result.output) == pytest.approx((0.171, sigma), abs=5e-4)
    assert "hand_length_m: 0.171" in result.output.splitlines()[1]
    assert "ros2 param set /hand_depth hand_length_m 0.171" in result.output


def test_rejects_an_image_with_two_hands(tmp_path: Path, monkeypatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), GREY)
    result = run(
        str(tmp_path),
        "--distance-m",
        "0.45",
        "--hfov",
        "60",
        estimator=FakeEstimator(),
        monkeypatch=monkeypatch,
    )
    assert isinstance(result.exception, CalibrationError)
    assert "2 hands seen; show exactly one, at the distance" in result.output + getattr(result, "stderr", "")


def test_distinguishes_unreadable_images_from_images_without_a_hand(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.png").write_text("not an image")
    result = run(
        str(tmp_path), "--distance-m", "0.45", "--hfov", "60", estimator=OneHand(), monkeypatch=monkeypatch
    )
    assert "none of the images could be read" in str(result.exception)
    assert "skipped: " in result.output


def test_measures_with_a_ruler(monkeypatch) -> None:
    result = run("--ruler-m", "0.187")
    assert result.exit_code == 0 and printed_length(result.output) == (0.187, 0.003)
    assert "18.7" in str(run("--ruler-m", "18.7").exception)  # centimetres


@pytest.mark.parametrize("end", ["low", "high"])
def test_accepted_lengths_are_those_of_the_parameter(end: str) -> None:
    parameter = BY_NAME["hand_length_m"]
    length = getattr(parameter, end)
    outside = length + {"low": -0.001, "high": 0.001}[end]
    assert printed_length(run("--ruler-m", str(length)).output)[0] == length
    assert "0.08 to 0.3" in str(run("--ruler-m", str(outside)).exception)
    frame = OneHand().estimate(GREY, CAMERA, hand_length_m=0.19)
    inwards = length + {"low": 1e-6, "high": -1e-6}[end]  # float32 depth
    (look,) = measure_frame(frame, DEPTH_M * inwards / 0.19, 0.0)
    assert parameter.check(look.length_m) == pytest.approx(length, abs=1e-5)
    assert measure_frame(frame, DEPTH_M * outside / 0.19, 0.0) == []
    settings.EstimatorSettings(hand_length_m=length)
    with pytest.raises(ValueError, match="hand_length_m"):
        settings.EstimatorSettings(hand_length_m=outside)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--ruler-m", "0.187", "--demo"],
        ["image.png"],
        ["image.png", "--distance-m", "0.4"],
        ["image.png", "--distance-m", "40", "--hfov", "60"],
        ["--bag", "x", "--distance-m", "0.4"],
        ["--demo", "--distance-m", "0.4"],
        ["--ruler-m", "0.187", "--hfov", "60"],
        ["image.png", "--distance-m", "0.4", "--hfov", "60", "--cameras", "cameras.jsonl"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_before_and_after_on_a_data_set_with_known_depth(tmp_path: Path) -> None:
    """The fake estimates 0.17 m for a 0.171 m hand: 2.6 mm of error before, none after."""
    for name in ("rgb", "depth", "mask"):
        (tmp_path / name).mkdir()
    mask = OneHand().estimate(GREY, CAMERA).mask
    lines = []
    for i in range(4):
        cv2.imwrite(str(tmp_path / "rgb" / f"{i}.png"), GREY)
        cv2.imwrite(str(tmp_path / "depth" / f"{i}.png"), np.where(mask > 0, 450, 0).astype(np.uint16))
        cv2.imwrite(str(tmp_path / "mask" / f"{i}.png"), mask)
        camera = {"width": WIDTH, "height": HEIGHT, "fx": 150, "fy": 150, "cx": 80, "cy": 60}
        lines.append(json.dumps({"image": f"rgb/{i}.png", **camera}))
    (tmp_path / "cameras.jsonl").write_text("\n".join(lines))
    found, errors = before_and_after(tmp_path, OneHand())  # type: ignore[arg-type]
    assert found.length_m == pytest.approx(0.171) and found.moments == 2
    assert errors == pytest.approx(
        {"none (estimated)": 1e3 * (0.45 - 0.17 / 0.38), "calibrated": 0.0}, abs=1e-3
    )
    (tmp_path / "cameras.jsonl").write_text(lines[0])
    with pytest.raises(CalibrationError, match="two or more"):
        before_and_after(tmp_path, OneHand())  # type: ignore[arg-type]


@pytest.fixture
def bag(tmp_path: Path):
    """Return a function that writes a bag of 3 colour images a second apart, each with depth."""
    pytest.importorskip("rosbags", reason="the bag extra is not installed")
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types

    def header(stamp: int):
        time = types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
        return types["std_msgs/msg/Header"](time, "camera")

    def write(depth: np.ndarray, encoding: str, late_ns: int = 10_000_000, big: bool = False) -> Path:
        image_type, info_type = types["sensor_msgs/msg/Image"], types["sensor_msgs/msg/CameraInfo"]
        with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
            topics = {
                "/c/image_raw": "Image",
                "/c/camera_info": "CameraInfo",
                "/d/image_raw": "Image",
            }
            connections = {
                name: writer.add_connection(name, f"sensor_msgs/msg/{kind}", typestore=store)
                for name, kind in topics.items()
            }
            for i in range(3):
                stamp = 10**12 + i * 10**9
                info = info_type(
                    header=header(stamp),
                    height=HEIGHT,
                    width=WIDTH,
                    distortion_model="plumb_bob",
                    d=np.zeros(5),
                    k=np.array([150.0, 0, 80, 0, 150, 60, 0, 0, 1]),
                    r=np.eye(3).ravel(),
                    p=np.zeros(12),
                    binning_x=0,
                    binning_y=0,
                    roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
                )
                colour = image_type(header(stamp), HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, GREY.reshape(-1))
                height, width = depth.shape
                step = width * depth.itemsize + 4  # padded rows
                rows = np.zeros((height, step), np.uint8)
                rows[:, :-4] = np.ascontiguousarray(depth).view(np.uint8).reshape(height, -1)
                measured = image_type(
                    header(stamp + late_ns), height, width, encoding, int(big), step, rows.reshape(-1)
                )
                for name, msg in (
                    ("/c/image_raw", colour),
                    ("/c/camera_info", info),
                    ("/d/image_raw", measured),
                ):
                    writer.write(
                        connections[name], stamp, store.serialize_cdr(msg, f"sensor_msgs/msg/{topics[name]}")
                    )
        return tmp_path / "bag"

    return write


def calibrate_bag(path: Path, monkeypatch):
    topics = ["--image", "/c/image_raw", "--depth", "/d/image_raw"]
    return run("--bag", str(path), *topics, estimator=OneHand(), monkeypatch=monkeypatch)


@pytest.mark.parametrize("encoding, big", [("16UC1", False), ("16UC1", True), ("32FC1", False)])
def test_measures_a_bag_with_a_depth_topic(bag, encoding: str, big: bool, monkeypatch) -> None:
    dtype = ">u2" if big else "<u2" if encoding == "16UC1" else "<f4"
    depth = np.full((HEIGHT, WIDTH), 450 if encoding == "16UC1" else 0.45, dtype)
    depth[:50] = 0 if encoding == "16UC1" else np.nan
    result = calibrate_bag(bag(depth, encoding, big=big), monkeypatch)
    assert result.exit_code == 0, result.output
    # three moments of 2 % each, 1 % of the depth camera, 1 % systematic
    sigma = 0.171 * np.sqrt(0.02**2 / 3 + 2 * 0.01**2)
    assert printed_length(result.output) == pytest.approx((0.171, sigma), abs=5e-4)
    assert "3 measurements at 3 moments" in result.output


def test_unusable_bags_give_a_clear_error(bag, tmp_path: Path, monkeypatch) -> None:
    small = bag(np.full((60, 80), 450, "<u2"), "16UC1")
    with pytest.raises(BagError, match="80x60, the colour image 160x120: give the depth"):
        raise calibrate_bag(small, monkeypatch).exception
    result = run("--bag", str(small), "--image", "/c/image_raw", estimator=OneHand(), monkeypatch=monkeypatch)
    assert "give --depth one of /c/image_raw, /d/image_raw" in str(result.exception)


def test_rejects_depth_of_another_time_or_encoding(bag, monkeypatch, tmp_path: Path) -> None:
    late = bag(np.full((HEIGHT, WIDTH), 450, "<u2"), "16UC1", late_ns=300_000_000)
    assert "within 50 ms" in str(calibrate_bag(late, monkeypatch).exception)
    late.rename(tmp_path / "other")
    coloured = bag(np.full((HEIGHT, WIDTH), 45, "u1"), "mono8")
    assert "16UC1" in str(calibrate_bag(coloured, monkeypatch).exception)
