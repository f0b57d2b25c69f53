"""`hand-depth doctor` counts the images that best-effort readers lose, and its cure works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support import ros_graph
from support.best_effort import DEPTHS, Rig

from hand_depth_ros.ros.dds_profile import PROFILE_VARIABLES

NO_ROOM = {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
"""Transports that the user chose, which the node leaves alone: they have little shared memory."""


def doctor(rig: Rig) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hand_depth_ros.cli.main", "doctor", "--seconds", "5"]
    environment = ros_graph.environment(rig.domain, profile=False)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_lost_images_are_counted_and_the_cure_works(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "heard", NO_ROOM)
    try:
        rig.client.spin_until(lambda: rig.infos, rig.show)
        with rig.filming():
            before = doctor(rig)
        (path,) = set(re.findall(rf"{' and '.join(PROFILE_VARIABLES)} set to (\S+)", before.stdout))
        rig.node.stop()
        del rig.infos[:]
        rig.node = rig.start_node(dict.fromkeys(PROFILE_VARIABLES, path))
        rig.client.spin_until(lambda: rig.infos, rig.show)
        with rig.filming():
            after = doctor(rig)
    finally:
        rig.close()
    print(before.stdout, before.stderr, after.stdout, after.stderr)
    lost = [line for line in before.stdout.splitlines() if line.startswith("broken") and "are lost" in line]
    assert before.returncode == 1
    assert {line.split()[1] for line in lost} == set(DEPTHS) and all(
        "best_effort_reader" in line for line in lost
    )
    assert all(re.search(r"best effort, and \d+ of \d+ are lost", line) for line in lost)
    assert after.returncode == 0 and "are lost" not in after.stdout
