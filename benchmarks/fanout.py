"""Deliveries per second of one worker to 1,000 watchers of a run, beside other servers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.feeding import PEERS_RUN, Delivery, Feeder, Source, fed_server, in_step, offered, peer
from benchmarks.figures import Figure
from benchmarks.programs import Missing, compiled, python
from benchmarks.quiet import REPEATS, repeated

WATCHERS = 1000
BURST = 10


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, and how many updates it is given in each way: for about a second, none in a way that tells nothing."""

    name: str
    command: Callable[[], list[str]] | None
    """What starts it; raises Missing. None for Headway, which is there already."""
    in_step: int
    offered: int
    in_bursts: int


HEADWAY = Contender("Headway", None, 500, 3000, 6000)
BARE = Contender("a bare C loop", lambda: [*compiled("fanout.c"), PEERS_RUN], 500, 500, 500)
JOINING = Contender("a C loop that joins", lambda: [*compiled("fanout.c"), PEERS_RUN, "joined"], 0, 5000, 6000)
GO = Contender("Go net/http", lambda: compiled("fanout.go"), 0, 300, 300)
STARLETTE = Contender("sse-starlette", lambda: python("fanout_starlette.py"), 0, 60, 60)
CONTENDERS = (HEADWAY, BARE, JOINING, GO, STARLETTE)


@dataclass(frozen=True, slots=True)
class Turn:
    """One server's turn: what came of each way."""

    in_step: Delivery | None
    offered: Delivery
    in_bursts: Delivery


Round = dict[Contender, Turn]
Way = Callable[[Turn], Delivery | None]
WAYS: dict[str, Way] = {
    "in step": lambda turn: turn.in_step,
    "as offered": lambda turn: turn.offered,
    "in bursts": lambda turn: turn.in_bursts,
}


def measure() -> list[Figure]:
    """Deliveries are watchers x updates, from the first to the last; each has to come, in order. Limits (issue 4): at
    least 0.85 of a bare send loop in C, 1.5 times a usual handler in Go, 6 times sse-starlette (``benchmarks/peers``).

    In step: the next update is given when all watchers have had the one before, so that each is a write of its own to
    each socket. As offered: as fast as it is taken; Headway then joins what waits for it, as does one of the C loops,
    while the others write each update by itself. In bursts: ten updates in each message, only to know. By turns.
    """
    missing = {one: reason for one in CONTENDERS if (reason := _missing(one))}
    with fed_server() as feeder:
        rounds = repeated(lambda: {one: _turn(feeder, one) for one in CONTENDERS if one not in missing})
    figures = [
        _ratio("in step", BARE, rounds, missing, 0.85),
        *(
            _ratio("as offered", other, rounds, missing, limit)
            for other, limit in ((BARE, 0.85), (GO, 1.5), (STARLETTE, 6.0), (JOINING, None))
        ),
    ]
    for way, found in WAYS.items():
        for one in rounds[0]:
            deliveries = [delivery for turns in rounds if (delivery := found(turns[one])) is not None]
            figures += [_rate(f"- {way}: {one.name}", deliveries)] if deliveries else []
    return figures


def _missing(one: Contender) -> str:
    """Why a server cannot be measured; empty where it can."""
    try:
        if one.command is not None:
            one.command()
    except Missing as missing:
        return f"not measured: {missing}"
    return ""


def _turn(feeder: Feeder, one: Contender) -> Turn:
    with _source(feeder, one) as source:
        step = in_step(source, WATCHERS, one.in_step) if one.in_step else None
    with _source(feeder, one) as source:
        as_offered = offered(source, WATCHERS, one.offered)
    with _source(feeder, one) as source:
        return Turn(step, as_offered, offered(source, WATCHERS, one.in_bursts, BURST))


@contextmanager
def _source(feeder: Feeder, one: Contender) -> Iterator[Source]:
    if one.command is None:
        yield feeder.new_run()
        feeder.wait_closed()
    else:
        with peer(one.command()) as source:
            yield source


def _ratio(
    way: str, other: Contender, rounds: list[Round], missing: dict[Contender, str], limit: float | None
) -> Figure:
    """How many times the deliveries per second of another server Headway makes."""
    name, found = f"fan-out {way}, of {other.name}", WAYS[way]
    if other in missing:
        return Figure(name, (math.nan,), "x", 0, note=missing[other])
    pairs = [(found(turns[HEADWAY]), found(turns[other])) for turns in rounds]
    ratios = tuple(ours.per_s / theirs.per_s for ours, theirs in pairs if ours is not None and theirs is not None)
    return Figure(name, ratios, "x", REPEATS, limit, at_least=True)


def _rate(name: str, found: list[Delivery]) -> Figure:
    size = found[0].heard.frame_bytes / found[0].heard.frames
    note = (
        f"{size:.0f} bytes each, {median(one.joined for one in found):.0f} in a write,"
        f" {median(one.cost_us for one in found):.2f} us CPU each;"
        f" load client {median(one.client_percent for one in found):.0f} % of its core"
    )
    rates = tuple(one.per_s / 1000 for one in found)
    return Figure(name, rates, "thousand/s", sum(one.heard.events for one in found), note=note)
