"""Bulk: rows per second beside bare loops, and memory by the length of the table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil

from benchmarks.bulk_loops import THREADS, loop, serving, url_of
from benchmarks.crawl_speed import pin_runner
from benchmarks.figures import Figure
from benchmarks.peak import peak_bytes
from benchmarks.quiet import REPEATS, repeated
from benchmarks.wire import OUT, launch_with_files, server
from tests.harness import Server, wait_for

ROWS = 50_000
SIZES = (10_000, 100_000, 1_000_000)
LONGEST_S = 900
"""For a million rows, on a machine that does other things too."""


def measure() -> list[Figure]:
    """A table of URLs is checked over a local server; launched, and followed to its end, like any other run.

    Speed: at least 0.85 of the rows per second of a bare loop with urllib3 and as many threads (issue 3). Beside it the
    same with ``jobs.library.fetch`` alone, which shows what reading, rows, checkpoint and files cost. By turns, on
    50,000 rows; loops, runner and child have the first core, the server that answers has the second.

    Memory: the peak of the child's resident memory does not grow with the table (issue 3); 1.1 times is allowed between
    10,000 and 1,000,000 rows.
    """
    with serving() as port:
        with _allowing(port) as running:
            pin_runner(running)
            with _table(port, ROWS) as table:
                rates = repeated(lambda: _rates(running, table, port))
            sizes = [_checked(running, port, rows) for rows in SIZES]
    return [*_speed(rates), *_memory(sizes)]


def _speed(rates: list[tuple[float, float, float]]) -> list[Figure]:
    bulk, same, plain = (tuple(one) for one in zip(*rates, strict=True))
    rows = ROWS * REPEATS

    def ratio(loops: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(one / other for one, other in zip(bulk, loops, strict=True))

    return [
        Figure("bulk, of a bare urllib3 loop's rows/s", ratio(plain), "x", rows, 0.85, at_least=True),
        Figure("- of a bare loop with fetch.py alone", ratio(same), "x", rows, note="requests only"),
        Figure("- bulk", bulk, "rows/s", rows),
        Figure("- bare loop, urllib3", plain, "rows/s", rows),
        Figure("- bare loop, fetch.py", same, "rows/s", rows),
    ]


def _memory(sizes: list[tuple[float, float]]) -> list[Figure]:
    peaks = [peak for peak, _ in sizes]
    return [
        Figure("bulk, memory at 1,000,000 of that at 10,000 rows", (peaks[-1] / peaks[0],), "x", SIZES[-1], 1.1),
        *(
            Figure(f"- peak at {rows:,} rows", (peak,), "MB", rows, note=f"{seconds:.0f} s")
            for rows, (peak, seconds) in zip(SIZES, sizes, strict=True)
        ),
    ]


def _rates(running: Server, table: Path, port: int) -> tuple[float, float, float]:
    """Rows per second of bulk, of the bare loop with its client, and of the one with urllib3."""
    started = time.perf_counter()
    _finish(running, _launch(running, table), ROWS)
    return ROWS / (time.perf_counter() - started), loop("fetch", port, ROWS), loop("urllib3", port, ROWS)


def _checked(running: Server, port: int, rows: int) -> tuple[float, float]:
    """The child's peak in MB, and the seconds that a table of so many rows takes."""
    with _table(port, rows) as table:
        started, peak = time.perf_counter(), 0
        run = _launch(running, table)
        wait_for(lambda: _children(running), 30, "the child")
        while found := max((peak_bytes(child.pid) for child in _children(running)), default=0):
            peak = max(peak, found)
            time.sleep(0.01)
        _finish(running, run, rows)
        return peak / 1e6, time.perf_counter() - started


def _launch(running: Server, table: Path) -> str:
    parameters = {"operation": "check", "rate": 0, "concurrency": THREADS}
    with table.open("rb") as file:
        return launch_with_files(running, "bulk", parameters, {"table": file})


def _finish(running: Server, run: str, rows: int) -> None:
    end = running.wait_ended(run, LONGEST_S)
    assert end["status"] == "completed", end
    result = running.http.get(f"/api/v1/runs/{run}/result").json()
    assert (result["rows"], result["failed"]) == (rows, 0), result


def _children(running: Server) -> list[psutil.Process]:
    try:
        return psutil.Process(running.runner_pid()).children()
    except psutil.NoSuchProcess:
        return []


@contextmanager
def _allowing(port: int) -> Iterator[Server]:
    with server(HEADWAY_CRAWL_ALLOW=f"127.0.0.1:{port}") as running:
        yield running


@contextmanager
def _table(port: int, rows: int) -> Iterator[Path]:
    """A table of so many URLs of the local server."""
    with NamedTemporaryFile("w", suffix=".csv", dir=OUT) as file:
        file.write("id,url,note\n")
        file.writelines(f"{number},{url_of(port, number)},some words\n" for number in range(rows))
        file.flush()
        yield Path(file.name)
