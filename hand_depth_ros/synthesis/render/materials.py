"""Materials of people and things; each is made once and set for every view's look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.synthesis.appearance import Look
from hand_depth_ros.synthesis.render.blender import bundled_nails, load_image, mean_colour
from hand_depth_ros.synthesis.render.fabric import PATCHES, fabric_patch
from hand_depth_ros.synthesis.render.nodes import Shader
from hand_depth_ros.synthesis.surface import TEXTURED

_SKIN_GAMMA = 1.7  # contrast: creases and veins survive the denoiser
_FRECKLES, _INK = (0.62, 0.48, 0.40), (0.1, 0.12, 0.16)
_DYED = 0.6  # fraction of the fabrics that take the look's colour
_GOLD, _STEEL = (0.9, 0.62, 0.28), (0.75, 0.75, 0.77)


class Skin:
    """Skin with nails, freckles and tattoos.

    From textures where there are some, else procedural.
    """

    def __init__(self, bpy: Any, textures: list[Path]) -> None:
        shader = self.shader = Shader(bpy, "skin")
        self._textures, self._means = textures, dict[int, np.ndarray]()
        shader.inputs["Subsurface Weight"].default_value = 0.15
        shader.inputs["Subsurface Radius"].default_value = (1.0, 0.35, 0.2)
        shader.inputs["Subsurface Scale"].default_value = 0.003
        noise = shader.bump(scale=600.0, strength=0.25)
        self._tone = shader.multiply(self._base(noise))
        painted = shader.multiply(self._tone.outputs[2], shader.attribute("tint"))
        colour = self._with_marks(painted.outputs[2])
        shader.link(self._with_nails(colour), shader.inputs["Base Color"])

    def _base(self, noise: Any) -> Any:
        shader = self.shader
        if self._textures:
            self._image = shader.add("TexImage")
            contrast = shader.add("Gamma")
            contrast.inputs["Gamma"].default_value = _SKIN_GAMMA
            shader.link(self._image.outputs["Color"], contrast.inputs["Color"])
            return contrast.outputs["Color"]
        ramp = shader.add("MapRange")
        for name, value in (("From Min", 0.3), ("From Max", 0.7), ("To Min", 0.88), ("To Max", 1.12)):
            ramp.inputs[name].default_value = value
        shader.link(noise.outputs["Fac"], ramp.inputs["Value"])
        return ramp.outputs["Result"]

    def _with_marks(self, colour: Any) -> Any:
        """Add freckles and tattoos, in texture space: one unit of it is about 1.8 m of skin."""
        shader, where = self.shader, self.shader.uv()
        cells, lines, areas = (shader.add(f"Tex{name}") for name in ("Voronoi", "Noise", "Noise"))
        for node, scale in ((cells, 330.0), (lines, 55.0), (areas, 14.0)):
            node.inputs["Scale"].default_value = scale
            shader.link(where, node.inputs["Vector"])
        freckle = shader.ramp(cells.outputs["Distance"], 0.42, 0.18)
        colour, self._freckles = shader.spots(colour, freckle, _FRECKLES)
        band = shader.add("Math")
        band.operation = "PINGPONG"
        shader.link(lines.outputs["Fac"], band.inputs[0])
        band.inputs[1].default_value = 0.06
        ink = shader.product(
            shader.ramp(band.outputs[0], 0.022, 0.016), shader.ramp(areas.outputs["Fac"], 0.5, 0.53)
        )
        colour, self._tattoo = shader.spots(colour, ink.outputs[0], _INK)
        return colour

    def _with_nails(self, colour: Any) -> Any:
        path, shader = bundled_nails(), self.shader
        self._nails = None
        if path is None:
            return colour
        mask = shader.add("TexImage")
        mask.image = load_image(path)
        mask.image.colorspace_settings.name = "Non-Color"
        self._nail_strength = shader.product(mask.outputs["Color"])
        self._nails = shader.mix(colour)
        shader.link(self._nail_strength.outputs[0], self._nails.inputs[0])
        return self._nails.outputs[2]

    def set(self, look: Look, rng: np.random.Generator) -> None:
        """Take the look's skin; a texture keeps its detail, its mean colour becomes the look's."""
        tone = np.array(look.skin)
        if self._textures:
            key = look.texture % len(self._textures)
            self._image.image = image = load_image(self._textures[key])
            if key not in self._means:
                self._means[key] = mean_colour(image, _SKIN_GAMMA)
            tone = tone / self._means[key]
        self._tone.inputs[7].default_value = (*tone, 1.0)
        self.shader.inputs["Roughness"].default_value = rng.uniform(0.32, 0.62)
        if self._nails is not None:
            self._nails.inputs[7].default_value = (*look.nails, 1.0)
            self._nail_strength.inputs[1].default_value = 0.35 + 0.65 * look.nail_polish
        self._freckles.default_value, self._tattoo.default_value = look.freckles, look.tattoo


class Fabric:
    """Cloth: plain, with a pattern of two colours, or a patch of real fabric."""

    def __init__(self, bpy: Any, cloths: list[Path], folder: Path) -> None:
        shader = self.shader = Shader(bpy, "fabric")
        self._cloths, self._folder = cloths, folder
        shader.inputs["Roughness"].default_value = 0.9
        shader.bump(scale=900.0, strength=0.5)
        where = shader.uv()
        self._patterns = []
        for name in ("Wave", "Checker", "Noise"):
            node = shader.add(f"Tex{name}")
            shader.link(where, node.inputs["Vector"])
            self._patterns.append((node, node.outputs["Fac"]))
        self._pattern = shader.mix()
        colour = self._pattern.outputs[2]
        if cloths:
            colour = self._with_patches(colour, where)
        shader.link(colour, shader.inputs["Base Color"])

    def _with_patches(self, colour: Any, where: Any) -> Any:
        shader = self.shader
        stretch = shader.add("Mapping")
        self._stretch = stretch.inputs["Scale"]
        self._image = shader.add("TexImage")
        self._image.extension = "MIRROR"
        shader.link(where, stretch.inputs["Vector"])
        shader.link(stretch.outputs["Vector"], self._image.inputs["Vector"])
        dyed = shader.multiply(self._image.outputs["Color"])
        self._dye = dyed.inputs[7]
        choice = shader.mix(colour, dyed.outputs[2])
        self._choice = choice.inputs[0]
        self._patches: dict[tuple[int, int], tuple[Any, np.ndarray]] = {}
        return choice.outputs[2]

    def set(self, look: Look) -> None:
        """Take the look's colours and pattern, or a patch of fabric, dyed or as it is."""
        mix = self._pattern.inputs
        mix[6].default_value, mix[7].default_value = (*look.cloth, 1.0), (*look.cloth_second, 1.0)
        self.shader.unlink(mix[0])
        mix[0].default_value = 0.0
        if look.cloth_pattern:
            node, output = self._patterns[look.cloth_pattern - 1]
            node.inputs["Scale"].default_value = look.cloth_scale
            self.shader.link(output, mix[0])
        if not self._cloths:
            return
        self._choice.default_value = float(look.cloth_image >= 0)
        if look.cloth_image >= 0:
            self._set_patch(look)

    def _set_patch(self, look: Look) -> None:
        rng = np.random.default_rng(look.seed + 3)
        cloth, number = key = look.cloth_image % len(self._cloths), int(rng.integers(PATCHES))
        if key not in self._patches:
            path = self._folder / f"fabric_{cloth}_{number}.png"
            fabric_patch(self._cloths[cloth], number, path)
            image = load_image(path)
            self._patches[key] = image, mean_colour(image)
        self._image.image, mean = self._patches[key]
        dye = np.array(look.cloth) / np.maximum(mean, 0.02) if rng.random() < _DYED else np.ones(3)
        self._dye.default_value = (*dye, 1.0)
        scale = float(np.exp(rng.uniform(np.log(3), np.log(10))))
        self._stretch.default_value = (scale, scale, 1.0)


class Plain:
    """One colour, for hair, trousers and metal."""

    def __init__(self, bpy: Any, name: str, roughness: float, metallic: float = 0.0) -> None:
        self.shader = Shader(bpy, name)
        self.shader.inputs["Roughness"].default_value = roughness
        self.shader.inputs["Metallic"].default_value = metallic

    def set(self, colour: tuple[float, float, float]) -> None:
        """Take a linear RGB colour."""
        self.shader.inputs["Base Color"].default_value = (*colour, 1.0)


class Thing:
    """A simple solid: the surface's tint times one colour."""

    def __init__(self, bpy: Any) -> None:
        self.shader = Shader(bpy, "thing")
        self.shader.inputs["Roughness"].default_value = 0.4
        self._colour = self.shader.multiply(self.shader.attribute("tint"))
        self.shader.link(self._colour.outputs[2], self.shader.inputs["Base Color"])

    def set(self, colour: tuple[float, float, float]) -> None:
        """Take a linear RGB colour."""
        self._colour.inputs[7].default_value = (*colour, 1.0)


class Desk:
    """A desk: the surface's tint, with wood grain in six of ten looks."""

    def __init__(self, bpy: Any) -> None:
        shader = self.shader = Shader(bpy, "desk")
        stretch, noise = shader.add("Mapping"), shader.add("TexNoise")
        stretch.inputs["Scale"].default_value = (4.0, 90.0, 1.0)
        noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 1.0, 4.0
        shader.link(shader.uv(), stretch.inputs["Vector"])
        shader.link(stretch.outputs["Vector"], noise.inputs["Vector"])
        grain = shader.multiply(shader.attribute("tint"), shader.ramp(noise.outputs["Fac"], 0.2, 0.7))
        self._grain = grain.inputs[0]
        shader.link(grain.outputs[2], shader.inputs["Base Color"])

    def set(self, look: Look) -> None:
        """Draw grain and gloss at random."""
        rng = np.random.default_rng(look.seed + 4)
        self._grain.default_value = rng.uniform(0, 0.9) * (rng.random() < 0.6)
        self.shader.inputs["Roughness"].default_value = rng.uniform(0.25, 0.8)


class ObjectImages:
    """Material slots from TEXTURED on, one for each object of a view, made when first needed."""

    def __init__(self, bpy: Any, mesh: Any, textures: list[Path]) -> None:
        self._bpy, self._mesh, self._textures = bpy, mesh, textures
        self._slots: list[Any] = []

    def assign(self, material: np.ndarray) -> np.ndarray:
        """Put each object's image in a slot.

        Return the slots (T,) of triangles with these materials.
        """
        out = material.copy()
        for slot, index in enumerate(np.unique(material[material >= TEXTURED])):
            self._slot(slot).image = load_image(self._textures[int(index) - TEXTURED])
            out[material == index] = TEXTURED + slot
        return out

    def _slot(self, slot: int) -> Any:
        while len(self._slots) <= slot:
            shader = Shader(self._bpy, f"object{len(self._slots)}")
            shader.inputs["Roughness"].default_value = 0.45
            image = shader.add("TexImage")
            shader.link(image.outputs["Color"], shader.inputs["Base Color"])
            self._mesh.materials.append(shader.material)
            self._slots.append(image)
        return self._slots[slot]


class Materials:
    """All materials of a scene's one mesh, in the order of the constants in `surface`."""

    def __init__(
        self, bpy: Any, mesh: Any, skins: list[Path], cloths: list[Path], textures: list[Path], folder: Path
    ) -> None:
        self._skin, self._fabric = Skin(bpy, skins), Fabric(bpy, cloths, folder)
        self._hair, self._trousers = Plain(bpy, "hair", 0.55), Plain(bpy, "trousers", 0.9)
        self._hair.shader.bump(scale=250.0, strength=0.6)
        self._thing, self._metal, self._desk = Thing(bpy), Plain(bpy, "metal", 0.25, 1.0), Desk(bpy)
        for kind in (
            self._skin, self._fabric, self._hair, self._trousers, self._thing, self._metal, self._desk,
        ):  # fmt: skip
            mesh.materials.append(kind.shader.material)
        self._objects = ObjectImages(bpy, mesh, textures)

    def set(self, look: Look) -> None:
        """Take a look."""
        rng = np.random.default_rng(look.seed + 2)
        self._skin.set(look, rng)
        self._fabric.set(look)
        self._hair.set(look.hair)
        self._trousers.set(look.trousers)
        self._metal.set(_GOLD if rng.random() < 0.5 else _STEEL)
        self._thing.set(look.cloth_second)
        self._desk.set(look)

    def assign(self, material: np.ndarray) -> np.ndarray:
        """Return the mesh's material slots (T,) of triangles with these materials."""
        return self._objects.assign(material)
