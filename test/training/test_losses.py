"""Losses of both networks: minima, unknown labels, weights, gradients; targets of the detector."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.small_networks import TINY

from hand_depth_ros.estimation.detector import decode_boxes
from hand_depth_ros.network import HandDepthNet, StageOutput
from hand_depth_ros.network.hourglass import Prediction
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.losses import total_loss
from hand_depth_ros.training.samples.training_data import TrainingData


def batch(count: int = 2, side: int = 32) -> dict[str, torch.Tensor]:
    """Return labels of a square hand with a ramp as relief and a strip of unknown pixels."""
    mask = torch.zeros(count, side, side, dtype=torch.uint8)
    mask[:, 8:24, 8:24] = 1
    relief = torch.where(mask == 1, torch.linspace(-0.3, 0.3, side).expand(count, side, side), torch.nan)
    mask[:, :, 20:] = 255
    relief[:, :, 20:] = torch.nan
    scalars = torch.tensor([[-0.3, 0.05, 1.0]]).repeat(count, 1)
    return {"mask": mask, "relief": relief, "scalars": scalars, "weight": torch.ones(count)}


def perfect(truth: dict[str, torch.Tensor]) -> Prediction:
    mask = torch.where(truth["mask"] == 1, 9.0, -9.0)[:, None]
    relief = torch.nan_to_num(truth["relief"])[:, None]
    goal = truth["scalars"].nan_to_num()
    log_b = torch.full((len(goal),), -4.0)
    scalars = torch.stack((goal[:, 0], log_b, goal[:, 1], log_b, torch.full_like(log_b, 9.0)), 1)
    return Prediction((), StageOutput(mask, relief, torch.full_like(mask, -4.0)), scalars)


def loss(prediction: Prediction, truth: dict[str, torch.Tensor]) -> float:
    return float(total_loss(prediction, truth)[0])


def with_final(prediction: Prediction, **maps: torch.Tensor) -> Prediction:
    return prediction._replace(final=prediction.final._replace(**maps))


def test_truth_has_lowest_loss() -> None:
    truth = batch()
    best = perfect(truth)
    final, least = best.final, loss(best, truth)
    assert final.mask is not None and final.relief is not None and final.log_b is not None
    worse = [
        with_final(best, mask=-final.mask),
        with_final(best, mask=0 * final.mask),
        with_final(best, relief=final.relief + 0.05),
        with_final(best, relief=-final.relief),
        with_final(best, log_b=final.log_b + 3),
        best._replace(scalars=best.scalars + torch.tensor([0.1, 0, 0, 0, 0])),
        best._replace(scalars=best.scalars + torch.tensor([0, 0, 0.1, 0, 0])),
        best._replace(scalars=best.scalars * torch.tensor([1, 1, 1, 1, -1.0])),
    ]
    assert all(loss(other, truth) > least + 1e-3 for other in worse)


def test_unknown_pixels_do_not_count() -> None:
    truth = batch()
    best = perfect(truth)
    unknown = (truth["mask"] == 255)[:, None]
    final = best.final
    assert final.mask is not None and final.relief is not None and final.log_b is not None
    nonsense = with_final(
        best,
        mask=torch.where(unknown, 50.0, final.mask),
        relief=torch.where(unknown, 1e3, final.relief),
        log_b=torch.where(unknown, 1.0, final.log_b),
    )
    assert loss(nonsense, truth) == pytest.approx(loss(best, truth))


def test_unknown_scalars_do_not_count() -> None:
    truth = batch()
    truth["scalars"][:, 1] = torch.nan
    best = perfect(truth)
    other = best._replace(scalars=best.scalars + torch.tensor([0, 0, 3.0, 1.0, 0]))
    assert loss(other, truth) == pytest.approx(loss(best, truth))


def test_sample_of_weight_zero_does_not_count() -> None:
    truth = batch(2)
    truth["weight"] = torch.tensor([1.0, 0.0])
    best = perfect(truth)
    final = best.final
    assert final.mask is not None and final.relief is not None
    flip = torch.tensor([1.0, -1.0])[:, None, None, None]
    other = with_final(best, mask=final.mask * flip, relief=final.relief * flip)
    assert loss(other, truth) == pytest.approx(loss(best, truth))


@pytest.mark.parametrize("known", ["all", "no relief", "nothing"])
def test_every_stage_has_finite_gradients(known: str) -> None:
    torch.manual_seed(0)
    truth = batch(2)
    if known != "all":
        truth["relief"][:] = torch.nan
    if known == "nothing":
        truth["mask"][:] = 255
        truth["scalars"][:, :2] = torch.nan
    network = HandDepthNet(TINY).train()
    total_loss(network(torch.rand(2, 3, 32, 32)), truth)[0].backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in gradients.values())
    if known == "all":
        for stage in range(TINY.stacks):
            assert gradients[f"heads.{stage}.weight"].abs().sum() > 0


def test_without_intermediate_supervision_only_last_head_counts() -> None:
    truth = batch()
    best = perfect(truth)
    wrong = StageOutput(torch.full((2, 1, 8, 8), 9.0), None, None)
    assert float(total_loss(best._replace(stages=(wrong,)), truth, False)[0]) == pytest.approx(
        loss(best, truth)
    )
    assert float(total_loss(best._replace(stages=(wrong,)), truth, True)[0]) > loss(best, truth) + 0.1


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_config_weights_sizes_of_photographs() -> None:
    """Return how much the loss grows with the size error of photographs and of rendered hands."""
    pytest.importorskip("lightning", reason="training needs the extra 'train'")
    from hand_depth_ros.training.modules.depth import DepthTraining

    def batch_loss(module: DepthTraining, photographs: float, rendered: float) -> float:
        torch.manual_seed(0)
        rgb = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        truth = {**batch(4), "rgb": rgb, "real": torch.tensor([1.0, 1.0, 0.0, 0.0])}
        truth["scalars"][:, 0] = torch.tensor([photographs, photographs, rendered, rendered])
        with torch.no_grad():
            return float(module.eval().training_step(truth, 0))

    counts = {}
    for weight in (0.0, 0.5, 1.0):
        config = TrainConfig(network=dataclasses.asdict(TINY), real_weight=0.8, real_size_weight=weight)
        torch.manual_seed(0)
        module = DepthTraining(config, TrainingData([], [], []), {})
        start = batch_loss(module, 10.0, 10.0)
        grown, reference = batch_loss(module, 11.0, 10.0) - start, batch_loss(module, 10.0, 11.0) - start
        counts[weight] = grown / reference
    assert counts == pytest.approx({0.0: 0.0, 0.5: 0.8 * 0.5, 1.0: 0.8}, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_detector_targets_decode_to_their_boxes(seed: int) -> None:
    pytest.importorskip("lightning", reason="training needs the extra 'train'")
    from hand_depth_ros.training.modules.detector import targets

    rng = np.random.default_rng(seed)
    low = np.array([[12, 12], [110, 20], [60, 100]]) + rng.uniform(0, 20, (3, 2))
    size = rng.uniform(15, 45, (3, 2))
    first, last = np.floor(low), np.floor(low + size)  # pixels of the box, both within it
    boxes = np.full((1, 8, 4), np.nan, np.float32)
    boxes[0, :3] = np.hstack(((first + last) / 2, last - first + 1))
    heat, values, _ = targets(torch.from_numpy(boxes), 160, 192)
    found, scores = decode_boxes(torch.logit(heat[0], 1e-4), values[0], 0.9, 8)
    order = np.lexsort(found.T[::-1])
    expected = np.hstack((first, last - first + 1))
    np.testing.assert_allclose(found[order], expected[np.lexsort(expected.T[::-1])], atol=1e-2)
    assert (scores > 0.99).all()
