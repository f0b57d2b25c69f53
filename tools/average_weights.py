"""Average the weights of depth networks: the mean of two trainings is often better than either.

    python tools/average_weights.py FILE FILE... --out FILE

Wortsman et al., "Model soups", ICML 2022. The files must be of one network, trained one from
another; their calibration factors are averaged as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.network import HandDepthNet, load_weights, save_weights
from hand_depth_ros.network.weights import calibration_factors


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    if len(arguments.files) < 2:
        parser.error("one file has no mean: give two or more")
    loaded = [load_weights(path, HandDepthNet) for path in arguments.files]
    if len({network.config for network, _ in loaded}) != 1:
        parser.error("the files are of different networks: give files of one config")
    states = [network.state_dict() for network, _ in loaded]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        if states[0][name].is_floating_point()
        else states[0][name]
        for name in states[0]
    }
    network, info = loaded[-1]
    network.load_state_dict(mean)
    factors = [
        calibration_factors(each, path) for (_, each), path in zip(loaded, arguments.files, strict=True)
    ]
    info["calibration"] = {
        name: sum(each[name] for each in factors) / len(factors)
        for name in factors[0]
        if all(name in each for each in factors)
    }
    info["mean_of"] = [each.get("samples") for _, each in loaded]
    info.pop("validation", None)  # of the last file alone
    save_weights(network, arguments.out, info)


if __name__ == "__main__":
    run_cli(main)
