"""The trunk: a network that has seen many real hands, whose features guide the hourglasses.

The convolutions of MediaPipe's hand landmark model (Google, Apache-2.0), an EfficientNet-Lite (Tan and Le 2019; Liu 2020):
inverted residual blocks with ReLU6 and without batch norms, those having been folded. Its layers are written down here; their
values come with the weights file, or for a training of one's own from ``hand_depth_ros.training.pretrained``. Plain PyTorch.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


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
_TAPS = (2, 4, 10, 14)
"""After these blocks the features are handed out: the last ones before each halving."""
CHANNELS = tuple(_BLOCKS[i].outputs for i in _TAPS)
"""Of the features at 1/4, 1/8, 1/16 and 1/32 of the input."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class InvertedResidual(nn.Module):
    """One :class:`_Block`."""

    def __init__(self, inputs: int, block: _Block) -> None:
        super().__init__()
        inner, kernel, stride, outputs = block
        layers: list[nn.Module] = []
        if inner != inputs:
            layers += [_conv(inputs, inner, 1), nn.ReLU6(inplace=True)]
        layers += [
            _conv(inner, inner, kernel, stride, inner),
            nn.ReLU6(inplace=True),
            _conv(inner, outputs, 1),
        ]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class Trunk(nn.Module):
    """Crops (B, 3, S, S) float RGB in 0..1, S a multiple of 32, to features at 1/4, 1/8, 1/16, 1/32 with ``CHANNELS``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, _STEM, 3, 2), nn.ReLU6(inplace=True))
        channels, blocks = _STEM, []
        for block in _BLOCKS:
            blocks.append(InvertedResidual(channels, block))
            channels = block.outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        x, taps = self.stem(rgb), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in _TAPS:
                taps.append(x)
        return taps

    def convolutions(self) -> list[nn.Conv2d]:
        """All of them, in the order in which data passes."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]
