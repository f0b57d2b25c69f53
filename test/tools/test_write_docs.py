"""tools/write_docs.py: every generated document is up to date; blocks are found and replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import write_docs
from docs_from_numbers import demo_block, latency_block


def test_documents_are_up_to_date(tmp_path: Path) -> None:
    """All that comes from the code and from files in the repository; nothing was measured here."""
    assert write_docs.outdated(tmp_path) == [], "run: python tools/write_docs.py"


def test_replaces_the_content_of_a_block_and_nothing_else(tmp_path: Path) -> None:
    one, two = tmp_path / "one.md", tmp_path / "two.md"
    texts = {one: "a\n<!-- speed: by hand -->\nold\n<!-- /speed -->\nb\n", two: "c\n"}
    done = write_docs.with_blocks(texts, {"speed": "new\n"})
    assert done == {one: "a\n<!-- speed: by hand -->\nnew\n<!-- /speed -->\nb\n", two: "c\n"}
    assert write_docs.with_blocks(texts, {"speed": None}) == texts


def test_a_block_must_occur_exactly_once(tmp_path: Path) -> None:
    block = "<!-- speed: x -->\n<!-- /speed -->\n"
    for texts in ({tmp_path / "a": ""}, {tmp_path / "a": block, tmp_path / "b": block}):
        with pytest.raises(SystemExit, match="blocks named 'speed', not one"):
            write_docs.with_blocks(texts, {"speed": "new\n"})


def test_tables_of_what_was_measured(tmp_path: Path) -> None:
    assert demo_block(tmp_path) is None and latency_block(tmp_path) is None
    (tmp_path / "report.json").write_text(json.dumps({"fps_in": 30.0, "frames_in": 90, "mask_iou": None}))
    (tmp_path / "latency.json").write_text(json.dumps({"latency p50 (ms)": 16.5, "cores": 2.0}))
    demo, latency = demo_block(tmp_path), latency_block(tmp_path)
    assert demo is not None and "| rate in | 30.0 fps |" in demo
    assert "frames in" not in demo and "mask IoU" not in demo
    assert latency is not None and "| latency p50 (ms) | 16.5 | 0.50 of 33 |" in latency
    assert "| cores | 2.0 |  |" in latency
