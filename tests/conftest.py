"""Fixtures: real servers that are started for a test and stopped in order after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do it no harm: gunicorn with two web workers, and the runner."""
    started = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A maker of servers of one's own, for tests that kill, reload or stop them."""
    made: list[Server] = []

    def make(**settings: str) -> Server:
        made.append(Server(tmp_path / f"data{len(made)}", workers=int(settings.pop("workers", 2)), **settings))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()
        assert "Traceback" not in one.log(), one.log()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With NO_SKIP set (in CI) a skipped test is a failure: it could have run here."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIP") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
