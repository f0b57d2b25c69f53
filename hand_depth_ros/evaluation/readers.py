"""Data sets with known truth; which layout one has is seen from its files.

folder       cameras.jsonl with rgb/ and depth/ (what ``hand-depth synth`` writes, and HandRGBD-like folders)
joints       NAME/ of images beside NAME.jsonl, whose lines have ``joints_mm`` and intrinsics
masks        NAME/ of images beside NAME.jsonl, whose lines have ``hands`` with landmarks; a .png of skin each
rhd, freihand, ho3d, dexycb   those public sets as published, see :mod:`.public`
backgrounds  a folder of plain images without hands
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_depth_ros.errors import CameraError, DatasetError, counted
from hand_depth_ros.evaluation import metrics, public
from hand_depth_ros.evaluation.samples import (
    Dataset,
    Sample,
    TrueHand,
    box_of_mask,
    box_of_points,
    image_files,
    read_image,
    read_json,
    read_jsonl,
    read_rgb,
)
from hand_depth_ros.geometry.camera import Camera

__all__ = ["Dataset", "Sample", "TrueHand", "image_files", "open_dataset"]

_GREY = 127
_HULL_GROWTH = 0.1  # of the landmark box's longer side


def open_dataset(
    path: Path,
    *,
    split: str | None = "val",
    limit: int | None = None,
    backgrounds: Path | None = None,
    hfov_deg: float = 60.0,
) -> Dataset:
    """Recognise and open a data set.

    ``split``: only these lines of a set that has splits (None: all). ``limit``: that many images, evenly
    spread. ``backgrounds``: photographs to lay behind a transparent set (grey without). ``hfov_deg``: of
    images whose camera is unknown. Raises DatasetError.
    """
    path = Path(path)
    notes: list[str] = []
    settings: dict[str, Any] = {}
    if (published := public.recognise(path)) is not None:
        layout = public.LAYOUTS[published]
        kind, root, read = published, path, layout.read
        lines, notes = layout.lines(path, split)
    else:
        kind, root, lines = _recognise(path)
        read = _READERS[kind]
    if kind == "folder":
        about = read_json(path / "dataset.json") if (path / "dataset.json").exists() else {}
        if not isinstance(about, dict):
            raise DatasetError(f"{path / 'dataset.json'} is no JSON object: {{...}} is needed.")
        settings["depth_unit_m"] = float(about.get("depth_unit_m", 0.001))
        settings["transparent"] = bool(about.get("transparent", False))
        if split is not None and lines:
            lines, note = _of_split(path, lines, split)
            notes.append(note)
        if settings["transparent"]:
            settings["backgrounds"] = image_files(backgrounds) if backgrounds else []
            if backgrounds and not settings["backgrounds"]:
                raise DatasetError(
                    f"there are no pictures in {backgrounds}: give photographs, or none for grey"
                )
            notes.append(f"transparent, laid over {'photographs' if backgrounds else 'grey'}")
    if backgrounds and not settings.get("transparent"):
        notes.append("not transparent: backgrounds have no part in it")
    if kind == "joints":
        length, said = _annotated_length(lines)
        notes += said
        settings["hand_length_m"] = length
    if kind == "masks" and (blind := [line for line in lines if not line.get("hands")]):
        lines = [line for line in lines if line.get("hands")]
        notes.append(f"{len(blind)} images without landmarks left out")
    if kind == "backgrounds":
        notes.append(
            "no annotation found: taken as pictures without hands, whatever is found counts as false"
        )
    if kind in ("masks", "backgrounds"):
        notes.append(f"camera unknown: {hfov_deg:g} degrees of horizontal field of view assumed")
    if not lines and published and split is not None:
        raise DatasetError(
            f"{path} has nothing of split {split!r} unpacked: unpack it too, or give --split all."
        )
    if not lines:
        raise DatasetError(
            f"{path} has no images to measure on: its list is empty, or nothing in it has a hand."
        )
    if limit is not None and limit < len(lines):
        picked = np.linspace(0, len(lines) - 1, limit).round().astype(int)
        lines = [lines[i] for i in picked]
        notes.append(f"{limit} images, evenly spread")
    return Dataset(path, kind, lines, root, read, tuple(notes), hfov_deg=hfov_deg, **settings)


def _of_split(path: Path, lines: list[dict[str, Any]], split: str) -> tuple[list[dict[str, Any]], str]:
    """The lines of a split and a note on them; all lines where none says its split. DatasetError: nothing in that split."""
    sizes = Counter(str(line["split"]) for line in lines if "split" in line)
    if not sizes:
        return lines, "the set has no splits: all of its images"
    if not sizes[split]:
        there = ", ".join(f"{name} ({counted(size, 'image')})" for name, size in sorted(sizes.items()))
        raise DatasetError(
            f"{path} has no images in split {split!r}, it has {there}: give --split one of {', '.join([*sizes, 'all'])}"
        )
    return [line for line in lines if line.get("split") == split], f"split {split}: {sizes[split]} images"


def _annotated_length(lines: list[dict[str, Any]]) -> tuple[float | None, list[str]]:
    """The hand length (m) of a joints set: the median over its lines of what the middle finger's bones say.

    One number for the set: a person's bones don't change from image to image, their annotation does, by 5 % and more.
    """
    all_joints = [np.asarray(line["joints_mm"], np.float64) / 1000 for line in lines if "joints_mm" in line]
    lengths = [metrics.hand_length_from_finger(joints) for joints in all_joints if joints.shape == (21, 3)]
    if not lengths:
        return None, []
    length = float(np.median(lengths))
    share = float(
        np.median([metrics.finger_fraction(joints) for joints in all_joints if joints.shape == (21, 3)])
    )
    return length, [
        f"hand length {1e3 * length:.0f} mm: median over the set of the middle finger's bones / {metrics.FINGER_FRACTION:g} "
        f"(they are {100 * share:.0f} % of the annotation's own chain from the wrist)"
    ]


def _recognise(path: Path) -> tuple[str, Path, list[dict[str, Any]]]:
    if not path.exists():
        raise DatasetError(f"{path} does not exist.")
    if path.is_dir() and (path / "cameras.jsonl").exists():
        missing = [name for name in ("rgb", "depth") if not (path / name).is_dir()]
        if missing:
            raise DatasetError(f"{path} has cameras.jsonl but no folder {' and '.join(missing)}.")
        return "folder", path, read_jsonl(path / "cameras.jsonl")
    for listing in (
        [path] if path.is_file() else [path.with_name(path.name + ".jsonl"), path / f"{path.name}.jsonl"]
    ):
        if listing.suffix == ".jsonl" and listing.exists():
            lines = read_jsonl(listing)
            if any("joints_mm" in line for line in lines):
                return "joints", listing.parent, lines
            if any("px" in hand for line in lines for hand in line.get("hands", [])):
                return "masks", listing.parent, lines
            raise DatasetError(f"{listing}: lines have neither joints_mm nor hands with px.")
    if path.is_dir() and (files := image_files(path)):
        return "backgrounds", path, [{"image": file.name} for file in files]
    raise DatasetError(
        f"{path} is no data set known here. Give a folder with cameras.jsonl, rgb/ and depth/; a folder or "
        ".jsonl of images with joints or with masks and landmarks; the folder that RHD, FreiHAND, HO-3D or DexYCB was "
        "unpacked into; or a folder of images without hands."
    )


def _folder_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    name = Path(_get(dataset, line, "image")).stem
    picture = read_image(dataset.root / line["image"], cv2.IMREAD_UNCHANGED)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, 2)
    rgb = np.ascontiguousarray(picture[..., 2::-1])
    if picture.shape[2] == 4:
        behind = _background(dataset, index, rgb.shape[:2])
        alpha = picture[..., 3:].astype(np.float32) / 255
        rgb = (rgb * alpha + behind * (1 - alpha)).round().astype(np.uint8)
    camera = _camera(dataset, line, rgb)
    raw = read_image(dataset.root / "depth" / f"{name}.png", cv2.IMREAD_UNCHANGED)
    if raw.dtype != np.uint16 or raw.shape != rgb.shape[:2]:
        raise DatasetError(
            f"{dataset.root}/depth/{name}.png is not a 16-bit picture of the colour picture's size."
        )
    depth = np.where(raw > 0, raw.astype(np.float32) * np.float32(dataset.depth_unit_m), np.float32(np.nan))
    mask_file = dataset.root / "mask" / f"{name}.png"
    mask = read_image(mask_file, cv2.IMREAD_GRAYSCALE) if mask_file.exists() else (raw > 0).astype(np.uint8)
    known = {int(hand.get("instance", 1)): hand for hand in line.get("hands", [])}
    hands = []
    for instance in (int(i) for i in np.unique(mask) if i):
        pixels = mask == instance
        about = known.get(instance, {})
        length = about.get("hand_length_m", line.get("hand_length_m"))
        box = box_of_mask(pixels)
        depth_m = np.where(pixels, depth, np.float32(np.nan))
        joints = np.asarray(about["joints_m"], np.float64) if about.get("joints_m") else None
        hands.append(TrueHand(box, pixels, depth_m, joints, float(length) if length else None))
    return Sample(name, rgb, camera, tuple(hands))


def _joints_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    rgb = read_rgb(dataset.root / _get(dataset, line, "image"))
    camera = _camera(dataset, line, rgb)
    joints = np.asarray(_get(dataset, line, "joints_mm"), np.float64) / 1000
    if joints.shape != (21, 3):
        raise DatasetError(f"{line['image']}: joints_mm is {joints.shape}, 21 x 3 is needed.")
    box = box_of_points(camera.project(joints))
    return Sample(
        Path(line["image"]).stem,
        rgb,
        camera,
        (TrueHand(box, joints=joints, hand_length_m=dataset.hand_length_m),),
    )


def _masks_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    file = dataset.root / _get(dataset, line, "image")
    rgb = read_rgb(file)
    height, width = rgb.shape[:2]
    skin = read_image(file.with_suffix(".png"), cv2.IMREAD_GRAYSCALE) > 127
    if skin.shape != (height, width):
        raise DatasetError(f"{file.with_suffix('.png')} is not of the size of {file.name}.")
    region = np.zeros((height, width), np.uint8)
    hands = []
    for hand in _get(dataset, line, "hands"):
        points = np.asarray(hand["px"], np.float64)[:, :2]
        box = box_of_points(points)
        hull = np.zeros_like(region)
        cv2.fillConvexPoly(hull, cv2.convexHull(points.round().astype(np.int32)), 1)
        reach = max(1, round(_HULL_GROWTH * max(box[2:])))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        region = np.maximum(region, cv2.dilate(hull, disc))
        hands.append(TrueHand(box))
    camera = Camera.from_hfov(width, height, dataset.hfov_deg)
    return Sample(file.stem, rgb, camera, tuple(hands), skin, region.astype(bool))


def _background_sample(dataset: Dataset, index: int, line: dict[str, Any]) -> Sample:
    rgb = read_rgb(dataset.root / line["image"])
    return Sample(
        Path(line["image"]).stem, rgb, Camera.from_hfov(rgb.shape[1], rgb.shape[0], dataset.hfov_deg)
    )


_READERS: dict[str, Callable[[Dataset, int, dict[str, Any]], Sample]] = {
    "folder": _folder_sample,
    "joints": _joints_sample,
    "masks": _masks_sample,
    "backgrounds": _background_sample,
}


def _background(dataset: Dataset, index: int, shape: tuple[int, int]) -> np.ndarray:
    """The photograph behind picture ``index``: always the same one, scaled to fill and cut in the middle."""
    if not dataset.backgrounds:
        return np.full((*shape, 3), _GREY, np.uint8)
    photo = read_rgb(dataset.backgrounds[(index * 7919) % len(dataset.backgrounds)])
    scale = max(shape[0] / photo.shape[0], shape[1] / photo.shape[1])
    size = (max(shape[1], round(photo.shape[1] * scale)), max(shape[0], round(photo.shape[0] * scale)))
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (photo.shape[0] - shape[0]) // 2, (photo.shape[1] - shape[1]) // 2
    return photo[top : top + shape[0], left : left + shape[1]]


def _camera(dataset: Dataset, line: dict[str, Any], rgb: np.ndarray) -> Camera:
    numbers = {name: _get(dataset, line, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    model = line.get("distortion_model")
    lens = {"distortion_model": model, "d": tuple(line.get("d", ()))} if model else {}
    try:
        camera = Camera(**numbers, **lens)
    except CameraError as error:
        raise DatasetError(f"{dataset.path}, image {line['image']}: {error}") from error
    if (camera.height, camera.width) != rgb.shape[:2]:
        size = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise DatasetError(f"{line['image']} is {size}, its line says {camera.width}x{camera.height}.")
    return camera


def _get(dataset: Dataset, line: dict[str, Any], key: str) -> Any:
    if key not in line:
        raise DatasetError(f"{dataset.path}: the line of {line.get('image', '?')} has no {key!r}.")
    return line[key]
