"""Write all numbers and tables of the documents.

    python tools/write_docs.py [--measured demo_out] [--check]

From the code: config/hand_depth.yaml, docs/parameters.md and the table of topics. From
measurements: the tables of accuracy (hand_depth_ros/weights/numbers.json), speed and the demo
(``--measured``), the model card and docs/ablation.md (docs/ablation.json). Tables of measurements
that are not there stay as they are. ``--check`` writes nothing and fails if something is outdated.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import ablation_report
import docs_from_code
import docs_from_numbers

ROOT = Path(__file__).resolve().parent.parent


def blocks(measured: Path) -> dict[str, str | None]:
    """Return the content of the blocks inside hand-written documents, by name."""
    return {
        "topics": docs_from_code.topic_table(),
        "accuracy numbers": docs_from_numbers.accuracy_block(),
        "demo numbers": docs_from_numbers.demo_block(measured),
        "latency numbers": docs_from_numbers.latency_block(measured),
    }


def files() -> dict[Path, str]:
    """Return the content of the documents that are generated as a whole."""
    return {
        ROOT / "config" / "hand_depth.yaml": docs_from_code.config_yaml(),
        ROOT / "docs" / "parameters.md": docs_from_code.parameters_page(),
        ROOT / "docs" / "ablation.md": ablation_report.document(),
        docs_from_numbers.CARD: docs_from_numbers.model_card(),
    }


def with_blocks(texts: dict[Path, str], contents: dict[str, str | None]) -> dict[Path, str]:
    """Return documents with the content of their blocks replaced.

    A block starts with the comment ``<!-- NAME: ... -->`` and ends with ``<!-- /NAME -->``; every
    name must occur exactly once in all documents. Content None leaves a block as it is.
    """
    texts = dict(texts)
    for name, content in contents.items():
        block = re.compile(rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        found = [path for path, text in texts.items() for _ in block.finditer(text)]
        if len(found) != 1:
            raise SystemExit(f"the documents have {len(found)} blocks named {name!r}, not one")
        if content is not None:
            texts[found[0]] = block.sub(lambda match, new=content: match[1] + new + match[2], texts[found[0]])
    return texts


def documents(measured: Path) -> dict[Path, str]:
    """Return all generated and partly generated documents as they should be."""
    whole = files()
    written = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = {path: path.read_text(encoding="utf-8") for path in written if path not in whole}
    return {**with_blocks(texts, blocks(measured)), **whole}


def outdated(measured: Path) -> list[Path]:
    """Return the documents that differ from what should be in them."""
    return [
        path
        for path, text in documents(measured).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--measured", type=Path, default=ROOT / "demo_out", help="folder of report.json, latency.json"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if outdated")
    arguments = parser.parse_args()
    wanted = documents(arguments.measured)
    changed = outdated(arguments.measured)
    names = ", ".join(str(path.relative_to(ROOT)) for path in changed)
    if arguments.check and changed:
        sys.exit(f"outdated: {names}: run  python tools/write_docs.py")
    if not arguments.check:
        for path in changed:
            path.write_text(wanted[path], encoding="utf-8")
    print(f"written: {names}" if changed else "everything is up to date")


if __name__ == "__main__":
    main()
