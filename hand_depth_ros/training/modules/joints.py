"""The loss of the joints."""

from __future__ import annotations

import torch
from torch import Tensor

_PLACE_WEIGHT, _DEPTH_WEIGHT = 2.0, 6.0


def joint_loss(joints: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 over the joints that are known (not NaN) and in the crop; both (B, 21, 3), ``weight`` (B,)."""
    known = torch.isfinite(truth).all(-1) & (truth[..., :2].abs() < 1).all(-1)
    target = torch.where(known[..., None], truth, torch.zeros_like(truth))
    error = (joints - target).abs() * joints.new_tensor((_PLACE_WEIGHT, _PLACE_WEIGHT, _DEPTH_WEIGHT))
    w = known * weight[:, None]
    return (error.sum(-1) * w).sum() / w.sum().clamp_min(1.0)
