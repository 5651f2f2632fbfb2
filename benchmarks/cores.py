"""What processes and their threads use of the cores, and which cores they may use."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SERVER, CLIENT = 0, 1
"""The core of what is measured, and that of the load client and of whoever feeds the server."""


def pin(pid: int, core: int) -> None:
    """Keep a process on a core; threads that it starts inherit that."""
    cores = sorted(os.sched_getaffinity(pid))
    for thread in _threads(pid):
        os.sched_setaffinity(thread, {cores[core % len(cores)]})


def used_ns(pid: int) -> int:
    """The CPU time of all threads that a process has (schedstat: exact, where the usual ticks have 10 ms)."""
    return sum(thread_used_ns(pid).values())


def thread_used_ns(pid: int) -> dict[int, int]:
    """The CPU time of each thread of a process; the main thread's number is the process's."""
    found = {}
    for thread in _threads(pid):
        try:
            found[thread] = int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # it has ended since
    return found


def _threads(pid: int) -> Iterable[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
