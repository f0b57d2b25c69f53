"""Convolutions with weights prepacked for the CPU and the activation fused.

They give the same bits in 4/5 of the time in bfloat16.

PyTorch reorders a convolution's weights in every call unless the network is compiled, which needs a
C++ compiler. This module calls the operators that compiled networks call. They are not a public
API, so :func:`prepack` leaves a network as it is where they are missing.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
_ACTIVATIONS = {nn.Identity: ("none", "[]"), nn.ReLU: ("relu", "[]"), nn.ReLU6: ("hardtanh", "[0.0, 6.0]")}
_SOURCE = """
def conv_{name}(x: Tensor, w: Tensor, b: Optional[Tensor], p: List[int], s: List[int], d: List[int], g: int) -> Tensor:
    bounds = torch.jit.annotate(List[Optional[Union[int, float, complex]]], {bounds})
    return torch.ops.mkldnn._convolution_pointwise(x, w, b, p, s, d, g, "{name}", bounds, "")
"""


@cache
def _functions() -> dict[type[nn.Module], Any]:
    """Return the fused convolution for each activation; empty if this PyTorch has none.

    They are scripted because the tracer does not accept their bounds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer PyTorch would rather export than script
        try:
            torch.ops.mkldnn._reorder_convolution_weight.default  # noqa: B018 (is it there?)
            unit = torch.jit.CompilationUnit(
                "".join(_SOURCE.format(name=name, bounds=bounds) for name, bounds in _ACTIVATIONS.values())
            )
        except (AttributeError, RuntimeError):  # a PyTorch without oneDNN, or with other names in it
            return {}
    return {kind: getattr(unit, f"conv_{name}") for kind, (name, _) in _ACTIVATIONS.items()}


def bfloat16_supported() -> bool:
    """Tell if oneDNN can convolve in bfloat16 on this CPU."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PrepackedConv(nn.Module):
    """A convolution prepacked for one input size (others work, slower), activation fused."""

    weight: Tensor

    def __init__(self, convolution: nn.Conv2d, activation: type[nn.Module], size: list[int]) -> None:
        super().__init__()
        c = convolution
        assert not isinstance(c.padding, str)
        weight = torch.ops.mkldnn._reorder_convolution_weight(
            c.weight.detach(), c.padding, c.stride, c.dilation, c.groups, size
        )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if c.bias is None else c.bias.detach())
        self._geometry = list(c.padding), list(c.stride), list(c.dilation), c.groups
        self._function = _functions()[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Run the module; see the class for shapes."""
        return self._function(x, self.weight, self.bias, *self._geometry)  # type: ignore[no-any-return]


def prepack(network: M, example: Tensor) -> M:
    """Replace the network's convolutions by prepacked ones, in place.

    Without oneDNN leave it as it is.

    Args:
        network: In eval mode, batch norms fused, on the CPU.
        example: An input of the usual size.
    """
    if not _functions() or not torch.backends.mkldnn.is_available():
        return network
    if example.dtype == torch.bfloat16 and not bfloat16_supported():
        return network
    sizes: dict[nn.Module, list[int]] = {}

    def note(module: nn.Module, arguments: tuple[Tensor]) -> None:
        sizes[module] = list(arguments[0].shape)

    hooks = [m.register_forward_pre_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and child in sizes:
                activation = _take_activation(module, name)
                setattr(module, name, PrepackedConv(child, activation, sizes[child]))
    return network


def _take_activation(module: nn.Module, name: str) -> type[nn.Module]:
    """Return the activation after the child ``name`` of a Sequential; put an identity there."""
    if isinstance(module, nn.Sequential):
        for after, child in list(module.named_children())[list(module._modules).index(name) + 1 :]:
            if isinstance(child, nn.ReLU | nn.ReLU6):
                setattr(module, after, nn.Identity())
                return type(child)
            if not isinstance(child, nn.Identity):
                break
    return nn.Identity
