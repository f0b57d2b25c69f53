"""`hand-depth synth`: renders a data set, shard by shard; run it again to go on."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from hand_depth_ros.cli import options
from hand_depth_ros.errors import DatasetError


class Kind(str, Enum):
    """What a data set's pictures show."""

    crops = "crops"
    frames = "frames"
    clip = "clip"
    ego = "ego"
    holding = "holding"


class Exposure(str, Enum):
    """How bright skin is."""

    normal = "normal"
    over = "over"
    under = "under"
    mixed = "mixed"


def _images(folder: Path | None, what: str, endings: tuple[str, ...]) -> list[Path]:
    if folder is None:
        return []
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in endings)
    if not found:
        raise DatasetError(f"{folder} holds no {what} ({', '.join(endings)})")
    return found


def synth(
    out: Annotated[Path, typer.Option(help="Folder of the data set; an unfinished one is continued.")],
    count: Annotated[int, typer.Option(min=1, help="How many views there shall be, from --start on.")] = 1000,
    kind: Annotated[
        Kind,
        typer.Option(
            help="crops: one hand fills a square; frames: an upper body; ego: own hands at a desk; holding: a hand "
            "that holds a thing; clip: a film."
        ),
    ] = Kind.crops,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="What view k shows, its depth and labels depend on the seed and on k alone; colours differ in details.",
        ),
    ] = 0,
    size: Annotated[
        int | None, typer.Option(min=16, help="Side of a crop (192), or width of a 4:3 frame (640).")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Light paths per pixel; the denoiser does the rest.")
    ] = 4,
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
        typer.Option(help="Folder of textured meshes in metres (NAME/textured.obj) to hold; ego, holding."),
    ] = None,
    cloth: Annotated[
        Path | None, typer.Option(help="Folder of clothes' textures for sleeves; ego, holding.")
    ] = None,
    exposure: Annotated[
        Exposure,
        typer.Option(help="over: skin burnt white; under: nearly black; mixed: 20 % of each; ego, holding."),
    ] = Exposure.normal,
    held_out: Annotated[bool, typer.Option("--held-out", help="Mark every view as validation.")] = False,
    fps: Annotated[float, typer.Option(help="Frames per second of a clip, 1 to 240.")] = 12.0,
) -> None:
    """Render people's hands with exact depth, masks, joints and hand lengths (needs the extra `synth`)."""
    import os

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hand_depth_ros.synthesis.dataset import Writer
    from hand_depth_ros.synthesis.render.render import Renderer, bundled_maps
    from hand_depth_ros.synthesis.render.tonemap import tonemap
    from hand_depth_ros.synthesis.scene.assets import Assets
    from hand_depth_ros.synthesis.scene.clip import clip_view
    from hand_depth_ros.synthesis.scene.crops import crop_view
    from hand_depth_ros.synthesis.scene.ego import ego_view
    from hand_depth_ros.synthesis.scene.frames import frame_view
    from hand_depth_ros.synthesis.scene.holding import holding_view
    from hand_depth_ros.synthesis.scene.objects import object_folders, texture_of
    from hand_depth_ros.synthesis.scene.views import GENERATOR, VIEWS_PER_PERSON, View

    options.validate_folder("--out", out)
    if not 1 <= fps <= 240:
        raise typer.BadParameter(f"--fps is {fps:g}: frames per second, 1 to 240")
    size = size or (192 if kind is Kind.crops else 640)
    skin_files = _images(skins, "skin textures", (".png", ".jpg", ".jpeg"))
    maps = bundled_maps() + _images(hdris, "environment maps", (".hdr", ".exr"))
    settings: dict[str, Any] = {"generator": GENERATOR, "seed": seed, "size": size, "samples": samples}
    settings |= {"skins": [path.name for path in skin_files], "hdris": [path.name for path in maps]}
    folders = object_folders(objects) if objects is not None else []
    cloths = [
        path
        for path in _images(cloth, "clothes' textures", (".png", ".jpg", ".jpeg"))
        if "normal" not in path.stem
    ]
    posed = kind in (Kind.ego, Kind.holding)
    if not posed and (folders or cloths or exposure is not Exposure.normal):
        raise typer.BadParameter("--objects, --cloth and --exposure are of --kind ego and holding")
    if posed:
        settings |= {"objects": [path.name for path in folders], "cloth": [path.name for path in cloths]}
        settings["exposure"] = exposure.value
    if held_out:
        settings["held_out"] = True
    if kind is Kind.clip:
        settings["count"] = count
    assets = Assets(tuple(folders), len(cloths), exposure.value)
    clip = kind is Kind.clip
    writer = Writer(out, kind.value, settings, transparent=not clip, fps=fps if clip else None)
    frame = (size, size * 3 // 4)

    def view(k: int) -> View:
        if kind is Kind.crops:
            return crop_view(seed, k, size)
        if kind is Kind.ego:
            return ego_view(seed, k, frame, assets)
        if kind is Kind.holding:
            return holding_view(seed, k, frame, assets)
        return frame_view(seed, k, frame) if kind is Kind.frames else clip_view(seed, k, count, frame)

    if start % VIEWS_PER_PERSON:
        raise DatasetError(
            f"--start is {start}: give a multiple of {VIEWS_PER_PERSON}, the views of one person"
        )
    shards = [
        range(k, min(k + VIEWS_PER_PERSON, start + count))
        for k in range(start, start + count, VIEWS_PER_PERSON)
    ]
    todo = [views for views in shards if not writer.done(views[0] // VIEWS_PER_PERSON, len(views))]
    renderer = None
    columns = (TextColumn(f"{kind.value}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("views", total=count, completed=count - sum(map(len, todo)))
        for views in todo:
            lines = []
            for k in views:
                renderer = renderer or Renderer(
                    samples, threads or os.cpu_count() or 1, skin_files, maps, not clip,
                    [texture_of(path) for path in folders], cloths,
                )  # fmt: skip
                shown = replace(view(k), split="val") if held_out else view(k)
                light = renderer.render(shown.surface, shown.camera, shown.look, shown.light, shown.seed)
                lines.append(writer.write(shown, tonemap(light, shown.hits.label, shown.look, shown.light)))
                progress.advance(task)
            writer.finish_shard(views[0] // VIEWS_PER_PERSON, lines)
