"""Shader graphs: a material with the few kinds of nodes that people and things need."""

from __future__ import annotations

from typing import Any


class Shader:
    """A material and its principled shader.

    Arguments called colour, value and mask are output sockets.
    """

    def __init__(self, bpy: Any, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.nodes, self._links = self.material.node_tree.nodes, self.material.node_tree.links
        self.inputs = self.nodes["Principled BSDF"].inputs

    def link(self, output: Any, target: Any) -> None:
        """Connect an output socket to an input socket."""
        self._links.new(output, target)

    def unlink(self, target: Any) -> None:
        """Disconnect an input socket."""
        for link in list(target.links):
            self._links.remove(link)

    def add(self, kind: str) -> Any:
        """Add a node by its kind, such as "TexNoise" for ShaderNodeTexNoise."""
        return self.nodes.new(f"ShaderNode{kind}")

    def uv(self) -> Any:
        """Return the texture coordinates."""
        return self.add("TexCoord").outputs["UV"]

    def attribute(self, name: str) -> Any:
        """Return a colour attribute of the mesh."""
        node = self.add("Attribute")
        node.attribute_name = name
        return node.outputs["Color"]

    def mix(self, first: Any = None, second: Any = None) -> Any:
        """Add a mix of colours: inputs 0 (factor), 6 and 7; output 2."""
        mix = self.add("Mix")
        mix.data_type = "RGBA"
        for socket, value in ((6, first), (7, second)):
            if value is not None:
                self.link(value, mix.inputs[socket])
        return mix

    def multiply(self, first: Any = None, second: Any = None) -> Any:
        """Add a product of colours: inputs 6 and 7; output 2."""
        mix = self.mix(first, second)
        mix.blend_type = "MULTIPLY"
        mix.inputs[0].default_value = 1.0
        return mix

    def product(self, first: Any, second: Any = None) -> Any:
        """Add a product of numbers and return the node: inputs 0 and 1."""
        node = self.add("Math")
        node.operation = "MULTIPLY"
        self.link(first, node.inputs[0])
        if second is not None:
            self.link(second, node.inputs[1])
        return node

    def spots(self, colour: Any, mask: Any, paint: tuple[float, float, float]) -> tuple[Any, Any]:
        """Multiply a colour by paint where the mask is 1.

        Return the colour, and the socket of the strength.
        """
        strength = self.product(mask)
        mix = self.multiply(colour)
        self.link(strength.outputs[0], mix.inputs[0])
        mix.inputs[7].default_value = (*paint, 1.0)
        return mix.outputs[2], strength.inputs[1]

    def ramp(self, value: Any, low: float, high: float) -> Any:
        """Return 0 where a value is `low`, 1 where it is `high`."""
        ramp = self.add("MapRange")
        ramp.inputs["From Min"].default_value, ramp.inputs["From Max"].default_value = low, high
        self.link(value, ramp.inputs["Value"])
        return ramp.outputs["Result"]

    def bump(self, scale: float, strength: float) -> Any:
        """Add bumps of noise to the surface; return the noise's node."""
        noise, bump = self.add("TexNoise"), self.add("Bump")
        noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = scale, 2.0
        bump.inputs["Strength"].default_value, bump.inputs["Distance"].default_value = strength, 0.001
        self.link(self.uv(), noise.inputs["Vector"])
        self.link(noise.outputs["Fac"], bump.inputs["Height"])
        self.link(bump.outputs["Normal"], self.inputs["Normal"])
        return noise
