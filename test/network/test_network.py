"""The depth network and its ablation switches, at sizes that cost nothing."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
import torch
from support.small_networks import TINY, TINY_DETECTOR, shake

from hand_depth_ros.geometry.hand import wrist_to_knuckles as wrist_to_knuckles_of
from hand_depth_ros.network import DetectorConfig, HandDepthNet, HandDetectorNet, NetworkConfig
from hand_depth_ros.network.hourglass import SCALARS
from hand_depth_ros.network.inference import compile_for_inference, fuse_batch_norms

SWITCHES = [
    {"stacks": stacks, "mask_stacks": masks, "feed_mask": feed, "predict_mask": predict}
    for stacks, masks, feed, predict in itertools.product((1, 2, 3), (0, 1, 2), (True, False), (True, False))
    if masks < stacks
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def tiny(**changes: object) -> HandDepthNet:
    return HandDepthNet(dataclasses.replace(TINY, **changes)).eval()  # type: ignore[arg-type]


def differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not torch.equal(a, b)


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(str(int(v)) for v in s.values()))
def test_every_variant_of_the_ablation_gives_maps_of_the_crops_size(switches: dict[str, int]) -> None:
    with torch.no_grad():
        out = tiny(**switches)(torch.rand(2, 3, 32, 32))
    assert len(out.stages) == switches["stacks"]
    for number, stage in enumerate(out.stages):
        masks_only = switches["predict_mask"] and number < switches["mask_stacks"]
        assert (stage.mask is not None) == switches["predict_mask"]
        assert (stage.relief is not None) == (stage.log_b is not None) == (not masks_only)
        assert all(m.shape == (2, 1, 8, 8) for m in stage if m is not None)
    assert all(m.shape == (2, 1, 32, 32) and m.dtype == torch.float32 for m in out.final)
    assert out.scalars.shape == (2, len(SCALARS)) and out.scalars.dtype == torch.float32
    assert all(torch.isfinite(m).all() for m in (*out.final, out.scalars))


def test_the_first_stage_is_the_mask_alone() -> None:
    first, second = tiny()(torch.rand(1, 3, 32, 32)).stages
    assert first.mask is not None and first.relief is None and first.log_b is None
    assert second.mask is not None and second.relief is not None


@pytest.mark.parametrize("feed_mask", [True, False])
def test_the_estimated_mask_guides_what_comes_after_it_only_when_it_is_fed_forward(feed_mask: bool) -> None:
    network = tiny(feed_mask=feed_mask)
    crop = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = network(crop)
        network.heads[0].weight[0] += 1.0  # another opinion of the mask, nothing else
        after = network(crop)
    assert differs(before.stages[0].mask, after.stages[0].mask)
    assert differs(before.final.relief, after.final.relief) == feed_mask
    assert differs(before.scalars, after.scalars) == feed_mask


def test_a_stage_without_depth_feeds_no_depth_forward() -> None:
    network = tiny()
    crop = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = network(crop).final.relief
        network.heads[0].weight[1:] += 1.0  # what the mask-only stage thinks of depth does not count
        after = network(crop).final.relief
    assert torch.equal(before, after)


def test_the_plane_tilts_the_last_relief_and_nothing_else() -> None:
    network = tiny(plane=True)
    crop = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = network(crop)
        network.scalars[-1].bias[-2:] += torch.tensor([4.0, -2.0])
        after = network(crop)
    tilt = (after.final.relief - before.final.relief)[0, 0]
    right, down = tilt[:, -1] - tilt[:, 0], tilt[-1] - tilt[0]
    assert right.numpy() == pytest.approx(2 * 4 * 0.25, abs=1e-4)  # in hand lengths, across the crop
    assert down.numpy() == pytest.approx(-2 * 2 * 0.25, abs=1e-4)
    assert torch.equal(before.final.mask, after.final.mask) and torch.equal(before.scalars, after.scalars)


def test_an_hourglass_that_widens_has_its_channels_at_the_bottom() -> None:
    network = tiny(growth=4, bottom=2)
    inner = network.hourglasses[0].inner.inner
    assert [block.body[0][0].in_channels for block in inner] == [16, 16]
    with torch.no_grad():
        assert network(torch.rand(1, 3, 32, 32)).final.relief.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 3, 32, 16), (1, 1, 32, 32), (3, 32, 32)])
def test_a_crop_of_another_size_is_refused_with_the_size_that_is_wanted(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, 32, 32\)"):
        tiny()(torch.rand(shape))


def test_the_scale_of_uncertainty_is_bounded_whatever_the_input() -> None:
    out = tiny()(1e4 * torch.randn(2, 3, 32, 32))
    for log_b in (out.final.log_b, out.scalars[:, 1], out.scalars[:, 3]):
        assert log_b is not None and log_b.min() >= -6 and log_b.max() <= 1


def test_folded_batch_norms_are_the_same_function() -> None:
    crops, frames = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 64, 64)
    depth, detector = HandDepthNet(TINY), HandDetectorNet(TINY_DETECTOR)
    shake(depth, crops)
    shake(detector, frames)
    with torch.no_grad():
        expected, expected_boxes = depth(crops), detector(frames)
        folded, fuse_detector = fuse_batch_norms(depth), fuse_batch_norms(detector)
        got, boxes = folded(crops), fuse_detector(frames)
    for a, b in zip((*expected.final, expected.scalars), (*got.final, got.scalars), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
        assert a.std() > 1e-3  # it says something of the picture at all
    for a, b in zip(expected_boxes, boxes, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    kinds = {type(module).__name__ for net in (folded, fuse_detector) for module in net.modules()}
    assert "BatchNorm2d" not in kinds


def test_the_detector_gives_maps_at_an_eighth_of_its_input() -> None:
    out = HandDetectorNet(DetectorConfig(96, 64, 4)).eval()(torch.rand(2, 3, 64, 96))
    assert out.centre.shape == (2, 1, 8, 12) and out.box.shape == (2, 4, 8, 12)
    assert torch.sigmoid(out.centre).max() < 0.2  # untrained, it claims no hand


@pytest.mark.parametrize("config", [TINY, NetworkConfig(), TINY_DETECTOR, DetectorConfig()])
def test_a_config_survives_json(config: NetworkConfig | DetectorConfig) -> None:
    assert type(config).from_dict(json.loads(config.to_json())) == config


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"stack": 2}, "stack"),
        ({"stacks": 0}, "stacks"),
        ({"stacks": 9}, "stacks"),
        ({"stacks": "2"}, "stacks"),
        ({"stacks": 2.5}, "stacks"),
        ({"stacks": 2, "mask_stacks": 2}, "mask_stacks"),
        ({"features": 33}, "features"),
        ({"features": 1 << 20}, "features"),
        ({"crop_size": 100}, "crop_size"),
        ({"crop_size": 96, "levels": 4}, "crop_size"),
        ({"levels": 0}, "levels"),
        ({"growth": 3}, "growth"),
        ({"bottom": 0}, "bottom"),
        ({"plane": 1}, "plane"),
        ({"feed_mask": "no"}, "feed_mask"),
        ({"predict_mask": 1}, "predict_mask"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_the_name_of_its_field(
    values: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        NetworkConfig.from_dict(values)


@pytest.mark.parametrize("values", [{"input_width": 100}, {"input_height": 0}, {"features": 3}, {"size": 1}])
def test_a_detector_config_that_cannot_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values)).split("_")[0]):
        DetectorConfig.from_dict(values)


@pytest.mark.parametrize(("batch", "backbone"), [(1, False), (3, False), (2, True)])
def test_the_traced_network_gives_the_same_bits(batch: int, backbone: bool) -> None:
    side = 128 if backbone else TINY.crop_size
    config = dataclasses.replace(
        TINY, crop_size=side, growth=4, bottom=2, plane=True, joints=True, backbone=backbone
    )
    network = HandDepthNet(config)
    for name, value in network.named_parameters():
        if "guide" in name or "global_proj" in name:  # new, these say nothing
            torch.nn.init.normal_(value, 0, 0.1)
    pictures = torch.rand(batch, 3, config.input_size, config.input_size)
    shake(network, pictures, batches=1 if backbone else 4)
    network = fuse_batch_norms(network.eval())
    traced = compile_for_inference(network, torch.device("cpu"))
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(3):  # the first runs are optimised, the later ones are what comes of it
            maps, scalars, wrist_to_knuckles = traced(pictures)
        expected = network(pictures)
    assert torch.equal(maps, torch.cat(expected.final, 1)) and torch.equal(scalars, expected.scalars)
    assert torch.equal(wrist_to_knuckles, wrist_to_knuckles_of(expected.joints[-1]))
