"""The backbone has a TensorFlow Lite file's values; a network that gets one keeps its function."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="training needs the extra 'train'")
pytest.importorskip("tflite", reason="training needs the extra 'train'")

import lightning
from support.drawn_hands import open_hand
from support.small_networks import shake
from support.tflite_writer import Layer, landmark_layers, random_layer, write_tflite
from torch.nn import functional as F

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.network import (
    DetectorConfig,
    HandDepthNet,
    HandDetectorNet,
    NetworkConfig,
    load_weights,
    save_weights,
)
from hand_depth_ros.network.backbone import CHANNELS, GLOBAL_CHANNELS, Backbone, InvertedResidual, _Block
from hand_depth_ros.network.hourglass import Hourglass, Prediction, _downsampled
from hand_depth_ros.training.config import TrainConfig
from hand_depth_ros.training.modules.depth import DepthTraining
from hand_depth_ros.training.modules.mediapipe_weights import fill_backbone, read_layers
from hand_depth_ros.training.modules.start import load_start
from hand_depth_ros.training.samples.training_data import TrainingData

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")
BARE = NetworkConfig(
    crop_size=128, stacks=2, mask_stacks=1, features=8, levels=2, detail=4, joints=True, plane=True
)
WITH_BACKBONE = dataclasses.replace(BARE, backbone=True)
SIDE, PICTURE = BARE.crop_size, 224
SMALL = ((6, 3, 3, 2), False), ((1, 5, 3, 6), True), ((4, 1, 1, 6), False), ((5, 4), False)
"""Shapes of a convolution, one of each channel, a pointwise one, a fully connected layer."""


@pytest.fixture(scope="module")
def layers() -> list[Layer]:
    return landmark_layers(Backbone())


@pytest.fixture(scope="module")
def model(layers: list[Layer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the landmark model is: half precision."""
    return write_tflite(tmp_path_factory.mktemp("model") / "backbone.tflite", layers, np.float16)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network without a backbone that has learned something."""
    torch.manual_seed(3)
    network = HandDepthNet(BARE)
    shake(network, torch.rand(2, 3, SIDE, SIDE), batches=2)
    path = tmp_path_factory.mktemp("bare") / "depth.safetensors"
    save_weights(network, path)
    return path


def begun(bare: Path | None, model: Path | None, network: NetworkConfig = WITH_BACKBONE) -> HandDepthNet:
    net = HandDepthNet(network)
    names = {"start_from": bare, "backbone_from": model}
    load_start(net, TrainConfig(**{name: str(path) for name, path in names.items() if path}))  # type: ignore[arg-type]
    return net.eval()


def trusting(network: HandDepthNet, much: float) -> HandDepthNet:
    """Set the gate: the backbone's landmarks are the joints (1), unused (0) or in between."""
    with torch.no_grad():
        for layer in network.gate:
            layer.bias.fill_(math.log(much / (1 - much)) if 0 < much < 1 else 100 * (2 * much - 1))
    return network


def said(network: HandDepthNet, pictures: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        out: Prediction = network(pictures)
    stages = [m for stage in out.stages for m in stage if m is not None]
    return [*out.final, out.scalars, *out.joints, *stages]


def backbone_holds(network: HandDepthNet, layers: list[Layer]) -> bool:
    """Compare values at random places of each layer of the backbone; two layers are not its."""
    rng = np.random.default_rng(1)
    theirs = [*layers[:-3], layers[-1]]
    for layer, (weight, bias, depthwise) in zip(network.backbone.layers(), theirs, strict=True):
        for _ in range(20):
            place = tuple(int(rng.integers(n)) for n in weight.shape)
            value = layer.weight[place] if len(place) == 2 else None
            if value is None:
                o, y, x, i = place
                value = layer.weight[i, 0, y, x] if depthwise else layer.weight[o, i, y, x]
            if value.item() != weight[place]:
                return False
        if layer.bias is None or not np.array_equal(layer.bias.detach().numpy(), bias):
            return False
    return True


def convolved(picture: np.ndarray, layer: Layer, stride: int = 1, same: bool = False) -> np.ndarray:
    """Convolve (h, w, channels) pixel by pixel as TensorFlow Lite defines it."""
    weight, bias, depthwise = layer
    sizes = []
    for axis in (0, 1):
        side, kernel = picture.shape[axis], weight.shape[1 + axis]
        sizes.append(-(-side // stride) if same else (side - kernel) // stride + 1)
        missing = max((sizes[axis] - 1) * stride + kernel - side, 0)
        before = [(missing // 2, missing - missing // 2) if a == axis else (0, 0) for a in range(3)]
        picture = np.pad(picture, before)
    rows = []
    for y, x in np.ndindex(*sizes):
        window = picture[y * stride :, x * stride :][: weight.shape[1], : weight.shape[2]]
        rows.append((window * weight[0]).sum((0, 1)) if depthwise else (window * weight).sum((1, 2, 3)))
    out = np.reshape(rows, (*sizes, -1))
    return out if bias is None else out + bias


@pytest.mark.parametrize(
    ("fewer", "more"),
    [
        (dataclasses.replace(BARE, bottom=2), dataclasses.replace(BARE, bottom=4)),
        (DetectorConfig(64, 64, 4), DetectorConfig(64, 64, 4, extra_blocks=2)),
    ],
)
def test_a_network_with_more_blocks_begins_as_one_with_fewer(fewer: Any, more: Any, tmp_path: Path) -> None:
    kind: Any = HandDepthNet if isinstance(fewer, NetworkConfig) else HandDetectorNet
    side = SIDE if kind is HandDepthNet else 64
    torch.manual_seed(5)
    start = kind(fewer)
    shake(start, torch.rand(2, 3, side, side), batches=2)
    save_weights(start, tmp_path / "start.safetensors")
    network = kind(more)
    load_start(network, TrainConfig(start_from=str(tmp_path / "start.safetensors")))
    frames = torch.rand(1, 3, side, side)
    with torch.no_grad():
        expected, got = start.eval()(frames), network.eval()(frames)
    for a, b in zip((expected[0], expected[1]), (got[0], got[1]), strict=True):
        for one, other in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
            if one is not None:
                torch.testing.assert_close(one, other)
    save_weights(network, tmp_path / "more.safetensors")
    with pytest.raises(DatasetError, match="differs from this config's"):
        load_start(kind(fewer), TrainConfig(start_from=str(tmp_path / "more.safetensors")))


@pytest.mark.parametrize("stored_as", [np.float32, np.float16])
def test_layers_that_are_read_do_in_pytorch_what_they_do_in_their_file(
    tmp_path: Path, stored_as: Any
) -> None:
    rng = np.random.default_rng(0)
    written = [random_layer(rng, shape, depthwise) for shape, depthwise in SMALL]
    read = read_layers(write_tflite(tmp_path / "small.tflite", written, stored_as))
    assert len(read) == len(written)  # and nothing of the additions between them
    picture = rng.normal(size=(9, 8, 2))
    ours = torch.from_numpy(picture).permute(2, 0, 1)[None]
    full, (weight, bias) = written[-1], read[-1]
    numbers = rng.normal(size=4)
    assert full.bias is not None
    np.testing.assert_allclose(
        F.linear(torch.from_numpy(numbers), *(torch.from_numpy(x).double() for x in (weight, bias))).numpy(),
        [sum(full.weight[o, i] * numbers[i] for i in range(4)) + full.bias[o] for o in range(5)],
    )
    for layer, (weight, bias) in zip(written[:-1], read[:-1], strict=True):
        assert weight.dtype == bias.dtype == np.float32
        picture = convolved(picture, layer)
        groups = ours.shape[1] if layer.depthwise else 1
        ours = F.conv2d(
            ours, torch.from_numpy(weight).double(), torch.from_numpy(bias).double(), groups=groups
        )
        np.testing.assert_allclose(ours[0].permute(1, 2, 0).numpy(), picture, atol=1e-9)


def test_a_convolution_without_bias_has_one_of_zero(tmp_path: Path) -> None:
    layer = random_layer(np.random.default_rng(0), (6, 3, 3, 2))._replace(bias=None)
    ((_, bias),) = read_layers(write_tflite(tmp_path / "small.tflite", [layer]))
    np.testing.assert_array_equal(bias, np.zeros(6))


def test_a_file_that_was_cut_off_is_refused_wherever_the_cut_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = write_tflite(tmp_path / "a", [random_layer(rng, s, d) for s, d in SMALL], np.float16).read_bytes()
    cut = tmp_path / "cut.tflite"
    for size in [*range(16), *range(16, len(whole), 7), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(DatasetError, match=r"cut\.tflite is not a"):
            read_layers(cut)


def test_a_damaged_file_never_ends_in_anything_but_a_clear_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = write_tflite(tmp_path / "a", [random_layer(rng, s, d) for s, d in SMALL], np.float16).read_bytes()
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for at in rng.integers(8, len(whole), 8):
            content[at] = int(rng.integers(256))
        (tmp_path / "b").write_bytes(content)
        try:
            read_layers(tmp_path / "b")
        except DatasetError:
            refused += 1
    assert refused > 100  # where the damage is not just in values


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "docs/training.md"), (b"", "not a TensorFlow Lite"), (b"PK\3\4" * 9, "not a TensorFlow Lite")],
    ids=["missing", "empty", "zip"],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "backbone.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"backbone\.tflite.*{reason}"):
        fill_backbone(Backbone(), path)
    with pytest.raises(DatasetError, match="no backbone at"):
        fill_backbone(Backbone(), tmp_path)  # a folder


def test_weights_that_are_quantized_are_refused(tmp_path: Path) -> None:
    layer = random_layer(np.random.default_rng(0), (6, 3, 3, 2))
    with pytest.raises(DatasetError, match="not quantized"):
        read_layers(write_tflite(tmp_path / "small.tflite", [layer], np.int8))


@pytest.mark.parametrize("change", ["shorter", "longer", "wider", "another bias", "none"])
def test_a_model_with_other_layers_is_refused_and_changes_nothing(
    tmp_path: Path, layers: list[Layer], change: str
) -> None:
    rng = np.random.default_rng(0)
    others = {
        "shorter": layers[:-1],
        "longer": [*layers, random_layer(rng, (63, 1152))],
        "wider": [*layers[:-1], random_layer(rng, (64, 1152))],
        "another bias": [layers[0]._replace(bias=np.ones(3, np.float32)), *layers[1:]],
        "none": [],
    }[change]
    backbone = Backbone()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(DatasetError, match=r"other layers.*hand_landmark_full\.tflite"):
        fill_backbone(backbone, write_tflite(tmp_path / "other.tflite", others, np.float16))
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("stride", "outputs"), [(1, 4), (2, 4), (1, 6), (2, 6)])
def test_a_block_of_the_backbone_does_what_its_layers_do_in_tensorflow(
    kernel: int, stride: int, outputs: int
) -> None:
    rng = np.random.default_rng(0)
    shapes = ((8, 1, 1, 4), False), ((1, kernel, kernel, 8), True), ((outputs, 1, 1, 8), False)
    wide, deep, narrow = (random_layer(rng, shape, depthwise) for shape, depthwise in shapes)
    block = InvertedResidual(4, _Block(8, kernel, stride, outputs)).double()
    layers = [module for module in block.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        for mine, layer in zip(layers, (wide, deep, narrow), strict=True):
            for place in np.ndindex(*layer.weight.shape):
                o, y, x, i = place
                mine.weight[(i, 0, y, x) if layer.depthwise else (o, i, y, x)] = float(layer.weight[place])
            mine.bias.copy_(torch.from_numpy(layer.bias))
    picture = 4 * rng.normal(size=(8, 8, 4))
    expected = np.clip(convolved(picture, wide), 0, 6)
    assert (expected == 6).any()
    expected = np.clip(convolved(expected, deep, stride, same=True), 0, 6)
    expected = convolved(expected, narrow) + (picture if (stride, outputs) == (1, 4) else 0)
    with torch.no_grad():
        found = block(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("side", [32, 96])
def test_the_backbone_gives_features_at_a_quarter_to_a_thirty_second_and_landmarks(side: int) -> None:
    with torch.no_grad():
        features, whole, landmarks = Backbone()(torch.rand(2, 3, side, side))
    assert [f.shape for f in features] == [
        (2, channels, side // step, side // step)
        for channels, step in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]
    assert whole.shape == (2, GLOBAL_CHANNELS) and landmarks.shape == (2, 21, 3)


def told_landmarks(backbone: Backbone, places: np.ndarray, world: np.ndarray) -> None:
    """Make the backbone output these: px (21, 2) of a 224-pixel image, metres (21, 3)."""
    with torch.no_grad():
        for layer, values in (
            (backbone.landmarks, np.pad(places, ((0, 0), (0, 1)))),
            (backbone.world, world),
        ):
            layer.weight.zero_()
            layer.bias.copy_(torch.from_numpy(values).flatten())


@pytest.mark.parametrize("size", [1.0, 0.7])
def test_the_backbones_landmarks_are_shares_of_the_picture_and_hand_lengths(size: float) -> None:
    backbone = Backbone()
    flat, world = open_hand(tilt=0.4)
    told_landmarks(backbone, flat, size * world + (0.3, 0, 1.0))
    with torch.no_grad():
        landmarks = backbone(torch.rand(1, 3, 32, 32))[2][0].double().numpy()
    np.testing.assert_allclose(landmarks[:, :2], flat / 224, atol=1e-5)
    bones = [(0, 9), (9, 10), (10, 11), (11, 12)]  # from the wrist to the middle finger's tip
    length = sum(math.dist(world[a], world[b]) for a, b in bones)
    for a, b in [(0, 20), (4, 17), *bones]:
        assert landmarks[b, 2] - landmarks[a, 2] == pytest.approx(
            (world[b, 2] - world[a, 2]) / length, abs=1e-5
        )
    assert np.median(landmarks[:, 2]) == pytest.approx(0, abs=1e-6)


def test_the_hourglasses_see_the_backbones_features_where_they_are_in_the_picture() -> None:
    """Sample maps of their own pixels' places, 0 to 1 from left to right, at every stride.

    The error is within a tenth of a pixel, at the border within half of one.
    """
    for stride in (1, 4, 8, 16, 32):
        side, inner = PICTURE // stride, SIDE // stride
        ramp = ((torch.arange(side) + 0.5) / side).expand(1, 1, side, side)
        expected = ((torch.arange(inner) + 0.5) / inner).expand(inner, inner)
        for picture, crop in ((ramp, expected), (ramp.mT, expected.T)):
            off = (_downsampled(picture)[0, 0] - crop).abs() * inner
            assert off.max() < 0.5 and off[1:-1, 1:-1].max() < 0.1


def test_a_network_that_gets_a_backbone_is_the_function_that_it_was_until_it_is_trained(
    bare: Path, model: Path, layers: list[Layer]
) -> None:
    """But for the landmarks' share in the joints, which it begins with: a twentieth."""
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, PICTURE, PICTURE)
    network = begun(bare, model)
    assert backbone_holds(network, layers)
    own, known = (trusting(begun(bare, model), much) for much in (0.0, 1.0))
    crops = _downsampled(pictures)
    before, _ = load_weights(bare, HandDepthNet)
    for a, b in zip(said(before, crops), said(own, pictures), strict=True):
        assert torch.equal(a, b) and a.std() > 1e-5
    with torch.no_grad():
        first, alone, landmarks = (net(pictures).joints[0] for net in (network, own, known))
    share = (first - alone) / (landmarks - alone)
    assert share.min() > 0.03 and share.max() < 0.06


def test_joints_that_are_the_backbones_lie_in_the_crop_where_it_sees_them(bare: Path, model: Path) -> None:
    network = trusting(begun(bare, model), 1.0)
    _, world = open_hand()
    places = np.full((21, 2), 112.0)
    places[3], places[4], places[5] = (224, 112), (0, 224), (112, 56)
    told_landmarks(network.backbone, places, world)
    with torch.no_grad():
        joints = network(torch.rand(1, 3, PICTURE, PICTURE)).joints
    assert len(joints) == BARE.stacks
    expected = np.zeros((21, 2))
    expected[3], expected[4], expected[5] = (1, 0), (-1, 1), (0, -0.5)
    for of_stack in joints:
        np.testing.assert_allclose(of_stack[0, :, :2].numpy(), expected, atol=1e-4)


def silent_layers(network: HandDepthNet) -> dict[str, torch.nn.Module]:
    """Through which the backbone speaks."""
    found = {f"{name}.guide": m.guide for name, m in network.named_modules() if isinstance(m, Hourglass)}
    gates = {f"gate.{i}": layer for i, layer in enumerate(network.gate)}
    return {"guide": network.guide, "global_proj": network.global_proj, **gates, **found}


def test_each_of_the_backbones_ways_into_the_network_can_be_learned(bare: Path, model: Path) -> None:
    """Though it adds nothing at first, what comes out depends on it."""
    torch.manual_seed(0)
    network = begun(bare, model)
    network.backbone.requires_grad_(False)
    out = network(torch.rand(1, 3, PICTURE, PICTURE))
    (out.final.relief.square().mean() + out.scalars.square().mean()).backward()
    ways = silent_layers(network)
    assert len(ways) == 2 + BARE.stacks * (1 + BARE.levels)
    for name, layer in ways.items():
        assert layer.weight.grad is not None and layer.weight.grad.abs().max() > 0, name


def test_a_new_network_with_a_backbone_has_the_files_values(model: Path, layers: list[Layer]) -> None:
    assert backbone_holds(begun(None, model), layers)


def test_a_network_that_has_its_backbone_already_needs_no_file(
    bare: Path, model: Path, tmp_path: Path, layers: list[Layer]
) -> None:
    torch.manual_seed(1)
    trained = begun(bare, model)
    with torch.no_grad():
        trained.guide.weight.normal_(0, 0.1)
        trained.backbone.layers()[0].bias += 1
    save_weights(trained, tmp_path / "trained.safetensors", {"samples": 7})
    loaded, info = load_weights(tmp_path / "trained.safetensors", HandDepthNet)
    assert loaded.config == WITH_BACKBONE and info == {"samples": 7}
    again = begun(tmp_path / "trained.safetensors", None)
    pictures = torch.rand(2, 3, PICTURE, PICTURE)
    for a, b, c in zip(*(said(network, pictures) for network in (trained, loaded, again)), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    assert not backbone_holds(again, layers)  # trained on, it is not the file's any more


def test_a_backbone_of_which_nothing_is_said_is_an_error_that_says_what_to_give(bare: Path) -> None:
    for start in (None, bare):
        with pytest.raises(DatasetError, match="backbone_from"):
            begun(start, None)


@pytest.mark.parametrize("change", [{"backbone": False}, {"features": 16}, {"stacks": 3}])
def test_weights_of_another_network_to_start_from_are_named_with_what_is_other(
    bare: Path, model: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    save_weights(begun(bare, model), tmp_path / "trained.safetensors")
    wanted = dataclasses.replace(WITH_BACKBONE, **change)
    ((name, _),) = change.items()
    was = getattr(WITH_BACKBONE, name)
    with pytest.raises(DatasetError, match=rf"start_from.*trained\.safetensors.*\({name}: {was}\)"):
        begun(tmp_path / "trained.safetensors", model, wanted)


def training(bare: Path, model: Path, **options: Any) -> DepthTraining:
    network = dataclasses.asdict(WITH_BACKBONE)
    config = TrainConfig(network=network, start_from=str(bare), backbone_from=str(model), **options)
    module = DepthTraining(config, TrainingData([], [], []), {})
    module.trainer = lightning.Trainer(max_steps=100, accelerator="cpu", logger=False, barebones=True)
    return module


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {
        "rgb": torch.randint(0, 256, (2, 3, PICTURE, PICTURE), dtype=torch.uint8),
        "mask": (torch.rand(2, SIDE, SIDE) > 0.5).to(torch.uint8),
        "relief": 0.1 * torch.randn(2, SIDE, SIDE),
        "joints": torch.rand(2, 21, 3) - 0.5,
        "scalars": torch.tensor([[-0.3, 0.0, 1.0]]).repeat(2, 1),
        "weight": torch.ones(2),
        "real": torch.zeros(2),
    }


def step(module: DepthTraining) -> torch.optim.Optimizer:
    """One step of the training at the first learning rate of its schedule, as Lightning does it."""
    made = module.configure_optimizers()
    optimizer: torch.optim.Optimizer = made["optimizer"]
    module.train()
    module.training_step(batch(), 0).backward()
    optimizer.step()
    module.on_train_batch_end()
    return optimizer


def test_a_frozen_backbone_gets_no_gradient_is_not_in_the_optimizer_and_stays(
    bare: Path, model: Path, layers: list[Layer]
) -> None:
    module = training(bare, model, backbone_lr_scale=0.0)
    network = module.network
    ways = {name: layer.weight.clone() for name, layer in silent_layers(network).items()}
    optimizer = step(module)
    backbone = {id(p) for p in network.backbone.parameters()}
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert all(p.grad is None for p in network.backbone.parameters())
    assert not backbone & optimized
    assert optimized == {id(p) for p in network.parameters()} - backbone
    assert backbone_holds(network, layers) and backbone_holds(module.ema.network, layers)  # type: ignore[arg-type]
    assert all(not torch.equal(ways[name], layer.weight) for name, layer in silent_layers(network).items())


def test_a_backbone_that_is_trained_learns_at_its_share_of_the_rate(bare: Path, model: Path) -> None:
    module = training(bare, model, backbone_lr_scale=0.25, learning_rate=1e-3)
    network = module.network
    backbone = {id(p) for p in network.backbone.parameters()}
    optimizer = step(module)
    rates: dict[bool, set[float]] = {True: set(), False: set()}
    count = 0
    for group in optimizer.param_groups:
        for p in group["params"]:
            rates[id(p) in backbone].add(group["lr"])
            count += 1
    assert count == len(list(network.parameters()))
    ((slow,), (fast,)) = rates[True], rates[False]
    assert slow == pytest.approx(0.25 * fast)
    assert network.backbone.layers()[0].weight.grad.abs().max() > 0


def test_of_a_backbone_whose_first_blocks_are_frozen_the_others_learn(bare: Path, model: Path) -> None:
    module = training(bare, model, backbone_lr_scale=0.25, backbone_frozen_blocks=12, learning_rate=1e-3)
    backbone = module.network.backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    optimizer = step(module)
    learning = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"blocks", "last", "landmarks", "world"}
    assert {int(name.split(".")[1]) for name in learning if name.startswith("blocks.")} == {12, 13, 14}
    assert all((p.grad is not None) == (name in learning) for name, p in backbone.named_parameters())
    moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert moved <= learning and any(name.startswith("blocks.12") for name in moved)
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == sum(p.requires_grad for p in module.network.parameters())


@pytest.mark.parametrize("frozen", [-1, 16])
def test_blocks_that_the_backbone_does_not_have_cannot_be_frozen(tmp_path: Path, frozen: int) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(f"backbone_frozen_blocks: {frozen}\n")
    with pytest.raises(
        DatasetError, match=rf"backbone_frozen_blocks is {frozen}: the backbone has 15 blocks"
    ):
        TrainConfig.read(config)


def test_convolutions_of_one_channel_each_learn_in_float32_on_the_cpu() -> None:
    torch.manual_seed(0)
    backbone = Backbone()
    block, x = backbone.blocks[1], torch.rand(1, 16, 8, 8)
    kinds = []
    depthwise = next(m for m in block.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1)
    depthwise.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        block(x)
        block.requires_grad_(False)
        block(x)
    assert kinds == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"levels": 4}, r"levels \(4\)"),
        ({"crop_size": 96}, r"crop_size \(96\) 128"),
        ({"joints": False}, r"joints \(False\)"),
        ({"backbone": 1}, "backbone must be true or false"),
        ({"backbone": "hand_landmark_full.tflite"}, "backbone must be true or false"),
    ],
)
def test_a_network_that_a_backbone_does_not_fit_is_refused_by_name(
    values: dict[str, Any], reason: str
) -> None:
    without = {name: value for name, value in values.items() if name != "backbone"}
    NetworkConfig.from_dict(without)  # without a backbone there is nothing wrong with it
    with pytest.raises(ValueError, match=reason):
        NetworkConfig.from_dict({"backbone": True, "joints": True, **values})
