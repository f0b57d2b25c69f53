"""The loss of the joints."""

from __future__ import annotations

import torch
from torch import Tensor

_PLACE_WEIGHT, _DEPTH_WEIGHT = 2.0, 6.0


def joint_loss(
    joints: Tensor, truth: Tensor, weight: Tensor, depth_weight: Tensor | None = None
) -> Tensor:
    """Weighted L1 over the joints that are known (not NaN) and in the crop; both (B, 21, 3), ``weight`` (B,). ``depth_weight``
    (B,) is that of their depths, where it isn't the same."""
    known = torch.isfinite(truth).all(-1) & (truth[..., :2].abs() < 1).all(-1)
    target = torch.where(known[..., None], truth, torch.zeros_like(truth))
    error = (joints - target).abs() * joints.new_tensor((_PLACE_WEIGHT, _PLACE_WEIGHT, _DEPTH_WEIGHT))
    w = known * weight[:, None]
    deep = w if depth_weight is None else known * depth_weight[:, None]
    return (error[..., :2].sum(-1) * w + error[..., 2] * deep).sum() / w.sum().clamp_min(1.0)
