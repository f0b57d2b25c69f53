"""Networks small enough for a test, and stand-ins with known answers. None is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hand_depth_ros.network import DetectorConfig, NetworkConfig, StageOutput
from hand_depth_ros.network.detector import STRIDE, DetectorPrediction
from hand_depth_ros.network.hourglass import Prediction

TINY = NetworkConfig(crop_size=32, stacks=2, mask_stacks=1, features=8, levels=2, detail=4)
TINY_DETECTOR = DetectorConfig(input_width=64, input_height=64, features=4)


def shake(network: nn.Module, images: Tensor, batches: int = 4) -> None:
    """Give every batch norm a random scale and statistics from a few random batches."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        network.train()
        for _ in range(batches):
            network(torch.rand_like(images))
    network.eval()


class FakeDepthNet(nn.Module):
    """Predict a flat hand facing the camera in every crop: a disc of a given size and scale.

    With ``by_colour`` the hand is every bright pixel (> 0.5) instead, and a dark crop has none.
    ``strengths``: the mask's logit on the hand for each crop of a call (default 8).
    ``wrist_to_knuckles``: returns the vector of each crop's hand, (B, 2) right and down, in
    half crop widths. Without it there are no joints.
    ``crops``: all inputs, one tensor a call.
    """

    def __init__(
        self,
        size: int = 64,
        log_apparent_size: float = -0.4,
        radius: float = 0.3,
        log_length: float = 0.0,
        log_bs: tuple[float, float, float] = (-4.0, -4.0, -3.0),
        presence: float = 4.0,
        by_colour: bool = False,
        wrist_to_knuckles: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config = NetworkConfig(crop_size=size, joints=wrist_to_knuckles is not None)
        self.wrist_to_knuckles = wrist_to_knuckles
        self.crops: list[Tensor] = []
        self.log_apparent_size, self.radius, self.log_length = log_apparent_size, radius, log_length
        self.relief_spread, self.apparent_size_log_b, self.length_log_b = log_bs
        self.presence, self.by_colour = presence, by_colour
        self.strengths: tuple[float, ...] = ()

    def forward(self, rgb: Tensor) -> Prediction:
        count, size = len(rgb), self.config.crop_size
        self.crops.append(rgb.clone())
        offsets = torch.arange(size, dtype=torch.float32, device=rgb.device) - (size - 1) / 2
        disc = (offsets[:, None] ** 2 + offsets[None] ** 2) <= (self.radius * size) ** 2
        hand = disc.expand(count, 1, size, size)
        if self.by_colour:
            hand = rgb.mean(1, keepdim=True) > 0.5
        is_present = hand.flatten(1).float().mean(1) > 0.02
        strengths = torch.tensor(self.strengths or (8.0,) * count, device=rgb.device)[:, None, None, None]
        mask = torch.where(hand, strengths, -8.0)
        relief, log_b = torch.zeros_like(mask), torch.full_like(mask, self.relief_spread)
        presence = torch.where(is_present, self.presence, -self.presence)
        row = torch.tensor(
            [self.log_apparent_size, self.apparent_size_log_b, self.log_length, self.length_log_b]
        )
        scalars = torch.cat((row.to(rgb.device).expand(count, 4), presence[:, None]), 1)
        joints = torch.zeros(count, 21, 3, device=rgb.device)
        if self.wrist_to_knuckles is not None:
            joints[:, 1:, :2] = self.wrist_to_knuckles(rgb)[:, None]
        return Prediction(
            (), StageOutput(mask, relief, log_b), scalars, (joints,) if self.config.joints else ()
        )


def turned(angle: float, length: float = 0.5) -> Callable[[Tensor], Tensor]:
    """Return a ``wrist_to_knuckles`` of hands that are all turned clockwise by ``angle`` rad."""
    direction = torch.tensor((length * math.sin(angle), -length * math.cos(angle)))
    return lambda rgb: direction.expand(len(rgb), 2)


def by_marks(rgb: Tensor) -> Tensor:
    """Return the way from the middle of what is blue (wrist) to that of what is red (knuckles).

    A ``wrist_to_knuckles`` for `FakeDepthNet`; zero where either colour is missing.
    """
    grid = (torch.arange(rgb.shape[-1]) + 0.5) * (2 / rgb.shape[-1]) - 1
    middles = []
    for here, there in ((0, 2), (2, 0)):
        weight = (rgb[:, here] - rgb[:, there] - 0.1).clamp_min(0)
        sums = weight.sum((1, 2))
        x, y = (weight.sum(1) * grid).sum(1), (weight.sum(2) * grid).sum(1)
        middles.append(torch.stack((x, y), 1) / torch.where(sums > 1, sums, torch.nan)[:, None])
    return torch.nan_to_num(middles[0] - middles[1])


class FakeDetectorNet(nn.Module):
    """Detect a hand at every bright spot: a box of ``side`` input pixels around its middle."""

    def __init__(self, config: DetectorConfig | None = None, side: float = 32.0) -> None:
        super().__init__()
        self.config = config or DetectorConfig()
        self.side = side
        self.frames_seen = 0

    def forward(self, rgb: Tensor) -> DetectorPrediction:
        self.frames_seen += 1
        h, w = self.config.input_height // STRIDE, self.config.input_width // STRIDE
        bright = (rgb.mean(1)[0] > 0.6).cpu()
        centre = torch.full((1, 1, h, w), -8.0)
        box = torch.zeros(1, 4, h, w)
        for number, (x, y) in enumerate(spots(bright)):
            column, row = min(int(x // STRIDE), w - 1), min(int(y // STRIDE), h - 1)
            centre[0, 0, row, column] = 4.0 - 0.1 * number
            box[0, :, row, column] = torch.tensor(
                [
                    x / STRIDE - column - 0.5,
                    y / STRIDE - row - 0.5,
                    math.log(self.side / STRIDE),
                    math.log(self.side / STRIDE),
                ]
            )
        return DetectorPrediction(centre.to(rgb.device), box.to(rgb.device))


def spots(bright: Tensor) -> list[tuple[float, float]]:
    """Return the middles (x, y) of bright spots, in pixels from the edge, largest spot first."""
    import cv2

    count, _, stats, centres = cv2.connectedComponentsWithStats(bright.numpy().astype("uint8"))
    order = sorted(range(1, count), key=lambda i: -stats[i, cv2.CC_STAT_AREA])
    return [(float(centres[i][0]) + 0.5, float(centres[i][1]) + 0.5) for i in order]
