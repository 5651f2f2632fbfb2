"""What a delivered update costs the worker, by how many watch and by how long the run's log is."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks.feeding import PEERS_RUN, Delivery, Feeder, HeadwayRun, fed_server, in_step, peer
from benchmarks.figures import Figure
from benchmarks.programs import compiled
from benchmarks.quiet import repeated

WATCHERS = (100, 1000, 8000)
LOGS = (10, 10_000, 100_000)
DELIVERIES = 160_000
"""In each case and repeat."""
LOG_WATCHERS = 1000
LIMIT = 1.25
LIMIT_BESIDE = 1.1

Costs = Mapping[int, Delivery]


def measure() -> list[Figure]:
    """The worker's CPU time for each update and watcher, its sockets' share included: with a log of 10,000 or 100,000
    events before at most 1.25 times that with 10; with 1,000 and 8,000 watchers it grows at most 1.1 times as much as
    that of a bare send loop in C (issue 4 wants no growth).

    In step: an update is given when all watchers have had the one before, and is a write of its own to each socket.
    Most of that is the kernel's, and its part grows with the sockets, which then no longer fit into the processor's
    caches: the C loop, which has little else, shows by how much. By turns.
    """
    with fed_server() as feeder:
        logs = {log: feeder.new_run(log) for log in LOGS}

        def once() -> tuple[Costs, Costs, Costs]:
            return (
                {watchers: _headway(feeder, logs[LOGS[0]], watchers) for watchers in WATCHERS},
                {watchers: _bare(watchers) for watchers in WATCHERS},
                {log: _headway(feeder, run, LOG_WATCHERS) for log, run in logs.items()},
            )

        crowds, bare, logged = zip(*repeated(once), strict=True)
    return [
        *_flat("watchers", crowds, WATCHERS, bare),
        *_flat("events before", logged, LOGS),
    ]


def _headway(feeder: Feeder, source: HeadwayRun, watchers: int) -> Delivery:
    found = in_step(source, watchers, DELIVERIES // watchers)
    feeder.wait_closed()
    return found


def _bare(watchers: int) -> Delivery:
    with peer([*compiled("fanout.c"), PEERS_RUN]) as source:
        return in_step(source, watchers, DELIVERIES // watchers)


def _flat(what: str, repeats: tuple[Costs, ...], cases: tuple[int, ...], bare: tuple[Costs, ...] = ()) -> list[Figure]:
    """The costs, each beside that of the smallest case."""
    least, count = cases[0], DELIVERIES * len(repeats)
    figures = []
    for case in cases[1:]:
        name = f"cost with {case:,} {what}, of that with {least:,}"
        growth = _growth(repeats, case, least)
        if bare:
            beside = [ours / theirs for ours, theirs in zip(growth, _growth(bare, case, least), strict=True)]
            figures.append(Figure(f"{name}, beside the C loop's", tuple(beside), "x", count, LIMIT_BESIDE))
        note = f"the C loop's own: {median(_growth(bare, case, least)):.2f} x" if bare else ""
        figures.append(Figure(f"- {name}" if bare else name, growth, "x", count, None if bare else LIMIT, note=note))
    for case in cases:
        costs = tuple(one[case].cost_us for one in repeats)
        note = f"a bare C loop: {median(one[case].cost_us for one in bare):.2f} us" if bare else ""
        figures.append(Figure(f"- a delivery with {case:,} {what}", costs, "us", count, note=note))
    return figures


def _growth(repeats: tuple[Costs, ...], case: int, least: int) -> tuple[float, ...]:
    """How many times the cost of the smallest case it is, in each repeat."""
    return tuple(one[case].cost_us / one[least].cost_us for one in repeats)
