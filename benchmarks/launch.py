"""POST to 202."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pysqlite3

from benchmarks.figures import Figure, spread
from benchmarks.quiet import repeated
from benchmarks.wire import Client, client, server

LAUNCHES = 300
TOGETHER = 50
ROW = "x" * 700
"""About what a run and its first event are in the database."""


def measure() -> list[Figure]:
    """From before the POST is sent to the last byte of the 202 (at most 5 ms at the median, issue 2).

    A job without work, one keep-alive connection, one launch at a time: a run has ended before the next is launched.
    The 202 promises that the run survives a power cut, so beside it stands the least that promises the same: one row
    inserted into SQLite with a full sync (one fdatasync), on the same disk, each right after a launch. Then the time
    within the application by its access log (the rest is gunicorn, the sockets and the client), and launches that do
    not wait for ends, so that job threads and the recorder's syncs are in the way.
    """
    with (
        server() as running,
        client(running) as connection,
        _baseline(running.data.parent / "baseline.db") as insert,
    ):

        def once() -> tuple[list[float], list[float], list[float], list[float]]:
            logged = len(running.log())
            pairs = [(_launched_ms(connection, finish=True), insert()) for _ in range(LAUNCHES)]
            inside = _logged_ms(running.log()[logged:])[-LAUNCHES:]
            together = [_launched_ms(connection, finish=False) for _ in range(TOGETHER)]
            return [launch for launch, _ in pairs], [bare for _, bare in pairs], inside, together

        alone, inserted, inside, together = zip(*repeated(once), strict=True)
    times = statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(alone, inserted, strict=True))
    return [
        *spread("POST to 202", alone, limits={50: 5.0}, note=f"{times:.1f} x the bare insert"),
        *spread("- bare SQLite insert, synced", inserted),
        *spread("- within the application", inside, note="access log"),
        *spread("- beside runs that go on", together),
    ]


def _launched_ms(connection: Client, *, finish: bool) -> float:
    began = time.time_ns()
    run = connection.launch("emit", {"n": 0})
    took = connection.heard_ns - began
    if finish:
        connection.finish(run)
    return took / 1e6


@contextmanager
def _baseline(path: Path) -> Iterator[Callable[[], float]]:
    """A function that inserts one row, synced, and gives the ms that it took."""
    connection = pysqlite3.connect(str(path), isolation_level=None)
    for statement in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {statement}")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, row TEXT)")

    def insert() -> float:
        began = time.time_ns()
        connection.execute("INSERT INTO rows (row) VALUES (?)", (ROW,))
        return (time.time_ns() - began) / 1e6

    yield insert
    connection.close()


def _logged_ms(log: str) -> list[float]:
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [line["ms"] for line in lines if line["method"] == "POST" and line["status"] == 202]
