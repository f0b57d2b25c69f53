"""Write the files of a data set, each complete or absent, so that a killed run can go on.

A view's line is in shards/NNNNN.jsonl only after all of its files are in place; cameras.jsonl is
put together from the shards, so it never lists a missing file.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np

from hand_depth_ros.errors import DatasetError, differences
from hand_depth_ros.synthesis.scene.views import View, visible_hands
from hand_depth_ros.synthesis.surface import FOREARM
from hand_depth_ros.synthesis.units import DEPTH_UNIT_M, RENDERED_UNIT_M


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the file and rename, so that a reader never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def _encoded(extension: str, image: np.ndarray, *options: int) -> bytes:
    ok, data = cv2.imencode(extension, image, list(options))
    if not ok:
        raise DatasetError(f"OpenCV cannot encode {extension} images of shape {image.shape}")
    return data.tobytes()


def _webp(rgba: np.ndarray, quality: int = 88) -> bytes:
    """Encode with lossy colour and lossless alpha."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "WEBP", quality=quality, alpha_quality=100, method=4)
    return out.getvalue()


class Writer:
    """Writes views under `folder`.

    settings are stored in dataset.json; a folder made with other settings raises DatasetError.
    transparent: images have an alpha channel, label maps are written and depth is that of
    everything; else of hands only.
    """

    def __init__(
        self, folder: Path, kind: str, settings: dict, transparent: bool = True, fps: float | None = None
    ) -> None:
        self.folder, self.transparent = Path(folder), transparent
        description = {"format": 1, "kind": kind, "depth_unit_m": DEPTH_UNIT_M, "transparent": transparent}
        if fps is not None:
            description["fps"] = fps
        description["made_with"] = settings
        path = self.folder / "dataset.json"
        if path.exists():
            found = json.loads(path.read_text())
            if found.get("made_with") != settings or found.get("kind") != kind:
                theirs = {"kind": found.get("kind"), **(found.get("made_with") or {})}
                mine = {"kind": kind, **settings}
                raise DatasetError(
                    f"{path} was made with other settings ({differences(theirs, mine)}): give the same to go on, or "
                    "another --out"
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise DatasetError(f"{self.folder} is not empty and holds no dataset.json: give an empty --out")
        write_atomically(path, (json.dumps(description, indent=1) + "\n").encode())

    def shard_path(self, shard: int) -> Path:
        """Return the path of the lines of one shard."""
        return self.folder / "shards" / f"{shard:05d}.jsonl"

    def done(self, shard: int, views: int) -> bool:
        """Return whether a shard holds that many views."""
        path = self.shard_path(shard)
        return path.exists() and len(path.read_text().splitlines()) >= views

    def write(self, view: View, rgba: np.ndarray) -> dict:
        """Write the files of one view and return its line."""
        name = f"{view.index:05d}"
        label, depth = view.hits.label, view.hits.depth
        mask = np.where(label < FOREARM, label, 0).astype(np.uint8)
        kept = depth if self.transparent else np.where(mask > 0, depth, 0)
        units = np.rint(kept / RENDERED_UNIT_M)
        units = np.where(units <= 65535, units, 0).astype(np.uint16)
        if self.transparent:
            image = f"rgb/{name}.webp"
            write_atomically(self.folder / image, _webp(rgba))
            write_atomically(self.folder / f"label/{name}.png", _encoded(".png", label))
        else:
            image = f"rgb/{name}.jpg"
            bgr = np.ascontiguousarray(rgba[..., 2::-1])
            write_atomically(self.folder / image, _encoded(".jpg", bgr, cv2.IMWRITE_JPEG_QUALITY, 72))
        write_atomically(
            self.folder / f"depth/{name}.png", _encoded(".png", units, cv2.IMWRITE_PNG_COMPRESSION, 9)
        )
        write_atomically(
            self.folder / f"mask/{name}.png", _encoded(".png", mask, cv2.IMWRITE_PNG_COMPRESSION, 9)
        )
        camera = view.camera
        line = {"image": image, "width": camera.width, "height": camera.height}
        line |= {
            "fx": round(camera.f, 4),
            "fy": round(camera.f, 4),
            "cx": round(camera.cx, 4),
            "cy": round(camera.cy, 4),
        }
        line |= {"hands": visible_hands(view), "person": view.person, "split": view.split}
        return line

    def finish_shard(self, shard: int, lines: list[dict]) -> None:
        """Make a shard's views part of the set."""
        write_atomically(self.shard_path(shard), "".join(json.dumps(line) + "\n" for line in lines).encode())
        shards = sorted((self.folder / "shards").glob("*.jsonl"))
        write_atomically(self.folder / "cameras.jsonl", b"".join(path.read_bytes() for path in shards))
