"""Hooks for all tests."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt the objects made so far from garbage collection: they live to the end."""
    gc.collect()
    gc.freeze()
