"""Write TensorFlow Lite files with known layers, in the format's own layout (NHWC)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import tflite
from torch import nn

from hand_depth_ros.network.backbone import Backbone

_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.int8): 9}
_NO_DATA = 0
"""Index of the empty buffer, used by computed tensors."""


class Layer(NamedTuple):
    """A convolution or a fully connected layer.

    ``weight``: (outputs, h, w, inputs); (1, h, w, channels) if ``depthwise``; (outputs, inputs) if
    fully connected. ``bias``: (outputs,) or None.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    depthwise: bool = False


def random_layer(rng: np.random.Generator, shape: tuple[int, ...], depthwise: bool = False) -> Layer:
    """Draw values that float16 represents exactly, small enough for a deep network."""
    size = 1 / np.sqrt(np.prod(shape[1:3] if depthwise else shape[1:]))
    weight, bias = size * rng.normal(size=shape), 0.1 * rng.normal(size=shape[3 if depthwise else 0])
    return Layer(*(x.astype(np.float16).astype(np.float32) for x in (weight, bias)), depthwise)


def landmark_layers(backbone: Backbone, seed: int = 0) -> list[Layer]:
    """Draw layers of the landmark model's shapes: the backbone's, and two that it does not use."""
    rng, layers = np.random.default_rng(seed), []
    for layer in backbone.layers():
        shape: tuple[int, ...] = tuple(layer.weight.shape)
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        if isinstance(layer, nn.Conv2d):
            shape = (1, *shape[2:], shape[0]) if depthwise else (shape[0], *shape[2:], shape[1])
        layers.append(random_layer(rng, shape, depthwise))
    return [*layers[:-1], *(random_layer(rng, (1, layers[-1].weight.shape[1])) for _ in range(2)), layers[-1]]


def write_tflite(path: Path, layers: Sequence[Layer], stored_as: Any = np.float32) -> Path:
    """Write a model of these layers, each followed by an addition.

    Values stored as float16 are dequantized within the model.
    """
    b = flatbuffers.Builder(1 << 16)
    buffers: list[np.ndarray | None] = [None]
    tensors: list[tuple[tuple[int, ...], int, int]] = []  # shape, type, buffer
    operators: list[tuple[int, list[int], int]] = []  # what it does, inputs, output
    does = tflite.BuiltinOperator

    def tensor(shape: tuple[int, ...], dtype: Any, data: np.ndarray | None = None) -> int:
        if data is not None:
            buffers.append(np.frombuffer(np.ascontiguousarray(data.astype(dtype)).tobytes(), np.uint8))
        tensors.append((shape, _TYPES[np.dtype(dtype)], _NO_DATA if data is None else len(buffers) - 1))
        return len(tensors) - 1

    def constant(values: np.ndarray) -> int:
        number = tensor(values.shape, stored_as, values)
        if stored_as == np.float16:
            whole = tensor(values.shape, np.float32)
            operators.append((does.DEQUANTIZE, [number], whole))
            return whole
        return number

    data = tensor((1, 8, 8, 3), np.float32)
    for weight, bias, depthwise in layers:
        values = [data, constant(weight), -1 if bias is None else constant(bias)]
        after = tensor((1, 8, 8, 3), np.float32)
        convolution = does.DEPTHWISE_CONV_2D if depthwise else does.CONV_2D
        operators.append((does.FULLY_CONNECTED if weight.ndim == 2 else convolution, values, after))
        data = tensor((1, 8, 8, 3), np.float32)
        operators.append((does.ADD, [after, after], data))

    def table(name: str, **fields: Any) -> int:
        getattr(tflite, f"{name}Start")(b)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(b, value)
        return int(getattr(tflite, f"{name}End")(b))

    def vector(start: Callable[..., Any], offsets: list[int]) -> int:
        start(b, len(offsets))
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    def numbers(values: Sequence[int]) -> int:
        return int(b.CreateNumpyVector(np.array(values, np.int32)))

    contents = [None if x is None else b.CreateNumpyVector(x) for x in buffers]
    stored = [table("Buffer") if x is None else table("Buffer", Data=x) for x in contents]
    shapes = [numbers(shape) for shape, _, _ in tensors]
    known = [
        table("Tensor", Shape=shape, Type=kind, Buffer=buffer)
        for shape, (_, kind, buffer) in zip(shapes, tensors, strict=True)
    ]
    kinds = sorted({kind for kind, _, _ in operators})
    codes = [table("OperatorCode", DeprecatedBuiltinCode=kind, BuiltinCode=kind) for kind in kinds]
    wires = [(numbers(inputs), numbers([output])) for _, inputs, output in operators]
    steps = [
        table("Operator", OpcodeIndex=kinds.index(kind), Inputs=inputs, Outputs=output)
        for (kind, _, _), (inputs, output) in zip(operators, wires, strict=True)
    ]
    graph = table(
        "SubGraph",
        Tensors=vector(tflite.SubGraphStartTensorsVector, known),
        Operators=vector(tflite.SubGraphStartOperatorsVector, steps),
    )
    model = table(
        "Model",
        Version=3,
        OperatorCodes=vector(tflite.ModelStartOperatorCodesVector, codes),
        Subgraphs=vector(tflite.ModelStartSubgraphsVector, [graph]),
        Buffers=vector(tflite.ModelStartBuffersVector, stored),
    )
    b.Finish(model, b"TFL3")
    path.write_bytes(bytes(b.Output()))
    return path
