"""Estimate video files frame by frame: depth PNGs or an overlay video. Knows nothing of ROS.

Hands are followed from frame to frame. A frame that cannot be decoded is skipped and reported;
time, rotation and frame rate are those of the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hand_depth_ros.errors import ImageError, counted
from hand_depth_ros.infer.images import CameraOf, write_frame
from hand_depth_ros.infer.orientation import Orientation

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator
    from hand_depth_ros.geometry.camera import Camera

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})
MAX_GAP_S = 2.0
"""After a gap this long, tracking starts over, as in the live node."""
DEFAULT_FPS = 30.0
"""Frame rate of files that name none."""

_ESTIMATED_LENGTH = frozenset({".mkv", ".webm"})  # their number of frames is computed from the duration
_TURNS = {  # degrees, clockwise
    90: Orientation(swap_axes=True, mirror_x=True),
    180: Orientation(mirror_x=True, mirror_y=True),
    270: Orientation(swap_axes=True, mirror_y=True),
}


class VideoFrame(NamedTuple):
    """A decoded frame: its number in the file, its time in seconds, upright RGB (H, W, 3) uint8."""

    number: int
    time_s: float
    rgb: np.ndarray


@dataclass
class VideoSummary:
    """Result of a run.

    Attributes:
        written: Frames written.
        with_hands: Those with the depth of at least one hand.
        broken: Numbers of the frames that cannot be decoded.
        missing: Frames that the file announces and lacks: at its end, or dropped by the decoder.
    """

    written: int = 0
    with_hands: int = 0
    broken: list[int] = field(default_factory=list)
    missing: int = 0


class Video:
    """A video file that OpenCV reads.

    Attributes:
        path: The file.
        fps: Frames per second.
        length: Number of frames that the file announces.
        broken: Numbers of the frames that could not be decoded so far.
        missing: Frames that the file announces and lacks, known at the end.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; ImageError if OpenCV cannot read it or it has no frames."""
        import cv2

        self.path = path
        with _quiet():
            self._capture: Any = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise ImageError(
                "OpenCV cannot read this video: copy it again if it is truncated, or convert it to another "
                "format, for example mp4 with H.264"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0.0 < fps < 1000.0 else DEFAULT_FPS
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.broken: list[int] = []
        self.missing = 0
        turned = self._capture.get(cv2.CAP_PROP_ORIENTATION_AUTO)
        degrees = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360 if turned else 0
        self._orientation = _TURNS.get(degrees, Orientation())

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def camera(self, frame: VideoFrame, camera_of: CameraOf) -> Camera:
        """Return the camera of an upright frame; `camera_of` describes the pixels as stored."""
        height, width = frame.rgb.shape[:2]
        if self._orientation.swap_axes:
            width, height = height, width
        return self._orientation.turn_camera(camera_of(width, height))

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the frames that can be decoded, in order."""
        import cv2

        number, failed = 0, list[int]()
        while True:
            with _quiet():
                decoded, bgr = self._capture.read()
            if decoded:
                self.broken += failed
                failed = []
                time_s = 1e-3 * self._capture.get(cv2.CAP_PROP_POS_MSEC)
                if number and time_s <= 0.0:  # the file has no times
                    time_s = number / self.fps
                yield VideoFrame(number, time_s, np.ascontiguousarray(bgr[..., ::-1]))
            elif number >= self.length:
                break
            else:
                failed.append(number)
            number += 1
        may_be_wrong = self.path.suffix.lower() in _ESTIMATED_LENGTH and len(failed) == 1
        self.missing = 0 if may_be_wrong else len(failed)


def run_video(
    video: Video,
    estimator: HandDepthEstimator,
    camera_of: CameraOf,
    base: Path,
    overlay: bool = False,
    as_video: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> VideoSummary:
    """Estimate every frame and write BASE/000000.depth.png ... and BASE/times.csv.

    Args:
        video: The opened video.
        estimator: Its tracks are reset first.
        camera_of: Function from the size of the stored pixels to the camera.
        base: Path and name of the outputs.
        overlay: Also write BASE/000000.overlay.png ...
        as_video: Write only BASE.overlay.mp4, with the video's times and frame rate.
        progress: Called after each frame.

    Raises:
        CameraError: There is no such camera.
        ImageError: No frame can be decoded, or the overlay video cannot be written.
        OSError: The disk refuses a file.
    """
    from hand_depth_ros.estimation.overlay import overlay as draw

    estimator.reset()
    summary, times, last_time_s = VideoSummary(), ["frame,time_s"], 0.0
    writer = OverlayVideo(Path(f"{base}.overlay.mp4"), video.fps) if as_video else None
    try:
        for frame in video.frames():
            if abs(frame.time_s - last_time_s) > MAX_GAP_S:
                estimator.reset()
            last_time_s = frame.time_s
            estimate = estimator.estimate(frame.rgb, video.camera(frame, camera_of))
            if writer is not None:
                writer.add(draw(frame.rgb, estimate), frame.time_s)
            else:
                write_frame(base / f"{frame.number:06d}", frame.rgb, estimate, overlay)
                times.append(f"{frame.number},{frame.time_s:.6f}")
            summary.written += 1
            summary.with_hands += bool(np.isfinite(estimate.depth).any())
            progress()
        if not summary.written:
            raise ImageError("the video has no frame that can be decoded: copy it again")
        if writer is not None:
            writer.close()
        else:
            (base / "times.csv").write_text("\n".join(times) + "\n")
    finally:
        if writer is not None:
            writer.abort()
    summary.broken, summary.missing = video.broken, video.missing
    return summary


class OverlayVideo:
    """Writer of an mp4 that appears only when it is complete."""

    def __init__(self, path: Path, fps: float) -> None:
        """Remember where to write; the file begins with the first image."""
        self._path, self._fps = path, fps
        self._part = path.with_name(f".{path.stem}.part.mp4")
        self._writer: Any = None
        self._written = 0
        self._last: np.ndarray | None = None

    def add(self, rgb: np.ndarray, time_s: float) -> None:
        """Show an image (H, W, 3) from this time on; the last one fills a gap before it."""
        import cv2

        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            size = (rgb.shape[1], rgb.shape[0])
            with _quiet():
                codec = cv2.VideoWriter.fourcc(*"mp4v")
                self._writer = cv2.VideoWriter(str(self._part), codec, self._fps, size)
            if not self._writer.isOpened():
                raise ImageError(f"{self._path}: OpenCV cannot write this video: leave out --video")
        due = round(time_s * self._fps)
        while self._last is not None and self._written < due:
            self._write(self._last)
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        if self._written <= due or self._last is None:
            self._write(bgr)
        self._last = bgr

    def close(self) -> None:
        """Finish the file; ImageError if it is not complete, for example on a full disk."""
        import cv2

        self._writer.release()
        with _quiet():
            check = cv2.VideoCapture(str(self._part))
            length = int(check.get(cv2.CAP_PROP_FRAME_COUNT))
            check.release()
        if length != self._written:
            raise ImageError(
                f"{self._path}: {length} of {counted(self._written, 'frame')} could be written: is the disk full?"
            )
        self._part.replace(self._path)

    def abort(self) -> None:
        """Remove the file unless it is complete."""
        if self._writer is not None:
            self._writer.release()
        self._part.unlink(missing_ok=True)

    def _write(self, bgr: np.ndarray) -> None:
        self._writer.write(bgr)
        self._written += 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from printing: what is wrong is said in one line of ours."""
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
