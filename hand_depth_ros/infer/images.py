"""`hand-depth infer`: image files in, 16-bit depth and sigma PNGs out. Knows nothing of ROS.

Which image has which camera is settled first (`jobs_of_list`, `jobs_of_paths`), then each image is estimated
on its own (`run`): a bad one is told at the end and does not stop the others.
"""

from __future__ import annotations

import errno
import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import HandDepthError, ImageError, counted

if TYPE_CHECKING:
    from hand_depth_ros.estimation.estimator import HandDepthEstimator, HandDepthFrame
    from hand_depth_ros.geometry.camera import Camera
    from hand_depth_ros.infer.camera_list import ListedImage

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
OWN_ENDINGS = (".depth.png", ".sigma.png", ".overlay.png")
SIGMA_UNIT_M = 1e-4
FULL = (errno.ENOSPC, errno.EDQUOT)

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
    """What a run did: images written, how many of them have depth, hands that were seen but have none (out of
    range or not sure enough), and one line for each image that failed."""

    written: int = 0
    with_hands: int = 0
    without_depth: int = 0
    errors: tuple[str, ...] = ()


def infer(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images (not their subfolders).")],
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
    max_hands: options.MaxHands = None,
    min_range_m: options.MinRange = None,
    max_range_m: options.MaxRange = None,
    max_sigma_m: options.MaxSigma = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Depth of the hands in image files, for example: hand-depth infer photos/ --hfov 69 --out depth/

    Writes NAME.depth.png (16-bit, mm, 0 = no hand) and NAME.sigma.png (16-bit, 0.1 mm). NAME is the file's
    name without its ending; images that share one keep their folders or endings in it. The camera comes from
    --cameras, from --fx --fy --cx --cy, or from --hfov.

    cameras.jsonl has one JSON object a line. Needed: image (path below the given folders or beside the list),
    width, height, fx, fy, cx, cy (pixels). If known: distortion_model (plumb_bob, rational_polynomial,
    equidistant) with its coefficients d, as in CameraInfo; roi ([x, y, width, height] of the hand, pixels);
    hand_length_m (metres). Other keys are ignored and told.

    Exit code: 0 when every image was done, 1 when one was not, 2 for wrong usage.
    """
    intrinsics = {"--fx": fx, "--fy": fy, "--cx": cx, "--cy": cy}
    missing = [name for name, value in intrinsics.items() if value is None]
    if (cameras is not None) + (len(missing) < 4) + (hfov is not None) != 1:
        raise typer.BadParameter(
            "say the camera in one way: --cameras FILE, or --fx --fy --cx --cy, or --hfov DEGREES"
        )
    if 0 < len(missing) < 4:
        raise typer.BadParameter(
            f"{' '.join(missing)} missing: all of --fx --fy --cx --cy are needed, in pixels"
        )
    for name, value in intrinsics.items():
        if value is not None and not (math.isfinite(value) and (value > 0 or name in ("--cx", "--cy"))):
            raise typer.BadParameter(
                f"{name} is {value:g}: a number of pixels is needed, a focal length above 0"
            )
    options.validate_hfov(hfov)
    options.validate_folder("--out", out)
    values = options.checked(
        hand_length_m=hand_length_m,
        max_hands=max_hands,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
        num_threads=threads,
    )

    if cameras is not None:
        jobs, errors = jobs_of_list(cameras, paths)
    else:
        from hand_depth_ros.geometry.camera import Camera

        def camera_of(width: int, height: int) -> Camera:
            if hfov is not None:
                return Camera.from_hfov(width, height, hfov)
            assert fx is not None and fy is not None and cx is not None and cy is not None
            return Camera(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)

        jobs, errors = jobs_of_paths(paths, camera_of)

    summary = Summary()
    if jobs:
        estimator = options.load_estimator(weights, device, values)
        summary = run(jobs, estimator, out, overlay=overlay)
    errors += summary.errors
    print(_told(summary, out, len(errors)))
    for line in errors:
        print(f"hand-depth: {line}", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


def _told(summary: Summary, out: Path, failed: int) -> str:
    """What a run did, in a line."""
    to = f" written to {out}" if summary.written else " written"
    parts = [counted(summary.written, "image") + to]
    if summary.written:
        parts.append(f"{summary.with_hands} with the depth of a hand")
    if summary.without_depth:
        hands = counted(summary.without_depth, "hand")
        parts.append(
            f"{hands} seen but out of range or not sure enough (--min-range-m, --max-range-m, --max-sigma-m)"
        )
    return ", ".join([*parts, f"{failed} failed"])


def jobs_of_paths(paths: Sequence[Path], camera_of: CameraOf) -> tuple[list[Job], list[str]]:
    """The images among the paths, folders opened one level deep; and what to say of each path that is none."""
    images: list[Path] = []
    errors: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            inside = [p for p in inside if not p.name.endswith(OWN_ENDINGS)]
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


def jobs_of_list(cameras: Path, paths: Sequence[Path]) -> tuple[list[Job], list[str]]:
    """The images that a cameras.jsonl lists, looked for below the given folders, then beside the list itself.

    Returns:
        The jobs, and a line for each entry that is malformed or whose image is missing.

    Raises:
        DatasetError: The list itself cannot be read, or is empty.
    """
    from hand_depth_ros.infer.camera_list import read_camera_list

    listed = read_camera_list(cameras)
    errors = [f"{path}: no such file or folder" for path in paths if not path.exists()] + listed.errors
    if listed.ignored:
        print(
            f"hand-depth: {cameras}: keys that mean nothing here: {', '.join(listed.ignored)}",
            file=sys.stderr,
        )
    found: dict[Path, ListedImage] = {}
    for one in listed.images:
        path = _find(one.image, paths, cameras.parent)
        if path is None:
            below = ", ".join(str(path) for path in paths)
            errors.append(f"{one.where}: the image {one.image} is neither below {below} nor beside the list")
        elif path in found:
            errors.append(f"{one.where}: the image {one.image} is listed twice: the first line counts")
        else:
            found[path] = one
    names = output_names([one.image for one in found.values()])
    jobs = [
        Job(path, name, one.camera, one.roi, one.hand_length_m)
        for (path, one), name in zip(found.items(), names, strict=True)
    ]
    return jobs, errors


def output_names(images: Sequence[Path]) -> list[str]:
    """The NAME of each image's outputs: its stem; where two collide, the path, then with its ending, then a number.

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
    taken: list[str] = []
    for name in names:  # ../b/a.jpg and b/a.jpg are still alike
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        free = (other for other in numbered if other not in names and other not in taken)
        taken.append(next(free) if name in taken else name)
    return taken


def run(jobs: Iterable[Job], estimator: HandDepthEstimator, out: Path, overlay: bool = False) -> Summary:
    """Estimate each image on its own and write its files below `out`; failures are collected, not raised. A full disk, which
    every later image would meet too, ends the run."""
    from rich.console import Console
    from rich.progress import track

    written = with_hands = without_depth = 0
    errors: list[str] = []
    todo = list(jobs)
    for number, job in enumerate(track(todo, description="infer", console=Console(stderr=True))):
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
        except HandDepthError as error:
            errors.append(f"{job.path}: {error}")
            continue
        except OSError as error:
            where = f"cannot write {error.filename}: " if _is_below(error.filename, out) else ""
            line = f"{job.path}: {where}{error.strerror or error}"
            if error.errno in FULL:
                left = counted(len(todo) - number - 1, "image")
                errors.append(f"{line} ({out}): stopped, {left} not done")
                break
            errors.append(line)
            continue
        written += 1
        valid = depth_to_mm(frame.depth) > 0
        with_hands += bool(valid.any())
        seen = set(np.unique(frame.mask[frame.mask > 0]))
        without_depth += len(seen - set(np.unique(frame.mask[valid])))
    return Summary(written, with_hands, without_depth, tuple(errors))


def _is_below(file: object, folder: Path) -> bool:
    return isinstance(file, (str, Path)) and Path(file).absolute().is_relative_to(folder.absolute())


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
        raise ImageError(
            "not a whole image that OpenCV can decode: get it again, or convert it to PNG or JPEG"
            if encoded.size
            else "the file is empty: get it again"
        )
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
    pictures = {"depth": depth_to_mm(frame.depth), "sigma": sigma_to_units(frame.sigma, frame.depth)}
    if overlay:
        from hand_depth_ros.estimation.overlay import overlay as draw

        pictures["overlay"] = draw(rgb, frame)[..., ::-1]
    base.parent.mkdir(parents=True, exist_ok=True)
    write_pngs({Path(f"{base}.{name}.png"): pixels for name, pixels in pictures.items()})


def depth_to_mm(depth: np.ndarray) -> np.ndarray:
    """Metres with NaN to uint16 millimetres with 0, the pixels of `depth_registered/image_raw`."""
    from hand_depth_ros.ros.messages.encode import encode_depth_mm

    return encode_depth_mm(depth)["data"].view("<u2").reshape(depth.shape)


def sigma_to_units(sigma: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Metres with NaN to uint16 tenths of a millimetre; 0 where the depth is invalid and nowhere else."""
    units = np.zeros(sigma.shape, np.uint16)
    valid = depth_to_mm(depth) > 0
    units[valid] = np.clip(np.rint(np.nan_to_num(sigma[valid], nan=np.inf) / SIGMA_UNIT_M), 1, 65535)
    return units


def write_pngs(pictures: Mapping[Path, np.ndarray]) -> None:
    """Write PNGs, replacing what was there: all or, when one cannot be written, none."""
    import cv2

    unfinished = {path: path.with_name(f".{path.name}.part") for path in pictures}
    try:
        for path, pixels in pictures.items():
            done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
            if not done:
                raise ImageError(f"{path}: cannot encode as PNG")
            unfinished[path].write_bytes(encoded.tobytes())
        for path, part in unfinished.items():
            part.replace(path)
    finally:
        for part in unfinished.values():
            part.unlink(missing_ok=True)


def _decode(encoded: np.ndarray, flags: int) -> np.ndarray | None:
    import cv2

    if not encoded.size:
        return None
    try:
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
