"""Eight thousand clients that come at once, and what each costs while nothing happens."""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks.feeding import PEERS_RUN, fed_server, peer
from benchmarks.figures import Figure
from benchmarks.programs import compiled
from benchmarks.quiet import REPEATS, repeated
from benchmarks.watching import watching

STREAMS = 8000
BEFORE = 100
"""Streams that come and go first, so that what a worker loads at its first ones is not counted."""
SETTLED_S = 1.0


def measure() -> list[Figure]:
    """8,000 streams of one worker: all greeted within 3 s, at most 16 kB of memory for each (issue 4).

    The clients connect all at once, as after a restart, to one run that has said little; from the first connect to the
    last one's hello. Beside it a bare loop in C: who finds no room in the queue of a listening socket tries again a
    second later, whatever the server. Memory is how much the worker's resident memory has grown a second later, through
    the number of streams. Each repeat has a fresh server, since a worker keeps what it has had once.
    """
    found = repeated(lambda: (*_greeted_s_and_kb(), _bare_greeted_s()))
    greeted_s, kb, bare_s = zip(*found, strict=True)
    return [
        Figure("8,000 streams greeted", greeted_s, "s", STREAMS * REPEATS, 3.0),
        Figure("- by a bare C loop", bare_s, "s", STREAMS * REPEATS),
        Figure("memory of an idle stream", kb, "kB", STREAMS * REPEATS, 16.0),
    ]


def _bare_greeted_s() -> float:
    with (
        peer([*compiled("fanout.c"), PEERS_RUN]) as source,
        watching(source.port, source.paths(STREAMS)) as watched,
    ):
        return watched.greeted_s


def _greeted_s_and_kb() -> tuple[float, float]:
    """The seconds until all were greeted, and the kB that each takes."""
    with fed_server() as feeder:
        source = feeder.new_run()
        with watching(source.port, source.paths(BEFORE), headers=source.headers) as watched:
            watched.stop().check(streams=BEFORE)
        feeder.wait_closed()
        before = _resident_bytes(source.pid)
        with watching(source.port, source.paths(STREAMS), headers=source.headers) as watched:
            time.sleep(SETTLED_S)
            grown = _resident_bytes(source.pid) - before
            watched.stop().check(streams=STREAMS, frames=STREAMS)
            return watched.greeted_s, grown / STREAMS / 1000


def _resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
