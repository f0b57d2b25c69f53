"""The same function in less time: batch norms folded into the convolutions before them, and no Python between the layers."""

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
    """Fold in place every Conv2d, BatchNorm2d pair that follow each other in a Sequential; the network must be in eval mode."""
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
    """A depth network's last maps, (B, 3, S, S) mask logit, relief, log log_b, its scalars (B, 5), and from its last
    joints where the knuckles are from the wrist, (B, 2) right and down, the crop being 2 wide; zeros where it has no joints."""

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
    """The folded network of ``config`` as one TorchScript function of the crops and its weights. TorchScript never frees
    what it has traced: one function a configuration for the life of the process, and no weights in it."""
    whole = _InferenceOutputs(_for_the_cpu(fuse_batch_norms(HandDepthNet(config).eval()), dtype))
    tensors = _tensors(whole)

    def run(crops: Tensor, *weights: Tensor) -> Maps:
        for name, weight in zip(tensors, weights, strict=True):
            owner, _, leaf = name.rpartition(".")
            delattr(whole.get_submodule(owner), leaf)
            setattr(whole.get_submodule(owner), leaf, weight)
        return whole(crops)  # type: ignore[no-any-return]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the check of the crop's size is Python, and done with after the trace
        example = (_example(config, dtype), *tensors.values())
        return torch.jit.trace(run, example, check_trace=False)  # type: ignore[no-any-return]


def _with_weights_in(network: M, dtype: torch.dtype) -> M:
    """The network itself, its parameters converted. Buffers stay as they are: places in a crop need more digits."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network.requires_grad_(False)


def _example(config: NetworkConfig, dtype: torch.dtype) -> Tensor:
    crops = torch.zeros(1, 3, config.input_size, config.input_size, dtype=dtype)
    return crops.contiguous(memory_format=torch.channels_last)


def _for_the_cpu(network: HandDepthNet, dtype: torch.dtype) -> HandDepthNet:
    network = _with_weights_in(network.to(memory_format=torch.channels_last), dtype)  # type: ignore[call-overload]
    return prepack(network, _example(network.config, dtype))


def fuse_detector(
    network: HandDetectorNet, device: torch.device, dtype: torch.dtype = torch.float32
) -> HandDetectorNet:
    """``network`` (eval mode) made ready in place for frames of ``dtype`` on the device, channels innermost in memory."""
    folded = fuse_batch_norms(network).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu" and dtype != torch.float32 and isinstance(network, HandDetectorNet):
        config = network.config
        frame = torch.zeros(1, 3, config.input_height, config.input_width, dtype=dtype)
        prepack(folded, frame.contiguous(memory_format=torch.channels_last))
    return folded.requires_grad_(False)  # type: ignore[no-any-return]


def compile_for_inference(
    network: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32
) -> Callable[[Tensor], Maps]:
    """``network`` (folded, in eval mode) as a function of crops (B, 3, S, S) to its last maps, scalars and wrist_to_knuckles. On the CPU a
    :class:`HandDepthNet` is traced: a fifth of the time of a small network is Python's."""
    if not isinstance(network, HandDepthNet):
        return _InferenceOutputs(network).eval()
    if device.type != "cpu":
        return _InferenceOutputs(_with_weights_in(network, dtype)).eval()
    function = _traced(network.config, dtype)
    weights = tuple(_tensors(_InferenceOutputs(_for_the_cpu(network, dtype))).values())
    return lambda crops: function(crops.to(dtype), *weights)
