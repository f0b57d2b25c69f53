"""Round a depth network's weights to float16, which halves its file.

    python tools/round_weights.py FILE --out FILE

The network still computes in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hand_depth_ros.cli.main import run_cli
from hand_depth_ros.network import HandDepthNet, load_weights, save_weights


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    network, info = load_weights(arguments.file, HandDepthNet)
    save_weights(network.half().float(), arguments.out, info)
    print(f"{arguments.file.stat().st_size:,} bytes became {arguments.out.stat().st_size:,}")


if __name__ == "__main__":
    run_cli(main)
