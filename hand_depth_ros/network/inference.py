"""Fuse and trace the networks for inference: the same function in less time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hand_depth_ros.geometry.hand import wrist_to_knuckles
from hand_depth_ros.network.config import NetworkConfig
from hand_depth_ros.network.detector import HandDetectorNet
from hand_depth_ros.network.hourglass import HandDepthNet
from hand_depth_ros.network.mkldnn import prepack

M = TypeVar("M", bound=nn.Module)
Maps = tuple[Tensor, Tensor, Tensor]


def fuse_batch_norms(network: M) -> M:
    """Fuse every Conv2d and BatchNorm2d that follow each other in a Sequential, in place.

    The network must be in eval mode.
    """
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            convolution, norm = module[i], module[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i] = fuse_conv_bn_eval(convolution, norm)
                module[i + 1] = nn.Identity()
    return network


class _InferenceOutputs(nn.Module):
    """Return plain tensors of a depth network.

    Maps (B, 3, S, S): mask logit, relief, log_b. Scalars (B, 5). Vector (B, 2) from the wrist to
    the knuckles, right and down, the crop being 2 wide; zeros without joints.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Maps:
        prediction = self.network(crops)
        joints = prediction.joints
        up = wrist_to_knuckles(joints[-1]) if joints else torch.zeros_like(prediction.scalars[:, :2])
        return torch.cat(prediction.final, 1), prediction.scalars, up


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@cache
def _traced(config: NetworkConfig, dtype: torch.dtype) -> Callable[..., Maps]:
    """Trace the fused network of ``config`` as one function of the crops and the weights.

    TorchScript never frees what it has traced, so there is one function a config for the life of
    the process, and no weights in it.
    """
    outputs = _InferenceOutputs(_prepare_for_cpu(fuse_batch_norms(HandDepthNet(config).eval()), dtype))
    tensors = _tensors(outputs)

    def run(crops: Tensor, *weights: Tensor) -> Maps:
        for name, weight in zip(tensors, weights, strict=True):
            owner, _, leaf = name.rpartition(".")
            delattr(outputs.get_submodule(owner), leaf)
            setattr(outputs.get_submodule(owner), leaf, weight)
        return outputs(crops)  # type: ignore[no-any-return]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size check is Python and ends with the trace
        example = (_example(config, dtype), *tensors.values())
        return torch.jit.trace(run, example, check_trace=False)  # type: ignore[no-any-return]


def _convert_parameters(network: M, dtype: torch.dtype) -> M:
    """Convert a network's parameters in place; buffers hold coordinates and stay float32."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network.requires_grad_(False)


def _example(config: NetworkConfig, dtype: torch.dtype) -> Tensor:
    crops = torch.zeros(1, 3, config.input_size, config.input_size, dtype=dtype)
    return crops.contiguous(memory_format=torch.channels_last)


def _prepare_for_cpu(network: HandDepthNet, dtype: torch.dtype) -> HandDepthNet:
    network = _convert_parameters(network.to(memory_format=torch.channels_last), dtype)  # type: ignore[call-overload]
    return prepack(network, _example(network.config, dtype))


def fuse_detector(
    network: HandDetectorNet, device: torch.device, dtype: torch.dtype = torch.float32
) -> HandDetectorNet:
    """Fuse and convert a detector (eval mode) in place for channels-last frames of ``dtype``."""
    fused = fuse_batch_norms(network).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu" and dtype != torch.float32 and isinstance(network, HandDetectorNet):
        config = network.config
        frame = torch.zeros(1, 3, config.input_height, config.input_width, dtype=dtype)
        prepack(fused, frame.contiguous(memory_format=torch.channels_last))
    return fused.requires_grad_(False)  # type: ignore[no-any-return]


def compile_for_inference(
    network: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32
) -> Callable[[Tensor], Maps]:
    """Turn a fused network in eval mode into a function of crops.

    See :class:`_InferenceOutputs` for its outputs.

    On the CPU a :class:`HandDepthNet` is traced, since Python takes a fifth of the time of a small
    network.
    """
    if not isinstance(network, HandDepthNet):
        return _InferenceOutputs(network).eval()
    if device.type != "cpu":
        return _InferenceOutputs(_convert_parameters(network, dtype)).eval()
    function = _traced(network.config, dtype)
    weights = tuple(_tensors(_InferenceOutputs(_prepare_for_cpu(network, dtype))).values())
    return lambda crops: function(crops.to(dtype), *weights)
