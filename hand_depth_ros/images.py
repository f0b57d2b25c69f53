"""`hand-depth infer`: image files in, 16-bit depth and sigma PNGs out. Knows nothing of ROS.

Which image has which camera is settled first (`jobs_of_list`, `jobs_of_paths`), then each image is estimated
on its own (`run`): a bad one is told at the end and does not stop the others.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from hand_depth_ros import options
from hand_depth_ros.errors import DatasetError, HandDepthError, ImageError

if TYPE_CHECKING:
    from hand_depth_ros.camera import Camera
    from hand_depth_ros.estimator import HandDepthEstimator, HandDepthFrame

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
OWN_ENDINGS = (".depth.png", ".sigma.png", ".overlay.png")
SIGMA_UNIT_M = 1e-4
MIN_HAND_M, MAX_HAND_M = options.HAND_LENGTH_RANGE_M
CAMERA_KEYS = ("width", "height", "fx", "fy", "cx", "cy", "distortion_model", "d")

CameraOf = Callable[[int, int], "Camera"]
"""Width and height of the image, pixels, to its camera."""


@dataclass(frozen=True)
class Job:
    """One image to do: its file, the name of its outputs, its camera, what is known of the hand."""

    path: Path
    name: str
    camera: Camera | CameraOf
    roi: tuple[float, float, float, float] | None = None
    hand_length_m: float | None = None


@dataclass(frozen=True)
class Summary:
    """What a run did: images written, how many of them show a hand, and one line for each that failed."""

    written: int
    with_hands: int
    errors: tuple[str, ...]


def infer(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for NAME.depth.png (mm) and NAME.sigma.png (0.1 mm).")
    ],
    cameras: Annotated[
        Path | None, typer.Option(help="cameras.jsonl: exactly the images that it lists are done.")
    ] = None,
    fx: Annotated[float | None, typer.Option(help="Focal length, pixels; with --fy --cx --cy.")] = None,
    fy: Annotated[float | None, typer.Option(help="Focal length, pixels.")] = None,
    cx: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    cy: Annotated[float | None, typer.Option(help="Principal point, pixels.")] = None,
    hfov: Annotated[float | None, typer.Option(help="Horizontal field of view, degrees.")] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write NAME.overlay.png.")] = False,
    hand_length_m: options.HandLength = None,
    max_hands: options.MaxHands = 2,
    min_range_m: options.MinRange = 0.1,
    max_range_m: options.MaxRange = 2.0,
    max_sigma_m: options.MaxSigma = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
) -> None:
    """Depth of the hands in image files.

    Writes NAME.depth.png (16-bit, mm, 0 = no hand) and NAME.sigma.png (16-bit, 0.1 mm). NAME is the file's
    name without its ending; images that share one keep their folders or endings in it. The camera comes from
    --cameras, from --fx --fy --cx --cy, or from --hfov.
    """
    given = [value is not None for value in (fx, fy, cx, cy)]
    ways = (cameras is not None) + any(given) + (hfov is not None)
    if ways != 1 or (any(given) and not all(given)):
        raise typer.BadParameter(
            "say the camera in one way: --cameras FILE, or --fx --fy --cx --cy, or --hfov DEGREES"
        )
    if hfov is not None and not 0.0 < hfov < 180.0:
        raise typer.BadParameter(f"--hfov is {hfov:g}: an angle between 0 and 180 degrees")

    values = options.checked(
        hand_length_m=hand_length_m,
        max_hands=max_hands,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
    )

    if cameras is not None:
        jobs, errors = jobs_of_list(cameras, paths)
    else:
        from hand_depth_ros.camera import Camera

        def camera_of(width: int, height: int) -> Camera:
            if hfov is not None:
                return Camera.from_hfov(width, height, hfov)
            assert fx is not None and fy is not None and cx is not None and cy is not None
            return Camera(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)

        jobs, errors = jobs_of_paths(paths, camera_of)

    estimator = options.load_estimator(weights, device, values)
    summary = run(jobs, estimator, out, overlay=overlay)
    errors += summary.errors
    print(f"{summary.written} images written to {out}, {summary.with_hands} with hands, {len(errors)} failed")
    for line in errors:
        print(f"hand-depth: {line}", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


def jobs_of_paths(paths: Sequence[Path], camera_of: CameraOf) -> tuple[list[Job], list[str]]:
    """The images among the paths, folders opened one level deep; and a line for each path that is none."""
    images: list[Path] = []
    errors: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            inside = [p for p in inside if not p.name.endswith(OWN_ENDINGS)]
            images += inside
            if not inside:
                errors.append(f"{path}: no images in this folder ({', '.join(sorted(SUFFIXES))})")
        elif path.is_file():
            images.append(path)
        else:
            errors.append(f"{path}: no such file or folder")
    images = list(dict.fromkeys(images))
    names = output_names(images)
    return [Job(path, name, camera_of) for path, name in zip(images, names, strict=True)], errors


def jobs_of_list(cameras: Path, paths: Sequence[Path]) -> tuple[list[Job], list[str]]:
    """The images that a cameras.jsonl lists, looked for below the given folders, then beside the list itself.

    Returns:
        The jobs, and a line for each entry that is malformed or whose image is missing.

    Raises:
        DatasetError: The list itself cannot be read.
    """
    from hand_depth_ros.camera import Camera

    try:
        lines = cameras.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{cameras}: {error}: give a cameras.jsonl, one JSON object a line") from error

    entries: list[tuple[Path, Path, dict[str, Any], Camera]] = []
    errors = [f"{path}: no such file or folder" for path in paths if not path.exists()]
    seen: set[Path] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{cameras}:{number}"
        try:
            entry = json.loads(line)
            relative = Path(entry["image"])
            camera = Camera(**{key: entry[key] for key in CAMERA_KEYS if entry.get(key) is not None})
            _check_hint(entry)
        except KeyError as error:
            errors.append(f"{where}: the key {error} is missing")
            continue
        except (ValueError, TypeError) as error:
            errors.append(f"{where}: {error}")
            continue
        path = _find(relative, paths, cameras.parent)
        if path is None:
            below = ", ".join(str(path) for path in paths)
            errors.append(f"{where}: the image {relative} is neither below {below} nor beside the list")
            continue
        if path in seen:
            errors.append(f"{where}: the image {relative} is listed twice: the first line counts")
            continue
        seen.add(path)
        entries.append((relative, path, entry, camera))

    names = output_names([relative for relative, *_ in entries])
    jobs = [
        Job(
            path,
            name,
            camera,
            roi=tuple(float(v) for v in entry["roi"]) if entry.get("roi") is not None else None,  # type: ignore[arg-type]
            hand_length_m=entry.get("hand_length_m"),
        )
        for (_, path, entry, camera), name in zip(entries, names, strict=True)
    ]
    return jobs, errors


def output_names(images: Sequence[Path]) -> list[str]:
    """The NAME of each image's outputs: its stem; where two collide, the path, then with its ending.

    >>> output_names([Path("rgb/a.jpg"), Path("left/b.jpg"), Path("right/b.jpg")])
    ['a', 'left/b', 'right/b']
    """

    def inside(path: Path) -> str:
        parts = [part for part in path.parts if part not in (path.anchor, "..", ".")]
        return "/".join(parts)

    ways = (
        lambda path: path.stem,
        lambda path: inside(path.with_suffix("")),
        inside,
    )
    names = [ways[0](path) for path in images]
    for way in ways[1:]:
        count = Counter(names)
        names = [way(path) if count[name] > 1 else name for path, name in zip(images, names, strict=True)]
    return names


def run(jobs: Iterable[Job], estimator: HandDepthEstimator, out: Path, overlay: bool = False) -> Summary:
    """Estimate each image on its own and write its files below `out`; failures are collected, not raised."""
    from rich.console import Console
    from rich.progress import track

    written = with_hands = 0
    errors: list[str] = []
    for job in track(list(jobs), description="infer", console=Console(stderr=True)):
        try:
            rgb, camera = read_image(job)
            frame = estimator.estimate(
                rgb,
                camera,
                rois=None if job.roi is None else [job.roi],
                hand_length_m=job.hand_length_m,
                track=False,
            )
            write_frame(out / job.name, rgb, frame, overlay)
        except (HandDepthError, OSError) as error:
            errors.append(f"{job.path}: {error}")
            continue
        written += 1
        with_hands += bool(frame.mask.any())
    return Summary(written, with_hands, tuple(errors))


def read_image(job: Job) -> tuple[np.ndarray, Camera]:
    """The pixels, (H, W, 3) uint8 RGB, and their camera.

    A photograph is turned upright as its EXIF says, unless its camera has the size of the pixels as stored.

    Raises:
        ImageError: Not an image, or not of the camera's size.
    """
    import cv2

    encoded = np.frombuffer(job.path.read_bytes(), np.uint8)
    upright = _decode(encoded, cv2.IMREAD_COLOR)
    if upright is None:
        raise ImageError("not an image that OpenCV can decode: convert it to PNG or JPEG")
    if callable(job.camera):
        return upright, job.camera(upright.shape[1], upright.shape[0])
    size = (job.camera.height, job.camera.width)
    if upright.shape[:2] == size:
        return upright, job.camera
    stored = _decode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if stored is not None and stored.shape[:2] == size:
        return stored, job.camera
    raise ImageError(
        f"the image is {upright.shape[1]}x{upright.shape[0]} and its camera {size[1]}x{size[0]}: "
        "correct width and height, scaling fx fy cx cy if the image was resized"
    )


def write_frame(base: Path, rgb: np.ndarray, frame: HandDepthFrame, overlay: bool) -> None:
    """Write BASE.depth.png, BASE.sigma.png and, if asked, BASE.overlay.png."""
    base.parent.mkdir(parents=True, exist_ok=True)
    write_png(Path(f"{base}.depth.png"), depth_to_mm(frame.depth))
    write_png(Path(f"{base}.sigma.png"), sigma_to_units(frame.sigma, frame.depth))
    if overlay:
        from hand_depth_ros.overlay import overlay as draw

        write_png(Path(f"{base}.overlay.png"), draw(rgb, frame)[..., ::-1])


def depth_to_mm(depth: np.ndarray) -> np.ndarray:
    """Metres with NaN to uint16 millimetres with 0, the pixels of `depth_registered/image_raw`."""
    from hand_depth_ros.ros.encode import encode_depth_mm

    return encode_depth_mm(depth)["data"].view("<u2").reshape(depth.shape)


def sigma_to_units(sigma: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Metres with NaN to uint16 tenths of a millimetre; 0 where the depth is invalid and nowhere else."""
    units = np.zeros(sigma.shape, np.uint16)
    valid = depth_to_mm(depth) > 0
    units[valid] = np.clip(np.rint(np.nan_to_num(sigma[valid], nan=np.inf) / SIGMA_UNIT_M), 1, 65535)
    return units


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG, replacing what was there in one step."""
    import cv2

    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise ImageError(f"{path}: cannot encode as PNG")
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(encoded.tobytes())
    unfinished.replace(path)


def _decode(encoded: np.ndarray, flags: int) -> np.ndarray | None:
    import cv2

    if not encoded.size:
        return None
    try:
        bgr = cv2.imdecode(encoded, flags)
    except cv2.error:
        return None
    return None if bgr is None else np.ascontiguousarray(bgr[..., ::-1])


def _check_hint(entry: dict[str, Any]) -> None:
    roi, length = entry.get("roi"), entry.get("hand_length_m")
    if roi is not None:
        numbers = [float(value) for value in roi]
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
            raise ValueError(f"roi is {roi}: give [x, y, width, height] in pixels, width and height above 0")
    if length is not None and not (isinstance(length, (int, float)) and MIN_HAND_M <= length <= MAX_HAND_M):
        raise ValueError(f"hand_length_m is {length}: give metres between {MIN_HAND_M} and {MAX_HAND_M}")


def _find(relative: Path, paths: Sequence[Path], beside: Path) -> Path | None:
    for path in paths:
        if path.is_dir() and (path / relative).is_file():
            return path / relative
        if path.is_file() and path.parts[-len(relative.parts) :] == relative.parts:
            return path
    return beside / relative if (beside / relative).is_file() else None
