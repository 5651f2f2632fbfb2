"""From a job's call to the client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import Figure, spread
from benchmarks.quiet import repeated
from benchmarks.wire import Client, client, server
from tests.harness import Server, wait_for

BEATS = 500
PAUSE_MS = 8.0
_SAID = re.compile(rb'"message":"(\d{19})"')


def measure() -> list[Figure]:
    """From ``progress.log()`` in a job to its frame at the client, idle and with two cpu_bound runs beside it.

    Limits (issue 2): idle at most 2 ms at the median and 10 ms at p99 (Gradio 5.6 and 11.3), beside the two runs at
    most 25 ms at p99.

    The job ``beat`` says the wall clock every 8 ms and more; the client compares as soon as the bytes are there.
    ``log``, not ``update``, since every one of them has to arrive. The two runs beside it are ``spin``: children with
    nice 10 that compute without pause and call ``update`` as fast as they can; here, on two cores, they and the whole
    way from job to client want three cores.
    """
    with server() as running, client(running) as connection:
        idle = repeated(lambda: late_ms(connection))
        with spinning(running):
            busy = repeated(lambda: late_ms(connection))
    return [
        *spread("job to client, idle", idle, limits={50: 2.0, 99: 10.0}, note="Gradio: 5.6 and 11.3 ms (issue 2)"),
        *spread("job to client, two runs computing", busy, limits={99: 25.0}),
    ]


def late_ms(connection: Client) -> list[float]:
    """How late each beat of one run came, in ms."""
    return [(heard_ns - said_ns) / 1e6 for said_ns, heard_ns in beats(connection)]


def beats(connection: Client) -> list[tuple[int, int]]:
    """Launch ``beat``; when each beat was said and when it was heard, in ns since 1970."""
    connection.post("beat", {"n": BEATS, "pause_ms": PAUSE_MS})
    heard = [(connection.heard_ns, frame) for frame in connection.frames()]
    found = [(int(said[1]), heard_ns) for heard_ns, frame in heard if (said := _SAID.search(frame))]
    assert len(found) == BEATS, "every beat arrives"
    return found


@contextmanager
def spinning(running: Server) -> Iterator[None]:
    """Two children compute meanwhile."""
    runs = [running.launch("spin", seconds=600) for _ in range(2)]
    wait_for(lambda: all(running.run(run)["message"] == "Spinning" for run in runs), 30, "children that compute")
    yield
    for run in runs:
        running.cancel(run)
        running.wait_ended(run)
