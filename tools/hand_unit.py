"""Measure how long rendered hands look beside photographed ones, for synthesis/units.py.

    python tools/hand_unit.py DATA RENDERED [--weights FOLDER] [--cache FOLDER] [--limit N]

DATA holds real_train/landmarks.jsonl, RENDERED is a set of `hand-depth synth`. The depth network
is run on hands of both, and a skeleton with the photographs' usual proportions is fitted to its
output (`training/labels/skeleton_fit.py`). Its apparent length is compared with the expected one:
of a photograph that of the landmark model, of a rendered hand the one that follows from its
`hand_length_m` and its distance. Only open hands seen from the front or the back count: there
depths matter least.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.estimation.estimator import DEPTH_FILE, SHIPPED_WEIGHTS
from hand_depth_ros.network import HandDepthNet, load_weights
from hand_depth_ros.synthesis.units import REAL_PER_RENDERED
from hand_depth_ros.training.data.photographs import Photograph, PseudoLabel
from hand_depth_ros.training.data.rendered import RenderedView, load_views
from hand_depth_ros.training.labels import skeleton_fit as skeleton
from hand_depth_ros.training.labels.label_photographs import load_photographs
from hand_depth_ros.training.samples.training_data import load_backgrounds

OPEN = 0.93
"""Length in the image over length in space, from wrist to middle fingertip, of an open hand."""
CHAIN = (8, 9, 10, 11)
"""Indices in `skeleton.BONES` from the wrist to the middle fingertip."""
MIN_PIXELS = 1500


def photographed(view: RenderedView, background: np.ndarray) -> Photograph | None:
    """Return a rendered view of one hand as a photograph whose label is exact; None for others."""
    if len(view.hands) != 1 or not np.isfinite(view.hands[0].joints).all():
        return None
    hand = view.hands[0]
    mask = (view.mask == hand.instance).astype(np.uint8)
    if mask.sum() < MIN_PIXELS:
        return None
    alpha = view.rgba[..., 3:] / 255
    behind = cv2.resize(background, view.size[::-1])
    image = (view.rgba[..., :3] * alpha + behind * (1 - alpha)).astype(np.uint8)
    length_px = view.k[0] * hand.length_m / float(np.median(hand.joints[:, 2]))
    relief = np.zeros(view.size, np.float32)
    label = PseudoLabel(0, 0, mask, relief, float(np.log(length_px)), 1.0, hand.joints)
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return Photograph(encoded, (label,), hand.joints[None, :, :2])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("rendered", type=Path)
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--cache", type=Path, default=Path("pseudo_labels"))
    parser.add_argument("--limit", type=int, default=600, help="number of hands of each")
    arguments = parser.parse_args()

    network, _ = load_weights(arguments.weights / DEPTH_FILE, HandDepthNet)
    photographs = load_photographs(arguments.data / "real_train" / "landmarks.jsonl", arguments.cache)
    photographs = photographs[:: max(1, len(photographs) // arguments.limit)]
    background = load_backgrounds(arguments.data / "backgrounds")
    views = [view.decode() for view in load_views(arguments.rendered, "val", arguments.limit)]
    made = [photographed(view, background[i % len(background)]) for i, view in enumerate(views)]

    table = Table("hands", "open", "look as long as", "half of them within")
    proportions = None
    for name, images in (("photographs", photographs), ("rendered", [image for image in made if image])):
        expected = np.array([label.log_length_px for image in images for label in image.usable])
        seen = skeleton.predict(images, network)
        if proportions is None:
            proportions = skeleton.proportions(seen, expected)
        fitted = skeleton.fit(seen, proportions)
        in_image = skeleton.bone_lengths(fitted._replace(depths=np.zeros_like(fitted.depths)))[:, CHAIN].sum(
            1
        )
        is_open = in_image > OPEN * skeleton.bone_lengths(fitted)[:, CHAIN].sum(1)
        ratio = np.exp(fitted.log_length_px - expected)[is_open]
        low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
        table.add_row(name, str(is_open.sum()), f"{middle:.3f} of their length", f"{low:.3f} to {high:.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"of the length that the rig's bones have, rendered hands: {middle / REAL_PER_RENDERED:.3f} "
        f"(they are written {REAL_PER_RENDERED:.3f} times as large as rendered)"
    )


if __name__ == "__main__":
    run_cli(main)
