"""A client that comes late to a run that has said much."""

from __future__ import annotations

from benchmarks.feeding import fed_server
from benchmarks.figures import Figure
from benchmarks.quiet import REPEATS, repeated
from benchmarks.watching import Heard, watching
from jobs.runs import run_url

EVENTS = 100_000


def measure() -> list[Figure]:
    """The log of a run with 100,000 updates to one client, from its request to the last byte: at least 100 MB/s of
    frames (issue 4).

    The run has ended, so that its stream ends with its log. It is read from the store: its database's pages are in the
    system's cache, no frame is in the worker. The worker is on the first core, the load client on the second.
    """
    with fed_server() as feeder:
        source = feeder.new_run(log=EVENTS - 1)
        feeder.end(source.run)

        def once() -> Heard:
            path = f"{run_url(source.run)}/events"
            with watching(source.port, [path], headers=source.headers) as watched:
                heard = watched.finish(60)
            heard.check(streams=1, ended=1, events=EVENTS, lowest=EVENTS)
            return heard

        found = repeated(once)
    seconds = [(heard.last_ns - heard.connect_ns) / 1e9 for heard in found]
    rates = tuple(heard.frame_bytes / one / 1e6 for heard, one in zip(found, seconds, strict=True))
    note = f"{found[0].frame_bytes / EVENTS:.0f} bytes a frame, {EVENTS / min(seconds) / 1000:.0f} thousand/s"
    return [
        Figure("late subscriber, 100,000 events", rates, "MB/s", EVENTS * REPEATS, 100.0, at_least=True, note=note),
    ]
