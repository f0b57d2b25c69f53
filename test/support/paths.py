"""Folders of the checkout, for tests at any depth."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""
TEST = ROOT / "test"
"""On the import path of tests and of the processes that they start: `from support import ...`."""
PROCESSES = TEST / "support" / "processes"
"""Scripts that tests start as processes."""
