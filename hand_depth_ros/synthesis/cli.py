"""`hand-depth synth`: render a data set, shard by shard; run it again to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import DatasetError

if TYPE_CHECKING:
    from hand_depth_ros.synthesis.dataset import Writer
    from hand_depth_ros.synthesis.render.renderer import Renderer
    from hand_depth_ros.synthesis.scene.views import View

_IMAGES, _MAPS = (".png", ".jpg", ".jpeg"), (".hdr", ".exr")


class Kind(str, Enum):
    """Content of a data set's images."""

    crops = "crops"
    frames = "frames"
    clip = "clip"
    ego = "ego"
    holding = "holding"


class Exposure(str, Enum):
    """Exposure of skin."""

    normal = "normal"
    over = "over"
    under = "under"
    mixed = "mixed"


_FURNISHED = (Kind.ego, Kind.holding)


@dataclass(frozen=True)
class _Files:
    """The files that a set is rendered with."""

    skins: list[Path]
    maps: list[Path]
    objects: list[Path]
    cloths: list[Path]


def _listed(folder: Path | None, what: str, endings: tuple[str, ...]) -> list[Path]:
    if folder is None:
        return []
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in endings)
    if not found:
        raise DatasetError(f"{folder} holds no {what} ({', '.join(endings)})")
    return found


def _settings(
    kind: Kind, files: _Files, exposure: Exposure, held_out: bool, rest: dict[str, Any]
) -> dict[str, Any]:
    """Return what dataset.json pins: a set is never continued with other settings."""
    from hand_depth_ros.synthesis.scene.views import GENERATOR

    settings = {"generator": GENERATOR, **rest}
    settings |= {"skins": [path.name for path in files.skins], "hdris": [path.name for path in files.maps]}
    if kind in _FURNISHED:
        settings |= {
            "objects": [path.name for path in files.objects],
            "cloth": [path.name for path in files.cloths],
            "exposure": exposure.value,
        }
    if held_out:
        settings["held_out"] = True
    return settings


def _view_maker(
    kind: Kind, seed: int, size: int, count: int, files: _Files, exposure: Exposure
) -> Callable[[int], View]:
    """Return the function from a view's number to the view."""
    from hand_depth_ros.synthesis.scene.assets import Assets
    from hand_depth_ros.synthesis.scene.clip import clip_view
    from hand_depth_ros.synthesis.scene.crops import crop_view
    from hand_depth_ros.synthesis.scene.ego import ego_view
    from hand_depth_ros.synthesis.scene.frames import frame_view
    from hand_depth_ros.synthesis.scene.holding import holding_view

    frame = (size, size * 3 // 4)
    assets = Assets(tuple(files.objects), len(files.cloths), exposure.value)
    makers: dict[Kind, Callable[[int], View]] = {
        Kind.crops: lambda k: crop_view(seed, k, size),
        Kind.frames: lambda k: frame_view(seed, k, frame),
        Kind.ego: lambda k: ego_view(seed, k, frame, assets),
        Kind.holding: lambda k: holding_view(seed, k, frame, assets),
        Kind.clip: lambda k: clip_view(seed, k, count, frame),
    }
    return makers[kind]


def _shards(start: int, count: int, per_person: int) -> list[range]:
    """Return the views of each person."""
    if start % per_person:
        raise DatasetError(f"--start is {start}: give a multiple of {per_person}, the views of one person")
    return [range(k, min(k + per_person, start + count)) for k in range(start, start + count, per_person)]


def _render(
    writer: Writer, shards: list[range], view: Callable[[int], View], renderer: Callable[[], Renderer]
) -> None:
    """Render and write the shards that are missing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hand_depth_ros.synthesis.render.tonemap import tonemap
    from hand_depth_ros.synthesis.scene.views import VIEWS_PER_PERSON

    todo = [views for views in shards if not writer.done(views[0] // VIEWS_PER_PERSON, len(views))]
    count = sum(map(len, shards))
    draw = renderer() if todo else None
    with Progress(TextColumn("views"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task("views", total=count, completed=count - sum(map(len, todo)))
        for views in todo:
            lines = []
            for k in views:
                assert draw is not None
                shown = view(k)
                light = draw.render(shown.surface, shown.camera, shown.look, shown.light, shown.seed)
                lines.append(writer.write(shown, tonemap(light, shown.hits.label, shown.look, shown.light)))
                progress.advance(task)
            writer.finish_shard(views[0] // VIEWS_PER_PERSON, lines)


def synth(
    out: Annotated[Path, typer.Option(help="Folder of the data set; an unfinished one is continued.")],
    count: Annotated[int, typer.Option(min=1, help="Number of views, from --start on.")] = 1000,
    kind: Annotated[
        Kind,
        typer.Option(
            help="crops: one hand fills a square; frames: an upper body; ego: own hands at a desk; "
            "holding: a hand that holds a thing; clip: a short video."
        ),
    ] = Kind.crops,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Content, depth and labels of view k depend on the seed and on k alone; colours differ in details.",
        ),
    ] = 0,
    size: Annotated[
        int | None, typer.Option(min=16, help="Side of a crop (192), or width of a 4:3 frame (640).")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Light paths per pixel, before denoising.")] = 4,
    threads: Annotated[int, typer.Option(min=0, help="Threads of the path tracer; 0: all cores.")] = 2,
    start: Annotated[int, typer.Option(min=0, help="First view: several machines can share a set.")] = 0,
    skins: Annotated[
        Path | None, typer.Option(help="Folder of MakeHuman skin textures; procedural skin without.")
    ] = None,
    hdris: Annotated[
        Path | None, typer.Option(help="Folder of environment maps beside bpy's own eight.")
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(help="Folder of textured meshes in metres, NAME/textured.obj, to hold (ego, holding)."),
    ] = None,
    cloth: Annotated[
        Path | None, typer.Option(help="Folder of clothes' textures for sleeves (ego, holding).")
    ] = None,
    exposure: Annotated[
        Exposure,
        typer.Option(help="over: skin burnt white; under: nearly black; mixed: 20 % of each (ego, holding)."),
    ] = Exposure.normal,
    held_out: Annotated[bool, typer.Option("--held-out", help="Mark every view as validation.")] = False,
    fps: Annotated[float, typer.Option(help="Frames per second of a clip, 1 to 240.")] = 12.0,
) -> None:
    """Render hands with exact depth, masks, joints and hand lengths (needs the extra `synth`)."""
    import os

    from hand_depth_ros.synthesis.dataset import Writer
    from hand_depth_ros.synthesis.render.blender import bundled_maps
    from hand_depth_ros.synthesis.render.renderer import Renderer, RenderFiles
    from hand_depth_ros.synthesis.scene.objects import object_folders, texture_of
    from hand_depth_ros.synthesis.scene.views import VIEWS_PER_PERSON

    options.validate_folder("--out", out)
    if not 1 <= fps <= 240:
        raise typer.BadParameter(f"--fps is {fps:g}: frames per second, 1 to 240")
    if kind not in _FURNISHED and (objects or cloth or exposure is not Exposure.normal):
        raise typer.BadParameter("--objects, --cloth and --exposure go with --kind ego or holding")
    size = size or (192 if kind is Kind.crops else 640)
    clip = kind is Kind.clip
    files = _Files(
        _listed(skins, "skin textures", _IMAGES),
        bundled_maps() + _listed(hdris, "environment maps", _MAPS),
        [] if objects is None else object_folders(objects),
        [path for path in _listed(cloth, "clothes' textures", _IMAGES) if "normal" not in path.stem],
    )
    rest: dict[str, Any] = {"seed": seed, "size": size, "samples": samples}
    settings = _settings(kind, files, exposure, held_out, rest | ({"count": count} if clip else {}))
    writer = Writer(out, kind.value, settings, transparent=not clip, fps=fps if clip else None)
    make_view = _view_maker(kind, seed, size, count, files, exposure)

    def view(k: int) -> View:
        return replace(make_view(k), split="val") if held_out else make_view(k)

    def renderer() -> Renderer:
        textures = tuple(texture_of(folder) for folder in files.objects)
        render_files = RenderFiles(tuple(files.skins), tuple(files.maps), textures, tuple(files.cloths))
        return Renderer(render_files, samples, threads or os.cpu_count() or 1, not clip)

    _render(writer, _shards(start, count, VIEWS_PER_PERSON), view, renderer)
