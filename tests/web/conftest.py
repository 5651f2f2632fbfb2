"""A real store for the tests of web/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a folder of its own."""
    opened = Store(tmp_path / "headway.db")
    yield opened
    opened.close()
