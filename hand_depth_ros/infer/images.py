"""Estimate image files and write 16-bit depth and sigma PNGs. Knows nothing of ROS.

`jobs_from_list` and `jobs_from_paths` pair images with cameras; `run` then estimates each image on
its own. A bad image is reported at the end and does not stop the others.
"""

from __future__ import annotations

import errno
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hand_depth_ros.errors import HandDepthError, ImageError, counted
from hand_depth_ros.estimation.bit_depth import CONTAINER_BITS, SENSOR_BITS, BitDepth, scale_to_8_bits
from hand_depth_ros.estimation.quantize import depth_to_mm, sigma_to_units
from hand_depth_ros.infer.orientation import find_orientation

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator
    from hand_depth_ros.estimation.result import HandDepthFrame
    from hand_depth_ros.geometry.boxes import Box
    from hand_depth_ros.geometry.camera import Camera
    from hand_depth_ros.infer.camera_list import ListedImage

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
OUTPUT_SUFFIXES = (".depth.png", ".sigma.png", ".overlay.png")
_ORIENTATION_TAG = re.compile(rb"(?i)exif|^(II\*\0|MM\0\*)")  # JPEG, PNG and WebP; or TIFF
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

CameraOf = Callable[[int, int], "Camera"]
"""Function from the width and height of an image (pixels) to its camera."""


@dataclass(frozen=True)
class Job:
    """One image to process.

    Attributes:
        path: Image file.
        name: Name of its outputs, relative to the output folder.
        camera: Its camera, or a function from its size to its camera.
        roi: Tight box of the hand, x, y, width, height in pixels; None to detect hands.
        hand_length_m: The person's hand length; None to use the estimator's.
    """

    path: Path
    name: str
    camera: Camera | CameraOf
    roi: Box | None = None
    hand_length_m: float | None = None


@dataclass(frozen=True)
class Summary:
    """Result of a run.

    Attributes:
        written: Images written.
        with_hands: Those with the depth of at least one hand.
        without_depth: Hands seen but without depth: out of range or not certain enough.
        errors: One line for each image that failed.
        bit_depths: How many 16-bit images hold only so many bits, by bit depth.
    """

    written: int = 0
    with_hands: int = 0
    without_depth: int = 0
    errors: tuple[str, ...] = ()
    bit_depths: Mapping[int, int] = field(default_factory=dict)


def jobs_from_paths(paths: Sequence[Path], camera_of: CameraOf) -> tuple[list[Job], list[str]]:
    """Collect the images among the paths, opening folders one level deep.

    Returns:
        The jobs, and an error line for each path without an image.
    """
    images: list[Path] = []
    errors: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            inside = [p for p in inside if not p.name.endswith(OUTPUT_SUFFIXES)]
            images += inside
            if not inside:
                errors.append(
                    f"{path}: no images in this folder\n"
                    f"    looked for {' '.join(sorted(SUFFIXES))}, not in subfolders"
                )
        elif path.is_file():
            images.append(path)
        else:
            errors.append(f"{path}: no such file or folder")
    images = list(dict.fromkeys(images))
    names = output_names(images)
    return [Job(path, name, camera_of) for path, name in zip(images, names, strict=True)], errors


def jobs_from_list(cameras: Path, paths: Sequence[Path]) -> tuple[list[Job], list[str]]:
    """Collect the images that a cameras.jsonl lists.

    They lie below the given folders or beside the list.

    Returns:
        The jobs, and an error line for each entry that is malformed or whose image is missing.

    Raises:
        DatasetError: The list itself cannot be read, or is empty.
    """
    from hand_depth_ros.infer.camera_list import read_camera_list

    listed = read_camera_list(cameras)
    errors = [f"{path}: no such file or folder" for path in paths if not path.exists()] + listed.errors
    if listed.ignored:
        print(
            f"hand-depth: {cameras}: unused keys: {', '.join(listed.ignored)}",
            file=sys.stderr,
        )
    found: dict[Path, ListedImage] = {}
    for one in listed.images:
        path = _find(one.image, paths, cameras.parent)
        if path is None:
            below = ", ".join(str(path) for path in paths)
            errors.append(f"{one.where}: the image {one.image} is neither below {below} nor beside the list")
        elif path in found:
            errors.append(f"{one.where}: the image {one.image} is listed twice: the first line is used")
        else:
            found[path] = one
    names = output_names([one.image for one in found.values()])
    jobs = [
        Job(path, name, one.camera, one.roi, one.hand_length_m)
        for (path, one), name in zip(found.items(), names, strict=True)
    ]
    return jobs, errors


def output_names(images: Sequence[Path]) -> list[str]:
    """Return the NAME of each image's outputs.

    That is its stem; where two collide, its path, then its path with extension, then a number.

    >>> output_names([Path("rgb/a.jpg"), Path("left/b.jpg"), Path("right/b.jpg")])
    ['a', 'left/b', 'right/b']
    """

    def relative(path: Path) -> str:
        parts = [part for part in path.parts if part not in (path.anchor, "..", ".")]
        return "/".join(parts)

    names = [path.stem for path in images]
    for name_of in (lambda path: relative(path.with_suffix("")), relative):
        count = Counter(names)
        names = [name_of(path) if count[name] > 1 else name for path, name in zip(images, names, strict=True)]
    taken: list[str] = []
    for name in names:  # ../b/a.jpg and b/a.jpg still collide
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        free = (other for other in numbered if other not in names and other not in taken)
        taken.append(next(free) if name in taken else name)
    return taken


def run(
    jobs: Iterable[Job],
    estimator: HandDepthEstimator,
    out: Path,
    overlay: bool = False,
    bit_depth: int = 0,
) -> Summary:
    """Estimate each image on its own and write its files below `out`.

    Failures are collected, not raised. A full disk, which every later image would meet too, ends
    the run.
    """
    from rich.console import Console
    from rich.progress import track

    written = with_hands = without_depth = 0
    errors: list[str] = []
    bit_depths: Counter[int] = Counter()
    todo = list(jobs)
    for number, job in enumerate(track(todo, description="infer", console=Console(stderr=True))):
        try:
            depth = BitDepth(bit_depth)
            rgb, camera = read_image(job, depth)
            frame = estimator.estimate(
                rgb,
                camera,
                rois=None if job.roi is None else [job.roi],
                hand_length_m=job.hand_length_m,
                track=False,
            )
            write_frame(out / job.name, rgb, frame, overlay)
        except HandDepthError as error:
            errors.append(f"{job.path}: {error}")
            continue
        except OSError as error:
            where = f"cannot write {error.filename}: " if _is_below(error.filename, out) else ""
            line = f"{job.path}: {where}{error.strerror or error}"
            if error.errno in DISK_FULL:
                left = counted(len(todo) - number - 1, "image")
                errors.append(f"{line} ({out}): stopped, {left} not done")
                break
            errors.append(line)
            continue
        written += 1
        if depth.bits in SENSOR_BITS and not bit_depth:
            bit_depths[depth.bits] += 1
        valid = depth_to_mm(frame.depth) > 0
        with_hands += bool(valid.any())
        seen = set(np.unique(frame.mask[frame.mask > 0]))
        without_depth += len(seen - set(np.unique(frame.mask[valid])))
    return Summary(written, with_hands, without_depth, tuple(errors), bit_depths)


def _is_below(file: object, folder: Path) -> bool:
    return isinstance(file, (str, Path)) and Path(file).absolute().is_relative_to(folder.absolute())


def read_image(job: Job, depth: BitDepth | None = None) -> tuple[np.ndarray, Camera]:
    """Return the pixels, (H, W, 3) uint8 RGB, and their camera.

    A photograph is turned upright as its EXIF says, unless its camera has the size of the stored
    pixels. A camera that is a function of the size is that of the stored pixels, and turns with
    them.

    Args:
        job: The image.
        depth: Holds the bit depth of a 16-bit image afterwards; None: it is inferred as well.

    Raises:
        ImageError: Not an image, not of the camera's size, or beyond the given bit depth.
    """
    import cv2

    depth = depth or BitDepth()

    data = job.path.read_bytes()
    encoded = np.frombuffer(data, np.uint8)
    upright = _decode(encoded, cv2.IMREAD_COLOR, depth)
    if upright is None:
        raise ImageError(
            "OpenCV cannot decode this image: copy it again if it is truncated, or convert it to PNG or JPEG"
            if encoded.size
            else "the file is empty: copy it again"
        )
    if callable(job.camera):
        as_stored = upright
        if _ORIENTATION_TAG.search(data):
            again = _decode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, depth)
            assert again is not None  # it was decoded above
            as_stored = again
        camera = job.camera(as_stored.shape[1], as_stored.shape[0])
        return upright, find_orientation(as_stored, upright).turn_camera(camera)
    size = (job.camera.height, job.camera.width)
    if upright.shape[:2] == size:
        return upright, job.camera
    stored = _decode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, depth)
    if stored is not None and stored.shape[:2] == size:
        return stored, job.camera
    raise ImageError(
        f"the image is {upright.shape[1]}x{upright.shape[0]} and its camera {size[1]}x{size[0]}: "
        "correct width and height, scaling fx fy cx cy if the image was resized"
    )


def write_frame(base: Path, rgb: np.ndarray, frame: HandDepthFrame, overlay: bool) -> None:
    """Write BASE.depth.png, BASE.sigma.png and, if `overlay`, BASE.overlay.png."""
    images = {"depth": depth_to_mm(frame.depth), "sigma": sigma_to_units(frame.sigma, frame.depth)}
    if overlay:
        from hand_depth_ros.estimation.overlay import overlay as draw

        images["overlay"] = draw(rgb, frame)[..., ::-1]
    base.parent.mkdir(parents=True, exist_ok=True)
    write_pngs({Path(f"{base}.{name}.png"): pixels for name, pixels in images.items()})


def write_pngs(images: Mapping[Path, np.ndarray]) -> None:
    """Write PNGs, replacing existing files: all of them or, if one cannot be written, none."""
    import cv2

    unfinished = {path: path.with_name(f".{path.name}.part") for path in images}
    try:
        for path, pixels in images.items():
            done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
            if not done:
                raise ImageError(f"{path}: cannot encode as PNG")
            unfinished[path].write_bytes(encoded.tobytes())
        for path, part in unfinished.items():
            part.replace(path)
    finally:
        for part in unfinished.values():
            part.unlink(missing_ok=True)


def _decode(encoded: np.ndarray, flags: int, depth: BitDepth) -> np.ndarray | None:
    """Return RGB uint8 (H, W, 3), contiguous; None where OpenCV cannot decode it."""
    import cv2

    if not encoded.size:
        return None
    try:
        bgr = cv2.imdecode(encoded, flags | cv2.IMREAD_ANYDEPTH)
        if bgr is not None and bgr.dtype == np.uint16 and depth.update(bgr) != CONTAINER_BITS:
            bgr = scale_to_8_bits(bgr, depth.update(bgr))
        elif bgr is not None and bgr.dtype != np.uint8:
            bgr = cv2.imdecode(encoded, flags)
    except cv2.error:
        return None
    return None if bgr is None else np.ascontiguousarray(bgr[..., ::-1])


def _find(relative: Path, paths: Sequence[Path], beside: Path) -> Path | None:
    for path in paths:
        if path.is_dir() and (path / relative).is_file():
            return path / relative
        if path.is_file() and path.parts[-len(relative.parts) :] == relative.parts:
            return path
    return beside / relative if (beside / relative).is_file() else None
