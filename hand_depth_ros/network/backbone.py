"""The backbone: a network that has seen many real hands, whose features guide the hourglasses.

The layers of MediaPipe's hand landmark model (Google, Apache-2.0), an EfficientNet-Lite (Tan and Le 2019; Liu 2020):
inverted residual blocks with ReLU6 and without batch norms, those having been folded. Its layers are written down here; their
values come with the weights file, or for a training of one's own from
``hand_depth_ros.training.modules.mediapipe_weights``. Plain PyTorch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_depth_ros.geometry.hand import JOINT_COUNT, MIDDLE_FINGER_CHAIN


class _Block(NamedTuple):
    """An inverted residual block: a pointwise convolution (if ``inner`` is not the input's channels), one over ``kernel`` x
    ``kernel`` of each channel, another pointwise one without ReLU; what comes in is added where the shapes allow it."""

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
"""After these blocks the features are handed out: the last ones before each halving."""
GLOBAL_CHANNELS = 1152
_LANDMARK_IMAGE_SIDE = 224
"""Pixels; the landmarks' places are in those of the picture that the model was made for."""
CHANNELS = tuple(_BLOCKS[i].outputs for i in _PYRAMID_BLOCKS)
"""Of the features at 1/4, 1/8, 1/16 and 1/32 of the input."""


class _Depthwise(nn.Conv2d):
    """A convolution of each channel by itself; where it learns on a CPU, in float32: oneDNN's gradients of it are ten times as
    slow in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with TensorFlow's "same" padding, which at a stride is one pixel wider to the right and below. Deep
    features know from the padding where they are in the picture: with another one they are others."""
    kind = nn.Conv2d if groups == 1 else _Depthwise
    if stride == 1:
        return [kind(inputs, outputs, kernel, 1, kernel // 2, groups=groups)]
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    pad = nn.ZeroPad2d((before, after, before, after))
    return [pad, kind(inputs, outputs, kernel, stride, groups=groups)]


class InvertedResidual(nn.Module):
    """One :class:`_Block`."""

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
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class Backbone(nn.Module):
    """Pictures (B, 3, S, S) float RGB in 0..1, S a multiple of 32, of a hand that stands upright and spans most of them.

    Gives the features at 1/4, 1/8, 1/16, 1/32 with ``CHANNELS``, those of the whole picture (B, ``GLOBAL_CHANNELS``), and the
    landmarks that it was made for (B, 21, 3): x, y in 0..1 of the picture, z along the optical axis in hand lengths, away from
    the camera, 0 at the median joint.
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
        """The first so many of the ``BLOCKS``, with the stem, learn nothing from here on; with all of them nothing does."""
        self.requires_grad_(blocks < BLOCKS)
        for part in (self.stem, *self.blocks[:blocks]) if blocks else ():
            part.requires_grad_(False)

    def layers(self) -> list[nn.Conv2d | nn.Linear]:
        """Those with values, in the order in which data passes; the places come before the world."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
