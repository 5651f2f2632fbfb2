"""A thousand runs at once, each with an update ten times a second and a watcher of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.cores import thread_used_ns
from benchmarks.figures import Figure
from benchmarks.quiet import REPEATS, repeated
from benchmarks.signs import Waiting, sign_server
from benchmarks.watching import Heard, watching
from tests.harness import Server, wait_for

RUNS = 1000
PER_S = 10
SECONDS = 5
SETTLED_S = 1.0
"""After the sign the shares are taken from here, for this much less than the runs go on."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a core a process and its main thread have used, in percent."""

    whole: float
    main: float
    busiest_other: float


def measure() -> list[Figure]:
    """From ``progress.update()`` in a job through recorder, store, bus and worker to the load client: nothing is
    missing, and p99 is at most 50 ms (issue 4).

    All runs are threads of one runner (``HEADWAY_THREADS``). Nothing is pinned but the load client: runner, worker and
    client share the cores as the kernel has them. The shares are of one core; a runner's main thread
    claims runs, one of the others records, a thousand are jobs.
    """
    with sign_server(HEADWAY_THREADS=str(RUNS)) as running:
        repeats = repeated(lambda: _once(running))
    heard = [one for one, _ in repeats]
    said = RUNS * PER_S * SECONDS * REPEATS
    return [
        Figure("1,000 runs at 10 updates/s, p99", tuple(one.p99_ms for one in heard), "ms", said, 50.0),
        Figure("- median", tuple(one.p50_ms for one in heard), "ms", said),
        *(
            Figure(
                f"- core share of the {station}",
                tuple(shares[station].whole for _, shares in repeats),
                "%",
                REPEATS,
                note=_threads([shares[station] for _, shares in repeats]),
            )
            for station in repeats[0][1]
        ),
    ]


def _once(running: Server) -> tuple[Heard, dict[str, Share]]:
    waiting = Waiting(running, "update_at_sign", RUNS, n=PER_S * SECONDS, apart_ms=1000 / PER_S)
    wait_for(lambda: not _queued(running), 60, "all runs to have begun")
    (worker,) = running.worker_pids()
    with watching(running.port, waiting.paths(1), headers=waiting.headers) as watched:
        waiting.give_sign()
        time.sleep(SETTLED_S)
        pids = {"runner": running.runner_pid(), "web worker": worker, "load client": watched.pid}
        shares = _shares(pids, SECONDS - 2 * SETTLED_S)
        heard = watched.finish(60)
    heard.check(streams=RUNS, ended=RUNS, stamped=RUNS * PER_S * SECONDS)
    return heard, shares


def _queued(running: Server) -> bool:
    found = running.http.get("/api/v1/runs", params={"status": "queued", "limit": 1}).json()
    return bool(found["runs"])


def _shares(pids: dict[str, int], seconds: float) -> dict[str, Share]:
    """What the processes use from now on, for so long."""
    before = {pid: thread_used_ns(pid) for pid in pids.values()}
    began = time.monotonic()
    time.sleep(seconds)
    after = {pid: thread_used_ns(pid) for pid in pids.values()}
    elapsed = time.monotonic() - began
    return {station: _share(pid, before[pid], after[pid], elapsed) for station, pid in pids.items()}


def _share(pid: int, before: dict[int, int], after: dict[int, int], seconds: float) -> Share:
    percent = {thread: (used - before.get(thread, 0)) / seconds / 1e7 for thread, used in after.items()}
    others = [used for thread, used in percent.items() if thread != pid]
    return Share(sum(percent.values()), percent[pid], max(others, default=0.0))


def _threads(shares: list[Share]) -> str:
    middle = sorted(shares, key=lambda share: share.whole)[len(shares) // 2]
    return f"main thread {middle.main:.0f} %, busiest other {middle.busiest_other:.0f} %"
