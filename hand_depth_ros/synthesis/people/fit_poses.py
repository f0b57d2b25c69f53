"""Fit anny's hand to 21 landmarks in space, all hands of a file at once; write poses.npz.

    python -m hand_depth_ros.synthesis.people.fit_poses LANDMARKS.jsonl

LANDMARKS.jsonl has `hands` with `world_m` (21, 3) in metres and `handedness_mirrored` in each line,
as MediaPipe Hands gives them: camera axes (x right, y down, z forward), origin anywhere. Left hands
are mirrored into right ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from hand_depth_ros.synthesis.people.body import BodyModel, Person, body_model, bone, hand_axes
from hand_depth_ros.synthesis.people.poses import ANGLES_HIGH, ANGLES_LOW, SPREAD_FADES
from hand_depth_ros.synthesis.people.real_poses import PATH, HandView

_PALM = [0, 5, 9, 13, 17]
_STEPS = 500
_MAX_RESIDUAL_M = 0.007  # fits whose joints are further off than this on average are left out
_KERNEL_DEG = 8.0  # poses this close (RMS of the angles) count as the same pose


@dataclass(frozen=True)
class HandFits:
    """N fitted hands, all as right ones.

    angles (N, 20) degrees in the order of HandAngles.flat; joints (N, 21, 3) metres, in the
    landmarks' frame and at their scale; residual (N, 21) metres from joint to landmark.
    """

    angles: np.ndarray
    joints: np.ndarray
    residual: np.ndarray


class _Hand:
    """Kinematics of one right hand for a batch, from a person's rest pose.

    The data's own proportions (where fingers begin, how long bones are) are found together with the
    poses.
    """

    def __init__(self, model: BodyModel, person: Person) -> None:
        rest = person.rest_bones
        wrist = np.linalg.inv(rest[model.index[bone("wrist", "right")]])
        turns, offsets = [], []
        for finger in range(5):
            names = [bone(f"finger{finger + 1}-{j}", "right") for j in (1, 2, 3)]
            first = wrist @ rest[model.index[names[0]]]
            local = [first] + [person.relative[model.index[n]] for n in names[1:]]
            turns.append([m[:3, :3] for m in local])
            offsets.append([m[:3, 3] for m in local] + [person.tips["right", finger] * 0.93])
        self.turns = torch.tensor(np.array(turns), dtype=torch.float32)  # (5, 3, 3, 3)
        self.offsets = torch.tensor(np.array(offsets), dtype=torch.float32)  # (5, 4, 3)

    def joints(self, angles: torch.Tensor, moved: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        """Return joints (N, 21, 3) in the wrist's frame.

        angles (N, 20) radians; moved (5, 3) metres; longer (5, 3) log ratios.
        """
        thumb, flexion, spread = angles[:, :4], angles[:, 4:16].reshape(-1, 4, 3), angles[:, 16:]
        fade = (1 - flexion[:, :, 0] / np.radians(SPREAD_FADES)).clamp(0, 1)
        x = torch.cat([thumb[:, None, [0, 2, 3]], flexion], 1)  # (N, 5, 3)
        z = torch.cat([thumb[:, 1:2], spread * fade], 1)  # (N, 5) sideways, at the first joint only
        turn = self.turns[:, 0] @ _about(z, 2) @ _about(x[..., 0], 0)
        at = (self.offsets[:, 0] + moved).expand(len(angles), 5, 3)
        out = [at]
        for j in (1, 2, 3):
            offset = self.offsets[:, j] * longer[:, j - 1 : j].exp()
            at = at + (turn @ offset[..., None])[..., 0]
            out.append(at)
            if j < 3:
                turn = turn @ self.turns[:, j] @ _about(x[..., j], 0)
        joints = torch.stack(out, 2).reshape(-1, 20, 3)
        return torch.cat([torch.zeros_like(joints[:, :1]), joints], 1)


def _about(angle: torch.Tensor, axis: int) -> torch.Tensor:
    """Convert (...) radians to (..., 3, 3) rotations about a coordinate axis."""
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    rows = {0: (one, zero, zero, zero, c, -s, zero, s, c), 2: (c, -s, zero, s, c, zero, zero, zero, one)}
    return torch.stack(rows[axis], -1).reshape(*angle.shape, 3, 3)


def _orthonormal(six: torch.Tensor) -> torch.Tensor:
    """Convert (N, 6) to (N, 3, 3) rotations by Gram and Schmidt (Zhou et al. 2019)."""
    a = torch.nn.functional.normalize(six[:, :3], dim=1)
    b = six[:, 3:]
    b = torch.nn.functional.normalize(b - (a * b).sum(1, keepdim=True) * a, dim=1)
    return torch.stack([a, b, torch.linalg.cross(a, b)], 2)


def _kabsch(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return rotations (N, 3, 3) from source (K, 3) to target (N, K, 3) (Kabsch 1976)."""
    a = source - source.mean(0)
    b = target - target.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("nki,kj->nij", b, a))
    flip = np.ones((len(target), 1, 3))
    flip[:, 0, 2] = np.sign(np.linalg.det(u @ vt))
    return (u * flip) @ vt


def fit_hands(landmarks: np.ndarray, right: np.ndarray) -> HandFits:
    """Fit every hand. landmarks (N, 21, 3) metres, camera axes.

    right (N,) bool: which are right hands.

    Least squares in units of 5 mm with Huber's loss; angles are drawn towards rest and pushed back
    into the joints' limits.
    """
    torch.manual_seed(0)
    model = body_model()
    hand = _Hand(model, model.person({"age": 0.7}, 0.188))
    target = np.where(right[:, None, None], landmarks, landmarks * [-1.0, 1.0, 1.0])
    count = len(target)
    at_rest = hand.joints(torch.zeros(1, 20), torch.zeros(5, 3), torch.zeros(5, 3))[0].numpy()
    begin = _kabsch(at_rest[_PALM], target[:, _PALM])
    spread = [
        np.linalg.norm(j[..., 1:, :] - j[..., :1, :], axis=-1).mean(-1)
        for j in (target[:, _PALM], at_rest[_PALM])
    ]
    six = torch.tensor(
        np.concatenate([begin[:, :, 0], begin[:, :, 1]], 1), dtype=torch.float32, requires_grad=True
    )
    scale = torch.tensor(np.log(spread[0] / spread[1]), dtype=torch.float32, requires_grad=True)
    shift = torch.tensor(target[:, 0], dtype=torch.float32, requires_grad=True)
    angles = torch.zeros(count, 20, requires_grad=True)
    moved = torch.zeros(5, 3, requires_grad=True)
    longer = torch.zeros(5, 3, requires_grad=True)
    low, high = (torch.tensor(np.radians(v), dtype=torch.float32) for v in (ANGLES_LOW, ANGLES_HIGH))
    goal = torch.tensor(target, dtype=torch.float32)
    groups = [{"params": [angles, six], "lr": 0.03}, {"params": [scale, longer], "lr": 0.01}]
    optimiser = torch.optim.Adam([*groups, {"params": [shift, moved], "lr": 0.001}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)

    def placed() -> torch.Tensor:
        local = hand.joints(angles, moved, longer) * scale.exp()[:, None, None]
        return local @ _orthonormal(six).mT + shift[:, None]

    for _ in range(_STEPS):
        optimiser.zero_grad()
        away = (placed() - goal) / 0.005
        data = torch.nn.functional.huber_loss(away, torch.zeros_like(away), reduction="sum", delta=3.0)
        outside = (angles - high).relu() + (low - angles).relu()
        loss = data + 0.5 * angles.square().sum() + 4.0 * (outside / 0.1).square().sum()
        loss = loss + count * ((moved / 0.005).square().sum() + (longer / 0.1).square().sum()) * 0.05
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        joints = placed().numpy().astype(np.float64)
    residual = np.linalg.norm(joints - target, axis=-1)
    return HandFits(np.degrees(angles.detach().numpy().astype(np.float64)), joints, residual)


def rarity(angles: np.ndarray) -> np.ndarray:
    """Return weights (N,) that undo how often a pose was filmed.

    One over the number of poses like it.

    angles: (N, 20) degrees.
    """
    square = (angles**2).sum(1)
    away = (square[:, None] + square[None] - 2 * angles @ angles.T) / angles.shape[1]
    weights = 1 / np.exp(-away / (2 * _KERNEL_DEG**2)).sum(1)
    return weights / weights.sum()


def hand_views(joints: np.ndarray) -> list[HandView]:
    """Return each camera in its hand's own axes. joints (N, 21, 3) of right hands, camera axes."""
    axes = [hand_axes(j, "right") for j in joints]
    return [HandView(a @ [0.0, 0.0, -1.0], a @ [0.0, -1.0, 0.0]) for a in axes]


def main(
    landmarks: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="File to write.")] = PATH,
) -> None:
    """Fit anny's hand to landmarks, print the residuals and write poses.npz."""
    hands = [hand for line in landmarks.read_text().splitlines() for hand in json.loads(line)["hands"]]
    world = np.array([hand["world_m"] for hand in hands])
    # Handedness is that of a selfie: in other images the hand called left is a right one.
    fits = fit_hands(world, np.array([hand["handedness_mirrored"] == "Left" for hand in hands]))
    each = fits.residual.mean(1)
    good = each < _MAX_RESIDUAL_M
    for name, values in (("joints", fits.residual), ("hands", each)):
        print(
            f"{name}: median {np.median(values) * 1e3:.1f} mm, 95 % below {np.percentile(values, 95) * 1e3:.1f} mm"
        )
    views = [view for view, keep in zip(hand_views(fits.joints), good, strict=True) if keep]
    angles = fits.angles.clip(ANGLES_LOW, ANGLES_HIGH)[good]
    np.savez_compressed(
        out,
        angles=np.rint(angles).astype(np.int8),
        toward=np.rint([view.toward * 127 for view in views]).astype(np.int8),
        up=np.rint([view.up * 127 for view in views]).astype(np.int8),
        weight=rarity(angles).astype(np.float32),
    )
    print(f"{good.sum()} of {len(good)} hands -> {out} ({out.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    typer.run(main)
