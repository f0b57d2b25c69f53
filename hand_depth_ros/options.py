"""Command line options that several sub-commands share, and the estimator that they describe.

Imports torch only inside `load_estimator`, so that `--help` stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hand_depth_ros.estimator import HandDepthEstimator

HAND_LENGTH_RANGE_M = (0.08, 0.30)

Weights = Annotated[
    Path | None, typer.Option(help="Folder of weights.  [default: those shipped]", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
MaxHands = Annotated[int, typer.Option(min=1, help="Most hands per image.")]
HandLength = Annotated[
    float | None,
    typer.Option(
        min=HAND_LENGTH_RANGE_M[0],
        max=HAND_LENGTH_RANGE_M[1],
        help="Wrist crease to middle fingertip of the person, in metres.  [default: the network's guess]",
        show_default=False,
    ),
]
MinRange = Annotated[float, typer.Option(min=0.0, help="Nearer depth is invalid, metres.")]
MaxRange = Annotated[float, typer.Option(min=0.0, help="Farther depth is invalid, metres.")]
MaxSigma = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Pixels less sure than this are invalid, metres.  [default: off]", show_default=False
    ),
]


def load_estimator(
    weights: Path | None,
    device: str,
    max_hands: int,
    hand_length_m: float | None,
    min_range_m: float,
    max_range_m: float,
    max_sigma_m: float | None,
) -> HandDepthEstimator:
    """The estimator with these settings; raises WeightsError or DeviceError with the reason."""
    from hand_depth_ros.estimator import HandDepthEstimator

    return HandDepthEstimator.from_pretrained(
        weights=weights,
        device=device,
        max_hands=max_hands,
        hand_length_m=hand_length_m,
        min_range_m=min_range_m,
        max_range_m=max_range_m,
        max_sigma_m=max_sigma_m,
    )
