"""Send hostile messages through the node's own path up to the estimator: random or nearly right.

    python bench/fuzz.py [--minutes 10 | --examples 100000] [--seed 1]

The estimator is a fake that gives depth for whatever reaches it: fuzzed is everything before it
(decoding, camera_info, pairing) and the encoding after it. Exit code 1 if a check fails, an example
hangs or memory grows. The examples and checks are those of test_hostile_messages.py, which runs
21,000 of them in CI.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from support import fuzz_checks, hostile_messages  # noqa: E402

HANG_S = 60.0
BATCH = 500
"""Number of examples of one target before the next one's turn."""
WARM_UP = 5
"""Rounds until caches (cameras, hypothesis) are full; memory counts from then on."""
GROWTH_LIMIT_MB = 40.0
TARGETS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "raw images": (fuzz_checks.check_image, (hostile_messages.RAW_IMAGES,)),
    "compressed images": (fuzz_checks.check_image, (hostile_messages.COMPRESSED_IMAGES,)),
    "camera_infos": (fuzz_checks.check_camera_info, (hostile_messages.CAMERA_INFOS, st.booleans())),
    "pairs": (fuzz_checks.check_frame, (hostile_messages.IMAGES_OF_SIZE, hostile_messages.CAMERA_INFOS)),
    "pairing": (fuzz_checks.check_pairing, (hostile_messages.STEPS,)),
}


def batch(name: str, count: int, number: int) -> Counter[str]:
    """Run `count` examples of a target and count their outcomes; a failing check is shrunk."""
    check, strategies = TARGETS[name]
    outcomes: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def run(arguments: tuple[Any, ...]) -> None:
        faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stdout__)
        outcomes[check(*arguments)] += 1

    run()
    faulthandler.cancel_dump_traceback_later()
    return outcomes


def silence_decoders() -> None:
    """Drop stderr, where OpenCV, libpng and libjpeg report every example; ours goes to stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = sys.stdout


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, help="stop after this time")
    parser.add_argument(
        "--examples", type=int, help="stop after this number (default: 100000, if no --minutes)"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="seed of the examples")
    options = parser.parse_args()
    limit = options.examples or (2**62 if options.minutes else 100_000)
    end = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    print(f"seed {options.seed}", flush=True)
    silence_decoders()
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in TARGETS}
    done, rounds, settled = 0, 0, 0.0
    size = min(BATCH, max(1, limit // (2 * len(TARGETS))))
    while done < limit and time.monotonic() < end:
        for name in TARGETS:
            count = min(size, limit - done)
            if count:
                outcomes[name] += batch(name, count, options.seed + rounds)
                done += count
        rounds += 1
        memory = fuzz_checks.resident_mb()
        settled = memory if rounds <= WARM_UP else settled
        print(f"{done} examples, {memory:.0f} MB", flush=True)
    for name, counts in outcomes.items():
        print(f"{name:18}", ", ".join(f"{outcome} {count}" for outcome, count in counts.most_common()))
    growth = fuzz_checks.resident_mb() - settled
    print(
        f"{done} examples, nothing found; memory grew by {growth:.1f} MB after round {min(rounds, WARM_UP)}"
    )
    if growth > GROWTH_LIMIT_MB:
        print(f"more than {GROWTH_LIMIT_MB:g} MB: memory leaks")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
