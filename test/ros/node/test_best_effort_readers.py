"""Best-effort readers get the images of a node that brings room for them in shared memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.best_effort import DEPTHS, Rig

from hand_depth_ros.ros.dds_profile import PROFILE_VARIABLES
from hand_depth_ros.ros.node.runtime import image_transport_environment

FRAMES = 100


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "heard")
    try:
        yield rig
    finally:
        print(rig.node.output)
        rig.close()


def test_a_best_effort_reader_without_a_profile_gets_the_depth_images(rig: Rig) -> None:
    rig.connect()
    sent = rig.send(FRAMES)
    heard = {topic: len(sent & rig.reader.stamps(topic)) for topic in DEPTHS}
    print(f"heard of {FRAMES}: {heard}")
    assert min(heard.values()) >= 0.95 * FRAMES, heard


def test_leaves_the_users_own_transports_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"):
        monkeypatch.delenv(name, raising=False)
    room = image_transport_environment()
    assert set(room) == set(PROFILE_VARIABLES)
    assert all("segment_size" in Path(path).read_text() for path in room.values())
    for name in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "mine")
            assert image_transport_environment() == {}
    for name in ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml"):
        Path(name).write_text("<profiles/>")
        assert image_transport_environment() == {}
        Path(name).unlink()
    assert image_transport_environment() == room
    assert not any(name in os.environ for name in PROFILE_VARIABLES)
