"""Reads the trunk's values out of MediaPipe's hand landmark model, a TensorFlow Lite file (Google, Apache-2.0).

The file lies in the wheel of PyPI's ``mediapipe`` (0.10.21), which does not have to be installed:

    pip download --no-deps mediapipe==0.10.21
    unzip -j mediapipe-0.10.21-*.whl mediapipe/modules/hand_landmark/hand_landmark_full.tflite

Only its convolutions are taken; what they feed there (landmarks, handedness) is not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hand_depth_ros.errors import DatasetError, MissingDependencyError
from hand_depth_ros.network.trunk import Trunk

_FLOAT32, _FLOAT16 = 0, 1


def read_convolutions(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias, float32, of every convolution of a TFLite file in the order of execution, the weights as PyTorch has
    them: (outputs, inputs, h, w), or (channels, 1, h, w) for one of each channel.

    Raises DatasetError for a file that cannot be read or is none, MissingDependencyError without PyPI's ``tflite``.
    """
    try:
        import tflite
    except ImportError as error:
        raise MissingDependencyError.for_extra("train", "tflite") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"no trunk at {path} ({error.strerror}): see docs/training.md for where it comes from"
        ) from error
    if content[4:8] != b"TFL3":
        raise DatasetError(f"{path} is not a TensorFlow Lite file")
    model = tflite.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    stored: dict[
        int, int
    ] = {}  # tensors that are stored as float16 and turned into float32 when the graph runs
    kinds = tflite.BuiltinOperator

    def values(number: int) -> np.ndarray:
        tensor = graph.Tensors(stored.get(number, number))
        types = {_FLOAT32: np.float32, _FLOAT16: np.float16}
        if tensor.Type() not in types:
            raise DatasetError(
                f"{path} holds weights that are not floating point: take the model that is not quantized"
            )
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        return raw.view(types[tensor.Type()]).astype(np.float32).reshape(tensor.ShapeAsNumpy())

    found = []
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        kind = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        if kind == kinds.DEQUANTIZE:
            stored[operator.Outputs(0)] = operator.Inputs(0)
        elif kind in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            axes = (0, 3, 1, 2) if kind == kinds.CONV_2D else (3, 0, 1, 2)
            found.append((values(operator.Inputs(1)).transpose(axes), values(operator.Inputs(2))))
    return found


@torch.no_grad()
def fill_trunk(trunk: Trunk, path: Path) -> None:
    """Give ``trunk`` the values of the landmark model at ``path``; DatasetError when its layers are others."""
    mine, theirs = trunk.convolutions(), read_convolutions(path)
    shapes = [tuple(layer.weight.shape) for layer in mine]
    if [weight.shape for weight, _ in theirs[: len(mine)]] != shapes:
        raise DatasetError(
            f"{path} has other layers than the trunk: it takes MediaPipe's hand_landmark_full.tflite (0.10.21)"
        )
    for layer, (weight, bias) in zip(mine, theirs, strict=False):
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(bias.copy()))
