"""Losses of the depth network: every stage has its own, the last head has all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hand_depth_ros.network.hourglass import Prediction, StageOutput
from hand_depth_ros.training.modules.joints import joint_loss

UNKNOWN = 255
_RELIEF_WEIGHT = 4.0


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def mask_loss(logit: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Binary cross entropy plus soft Dice. ``logit``, ``mask`` (B, 1, h, w), mask 0..1, NaN unknown; ``weight`` (B,)."""
    known = torch.isfinite(mask)
    target = torch.where(known, mask, torch.zeros_like(mask))
    w = known * weight[:, None, None, None]
    cross = _weighted_mean(F.binary_cross_entropy_with_logits(logit, target, reduction="none"), w)
    p = torch.sigmoid(logit) * known
    overlap = 2 * (p * target).sum((1, 2, 3)) + 1.0
    dice = 1 - overlap / ((p + target).sum((1, 2, 3)) + 1.0)
    has_hand = (target.sum((1, 2, 3)) > 1.0) * weight
    return cross + 0.3 * _weighted_mean(dice, has_hand)


def relief_loss(out: StageOutput, relief: Tensor, weight: Tensor) -> Tensor:
    """Laplace negative log likelihood and plain L1 of the relief in hand lengths over the pixels that have one (not NaN)."""
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
    """(Laplace NLL + L1 of log scale and log length, cross entropy of presence); ``target`` (B, 3) NaN unknown. ``weight``
    (B,) is that of the length, and of the scale where ``size_weight`` isn't given."""
    total = scalars.new_zeros(())
    for i, w in enumerate((weight if size_weight is None else size_weight, weight)):
        known = torch.isfinite(target[:, i])
        goal = torch.where(known, target[:, i], torch.zeros_like(target[:, i]))
        error = (scalars[:, 2 * i] - goal).abs()
        log_b = scalars[:, 2 * i + 1]
        total = total + _weighted_mean(2 * error + 0.2 * (error * torch.exp(-log_b) + log_b), known * w)
    presence = F.binary_cross_entropy_with_logits(scalars[:, 4], target[:, 2])
    return total, presence


def _shrink_mask(mask: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(mask, size)


def _shrink_relief(relief: Tensor, size: int) -> Tensor:
    known = torch.isfinite(relief)
    total = F.adaptive_avg_pool2d(torch.where(known, relief, torch.zeros_like(relief)), size)
    share = F.adaptive_avg_pool2d(known.float(), size)
    return torch.where(share > 0.5, total / share.clamp_min(1e-6), torch.full_like(total, torch.nan))


def total_loss(
    prediction: Prediction, batch: dict[str, Tensor], intermediate: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over stages, and its parts for the log. ``batch`` as :mod:`hand_depth_ros.training.samples.crops` makes it."""
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
    total = parts["mask"] + parts["relief"] + parts["scalar"] + 0.3 * parts["presence"]
    for stage in prediction.stages if intermediate else ():
        if stage.mask is not None:
            total = total + 0.5 * mask_loss(stage.mask, _shrink_mask(mask, stage.mask.shape[-1]), weight)
        if stage.relief is not None:
            total = total + 0.5 * relief_loss(
                stage, _shrink_relief(relief, stage.relief.shape[-1]), has_depth
            )
    if prediction.joints:
        supervised = prediction.joints if intermediate else prediction.joints[-1:]
        losses = [joint_loss(joints, batch["joints"], weight) for joints in supervised]
        parts["joints"] = losses[-1]
        total = total + torch.stack(losses).mean()
    return total, {name: value.detach() for name, value in parts.items()}
