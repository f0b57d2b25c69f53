"""What holds for every test."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from visiting what the collection made: it stays to the end."""
    gc.collect()
    gc.freeze()
