"""The photograph: Cycles path-traces a Surface and returns linear light.

One Renderer a process: Blender's scene is global.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hand_depth_ros.synthesis.appearance import Light, Look
from hand_depth_ros.synthesis.render.blender import bundled_maps, load_bpy, load_image, mean_colour, muted
from hand_depth_ros.synthesis.render.materials import Materials
from hand_depth_ros.synthesis.render.raycast import Pinhole
from hand_depth_ros.synthesis.rotations import rotation
from hand_depth_ros.synthesis.surface import Surface


@dataclass(frozen=True)
class RenderFiles:
    """Files to render with.

    Without skins, skin is procedural; without maps, bpy's own are the environment; textures are
    those of objects.
    """

    skins: tuple[Path, ...] = ()
    maps: tuple[Path, ...] = ()
    textures: tuple[Path, ...] = ()
    cloths: tuple[Path, ...] = ()


class Renderer:
    """Draws Surfaces."""

    def __init__(
        self, files: RenderFiles, samples: int = 8, threads: int = 2, transparent: bool = True
    ) -> None:
        bpy = self._bpy = load_bpy()
        self._maps = list(files.maps) or bundled_maps()
        self._current_map = -1
        self._folder = tempfile.TemporaryDirectory(prefix="hand_depth_synth_")
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene = bpy.context.scene
        self._configure(samples, threads, transparent)
        self._make_world()
        self._make_camera()
        self._mesh = bpy.data.meshes.new("person")
        self._scene.collection.objects.link(bpy.data.objects.new("person", self._mesh))
        self._materials = Materials(
            bpy, self._mesh, list(files.skins), list(files.cloths), list(files.textures),
            Path(self._folder.name),
        )  # fmt: skip

    def _configure(self, samples: int, threads: int, transparent: bool) -> None:
        render, cycles = self._scene.render, self._scene.cycles
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

    def _make_world(self) -> None:
        bpy = self._bpy
        world = bpy.data.worlds.new("world")
        self._scene.world = world
        world.use_nodes = True
        # The map is importance-sampled at this resolution; Blender's own choice costs 2.3 s a map.
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
        self._camera.sensor_fit, self._camera.sensor_width = "HORIZONTAL", 36.0
        self._camera.clip_start = 0.005
        self._camera_object = bpy.data.objects.new("camera", self._camera)
        self._scene.collection.objects.link(self._camera_object)
        self._scene.camera = self._camera_object

    def _set_light(self, light: Light, turn: np.ndarray) -> None:
        """Set map and lamp; the scene turns in the map, which saves sampling the map again."""
        from mathutils import Vector

        key = light.map % len(self._maps)
        if key != self._current_map:
            image = load_image(self._maps[key])
            self._map.image = image
            mean = float(mean_colour(image) @ [0.3, 0.6, 0.1])
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
        # Blender's shift is in image widths, right and up, from the middle (W - 1) / 2.
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
        mesh.polygons.foreach_set("material_index", self._materials.assign(surface.material).astype(np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(count, bool))
        layer = mesh.uv_layers.new(name="uv")
        layer.data.foreach_set("uv", surface.uv.astype(np.float32).ravel())
        tint = mesh.attributes.new("tint", "FLOAT_VECTOR", "POINT")
        tint.data.foreach_set("vector", surface.tint.astype(np.float32).ravel())
        mesh.update(calc_edges=True)

    def render(self, surface: Surface, camera: Pinhole, look: Look, light: Light, seed: int) -> np.ndarray:
        """Return linear light (H, W, 4) float32, premultiplied by its alpha."""
        turn = rotation(np.array(light.turn))
        self._set_surface(surface, turn)
        self._set_camera(camera, turn)
        self._materials.set(look)
        self._set_light(light, turn)
        self._scene.cycles.seed = seed % 2**31
        path = Path(self._folder.name) / "render.exr"
        self._scene.render.filepath = str(path)
        with muted():
            self._bpy.ops.render.render(write_still=True)
        image = self._bpy.data.images.load(str(path))
        try:
            pixels = np.empty(camera.width * camera.height * 4, np.float32)
            image.pixels.foreach_get(pixels)
        finally:
            self._bpy.data.images.remove(image)
        return pixels.reshape(camera.height, camera.width, 4)[::-1].copy()
