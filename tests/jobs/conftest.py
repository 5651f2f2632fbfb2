"""Fixtures: started parts of ``jobs/``, stopped after the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.bus import Bus
from jobs.progress import Pace
from jobs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a file of its own."""
    opened = Store(tmp_path / "headway.db", checkpoints=True)
    yield opened
    opened.close()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    """The sending side of a bus that nobody hears yet."""
    opened = Bus(tmp_path / "bus")
    yield opened
    opened.close()


@pytest.fixture
def pace() -> Iterator[Pace]:
    """The thread that ticks progress."""
    running = Pace()
    yield running
    running.close()
