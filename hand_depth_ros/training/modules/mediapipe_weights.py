"""Read the backbone's weights from MediaPipe's hand landmark model (TensorFlow Lite, Apache-2.0).

The file is part of the wheel of PyPI's ``mediapipe`` (0.10.21), which need not be installed:

    pip download --no-deps mediapipe==0.10.21
    unzip -j mediapipe-0.10.21-*.whl mediapipe/modules/hand_landmark/hand_landmark_full.tflite

Its heads for the hand's presence and side are not used.
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
    """Return weight and bias, float32, of a TFLite file's layers in the order of execution.

    Weights have PyTorch's layout: (outputs, inputs, h, w) for a convolution, (channels, 1, h, w)
    for a depthwise one, (outputs, inputs) for a fully connected layer. A missing bias is zero.

    Raises:
        DatasetError: The file cannot be read, is no TFLite file or is truncated.
        MissingDependencyError: PyPI's ``tflite`` is not installed.
    """
    try:
        import tflite
    except ImportError as error:
        raise MissingDependencyError.for_extra("train", "tflite") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"no backbone at {path} ({error.strerror}): docs/training.md says where to get it"
        ) from error
    if content[4:8] != b"TFL3":
        raise DatasetError(f"{path} is not a TensorFlow Lite file")
    try:
        return _layers(tflite.Model.GetRootAs(content, 0), tflite.BuiltinOperator, path)
    except DatasetError:
        raise
    except (struct.error, ValueError, TypeError, AttributeError, IndexError) as error:  # offsets into nowhere
        raise DatasetError(
            f"{path} is not a complete TensorFlow Lite file ({error}): download it again"
        ) from error


def _layers(model: Any, kinds: Any, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    graph = model.Subgraphs(0)
    stored: dict[int, int] = {}  # float32 tensors of the graph, to the float16 ones they come from

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
    """Fill ``backbone`` with the weights of the landmark model at ``path``.

    Raises:
        DatasetError: The model's layers are not the backbone's.
    """
    mine = backbone.layers()
    # Layers with a single output predict presence and side.
    theirs = [(weight, bias) for weight, bias in read_layers(path) if len(bias) > 1]
    shapes = [(tuple(layer.weight.shape), (len(layer.weight),)) for layer in mine]
    if [(weight.shape, bias.shape) for weight, bias in theirs] != shapes:
        raise DatasetError(
            f"{path} has other layers than the backbone: give MediaPipe's hand_landmark_full.tflite (0.10.21)"
        )
    for layer, (weight, bias) in zip(mine, theirs, strict=True):
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(bias.copy()))
