"""Packed convolutions are the convolutions that they were made of, their activations included."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hand_depth_ros.network import mkldnn
from hand_depth_ros.network.mkldnn import PrepackedConv, prepack

pytestmark = pytest.mark.skipif(not mkldnn._functions(), reason="this PyTorch has no oneDNN convolutions")


def network() -> nn.Sequential:
    """Return each kind of convolution in use: pointwise, strided, depthwise, no bias, padded."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.Identity(), nn.ReLU()),
        nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(16, 16, 5, 2, groups=16), nn.ReLU6()),
        nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Conv2d(8, 4, 1),
    ).eval()


def crops(count: int, dtype: torch.dtype) -> torch.Tensor:
    pictures = 4 * torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return pictures.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        pytest.param(
            torch.bfloat16,
            marks=pytest.mark.skipif(
                not mkldnn.bfloat16_supported(), reason="oneDNN has no bfloat16 on this CPU"
            ),
        ),
    ],
)
def test_a_packed_network_is_the_same_function(dtype: torch.dtype, count: int) -> None:
    plain = network().to(dtype)
    quick = prepack(copy.deepcopy(plain), crops(1, dtype))
    assert sum(isinstance(module, PrepackedConv) for module in quick.modules()) == 4
    with torch.inference_mode():
        expected, found = plain(crops(count, dtype)).float(), quick(crops(count, dtype)).float()
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    assert (expected - found).abs().max() <= tolerance * expected.abs().max()
    assert expected.std() > 0.01


def test_only_an_activation_that_follows_at_once_is_built_in() -> None:
    quick = prepack(network(), crops(1, torch.float32))
    kinds = [[type(child) for child in part] for part in quick if isinstance(part, nn.Sequential)]
    assert kinds[0] == [PrepackedConv, nn.Identity, nn.Identity]
    assert kinds[1] == [nn.ZeroPad2d, PrepackedConv, nn.Identity]
    assert kinds[2] == [PrepackedConv, nn.BatchNorm2d, nn.ReLU]


def test_bfloat16_is_left_to_pytorch_on_a_cpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkldnn, "bfloat16_supported", lambda: False)
    same = prepack(network().to(torch.bfloat16), crops(1, torch.bfloat16))
    assert not any(isinstance(module, PrepackedConv) for module in same.modules())


def test_without_onednns_convolutions_a_network_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkldnn, "_functions", dict)
    same = prepack(network(), crops(1, torch.float32))
    assert not any(isinstance(module, PrepackedConv) for module in same.modules())
    assert sum(isinstance(module, nn.Conv2d) for module in same.modules()) == 4
