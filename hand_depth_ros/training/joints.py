"""Where the joints are, learned beside the depth and not shipped: features learn which finger is which, and palm from back.

Integral regression: Sun, Xiao, Wei, Liang, Wei, "Integral Human Pose Regression", ECCV 2018; of depth with it: Iqbal,
Molchanov, Breuel, Gall, Kautz, "Hand Pose Estimation via Latent 2.5D Heatmap Regression", ECCV 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

JOINTS = 21
_PLACE_WEIGHT, _DEPTH_WEIGHT = 2.0, 6.0
_DEPTH_UNIT = 0.25


class JointHead(nn.Module):
    """Features (B, f, h, w) to joints (B, 21, 3): x, y in -1..1 of the crop, z as the relief, hand lengths."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(features, 2 * JOINTS, 1)

    def forward(self, features: Tensor) -> Tensor:
        heat, depth = self.maps(features).float().flatten(2).chunk(2, 1)
        share = heat.softmax(-1)
        h, w = features.shape[2:]
        y, x = torch.meshgrid(_centres(h, features), _centres(w, features), indexing="ij")
        return torch.stack(
            (
                (share * x.flatten()).sum(-1),
                (share * y.flatten()).sum(-1),
                _DEPTH_UNIT * (share * depth).sum(-1),
            ),
            -1,
        )


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device) + 0.5) * (2 / count) - 1


def joint_loss(joints: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 over the joints that are known (not NaN) and in the crop; both (B, 21, 3), ``weight`` (B,)."""
    known = torch.isfinite(truth).all(-1) & (truth[..., :2].abs() < 1).all(-1)
    target = torch.where(known[..., None], truth, torch.zeros_like(truth))
    error = (joints - target).abs() * joints.new_tensor((_PLACE_WEIGHT, _PLACE_WEIGHT, _DEPTH_WEIGHT))
    w = known * weight[:, None]
    return (error.sum(-1) * w).sum() / w.sum().clamp_min(1.0)
