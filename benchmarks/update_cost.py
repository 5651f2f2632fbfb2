"""What ``progress.update()`` costs its caller."""

from __future__ import annotations

import statistics
import timeit
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.machine import pinned
from benchmarks.quiet import REPEATS, repeated
from benchmarks.wire import Client, client, message_of, server
from jobs.events import Draft
from jobs.progress import Pace, Progress

CALLS = 2_000_000


def measure() -> list[Figure]:
    """A call of ``progress.update(percent, message)`` in a tight loop: at most 0.5 us on average (issue 2).

    In a real run: the job ``chatter`` measures its own two million calls, the loop and a division included, while the
    recorder and the pace have their share of the GIL. And in this process, pinned to one core, with nothing behind it
    but the pace: the method itself, beside an empty method with the same signature, each without the loop.
    """
    with server() as running, client(running) as connection:
        in_run_us = repeated(lambda: _in_run_us(connection))
    with pinned(0):
        pairs = repeated(_in_process_us)
    times = statistics.median(update / empty for update, empty in pairs)
    return [
        Figure("progress.update() in a run", tuple(in_run_us), "us", CALLS * REPEATS, 0.5, note="loop included"),
        Figure(
            "- in this process",
            tuple(update for update, _ in pairs),
            "us",
            CALLS * REPEATS,
            note=f"{times:.1f} x an empty method",
        ),
        Figure("- an empty method", tuple(empty for _, empty in pairs), "us", CALLS * REPEATS),
    ]


def _in_run_us(connection: Client) -> float:
    connection.post("chatter", {"calls": CALLS})
    found: float = message_of(list(connection.frames())[-1])["data"]["us"]
    return found


class _Empty:
    def update(self, progress: float | None = None, message: str | None = None, *, step: str | None = None) -> None:
        pass


def _in_process_us() -> tuple[float, float]:
    """A call of update, and of an empty method."""
    said: list[Draft] = []
    progress = Progress("run", 1, said.append, folder=Path())
    pace = Pace()
    pace.add(progress)
    found = (_call_us(progress), _call_us(_Empty()))
    pace.close()
    assert said, "the pace was ticking"
    return found


def _call_us(progress: Progress | _Empty) -> float:
    call = timeit.timeit('progress.update(50.0, "chattering")', globals={"progress": progress}, number=CALLS)
    loop = timeit.timeit("pass", number=CALLS)
    return (call - loop) / CALLS * 1e6
