"""Repeats, taken while the machine does little else: what others compute shows first in a p99."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

REPEATS = 3
"""How often each measurement is done as a whole; the table has the median of the repeats and their range."""
MORE = 2
"""How many repeats are done again because they were disturbed; the judge is what others used, never the result."""
QUIET_PERCENT = 5.0
"""A repeat counts as disturbed when other processes used more of the machine (all cores) than this."""


def repeated(measure: Callable[[], T]) -> list[T]:
    """Call ``measure`` :data:`REPEATS` times and give the results of the least disturbed calls, in order.

    Says on stderr what others used, where it was too much and no repeat in quiet was to be had.
    """
    taken: list[tuple[float, int, T]] = []
    while len(taken) < REPEATS or (len(taken) < REPEATS + MORE and _quiet(taken) < REPEATS):
        before, began = _others_s(), time.monotonic()
        result = measure()
        cores_s = (time.monotonic() - began) * (psutil.cpu_count() or 1)
        taken.append((max(0.0, 100 * (_others_s() - before) / cores_s), len(taken), result))
    kept = sorted(taken, key=lambda one: one[0])[:REPEATS]
    if kept[-1][0] > QUIET_PERCENT:
        used = ", ".join(f"{percent:.0f}" for percent, _, _ in kept)
        print(f"disturbed: during the repeats below others used {used} % of the machine", file=sys.stderr)
    return [result for _, _, result in sorted(kept, key=lambda one: one[1])]


def busy_percent(seconds: float = 1.0) -> float:
    """How much of all cores is in use during the next ``seconds``."""
    before = _machine_s()
    time.sleep(seconds)
    return 100 * (_machine_s() - before) / seconds / (psutil.cpu_count() or 1)


def _quiet(taken: list[tuple[float, int, T]]) -> int:
    return sum(percent <= QUIET_PERCENT for percent, _, _ in taken)


def _others_s() -> float:
    """The CPU seconds that all but this process and its descendants have used."""
    return _machine_s() - sum(map(_used_s, [psutil.Process(), *psutil.Process().children(recursive=True)]))


def _used_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))  # its own, and its dead children's
    except psutil.NoSuchProcess:
        return 0.0


def _machine_s() -> float:
    """The CPU seconds used on all cores since the start, those that other guests of the host took included."""
    ticks = list(map(int, Path("/proc/stat").read_text().split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / 100  # without idle and iowait; USER_HZ is 100 on Linux
