"""Where the time between a job's call and the client goes; as a program, the runner that stamps the stations."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import jobs.runner
from benchmarks.figures import Figure, spread
from benchmarks.latency import beats, spinning
from benchmarks.wire import ROOT, Client, client, server
from jobs.bus import Bus
from jobs.events import Draft, Ending, Event
from jobs.locks import try_lock
from jobs.store import Store
from tests.harness import Server, wait_for

SAID, TAKEN, COMMITTED, TOLD, HEARD = range(5)
STAMPS = "stamps"
"""The file in the data folder with a line for each beat: said, taken, committed, told, in ns since 1970."""
STATIONS = {
    "call to recorder": (SAID, TAKEN),
    "recorder to commit": (TAKEN, COMMITTED),
    "commit to all told": (COMMITTED, TOLD),
    "commit to client": (COMMITTED, HEARD),
}
"""Each station with the stamps at its two ends. The client may have it before the recorder has told everyone."""


def measure() -> list[Figure]:
    """The stations of ``latency``, for whoever wants to make it faster. No limits, and medians do not quite add up.

    The same server and jobs, but the runner is started here, with a store and a bus that note when the recorder began
    to write a beat, when it was committed and when every web worker had been sent it. Measured once, not repeated.
    """
    with server(before=_start_runner) as running, client(running) as connection:
        idle = _stations_ms(running, connection)
        with spinning(running):
            busy = _stations_ms(running, connection)
    return [
        figure
        for name, stations in (("idle", idle), ("two runs computing", busy))
        for title, samples in zip(STATIONS, stations, strict=True)
        for figure in spread(f"- {title}, {name}", [samples])
    ]


def _stations_ms(running: Server, connection: Client) -> list[list[float]]:
    """For each station, how long each beat took."""
    heard = dict(beats(connection))
    wait_for(lambda: _stamped(running).keys() >= heard.keys(), 5, "all stamps")  # the last come after the end
    stamped = _stamped(running)
    ways = [[*stamped[said_ns], heard_ns] for said_ns, heard_ns in heard.items()]
    return [[(way[end] - way[start]) / 1e6 for way in ways] for start, end in STATIONS.values()]


def _stamped(running: Server) -> dict[int, list[int]]:
    """The stamps by when the beat was said."""
    lines = (running.data / STAMPS).read_text().splitlines()
    return {stamps[0]: stamps for line in lines if len(stamps := list(map(int, line.split()))) == HEARD}


def _start_runner(running: Server) -> None:
    """Start this module's runner as the server would start its own, which then finds that there is one."""
    lock = try_lock(running.data / "runner.lock")
    assert lock is not None, "the data folder is new"
    environment = {name: value for name, value in running.environment.items() if name != "HEADWAY_KEY"}
    command = [sys.executable, "-m", "benchmarks.stages", str(lock.fd)]
    subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[lock.fd], stderr=subprocess.DEVNULL)
    lock.release()


class StampedStore(Store):
    """A store that notes when the recorder's newest batch came and when it was committed."""

    newest = (0, 0)

    def append(self, said: Sequence[Draft | Ending]) -> list[Event]:
        """As Store does."""
        taken_ns = time.time_ns()
        events = super().append(said)
        StampedStore.newest = (taken_ns, time.time_ns())
        return events


class StampedBus(Bus):
    """A bus that writes down the stations of every beat that it has told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stamps = (folder.parent / STAMPS).open("w", buffering=1)

    def tell(self, events: Iterable[Event]) -> None:
        """As Bus does; the recorder calls it right after ``append``, in the same thread."""
        told = list(events)
        super().tell(told)
        told_ns = time.time_ns()
        for event in told:
            if event.kind == "log":
                print(json.loads(event.body)["message"], *StampedStore.newest, told_ns, file=self._stamps)


def main(lock_fd: int) -> None:
    """The runner process, with the store and the bus that stamp."""
    jobs.runner.Store, jobs.runner.Bus = StampedStore, StampedBus  # type: ignore[attr-defined]
    jobs.runner.main(lock_fd)


if __name__ == "__main__":
    main(int(sys.argv[1]))
