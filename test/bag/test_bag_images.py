"""`hand-depth bag` reads images like the node, and says what it inferred or found wrong."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the bag extra is not installed")

from support import bags, messages
from support.bags import IMAGE, IMAGE_TYPE, INFO, INFO_TYPE, SECOND, START, STORE, TYPES, Entry
from support.fakes import FakeEstimator
from typer.testing import CliRunner

from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.geometry.camera import Camera

HEIGHT, WIDTH = 120, 160
RGB = messages.sample_rgb(HEIGHT, WIDTH)
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"


class Recorder(FakeEstimator):
    """Keeps the images and cameras that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[np.ndarray] = []
        self.cameras: list[Camera] = []

    def estimate(self, rgb: np.ndarray, camera: Camera, **how: Any) -> Any:
        self.images.append(rgb.copy())
        self.cameras.append(camera)
        return super().estimate(rgb, camera, **how)


def entry(topic: str, msgtype: str, index: int, message: Any) -> Entry:
    """Return the message as recorded a tenth of a second after the last."""
    data = bytes(STORE.serialize_cdr(message, msgtype))
    return Entry(topic, msgtype, START + index * SECOND // 10, data)


def raw(index: int, pixels: np.ndarray, encoding: str) -> Entry:
    plain = messages.image(pixels, encoding)
    header = bags.header(START + index * SECOND // 10)
    fields = (plain.height, plain.width, encoding, 0, plain.step, plain.data)
    return entry(IMAGE, IMAGE_TYPE, index, TYPES[IMAGE_TYPE](header, *fields))


def compressed(index: int, data: np.ndarray, format: str) -> Entry:
    header = bags.header(START + index * SECOND // 10)
    topic = f"{IMAGE}/compressed"
    return entry(topic, COMPRESSED_TYPE, index, TYPES[COMPRESSED_TYPE](header, format, data))


def info(index: int, **changes: Any) -> Entry:
    plain = vars(messages.camera_info(WIDTH, HEIGHT, 150.0)) | changes
    plain |= {name: np.array(plain[name], np.float64) for name in ("d", "k", "r", "p")}
    plain["roi"] = TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    header = bags.header(START + index * SECOND // 10)
    return entry(INFO, INFO_TYPE, index, TYPES[INFO_TYPE](header=header, **plain))


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that records entries, converts the bag, and returns result and images."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(entries: list[Entry], *arguments: str, topic: str = IMAGE) -> tuple[Any, Recorder]:
        estimator = Recorder()
        monkeypatch.setattr(options, "load_estimator", lambda *_: estimator)
        bags.write_bag(tmp_path / "in", entries)
        command = ["bag", str(tmp_path / "in"), str(tmp_path / "out"), "--image", topic, *arguments]
        return CliRunner().invoke(cli.app, command), estimator

    return run


def ten_bits(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels * (1023 / 255)).astype(np.uint16)


def test_infers_the_bit_depth_and_says_so_once(convert: Any) -> None:
    entries = [one for i in range(3) for one in (info(i), raw(i, ten_bits(messages.live(RGB)), "rgb16"))]
    result, estimator = convert(entries)
    assert result.exit_code == 0, result.output
    assert len(estimator.images) == 3
    assert all(np.abs(image.astype(int) - RGB).max() <= 2 for image in estimator.images)
    assert result.stderr.count("hold 10-bit values") == 1 and "set --bit-depth" in result.stderr


def test_bit_depth_and_untyped_encoding_are_options(convert: Any) -> None:
    result, estimator = convert([info(0), raw(0, ten_bits(RGB), "rgb16")], "--bit-depth", "12")
    assert result.exit_code == 0 and np.abs(estimator.images[0].astype(int) - RGB / 4).max() <= 1


def test_untyped_images_are_read_as_the_option_says(convert: Any) -> None:
    entries = [info(0), raw(0, RGB[..., ::-1], "8UC3")]
    result, estimator = convert(entries, "--untyped-encoding", "bgr8")
    assert result.exit_code == 0 and np.array_equal(estimator.images[0], RGB)


def test_untyped_images_are_refused_with_the_option_that_helps(convert: Any) -> None:
    result, _ = convert([info(0), raw(0, RGB, "8UC3")])
    assert result.exit_code == 1 and "untyped_encoding" in str(result.exception)


def test_depth_images_are_refused_although_they_are_png(convert: Any) -> None:
    data = cv2.imencode(".png", np.full((HEIGHT, WIDTH), 600, np.uint16))[1].reshape(-1)
    entries = [info(0), compressed(0, data, "16UC1; png compressed ")]
    result, estimator = convert(entries, topic=f"{IMAGE}/compressed")
    assert result.exit_code == 1 and "is a depth image" in str(result.exception)
    assert not estimator.images


def test_coefficients_of_any_count_and_an_empty_p_are_understood(convert: Any, tmp_path: Path) -> None:
    d = [0.1, -0.05, 0.001, 0.001, 0.01, 0.1, -0.05, 0.01]
    entries = [info(0, d=d, p=[0.0] * 12, r=[0.0] * 9), raw(0, RGB, "rgb8")]
    result, estimator = convert(entries)
    assert result.exit_code == 0 and estimator.cameras[0].d == tuple(d)
    assert "camera_info has no P and R" in result.stderr
    found = {topic: data for topic, _, data in bags.read_messages(tmp_path / "out")}
    added = STORE.deserialize_cdr(found["/depth_registered/camera_info"], INFO_TYPE)
    assert added.p.tolist() == [150.0, 0, 79.5, 0, 0, 150.0, 59.5, 0, 0, 0, 1, 0]
    assert added.r.tolist() == np.eye(3).ravel().tolist() and added.d.tolist() == d
    recorded = STORE.deserialize_cdr(found[INFO], INFO_TYPE)
    assert not recorded.p.any(), "recorded messages stay as they are"


def test_says_that_images_are_dark_frozen_or_damaged(convert: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (15, 20, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    data = cv2.imencode(".jpg", noise)[1].reshape(-1).copy()
    data[data.size // 2 : data.size // 2 + 800] = 0
    dark = cv2.imencode(".jpg", np.zeros_like(RGB))[1].reshape(-1)
    still = cv2.imencode(".jpg", RGB)[1].reshape(-1)
    shots = [data, dark, dark] + [still] * 60
    entries = [one for i, jpeg in enumerate(shots) for one in (info(i), compressed(i, jpeg, "jpeg"))]
    result, _ = convert(entries, topic=f"{IMAGE}/compressed")
    assert result.exit_code == 0, result.output
    for line in (
        "1 frame: the jpeg data is damaged",
        "2 frames: the image is dark",
        "10 frames: the image has not changed for seconds",
    ):
        assert line in result.stderr, result.stderr
