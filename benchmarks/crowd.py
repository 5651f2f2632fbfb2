"""From the sender to 5,000 watchers of one run, beside the least that a program in C can do."""

from __future__ import annotations

from benchmarks.feeding import PEERS_RUN, Delivery, Feeder, fed_server, paced, peer
from benchmarks.figures import Figure
from benchmarks.programs import compiled
from benchmarks.quiet import REPEATS, repeated

WATCHERS = 5000
PER_S = 4
SECONDS = 10


def measure() -> list[Figure]:
    """Four updates a second for ten seconds; all have to come, and p99 is at most 1.2 times that of a bare send loop in
    C (issue 4).

    From the moment at which the message with the update is sent to the worker (or the line to the C program) to that
    at which the load client has it: also the last of the 5,000, which come one after the other. By turns.
    """
    with fed_server() as feeder:
        pairs = repeated(lambda: (_headway(feeder), _bare()))
    samples = WATCHERS * PER_S * SECONDS * REPEATS
    ratios = tuple(ours.heard.p99_ms / bare.heard.p99_ms for ours, bare in pairs)
    figures = [Figure("5,000 watchers, p99 of a bare C loop's", ratios, "x", samples, 1.2)]
    for name, found in zip(("Headway", "a bare C loop"), zip(*pairs, strict=True), strict=True):
        for title in ("median", "p99"):
            times = tuple(one.heard.p50_ms if title == "median" else one.heard.p99_ms for one in found)
            figures.append(Figure(f"- {name}, {title}", times, "ms", samples))
    return figures


def _headway(feeder: Feeder) -> Delivery:
    found = paced(feeder.new_run(), WATCHERS, PER_S * SECONDS, 1 / PER_S)
    feeder.wait_closed()
    return found


def _bare() -> Delivery:
    with peer([*compiled("fanout.c"), PEERS_RUN]) as source:
        return paced(source, WATCHERS, PER_S * SECONDS, 1 / PER_S)
