"""Weights files load bit for bit; anything else is rejected with the reason."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_networks import TINY, TINY_DETECTOR, shake

from hand_depth_ros.errors import HandDepthError, WeightsError
from hand_depth_ros.estimation.estimator import DEPTH_FILE, DETECTOR_FILE, HandDepthEstimator
from hand_depth_ros.network import HandDepthNet, HandDetectorNet, load_weights, save_weights

INFO = {"samples": 7, "calibration": {"relief": 1.5}}


@pytest.fixture
def network() -> HandDepthNet:
    torch.manual_seed(5)
    network = HandDepthNet(TINY)
    shake(network, torch.rand(2, 3, 32, 32), batches=1)
    return network


@pytest.fixture
def whole(tmp_path: Path, network: HandDepthNet) -> Path:
    path = tmp_path / "whole.safetensors"
    save_weights(network, path, INFO)
    return path


def metadata_of(path: Path) -> dict[str, str]:
    """Read by the format's own words: 8 bytes of length, then JSON."""
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def rewritten(path: Path, tensors: Callable[[dict], dict] | None = None, **metadata: str | None) -> Path:
    """Write a copy with other tensors or metadata (None: without), a valid safetensors file."""
    values = load_file(path)
    header = {**metadata_of(path), **metadata}
    copy = path.with_name("other.safetensors")
    save_file(
        tensors(values) if tensors else values, copy, {k: v for k, v in header.items() if v is not None}
    )
    return copy


def refused(path: Path, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        load_weights(path, HandDepthNet)
    assert path.name in str(caught.value)


def test_a_saved_network_comes_back_bit_for_bit(whole: Path, network: HandDepthNet) -> None:
    loaded, info = load_weights(whole, HandDepthNet)
    assert loaded.config == TINY and info == INFO and not loaded.training
    crops = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected, got = network(crops), loaded(crops)
    for a, b in zip((*expected.final, expected.scalars), (*got.final, got.scalars), strict=True):
        assert torch.equal(a, b)


def test_a_detector_comes_back_too(tmp_path: Path) -> None:
    detector = HandDetectorNet(TINY_DETECTOR).eval()
    save_weights(detector, tmp_path / "f.safetensors")
    loaded, info = load_weights(tmp_path / "f.safetensors", HandDetectorNet)
    frame = torch.rand(1, 3, 64, 64)
    assert torch.equal(detector(frame).box, loaded(frame).box) and info == {}


def test_saving_leaves_one_whole_file_and_nothing_else(whole: Path) -> None:
    assert [path.name for path in whole.parent.iterdir()] == [whole.name]
    assert metadata_of(whole)["kind"] == "hand_depth"


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.99])
def test_a_truncated_file_is_refused(whole: Path, share: float) -> None:
    data = whole.read_bytes()
    whole.write_bytes(data[: int(share * len(data))])
    refused(whole, "not a whole safetensors file")


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", b"\x00" * 4096, b"\xff" * 4096],
    ids=["text", "zeros", "ones"],
)
def test_what_is_no_safetensors_file_is_refused(whole: Path, content: bytes) -> None:
    whole.write_bytes(content)
    refused(whole, "not a whole safetensors file")


class _Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return pytest.fail, ("a pickle was run",)


def test_a_pickle_is_refused_and_not_run(whole: Path) -> None:
    whole.write_bytes(pickle.dumps(_Bomb()))
    refused(whole, "not a whole safetensors file")
    torch.save({"weights": torch.zeros(3)}, whole)
    refused(whole, "not a whole safetensors file")


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "give a folder with hand_depth.safetensors")
    refused(tmp_path, "no weights file")


def test_someone_elses_safetensors_is_refused(whole: Path) -> None:
    save_file({"weight": torch.zeros(3)}, whole)
    refused(whole, "not a weights file of this package")
    refused(rewritten_format(whole), "not a weights file of this package")


def rewritten_format(path: Path) -> Path:
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    return path


def test_a_detector_is_no_depth_network(whole: Path, network: HandDepthNet) -> None:
    save_weights(HandDetectorNet(TINY_DETECTOR), whole)
    refused(whole, "hand_detector")
    save_weights(network, whole)
    with pytest.raises(WeightsError, match="hand_depth"):
        load_weights(whole, HandDetectorNet)


def test_tensors_that_are_missing_or_unknown_are_named(whole: Path) -> None:
    refused(
        rewritten(whole, lambda t: {k: v for k, v in t.items() if k != "heads.1.bias"}), r"heads\.1\.bias"
    )
    refused(rewritten(whole, lambda t: {**t, "surprise": torch.zeros(1)}), "surprise")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(whole: Path, bad: float) -> None:
    refused(rewritten(whole, lambda t: {**t, "heads.0.bias": torch.tensor([0.0, bad, 0.0])}), "not finite")


def test_a_tensor_of_another_shape_is_refused(whole: Path) -> None:
    refused(rewritten(whole, lambda t: {**t, "heads.0.bias": torch.zeros(4)}), r"shape \(4,\)")


@pytest.mark.parametrize(
    "config",
    [
        '{"stacks": 2, "from_the_future": 1}',
        '{"stacks": 99}',
        '{"stacks": "two"}',
        '{"crop_size": null}',
        "[1, 2]",
        "null",
        "3",
        '"text"',
        "{",
        "",
        None,
    ],
)
def test_a_config_that_this_version_does_not_know_is_refused(whole: Path, config: str | None) -> None:
    refused(rewritten(whole, config=config), "config")


def test_a_config_of_another_size_is_refused(whole: Path) -> None:
    other = {**json.loads(metadata_of(whole)["config"]), "features": 16}
    refused(rewritten(whole, config=json.dumps(other)), "shape")


@pytest.mark.parametrize("info", ["[1]", "null", "3", "{"])
def test_information_that_is_no_mapping_is_refused(whole: Path, info: str) -> None:
    refused(rewritten(whole, info=info), "info|config")


def test_half_precision_files_are_read(whole: Path, network: HandDepthNet) -> None:
    half = rewritten(whole, lambda t: {k: v.half() for k, v in t.items()})
    loaded, _ = load_weights(half, HandDepthNet)
    torch.testing.assert_close(loaded.heads[0].weight, network.heads[0].weight, rtol=1e-3, atol=1e-4)
    assert loaded.heads[0].weight.dtype == torch.float32


def folder_with(tmp_path: Path, network: HandDepthNet, info: dict) -> Path:
    save_weights(network, tmp_path / DEPTH_FILE, info)
    save_weights(HandDetectorNet(TINY_DETECTOR), tmp_path / DETECTOR_FILE)
    return tmp_path


def test_what_float16_holds_exactly_takes_half_the_room_and_nothing_is_lost(
    whole: Path, network: HandDepthNet
) -> None:
    with torch.no_grad():
        network.detail[0].weight.copy_(network.detail[0].weight.half().float())
    save_weights(network, whole)
    stored, (back, _) = load_file(whole), load_weights(whole, HandDepthNet)
    assert (
        stored["detail.0.weight"].dtype == torch.float16 and stored["heads.0.weight"].dtype == torch.float32
    )
    values = network.state_dict()
    assert all(torch.equal(values[name], back.state_dict()[name]) for name in stored)


def test_an_estimator_is_made_from_a_folder(tmp_path: Path, network: HandDepthNet) -> None:
    folder = folder_with(tmp_path, network, INFO)
    estimator = HandDepthEstimator.from_pretrained(folder, device="cpu", max_hands=3)
    assert estimator.crop_size == 32 and estimator.settings.max_hands == 3


@pytest.mark.parametrize("calibration", [[1], 3, {"relief": "a"}, {"relief": -1.0}, {"relief": None}])
def test_a_calibration_that_is_none_is_refused(
    tmp_path: Path, network: HandDepthNet, calibration: object
) -> None:
    folder = folder_with(tmp_path, network, {"calibration": calibration})
    with pytest.raises(WeightsError, match="calibration"):
        HandDepthEstimator.from_pretrained(folder, device="cpu")


def test_a_folder_without_weights_says_which_file_is_missing(tmp_path: Path, network: HandDepthNet) -> None:
    with pytest.raises(WeightsError, match=DEPTH_FILE):
        HandDepthEstimator.from_pretrained(tmp_path / "nowhere", device="cpu")
    save_weights(network, tmp_path / DEPTH_FILE)
    with pytest.raises(WeightsError, match=DETECTOR_FILE) as caught:
        HandDepthEstimator.from_pretrained(tmp_path, device="cpu")
    assert isinstance(caught.value, HandDepthError)
