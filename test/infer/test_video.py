"""`hand-depth infer` on videos: every frame at its time and upright, broken ones reported."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.fakes import DEPTH_M, FakeEstimator
from support.messages import sample_rgb
from typer.testing import CliRunner

from hand_depth_ros.cli import main as cli
from hand_depth_ros.cli import options
from hand_depth_ros.geometry.camera import Camera
from hand_depth_ros.infer.video import OverlayVideo, Video, run_video

HEIGHT, WIDTH, FPS, LENGTH = 48, 64, 20.0, 12
FORMATS = [("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.mkv", "MJPG"), ("clip.webm", "VP80")]


class Recorder(FakeEstimator):
    """Record the images, cameras and options of each call."""

    def __init__(self) -> None:
        super().__init__(max_hands=1)
        self.calls: list[tuple[np.ndarray, Camera, dict[str, Any]]] = []

    def estimate(self, rgb: np.ndarray, camera: Camera, **hints: Any) -> Any:
        self.calls.append((rgb, camera, hints))
        return super().estimate(rgb, camera)


@pytest.fixture
def estimator(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(options, "load_estimator", lambda *_: recorder)
    return recorder


def image(number: int) -> np.ndarray:
    """Return the image of a frame: its brightness is its number, a white corner is up and left."""
    rgb = np.full((HEIGHT, WIDTH, 3), 10 + 15 * number, np.uint8)
    rgb[:12, :16] = 255
    return rgb


def number_of(rgb: np.ndarray) -> int:
    """Return the number of the frame that an image shows."""
    return round((float(rgb[20:28, 28:36].mean()) - 10) / 15)


def write_video(path: Path, codec: str = "MJPG", length: int = LENGTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(length):
        writer.write(image(number)[..., ::-1])
    writer.release()
    return path


def break_frames(path: Path, *numbers: int) -> None:
    """Make the JPEG images of these frames undecodable."""
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 3] == b"\xff\xd8\xff"]
    assert len(starts) == LENGTH
    for number in numbers:
        end = data.index(b"\xff\xd9", starts[number])
        data[starts[number] : end] = bytes(end - starts[number])
    path.write_bytes(data)


def turn(path: Path, degrees: int) -> None:
    """Write into an mp4 that players turn it clockwise, as phones do."""
    matrix = {90: (0, 1, 0, -1, 0, 0), 180: (-1, 0, 0, 0, -1, 0), 270: (0, -1, 0, 1, 0, 0)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", *(65536 * value for value in matrix), 0, 0, 1 << 30)
    path.write_bytes(data)


def infer(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["infer", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read_frames(path: Path) -> tuple[list[np.ndarray], float]:
    """Return the frames of a video and its frame rate."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        decoded, bgr = capture.read()
        if not decoded:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(bgr[..., ::-1])


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_writes_depth_of_every_frame_at_its_time(
    tmp_path: Path, estimator: Recorder, name: str, codec: str
) -> None:
    write_video(tmp_path / name, codec)
    result = infer(tmp_path / name, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"12 frames of {tmp_path / name} written to {tmp_path / 'out/clip'}, 12 with" in result.stdout
    kinds = ("depth", "sigma")
    expected = [f"clip/{n:06d}.{kind}.png" for n in range(LENGTH) for kind in kinds]
    assert names(tmp_path / "out") == sorted([*expected, "clip/times.csv"])
    assert [number_of(rgb) for rgb, _, _ in estimator.calls] == list(range(LENGTH))
    lines = (tmp_path / "out/clip/times.csv").read_text().splitlines()
    assert lines[0] == "frame,time_s"
    times = [float(line.split(",")[1]) for line in lines[1:]]
    assert times == pytest.approx([n / FPS for n in range(LENGTH)], abs=2e-3)
    depth = cv2.imread(str(tmp_path / "out/clip/000003.depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and set(np.unique(depth)) == {0, 1000 * DEPTH_M}


def test_follows_hands_from_frame_to_frame(tmp_path: Path, estimator: Recorder) -> None:
    paths = [write_video(tmp_path / "a.avi"), write_video(tmp_path / "b.avi")]
    assert infer(*paths, "--hfov", 60, "--out", tmp_path / "out").exit_code == 0
    assert estimator.resets == 2  # once for each video
    assert all(hints.get("track", True) for _, _, hints in estimator.calls)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turns_frames_and_camera_upright(tmp_path: Path, estimator: Recorder, degrees: int) -> None:
    path = write_video(tmp_path / "clip.mp4", "mp4v")
    turn(path, degrees)
    camera = ("--fx", 50, "--fy", 55, "--cx", 20, "--cy", 15)
    assert infer(path, *camera, "--out", tmp_path / "out").exit_code == 0
    rgb, turned, _ = estimator.calls[0]
    upright = np.rot90(image(0), -degrees // 90)
    assert rgb.shape == upright.shape
    assert np.abs(rgb.astype(int) - upright).mean() < 6
    centre = {90: (HEIGHT - 1 - 15, 20), 180: (WIDTH - 1 - 20, HEIGHT - 1 - 15), 270: (15, WIDTH - 1 - 20)}
    assert (turned.cx, turned.cy) == centre[degrees]
    assert (turned.fx, turned.fy) == ((50, 55) if degrees == 180 else (55, 50))
    assert (turned.width, turned.height) == upright.shape[1::-1]


@pytest.mark.parametrize("broken", [(0,), (5,), (5, 6, 9)])
def test_skips_and_reports_broken_frames(
    tmp_path: Path, estimator: Recorder, broken: tuple[int, ...]
) -> None:
    path = write_video(tmp_path / "clip.mkv")
    break_frames(path, *broken)
    result = infer(path, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1
    frames = "1 frame" if len(broken) == 1 else f"{len(broken)} frames"
    numbers = ", ".join(map(str, broken))
    assert f"hand-depth: {path}: {frames} cannot be decoded, skipped: {numbers}\n" in result.stderr
    whole = [number for number in range(LENGTH) if number not in broken]
    assert [number_of(rgb) for rgb, _, _ in estimator.calls] == whole
    depths = [name for name in names(tmp_path / "out") if name.endswith("depth.png")]
    assert depths == [f"clip/{number:06d}.depth.png" for number in whole]


def test_reports_frames_that_are_missing_at_the_end(tmp_path: Path, estimator: Recorder) -> None:
    path = write_video(tmp_path / "clip.avi")
    break_frames(path, 9, 10, 11)
    result = infer(path, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "3 frames fewer than the file announces" in result.stderr
    assert len(estimator.calls) == 9


def test_video_writes_one_overlay_with_times_and_frame_rate(tmp_path: Path, estimator: Recorder) -> None:
    path = write_video(tmp_path / "clip.mp4", "mp4v")
    result = infer(path, "--hfov", 60, "--out", tmp_path / "out", "--video")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == ["clip.overlay.mp4"]
    frames, fps = read_frames(tmp_path / "out/clip.overlay.mp4")
    assert fps == FPS
    assert len(frames) == LENGTH and frames[0].shape == (HEIGHT, WIDTH, 3)
    disc = frames[0][HEIGHT // 2, WIDTH // 2].astype(int)
    assert np.abs(disc - image(0)[HEIGHT // 2, WIDTH // 2]).max() > 30, "the depth is drawn in"


def test_overlay_keeps_time_over_broken_frames(tmp_path: Path, estimator: Recorder) -> None:
    path = write_video(tmp_path / "clip.mkv")
    break_frames(path, 5, 6)
    assert infer(path, "--hfov", 60, "--out", tmp_path / "out", "--video").exit_code == 1
    frames, fps = read_frames(tmp_path / "out/clip.overlay.mp4")
    assert (len(frames), fps) == (LENGTH, FPS)
    corner = [round((float(rgb[-6:, -6:].mean()) - 10) / 15) for rgb in frames]
    assert corner == [0, 1, 2, 3, 4, 4, 4, 7, 8, 9, 10, 11]


def test_overlay_keeps_time_at_a_changing_frame_rate(tmp_path: Path) -> None:
    writer = OverlayVideo(tmp_path / "a.mp4", FPS)
    for number, time_s in enumerate((0.0, 0.05, 0.06, 0.20, 0.25)):
        writer.add(image(number), time_s)
    writer.close()
    frames, _ = read_frames(tmp_path / "a.mp4")
    assert [number_of(rgb) for rgb in frames] == [0, 1, 2, 2, 3, 4]


def test_an_interrupted_overlay_leaves_no_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi")

    class Breaking(Recorder):
        def estimate(self, rgb: np.ndarray, camera: Camera, **hints: Any) -> Any:
            if len(self.calls) == 4:
                raise KeyboardInterrupt
            return super().estimate(rgb, camera, **hints)

    def camera_of(width: int, height: int) -> Camera:
        return Camera.from_hfov(width, height, 60.0)

    with pytest.raises(KeyboardInterrupt):
        run_video(Video(path), Breaking(), camera_of, tmp_path / "out" / "clip", as_video=True)  # type: ignore[arg-type]
    assert names(tmp_path / "out") == []


def test_videos_of_one_name_do_not_overwrite_each_other(tmp_path: Path, estimator: Recorder) -> None:
    paths = [write_video(tmp_path / folder / "a.avi") for folder in ("left", "right")]
    assert infer(*paths, "--hfov", 60, "--out", tmp_path / "out").exit_code == 0
    depths = [name for name in names(tmp_path / "out") if name.endswith("depth.png")]
    assert len(depths) == 2 * LENGTH


def test_images_and_videos_may_be_mixed(tmp_path: Path, estimator: Recorder) -> None:
    path = write_video(tmp_path / "clip.avi")
    cv2.imwrite(str(tmp_path / "a.png"), sample_rgb(HEIGHT, WIDTH))
    result = infer(tmp_path / "a.png", path, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 image written" in result.stdout and "12 frames of" in result.stdout
    assert "a.depth.png" in names(tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"junk" * 100])
def test_an_unreadable_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    code = (
        "import sys; from hand_depth_ros.infer.video import Video; from pathlib import Path\n"
        "from hand_depth_ros.errors import ImageError\n"
        "try: Video(Path(sys.argv[1]))\n"
        "except ImageError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("OpenCV cannot read this video") and result.stderr == ""


def test_an_unreadable_video_does_not_stop_the_others(tmp_path: Path, estimator: Recorder) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    path = write_video(tmp_path / "clip.avi")
    result = infer(tmp_path / "bad.mp4", path, "--hfov", 60, "--out", tmp_path / "out")
    assert result.exit_code == 1 and len(estimator.calls) == LENGTH
    assert f"hand-depth: {tmp_path / 'bad.mp4'}: OpenCV cannot read this video" in result.stderr
    assert not (tmp_path / "out" / "bad").exists()


def test_wrong_options_for_videos_are_refused(tmp_path: Path, estimator: Recorder) -> None:
    path = write_video(tmp_path / "clip.avi")
    (tmp_path / "cameras.jsonl").write_text("{}")
    result = infer(path, "--cameras", tmp_path / "cameras.jsonl", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "--cameras lists images" in " ".join(result.stderr.split())
    cv2.imwrite(str(tmp_path / "a.png"), sample_rgb(HEIGHT, WIDTH))
    result = infer(tmp_path / "a.png", "--hfov", 60, "--video", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "--video is for videos" in " ".join(result.stderr.split())
    assert not estimator.calls and not (tmp_path / "out").exists()
