"""The head that regresses the 21 joints, and the coarse relief that they imply.

Joints tell the depth head which finger is which, palm from back, and which way a hand is tilted.

Integral regression: Sun, Xiao, Wei, Liang, Wei, "Integral Human Pose Regression", ECCV 2018; of
depth: Iqbal, Molchanov, Breuel, Gall, Kautz, "Hand Pose Estimation via Latent 2.5D Heatmap
    Regression", ECCV 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hand_depth_ros.geometry.hand import JOINT_COUNT

_DEPTH_UNIT = 0.25
_REACH = 0.15
"""Standard deviation of a joint's influence on the relief around it, the crop being 2 wide: a
finger's breadth."""
_FAR = 1e-3


class JointHead(nn.Module):
    """Map features (B, f, s, s) to joints (B, 21, 3).

    x and y are in -1..1 of the crop, z is in hand lengths like the relief.
    """

    grid: Tensor

    def __init__(self, features: int, side: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(features, 2 * JOINT_COUNT, 1)
        centres = (torch.arange(side) + 0.5) * (2 / side) - 1
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        self.register_buffer("grid", torch.stack((x.flatten(), y.flatten())), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Run the module; see the class for shapes."""
        heat, depth = self.maps(features).float().flatten(2).chunk(2, 1)
        heatmap = heat.softmax(-1)
        x, y = (heatmap * self.grid[0]).sum(-1), (heatmap * self.grid[1]).sum(-1)
        return torch.stack((x, y, _DEPTH_UNIT * (heatmap * depth).sum(-1)), -1)

    def relief(self, joints: Tensor) -> Tensor:
        """Spread the joints' z over the crop.

        (B, 1, s, s), at every cell the mean of nearby joints.
        """
        away = (joints[:, :, :2, None] - self.grid).square().sum(2)
        near = torch.exp(away / (-2 * _REACH**2)) + _FAR
        z = (near * joints[:, :, 2:]).sum(1) / near.sum(1)
        side = int(self.grid.shape[1] ** 0.5)
        return z.view(-1, 1, side, side)
