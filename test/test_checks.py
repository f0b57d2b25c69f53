"""docs/checks.md: every test that it names exists, every check is there, and the README leads to it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "docs" / "checks.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{file}-{test}" for file, test in NAMED])
def test_a_test_that_is_named_exists(file: str, test: str) -> None:
    (path,) = (REPOSITORY / "test").rglob(file)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_all_fifteen_are_there_with_a_state_and_a_test() -> None:
    rows = [row.strip().strip("|").split(" | ") for row in TEXT.splitlines() if re.match(r"\| \d+ \|", row)]
    assert [int(row[0]) for row in rows] == list(range(1, 16))
    for _, check, state, tests in rows:
        assert check.strip() and re.match(r"CI|part: ", state.strip()) and "::test_" in tests


def test_the_readme_leads_to_it() -> None:
    assert "(docs/checks.md)" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
