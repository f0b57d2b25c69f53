"""The backbone: a network pretrained on real hands, whose features guide the hourglasses.

It has the layers of MediaPipe's hand landmark model (Google, Apache-2.0), an EfficientNet-Lite (Tan
and Le 2019; Liu 2020): inverted residual blocks with ReLU6 and without batch norms, those having
been fused. Its parameters come with the weights file or, for a new training, from
``hand_depth_ros.training.modules.mediapipe_weights``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_depth_ros.geometry.hand import JOINT_COUNT, MIDDLE_FINGER_CHAIN


class _Block(NamedTuple):
    """Shape of an inverted residual block.

    A pointwise convolution to ``inner`` channels (left out if the input has as many), a depthwise
    one of ``kernel`` x ``kernel``, a pointwise one to ``outputs`` without ReLU, and a skip
    connection where the shapes allow it.
    """

    inner: int
    kernel: int
    stride: int
    outputs: int


_STEM = 24
_BLOCKS = (
    _Block(24, 3, 1, 16),
    _Block(64, 3, 2, 24),
    _Block(144, 3, 1, 24),
    _Block(144, 5, 2, 40),
    _Block(240, 5, 1, 40),
    _Block(240, 3, 2, 80),
    _Block(480, 3, 1, 80),
    _Block(480, 3, 1, 80),
    _Block(480, 5, 1, 112),
    _Block(672, 5, 1, 112),
    _Block(672, 5, 1, 112),
    _Block(672, 5, 2, 192),
    _Block(1152, 5, 1, 192),
    _Block(1152, 5, 1, 192),
    _Block(1152, 5, 1, 192),
)
BLOCKS = len(_BLOCKS)
_PYRAMID_BLOCKS = (2, 4, 10, 14)
"""Blocks whose output is handed out: the last one before each halving."""
GLOBAL_CHANNELS = 1152
_LANDMARK_IMAGE_SIDE = 224
"""Side in pixels of the image that the model's landmarks refer to."""
CHANNELS = tuple(_BLOCKS[i].outputs for i in _PYRAMID_BLOCKS)
"""Channels of the features at 1/4, 1/8, 1/16 and 1/32 of the input."""


class _Depthwise(nn.Conv2d):
    """Depthwise convolution that trains in float32 on a CPU.

    oneDNN's bfloat16 gradients are ten times slower there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Run the module; see the class for shapes."""
        if self.weight.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Build a convolution with TensorFlow's "same" padding.

    At a stride it pads one pixel more to the right and below.

    Deep features depend on the padding, so another one would not match the pretrained parameters.
    """
    kind = nn.Conv2d if groups == 1 else _Depthwise
    if stride == 1:
        return [kind(inputs, outputs, kernel, 1, kernel // 2, groups=groups)]
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    pad = nn.ZeroPad2d((before, after, before, after))
    return [pad, kind(inputs, outputs, kernel, stride, groups=groups)]


class InvertedResidual(nn.Module):
    """Inverted residual block (Sandler et al., MobileNetV2, 2018)."""

    def __init__(self, inputs: int, block: _Block) -> None:
        super().__init__()
        inner, kernel, stride, outputs = block
        layers: list[nn.Module] = []
        if inner != inputs:
            layers += [*_conv(inputs, inner, 1), nn.ReLU6(inplace=True)]
        layers += [
            *_conv(inner, inner, kernel, stride, inner),
            nn.ReLU6(inplace=True),
            *_conv(inner, outputs, 1),
        ]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Run the module; see the class for shapes."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class Backbone(nn.Module):
    """Extract features and landmarks from images (B, 3, S, S) of an upright, large hand.

    Input is float RGB in 0..1, S a multiple of 32. Output: the feature pyramid at 1/4, 1/8, 1/16
    and 1/32 with ``CHANNELS`` channels; the global feature (B, ``GLOBAL_CHANNELS``); the landmarks
    (B, 21, 3) with x, y in 0..1 of the image and z along the optical axis in hand lengths, away
    from the camera, 0 at the median joint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, _STEM, 3, 2), nn.ReLU6(inplace=True))
        channels, blocks = _STEM, []
        for block in _BLOCKS:
            blocks.append(InvertedResidual(channels, block))
            channels = block.outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Sequential(
            *_conv(channels, GLOBAL_CHANNELS, 1),
            nn.ReLU6(inplace=True),
            *_conv(GLOBAL_CHANNELS, GLOBAL_CHANNELS, 3, 1, GLOBAL_CHANNELS),
            nn.ReLU6(inplace=True),
        )
        self.landmarks = nn.Linear(GLOBAL_CHANNELS, 3 * JOINT_COUNT)
        self.world = nn.Linear(GLOBAL_CHANNELS, 3 * JOINT_COUNT)

    def forward(self, rgb: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Run the module; see the class for shapes."""
        x, pyramid = self.stem(rgb), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in _PYRAMID_BLOCKS:
                pyramid.append(x)
        global_feature = self.last(x).mean((2, 3))
        landmarks = (
            self.landmarks(global_feature).float().view(-1, JOINT_COUNT, 3)[..., :2] / _LANDMARK_IMAGE_SIDE
        )
        world = self.world(global_feature).float().view(-1, JOINT_COUNT, 3)
        bones = world[:, MIDDLE_FINGER_CHAIN[1:]] - world[:, MIDDLE_FINGER_CHAIN[:-1]]
        length = bones.square().sum(-1).sqrt().sum(1).clamp_min(1e-3)
        z = (world[..., 2] - world[..., 2].median(1, keepdim=True).values) / length[:, None]
        return pyramid, global_feature, torch.cat((landmarks, z[..., None]), -1)

    def freeze(self, blocks: int) -> None:
        """Freeze the stem and the first ``blocks`` blocks; everything if that is all of them."""
        self.requires_grad_(blocks < BLOCKS)
        for part in (self.stem, *self.blocks[:blocks]) if blocks else ():
            part.requires_grad_(False)

    def layers(self) -> list[nn.Conv2d | nn.Linear]:
        """Return the layers with parameters in the order of the data, landmarks before world."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
