"""Writes the README's topic and parameter tables from the code: python tools/write_tables.py"""

from __future__ import annotations

import re
from pathlib import Path

from hand_depth_ros.ros.messages.topics import OUTPUT_TOPICS
from hand_depth_ros.ros.parameters import markdown_table

README = Path(__file__).resolve().parent.parent / "README.md"


def topic_table() -> str:
    """The topics that the node publishes."""
    rows = ["| topic | type | content |", "| --- | --- | --- |"]
    for topic in OUTPUT_TOPICS:
        kind = " ".join(filter(None, (topic.type.rpartition("/")[2], topic.encoding)))
        rows.append(f"| `{topic.name}` | {kind} | {topic.text} |")
    return "\n".join(rows) + "\n"


def with_tables(text: str) -> str:
    """The README's text with both tables as they are now."""
    for name, table in (("topics", topic_table()), ("parameters", markdown_table())):
        block = re.compile(rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, count = block.subn(lambda found, table=table: found[1] + table + found[2], text)
        if count != 1:
            raise SystemExit(f"README.md has {count} blocks named {name}, not one")
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
