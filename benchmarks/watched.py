"""From a job's call to a hundred watchers of its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.figures import Figure
from benchmarks.quiet import repeated
from benchmarks.signs import Waiting, sign_server
from benchmarks.watching import Heard, watching
from tests.harness import Server, wait_for

WATCHERS = 100
BEATS = 400
APART_MS = 8.0
COMPUTING = 4


def measure() -> list[Figure]:
    """From ``progress.log()`` in a job to each of 100 watchers: at most 2 ms at the median and 10 ms at p99 while the
    server does nothing else, and at most 1.5 times that p99 while four cpu_bound runs compute (issue 4).

    As ``latency`` does it, with more watchers; the four (``spin``, SCHED_IDLE children, ``HEADWAY_PROCESSES=4``) say
    how far they are as often as they may. Nothing is pinned but the load client.
    """
    with sign_server(HEADWAY_PROCESSES=str(COMPUTING)) as running:
        idle = repeated(lambda: _heard(running))
        with computing(running):
            busy = repeated(lambda: _heard(running))
    beats = sum(one.stamped for one in idle)
    p99_ms = median(one.p99_ms for one in idle)
    return [
        Figure("job to 100 watchers, idle, median", tuple(one.p50_ms for one in idle), "ms", beats, 2.0),
        Figure("job to 100 watchers, idle, p99", tuple(one.p99_ms for one in idle), "ms", beats, 10.0),
        Figure(
            "job to 100 watchers, 4 runs computing, p99 of idle",
            tuple(one.p99_ms / p99_ms for one in busy),
            "x",
            beats,
            1.5,
        ),
        Figure("- median", tuple(one.p50_ms for one in busy), "ms", beats),
        Figure("- p99", tuple(one.p99_ms for one in busy), "ms", beats),
    ]


def _heard(running: Server) -> Heard:
    waiting = Waiting(running, "log_at_sign", 1, n=BEATS, apart_ms=APART_MS)
    with watching(running.port, waiting.paths(WATCHERS), headers=waiting.headers) as watched:
        waiting.give_sign()
        heard = watched.finish(60)
    heard.check(streams=WATCHERS, ended=WATCHERS, stamped=WATCHERS * BEATS)
    return heard


@contextmanager
def computing(running: Server) -> Iterator[None]:
    """Four children compute meanwhile."""
    runs = [running.launch("spin", seconds=600) for _ in range(COMPUTING)]
    wait_for(lambda: all(running.run(run)["message"] == "Spinning" for run in runs), 60, "children that compute")
    yield
    for run in runs:
        running.cancel(run)
        running.wait_ended(run)
