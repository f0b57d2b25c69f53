"""Private words that the project gave up stay out of code, options, messages and documents.

The changelog and the experiments may have them; tables of renamed names and their tests need them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

INSTEAD = {
    "finder": "detector",
    "trunk": "backbone",
    "stance": "wrist_to_knuckles",
    "rivals": "duplicate publishers",
    "badness": "severity",
    "doubting": "gate",
    "let_go": "drop",
    "looking_at": "from_box",
    "picture_size": "input_size",
    "edge_share": "truncation_prob",
    "least_seen": "min_visible_fraction",
    "last_words": "log_fatal_to_rosout",
    "mistakes_of": "hard negatives",
    "find_mistakes": "hard negatives",
    "seen_by": "relabel_with",
    "in_steps": "quantize",
    "from_steps": "dequantize",
    "working_type": "inference_dtype",
    "steady_estimator": "FallbackEstimator",
    "early_crops": "nothing: its reader is gone",
    "earlier_share": "nothing: it is gone",
}
"""Words, as parts of identifiers in snake case, and the field's words."""
OF_OTHERS = re.compile(r"MetaPathFinder|PathFinder")
FOLDERS = ("hand_depth_ros", "config", "launch", "test", "bench", "tools", "docs", ".github")
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".toml", ".xml", ".rst", ".txt", ".cff")
HISTORY = ("CHANGELOG.rst", "docs/experiments.md", "test/test_words.py")


def texts() -> list[Path]:
    """Return the text files of the repository that must keep to the field's words."""
    found = [path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name == "Makefile"]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted(path for path in found if str(path.relative_to(ROOT)) not in HISTORY)


def _renamed_lines(source: str) -> Iterator[int]:
    """Yield the lines of tables named ...RENAMED... and of tests named ...former_name...."""
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        is_table = any(isinstance(target, ast.Name) and "RENAMED" in target.id for target in targets)
        is_test = isinstance(node, ast.FunctionDef) and "former_name" in node.name
        if is_table or is_test:
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def identifiers(line: str) -> set[str]:
    """Return a line's words and identifiers in snake case: HandFinder is _hand_finder_."""
    found = re.findall(r"\w+", OF_OTHERS.sub("", line))
    return {f"_{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()}_" for name in found}


def given_up(text: str, skipped: frozenset[int] = frozenset()) -> list[str]:
    """Return "line number: word -> the field's word" for each use of a word in INSTEAD."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if number in skipped:
            continue
        for name in identifiers(line):
            found += [f"{number}: {word} -> {new}" for word, new in INSTEAD.items() if f"_{word}_" in name]
    return found


def test_words_that_were_given_up_are_gone() -> None:
    found = []
    for path in texts():
        text = path.read_text(encoding="utf-8")
        skipped = frozenset(_renamed_lines(text)) if path.suffix == ".py" else frozenset()
        found += [f"{path.relative_to(ROOT)}:{entry}" for entry in given_up(text, skipped)]
    assert not found, "\n".join(found)


def test_sees_a_word_in_whatever_case_it_stands() -> None:
    for line in (
        "self.finder = f",
        "class HandFinder:",
        "the finder's box",
        "finder_input_size",
        "FINDER = 1",
    ):
        assert given_up(line) == ["1: finder -> detector"], line
    assert not given_up("import MetaPathFinder; pathfinders = substance(distances)")
    assert given_up("x.looking_at(y)") and not given_up("it ends in one line, looking at you")


def test_a_table_of_renamed_names_may_have_them() -> None:
    source = 'RENAMED = {\n    "finder": "detector",\n}\nfinder = 1\ndef test_former_names():\n    finder\n'
    assert given_up(source, frozenset(_renamed_lines(source))) == ["4: finder -> detector"]
