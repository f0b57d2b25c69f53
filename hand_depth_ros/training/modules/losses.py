"""Losses of the depth network: every stage has its own, the last head has all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hand_depth_ros.network.hourglass import Prediction, StageOutput
from hand_depth_ros.training.data.photographs import UNKNOWN

_DICE_WEIGHT = 0.3
_RELIEF_WEIGHT = 4.0
_PRESENCE_WEIGHT = 0.3
_STAGE_WEIGHT = 0.5
_JOINT_XY_WEIGHT, _JOINT_Z_WEIGHT = 2.0, 6.0


def mask_loss(logit: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return binary cross entropy plus soft Dice.

    Args:
        logit: (B, 1, h, w).
        mask: (B, 1, h, w), 0..1, NaN unknown.
        weight: (B,).
    """
    known = torch.isfinite(mask)
    target = torch.where(known, mask, torch.zeros_like(mask))
    w = known * weight[:, None, None, None]
    cross = _weighted_mean(F.binary_cross_entropy_with_logits(logit, target, reduction="none"), w)
    p = torch.sigmoid(logit) * known
    overlap = 2 * (p * target).sum((1, 2, 3)) + 1.0
    dice = 1 - overlap / ((p + target).sum((1, 2, 3)) + 1.0)
    has_hand = (target.sum((1, 2, 3)) > 1.0) * weight
    return cross + _DICE_WEIGHT * _weighted_mean(dice, has_hand)


def relief_loss(out: StageOutput, relief: Tensor, weight: Tensor) -> Tensor:
    """Return Laplace negative log likelihood plus L1 of the relief.

    Args:
        out: A stage with relief and log_b.
        relief: (B, 1, h, w), hand lengths, NaN unknown.
        weight: (B,).
    """
    assert out.relief is not None and out.log_b is not None
    known = torch.isfinite(relief)
    target = torch.where(known, relief, torch.zeros_like(relief))
    error = (out.relief - target).abs()
    likelihood = error * torch.exp(-out.log_b) + out.log_b
    per_hand = known.sum((1, 2, 3)).clamp_min(1)
    w = known * (weight / per_hand)[:, None, None, None]
    return ((_RELIEF_WEIGHT * 5 * error + 0.2 * likelihood) * w).sum() / weight.sum().clamp_min(1.0)


def scalar_loss(
    scalars: Tensor, target: Tensor, weight: Tensor, size_weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the loss of log apparent size and log hand length, and that of presence.

    The first is Laplace negative log likelihood plus L1, the second binary cross entropy.

    Args:
        scalars: (B, 5) as the network predicts them.
        target: (B, 3), NaN unknown.
        weight: (B,) weight of the hand length, and of the apparent size without ``size_weight``.
        size_weight: (B,) weight of the apparent size.
    """
    total = scalars.new_zeros(())
    for i, w in enumerate((weight if size_weight is None else size_weight, weight)):
        known = torch.isfinite(target[:, i])
        goal = torch.where(known, target[:, i], torch.zeros_like(target[:, i]))
        error = (scalars[:, 2 * i] - goal).abs()
        log_b = scalars[:, 2 * i + 1]
        total = total + _weighted_mean(2 * error + 0.2 * (error * torch.exp(-log_b) + log_b), known * w)
    presence = F.binary_cross_entropy_with_logits(scalars[:, 4], target[:, 2])
    return total, presence


def joint_loss(joints: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted L1 error over the joints that are known and in the crop.

    Args:
        joints: (B, 21, 3).
        truth: (B, 21, 3), NaN unknown.
        weight: (B,).
    """
    known = torch.isfinite(truth).all(-1) & (truth[..., :2].abs() < 1).all(-1)
    target = torch.where(known[..., None], truth, torch.zeros_like(truth))
    axes = joints.new_tensor((_JOINT_XY_WEIGHT, _JOINT_XY_WEIGHT, _JOINT_Z_WEIGHT))
    error = (joints - target).abs() * axes
    w = known * weight[:, None]
    return (error.sum(-1) * w).sum() / w.sum().clamp_min(1.0)


def total_loss(
    prediction: Prediction, batch: dict[str, Tensor], intermediate: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum over all stages, and its parts for the log.

    Args:
        prediction: The network's output.
        batch: Samples of `samples.crops`.
        intermediate: Supervise all stages, not the last head alone.
    """
    mask = batch["mask"][:, None].float()
    mask = torch.where(mask == UNKNOWN, torch.full_like(mask, torch.nan), mask)
    relief, weight = batch["relief"][:, None], batch["weight"]
    has_depth = weight * torch.isfinite(relief).flatten(1).any(1)
    final = prediction.final
    assert final.mask is not None
    parts = {
        "mask": mask_loss(final.mask, mask, weight),
        "relief": relief_loss(final, relief, has_depth),
    }
    parts["scalar"], parts["presence"] = scalar_loss(
        prediction.scalars, batch["scalars"], weight, batch.get("size_weight")
    )
    total = parts["mask"] + parts["relief"] + parts["scalar"] + _PRESENCE_WEIGHT * parts["presence"]
    for stage in prediction.stages if intermediate else ():
        if stage.mask is not None:
            shrunk = _shrink_mask(mask, stage.mask.shape[-1])
            total = total + _STAGE_WEIGHT * mask_loss(stage.mask, shrunk, weight)
        if stage.relief is not None:
            shrunk = _shrink_relief(relief, stage.relief.shape[-1])
            total = total + _STAGE_WEIGHT * relief_loss(stage, shrunk, has_depth)
    if prediction.joints:
        supervised = prediction.joints if intermediate else prediction.joints[-1:]
        losses = [joint_loss(joints, batch["joints"], weight) for joints in supervised]
        parts["joints"] = losses[-1]
        total = total + torch.stack(losses).mean()
    return total, {name: value.detach() for name, value in parts.items()}


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def _shrink_mask(mask: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(mask, size)


def _shrink_relief(relief: Tensor, size: int) -> Tensor:
    known = torch.isfinite(relief)
    total = F.adaptive_avg_pool2d(torch.where(known, relief, torch.zeros_like(relief)), size)
    fraction = F.adaptive_avg_pool2d(known.float(), size)
    return torch.where(fraction > 0.5, total / fraction.clamp_min(1e-6), torch.full_like(total, torch.nan))
