"""Folders of the checkout, for tests at any depth."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
"""Helpers and scripts of the tests."""
ROOT = SUPPORT.parents[1]
"""The repository."""
