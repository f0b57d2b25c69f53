"""The helpers of the tests keep their own promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import domains
from support.domains import Domain
from support.paths import TEST

TAKE_ONE = """
import sys, time
from pathlib import Path
from support.domains import Domain
domain = Domain.take(Path(sys.argv[1]))
print(domain, flush=True)
time.sleep(600)
"""


def test_domains_in_use_differ(tmp_path: Path) -> None:
    taken = [Domain.take(tmp_path) for _ in range(domains.FIRST, domains.LAST + 1)]
    assert sorted(taken) == list(range(domains.FIRST, domains.LAST + 1))
    with pytest.raises(TimeoutError, match="all ROS domains from 1 to 100 are locked"):
        Domain.take(tmp_path, patience_s=0.0)
    freed = int(taken.pop(17))
    assert Domain.take(tmp_path, patience_s=0.0) == freed


def test_domains_of_another_process_are_free_when_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "LAST", 1)
    (tmp_path / "hand_depth_ros_domain_1.lock").touch()
    code = "from support import domains; domains.LAST = 1" + TAKE_ONE
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=TEST
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        with pytest.raises(TimeoutError):
            Domain.take(tmp_path, patience_s=0.0)
    finally:
        process.kill()
        process.wait()
    assert Domain.take(tmp_path, patience_s=10.0) == 1
