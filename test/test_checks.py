"""docs/checks.md names existing tests for all fifteen checks, and the README links to it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TEXT = (REPOSITORY / "docs" / "checks.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{file}-{test}" for file, test in NAMED])
def test_named_test_exists(file: str, test: str) -> None:
    (path,) = (REPOSITORY / "test").rglob(file)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_lists_all_fifteen_checks_each_with_a_state_and_a_test() -> None:
    sections = re.findall(r"^## (\d+)\. (.+)\n\n((?:.+\n)+)\n((?:- .+\n)+)", TEXT, re.MULTILINE)
    assert [int(number) for number, *_ in sections] == list(range(1, 16))
    for _, title, promise, tests in sections:
        assert title.strip() and re.search(r"\S \*(CI|part)\*", " ".join(promise.split()))
        assert all(re.fullmatch(r"- `test_\w+\.py::test_\w+`", line) for line in tests.splitlines())


def test_readme_links_to_the_checks() -> None:
    assert "(docs/checks.md)" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
