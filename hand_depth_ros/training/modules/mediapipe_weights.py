"""Reads the backbone's values out of MediaPipe's hand landmark model, a TensorFlow Lite file (Google, Apache-2.0).

The file lies in the wheel of PyPI's ``mediapipe`` (0.10.21), which does not have to be installed:

    pip download --no-deps mediapipe==0.10.21
    unzip -j mediapipe-0.10.21-*.whl mediapipe/modules/hand_landmark/hand_landmark_full.tflite

What it says of the hand's presence and side is not taken.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hand_depth_ros.errors import DatasetError, MissingDependencyError
from hand_depth_ros.network.backbone import Backbone

_FLOAT32, _FLOAT16 = 0, 1


def read_layers(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias, float32, of every convolution and fully connected layer of a TFLite file in the order of execution, the
    weights as PyTorch has them: (outputs, inputs, h, w), (channels, 1, h, w) for a convolution of each channel by itself,
    (outputs, inputs). Where there is no bias it is zero.

    Raises DatasetError for a file that cannot be read, is none or is not whole, MissingDependencyError without PyPI's
    ``tflite``.
    """
    try:
        import tflite
    except ImportError as error:
        raise MissingDependencyError.for_extra("train", "tflite") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"no backbone at {path} ({error.strerror}): see docs/training.md for where it comes from"
        ) from error
    if content[4:8] != b"TFL3":
        raise DatasetError(f"{path} is not a TensorFlow Lite file")
    try:
        return _layers(tflite.Model.GetRootAs(content, 0), tflite.BuiltinOperator, path)
    except DatasetError:
        raise
    except (struct.error, ValueError, TypeError, AttributeError, IndexError) as error:  # offsets into nowhere
        raise DatasetError(f"{path} is not a whole TensorFlow Lite file ({error}): get it again") from error


def _layers(model: Any, kinds: Any, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    graph = model.Subgraphs(0)
    stored: dict[int, int] = {}  # float16 tensors, by the float32 ones that the graph turns them into

    def values(number: int) -> np.ndarray:
        tensor = graph.Tensors(stored.get(number, number))
        types = {_FLOAT32: np.float32, _FLOAT16: np.float16}
        if tensor.Type() not in types:
            raise DatasetError(
                f"{path} holds weights that are not floating point: take the model that is not quantized"
            )
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        return raw.view(types[tensor.Type()]).astype(np.float32).reshape(tensor.ShapeAsNumpy())

    axes = {kinds.CONV_2D: (0, 3, 1, 2), kinds.DEPTHWISE_CONV_2D: (3, 0, 1, 2), kinds.FULLY_CONNECTED: (0, 1)}
    found = []
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        kind = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        if kind == kinds.DEQUANTIZE:
            stored[operator.Outputs(0)] = operator.Inputs(0)
        elif kind in axes:
            weight = values(operator.Inputs(1)).transpose(axes[kind])
            has_bias = operator.InputsLength() > 2 and operator.Inputs(2) >= 0
            bias = values(operator.Inputs(2)) if has_bias else np.zeros(len(weight), np.float32)
            found.append((weight, bias))
    return found


@torch.no_grad()
def fill_backbone(backbone: Backbone, path: Path) -> None:
    """Give ``backbone`` the values of the landmark model at ``path``; DatasetError when its layers are others."""
    mine = backbone.layers()
    theirs = [
        (weight, bias) for weight, bias in read_layers(path) if len(bias) > 1
    ]  # those of 1 say whether, and which, hand
    shapes = [(tuple(layer.weight.shape), (len(layer.weight),)) for layer in mine]
    if [(weight.shape, bias.shape) for weight, bias in theirs] != shapes:
        raise DatasetError(
            f"{path} has other layers than the backbone: it takes MediaPipe's hand_landmark_full.tflite (0.10.21)"
        )
    for layer, (weight, bias) in zip(mine, theirs, strict=True):
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(bias.copy()))
