"""The depth network: stacked hourglasses, masks first, which then guide the depth.

Method: Nicodemou, Oikonomidis, Tzimiropoulos, Argyros, "Learning to Infer the Depth Map of a Hand
    from its
Color Image", IJCNN 2020. Hourglass: Newell, Yang, Deng, ECCV 2016.

Depth is predicted in hand lengths L and in two parts:

    log_apparent_size  log(s / S), one number a crop; s = f * L / z_ref is the apparent hand length
                       in crop pixels, S the crop's side, z_ref the median depth of the hand's
                       visible pixels
    relief             (z - z_ref) / L, one number a pixel, independent of the hand's distance

Metric depth is z = L * (f / S * exp(-log_apparent_size) + relief).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hand_depth_ros.geometry.hand import JOINT_COUNT
from hand_depth_ros.network.backbone import CHANNELS, GLOBAL_CHANNELS, Backbone
from hand_depth_ros.network.config import NetworkConfig
from hand_depth_ros.network.joints import JointHead

L = TypeVar("L", bound=nn.Module)
SCALARS = ("log_apparent_size", "log_apparent_size_log_b", "log_length", "log_length_log_b", "presence")
_RELIEF_UNIT = 0.25
_SCALAR_UNIT = 0.25
_INITIAL_LOG_B = -3.0
_MIN_LOG_B, _MAX_LOG_B = -6.0, 1.0
_GATE_BIAS = -3.0
"""Initial logit of the gate that mixes the backbone's landmarks into the joints."""


class StageOutput(NamedTuple):
    """One stage's maps, each (B, 1, h, w); None where the stage does not predict it.

    Attributes:
        mask: Logit of "this pixel is the hand".
        relief: (z - z_ref) / L in hand lengths, positive behind the reference.
        log_b: Log of the relief's Laplace scale, hand lengths.
    """

    mask: Tensor | None
    relief: Tensor | None
    log_b: Tensor | None


class Prediction(NamedTuple):
    """The network's output for a batch of crops.

    Attributes:
        stages: One StageOutput for each hourglass, at a quarter of the crop's resolution.
        final: StageOutput at the crop's resolution, (B, 1, S, S).
        scalars: (B, 5) float32 in the order of ``SCALARS``; ``presence`` is the logit of "there is
            a hand", the log_b are logs of Laplace scales, ``log_length`` is log(L /
            MEAN_HAND_LENGTH_M).
        joints: (B, 21, 3) for each hourglass if the config has joints: x, y in -1..1 of the crop, z
            as the relief.
    """

    stages: tuple[StageOutput, ...]
    final: StageOutput
    scalars: Tensor
    joints: tuple[Tensor, ...] = ()


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _zero_init(layer: L) -> L:
    """Zero-initialise a layer, so that it starts as a no-op in a trained network."""
    for value in layer.parameters():
        nn.init.zeros_(value)
    return layer


def _closed_gate(layer: nn.Linear) -> nn.Linear:
    """Initialise a gate so that it starts almost closed."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, _GATE_BIAS)
    return layer


class Residual(nn.Module):
    """Bottleneck residual block of the hourglass paper, post-activation so that norms fuse."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.body = nn.Sequential(
            _conv(inputs, half, 1),
            _conv(half, half, 3),
            nn.Conv2d(half, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the module; see the class for shapes."""
        return F.relu(self.body(x) + self.skip(x))


class Hourglass(nn.Module):
    """One hourglass: ``levels`` halvings down and up again, with a skip at every level.

    Args:
        features: Channels at the top.
        levels: Number of halvings.
        growth: Channels added at each halving.
        bottom: Residual blocks at the lowest resolution.
        guides: Channels of the backbone features added after each halving, finest first; none for a
            level without.
    """

    def __init__(
        self, features: int, levels: int, growth: int = 0, bottom: int = 1, guides: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        wider = features + growth
        self.skip = Residual(features, features)
        self.down = Residual(features, wider)
        self.guide = _zero_init(nn.Conv2d(guides[0], wider, 1)) if guides else None
        self.inner: nn.Module
        if levels > 1:
            self.inner = Hourglass(wider, levels - 1, growth, bottom, guides[1:])
        elif bottom > 1:
            blocks = [Residual(wider, wider) for _ in range(bottom)]
            for block in blocks[1:]:
                _zero_init(block.body[-1])
            self.inner = nn.Sequential(*blocks)
        else:
            self.inner = Residual(wider, wider)
        self.up = Residual(wider, features)

    def forward(self, x: Tensor, guides: Sequence[Tensor] = ()) -> Tensor:
        """Run the module; see the class for shapes."""
        low = self.down(F.max_pool2d(x, 2))
        if self.guide is not None:
            low = low + self.guide(guides[0])
        low = self.inner(low, guides[1:]) if isinstance(self.inner, Hourglass) else self.inner(low)
        return self.skip(x) + F.interpolate(self.up(low), scale_factor=2.0, mode="nearest")


class HandDepthNet(nn.Module):
    """Map crops (B, 3, P, P), P the config's ``input_size``, to a :class:`Prediction`.

    Crops are float RGB in 0..1.
    """

    grid: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        f, d = config.features, config.detail
        self.detail = _conv(3, d, 5, 2)
        self.stem = nn.Sequential(_conv(d, f // 2, 3), _conv(f // 2, f, 3, 2), Residual(f, f))
        guides = CHANNELS[1 : config.levels + 1] if config.backbone else ()
        self.hourglasses = nn.ModuleList(
            Hourglass(f, config.levels, config.growth, config.bottom, guides) for _ in range(config.stacks)
        )
        self.post = nn.ModuleList(nn.Sequential(Residual(f, f), _conv(f, f, 1)) for _ in range(config.stacks))
        self.heads = nn.ModuleList(nn.Conv2d(f, 3, 1) for _ in range(config.stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(f, f, 1) for _ in range(config.stacks - 1))
        self.merge_predictions = nn.ModuleList(nn.Conv2d(3, f, 1) for _ in range(config.stacks - 1))
        heads = config.stacks if config.joints else 0
        self.joints = nn.ModuleList(JointHead(f, config.crop_size // 4) for _ in range(heads))
        self.upsample = nn.Sequential(nn.Conv2d(f, 8 * d, 1), nn.PixelShuffle(2))
        self.refine = _conv(3 * d, 2 * d, 3)
        self.last = nn.Sequential(nn.Conv2d(2 * d, 12, 3, padding=1), nn.PixelShuffle(2))
        self.pool = nn.Sequential(_conv(f, 2 * f, 3, 2), _conv(2 * f, 2 * f, 3, 2))
        self.scalars = nn.Sequential(
            nn.Linear(4 * f, 2 * f), nn.ReLU(inplace=True), nn.Linear(2 * f, len(SCALARS) + 2 * config.plane)
        )
        if config.backbone:
            self.backbone = Backbone()
            self.guide = _zero_init(nn.Conv2d(CHANNELS[0] + 1, f, 1))
            self.global_proj = _zero_init(nn.Linear(GLOBAL_CHANNELS, 2 * f))
            self.gate = nn.ModuleList(
                _closed_gate(nn.Linear(GLOBAL_CHANNELS, 3 * JOINT_COUNT)) for _ in range(config.stacks)
            )
        grid = torch.linspace(-1.0, 1.0, config.crop_size)
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, rgb: Tensor) -> Prediction:
        """Run the module; see the class for shapes."""
        size = self.config.input_size
        if rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.shape[2:] != (size, size):
            raise ValueError(f"crops must be (B, 3, {size}, {size}), not {tuple(rgb.shape)}")
        crop = _downsampled(rgb) if self.config.backbone else rgb
        detail = self.detail((crop - 0.45) * 4.0)
        x = self.stem(detail)
        guides: Sequence[Tensor] = ()
        global_feature = landmarks = None
        if self.config.backbone:
            pyramid, global_feature, landmarks = self.backbone(rgb)
            landmarks = torch.cat((2 * landmarks[..., :2] - 1, landmarks[..., 2:]), -1)
            first, *guides = (_downsampled(level) for level in pyramid)
            shape = self.joints[0].relief(landmarks) / _RELIEF_UNIT  # type: ignore[operator]
            x = x + self.guide(torch.cat((first, shape.to(first.dtype)), 1))
        stages, joints, coarse = [], [], None
        for i, hourglass in enumerate(self.hourglasses):
            y = self.post[i](hourglass(x, guides))
            raw = self.heads[i](y)
            stages.append(self._stage(i, raw))
            if self.config.joints:
                head = self.joints[i]
                assert isinstance(head, JointHead)
                joints.append(
                    head(y)
                    if global_feature is None
                    else self._gated_joints(i, head(y), landmarks, global_feature)
                )
                coarse = head.relief(joints[i])
            if i + 1 < self.config.stacks:
                x = (
                    x
                    + self.merge_features[i](y)
                    + self.merge_predictions[i](self._prediction_input(i, raw, coarse).to(x.dtype))
                )
        fine = torch.cat((detail, F.relu(self.upsample(y))), 1)
        raw = self.last(self.refine(fine)).float()
        scalars = self._predict_scalars(y, global_feature)
        if self.config.plane:
            right, down = scalars[:, -2, None, None], scalars[:, -1, None, None]
            plane = right * self.grid + down * self.grid[:, None]
            raw = _add_relief(raw, plane[:, None])
        if coarse is not None:
            raw = _add_relief(raw, F.interpolate(coarse, scale_factor=4.0, mode="bilinear") / _RELIEF_UNIT)
        return Prediction(tuple(stages), _maps(raw), _scalars(scalars), tuple(joints))

    def _predicts(self, stack: int) -> tuple[bool, bool]:
        """Return two flags: the stack is supervised with the mask, with the depth."""
        return self.config.predict_mask, stack >= self.config.mask_stacks or not self.config.predict_mask

    def _stage(self, stack: int, raw: Tensor) -> StageOutput:
        mask, relief, log_b = _maps(raw.float())
        has_mask, has_depth = self._predicts(stack)
        return StageOutput(
            mask if has_mask else None, relief if has_depth else None, log_b if has_depth else None
        )

    def _prediction_input(self, stack: int, raw: Tensor, coarse: Tensor | None) -> Tensor:
        """Assemble what is fed to the next hourglass: mask probability, relief and its log_b.

        Channels that aren't predicted or fed forward are zero.
        """
        has_mask, has_depth = self._predicts(stack)
        mask = (
            torch.sigmoid(raw[:, :1]) if has_mask and self.config.feed_mask else torch.zeros_like(raw[:, :1])
        )
        depth = raw[:, 1:] if has_depth else torch.zeros_like(raw[:, 1:])
        if coarse is not None and not has_depth:
            depth = torch.cat((coarse / _RELIEF_UNIT, depth[:, 1:]), 1)
        return torch.cat((mask, depth), 1)

    def _gated_joints(
        self, stack: int, own: Tensor, landmarks: Tensor | None, global_feature: Tensor
    ) -> Tensor:
        """Mix the stack's own joints with the backbone's landmarks by a learned gate."""
        assert landmarks is not None
        gate = torch.sigmoid(self.gate[stack](global_feature).float()).view_as(own)
        return own + gate * (landmarks - own)

    def _predict_scalars(self, y: Tensor, global_feature: Tensor | None) -> Tensor:
        pooled = self.pool(y)
        both = torch.cat((pooled.mean((2, 3)), pooled.amax((2, 3))), 1)
        hidden = self.scalars[0](both)
        if global_feature is not None:
            hidden = hidden + self.global_proj(global_feature)
        return self.scalars[2](self.scalars[1](hidden)).float()  # type: ignore[no-any-return]


def _downsampled(features: Tensor) -> Tensor:
    """Resize a backbone's image or features to the crop's size at the same stride (4/7)."""
    side = features.shape[-1] * 4 // 7
    resized = F.interpolate(features.float(), size=(side, side), mode="bilinear", antialias=True)
    return resized.to(features.dtype)


def _add_relief(raw: Tensor, relief: Tensor) -> Tensor:
    """Add a relief, in relief units, to the raw maps' second channel."""
    return torch.cat((raw[:, :1], raw[:, 1:2] + relief, raw[:, 2:]), 1)


def _scalars(raw: Tensor) -> Tensor:
    log_apparent_size, log_length = _SCALAR_UNIT * raw[:, 0], _SCALAR_UNIT * raw[:, 2]
    log_bs = (raw[:, 1:4:2] + _INITIAL_LOG_B).clamp(_MIN_LOG_B, _MAX_LOG_B)
    return torch.stack((log_apparent_size, log_bs[:, 0], log_length, log_bs[:, 1], raw[:, 4]), 1)


def _maps(raw: Tensor) -> StageOutput:
    log_b = (raw[:, 2:3] + _INITIAL_LOG_B).clamp(_MIN_LOG_B, _MAX_LOG_B)
    return StageOutput(raw[:, :1], _RELIEF_UNIT * raw[:, 1:2], log_b)
