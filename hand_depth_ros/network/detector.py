"""The detector network: boxes of hands in a whole frame, CenterNet-style (Zhou et al. 2019)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hand_depth_ros.network.config import DetectorConfig

STRIDE = 8


class DetectorPrediction(NamedTuple):
    """Maps at 1/8 of the input.

    Attributes:
        centre: (B, 1, h, w) logit of "a hand's box has its centre in this cell".
        box: (B, 4, h, w) offset of the box's centre from the cell's in cells (x, y), log of width
            and height in cells.
    """

    centre: Tensor
    box: Tensor


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Block(nn.Module):
    """Bottleneck residual block; with ``zero_init`` it starts as a no-op."""

    def __init__(self, channels: int, zero_init: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels // 2, kernel=1),
            _conv(channels // 2, channels // 2),
            nn.Conv2d(channels // 2, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        if zero_init:
            norm = self.body[-1]
            assert isinstance(norm, nn.BatchNorm2d)
            nn.init.zeros_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Run the module; see the class for shapes."""
        return F.relu(x + self.body(x))


class HandDetectorNet(nn.Module):
    """Map frames (B, 3, H, W) to a :class:`DetectorPrediction`.

    Frames are float RGB in 0..1, H and W multiples of 32.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        f = config.features
        self.down4 = nn.Sequential(_conv(3, f, 2, 5), _conv(f, 2 * f, 2), _Block(2 * f))
        self.down8 = nn.Sequential(_conv(2 * f, 4 * f, 2), _Block(4 * f), _Block(4 * f))
        self.down16 = nn.Sequential(_conv(4 * f, 6 * f, 2), _Block(6 * f), _Block(6 * f), _Block(6 * f))
        self.down32 = nn.Sequential(_conv(6 * f, 8 * f, 2), _Block(8 * f), _Block(8 * f), _Block(8 * f))
        self.extra8, self.extra16, self.extra32 = (
            nn.Sequential(*(_Block(k * f, zero_init=True) for _ in range(config.extra_blocks)))
            for k in (4, 6, 8)
        )
        self.lateral8 = nn.Conv2d(4 * f, 4 * f, 1)
        self.lateral16 = nn.Conv2d(6 * f, 4 * f, 1)
        self.lateral32 = nn.Conv2d(8 * f, 4 * f, 1)
        self.merge16 = _conv(4 * f, 4 * f)
        self.merge8 = nn.Sequential(_conv(4 * f, 4 * f), _Block(4 * f))
        self.head = nn.Sequential(_conv(4 * f, 4 * f), nn.Conv2d(4 * f, 5, 1))
        final = self.head[1]
        assert isinstance(final, nn.Conv2d) and final.bias is not None
        with torch.no_grad():
            final.bias[0] = -4.0

    def forward(self, rgb: Tensor) -> DetectorPrediction:
        """Run the module; see the class for shapes."""
        x8 = self.extra8(self.down8(self.down4((rgb - 0.45) * 4.0)))
        x16 = self.extra16(self.down16(x8))
        x32 = self.extra32(self.down32(x16))
        y16 = self.merge16(self.lateral16(x16) + F.interpolate(self.lateral32(x32), scale_factor=2.0))
        y8 = self.merge8(self.lateral8(x8) + F.interpolate(y16, scale_factor=2.0))
        raw = self.head(y8).float()
        return DetectorPrediction(raw[:, :1], raw[:, 1:])
