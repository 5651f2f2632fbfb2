"""Servers that are fed updates by the benchmark itself: a worker of Headway without a runner, and its peers.

Headway's worker hears them where it hears the runner's, on its socket of the bus; the peers read them from stdin, a
line each. Either takes a few, then the sender waits, so that nothing is lost: a worker's socket queues ten datagrams, a
peer's pipe has 4 kB. The server is on the first core, the load client and this process on the second.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.cores import CLIENT, SERVER, pin, used_ns
from benchmarks.machine import pinned
from benchmarks.watching import Heard, Watchers, allow_many_files, watching
from benchmarks.wire import server
from jobs.bus import messages
from jobs.events import Draft, Ending, Event, ProgressUpdate, now_ms
from jobs.locks import try_lock
from jobs.runner import runner_lock_path
from jobs.runs import new_run_id, run_url
from jobs.store import NewRun, Store
from tests.harness import Server, wait_for
from web.auth import OWNER
from web.frame import iso_time

LANE = "benchmark"
"""No runner takes runs of this lane."""
PIPE_BYTES = 4096
PEERS_RUN = new_run_id()
RECORDED = 100
"""Updates in a transaction while they are offered: the feeder is not to be the slowest."""
BATCH = 1000
"""Events in a transaction, as the recorder writes them when there are many."""
FINISHED_WITHIN_S = 120.0


class Source(Protocol):
    """A server with one run: what its watchers ask for, and how it is fed."""

    port: int
    pid: int
    headers: Sequence[str]
    run: str
    head: int

    def paths(self, watchers: int) -> list[str]:
        """What each watcher asks for, so that it gets what comes after :attr:`head`."""

    def record(self, events: Sequence[Event]) -> Sequence[Event]:
        """Write events where the server would look for those that a slow watcher has missed."""

    def encode(self, events: Sequence[Event]) -> bytes:
        """A message that says these events at once."""

    def send(self, message: bytes) -> None:
        """Give the server a message; waits while it has no room."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How so many updates came to so many watchers."""

    heard: Heard
    server_ns: int

    @property
    def per_s(self) -> float:
        """Deliveries per second, from the first to the last."""
        return self.heard.events / self.heard.seconds

    @property
    def cost_us(self) -> float:
        """CPU time of the server for each delivery, the sockets' share in it."""
        return self.server_ns / 1000 / self.heard.events

    @property
    def joined(self) -> float:
        """Updates in one write to a socket."""
        return self.heard.events / (self.heard.chunks - self.heard.streams)  # without the hellos

    @property
    def client_percent(self) -> float:
        """What the load client used of its core meanwhile."""
        return 100 * self.heard.cpu_s / self.heard.seconds


def in_step(source: Source, watchers: int, updates: int) -> Delivery:
    """Feed an update at a time, the next one when all watchers have had the one before: none can be joined."""

    def feed(watched: Watchers) -> None:
        for one in _updates(source, updates):
            source.send(source.encode([one]))
            watched.wait_step()

    return _delivered(source, watchers, updates, feed, in_step=True)


def offered(source: Source, watchers: int, updates: int, burst: int = 1) -> Delivery:
    """Feed as fast as it is taken, ``burst`` events in each message.

    Log lines that look like updates: of those a watcher that falls behind would be spared the overtaken ones.
    """

    def feed(watched: Watchers) -> None:
        said = [replace(one, kind="log") for one in _updates(source, updates)]
        for first in range(0, updates, RECORDED):
            recorded = source.record(said[first : first + RECORDED])
            for at in range(0, len(recorded), burst):
                source.send(source.encode(recorded[at : at + burst]))

    return _delivered(source, watchers, updates, feed)


def paced(source: Source, watchers: int, updates: int, every_s: float) -> Delivery:
    """Feed an update at a time at even distances; the time in it is that of the sending."""

    def feed(watched: Watchers) -> None:
        due = time.monotonic()
        for one in _updates(source, updates):
            source.send(source.encode([one]))
            due += every_s
            time.sleep(max(0.0, due - time.monotonic()))

    return _delivered(source, watchers, updates, feed)


def _delivered(
    source: Source, watchers: int, updates: int, feed: Callable[[Watchers], None], *, in_step: bool = False
) -> Delivery:
    """Open the watchers, feed, and check that everything came to everybody."""
    until, headers = source.head + updates, source.headers
    with watching(source.port, source.paths(watchers), until=until, in_step=in_step, headers=headers) as watched:
        with pinned(CLIENT):
            before_ns = used_ns(source.pid)
            feed(watched)
            heard = watched.finish(FINISHED_WITHIN_S)
            server_ns = used_ns(source.pid) - before_ns
    heard.check(streams=watchers, reached=watchers, events=watchers * updates)
    return Delivery(heard, server_ns)


def _updates(source: Source, updates: int) -> Iterator[Event]:
    return (update(source.run, source.head + number) for number in range(1, updates + 1))


def update(run: str, seq: int) -> Event:
    """An update as jobs say it, with the time in place of its message."""
    return Event(run, seq, "update", now_ms(), body(str(time.time_ns())))


def body(message: str) -> str:
    """The body of an update."""
    return ProgressUpdate("processing", 42.5, message, "Fetching pages", eta_s=12.4).body()


# Headway.


class Feeder:
    """Stands in for the runner: has runs of its own in the store, and tells the worker of their events."""

    def __init__(self, running: Server) -> None:
        self.server = running
        self.store = Store(running.data / "headway.db")
        (self.worker,) = running.worker_pids()
        self._id = new_run_id()
        # Without it the runner would take our runs for those of a dead one.
        self._lock = try_lock(runner_lock_path(running.data, self._id))
        self._folder = os.open(running.data / "bus", os.O_RDONLY)
        self.bus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bus.connect(f"/proc/self/fd/{self._folder}/web-{self.worker}.sock")  # the path may be too long for it
        self._files = len(list(Path(f"/proc/{self.worker}/fd").iterdir()))

    def new_run(self, log: int = 2) -> HeadwayRun:
        """A run that goes on, with so many events in its log (at least two)."""
        run = new_run_id()
        self.store.accept(NewRun(run, "emit", OWNER, LANE, {}, {}))
        ((claim, event),) = self.store.claim(self._id, LANE, 1)
        assert claim.run == run
        for first in range(event.seq, log, BATCH):
            drafts = [Draft(run, 1, "update", body("21 of 50 pages"), now_ms())] * min(BATCH, log - first)
            event = self.store.append(drafts)[-1]
        return HeadwayRun(self, run, event.seq)

    def end(self, run: str) -> None:
        """End a run, in the store only."""
        self.store.append([Ending(run, 1, "completed", now_ms())])

    def wait_closed(self) -> None:
        """Wait until the worker has closed the connections of watchers that have gone."""
        folder = Path(f"/proc/{self.worker}/fd")
        wait_for(lambda: len(list(folder.iterdir())) <= self._files + 20, 30, "the worker to close connections")

    def close(self) -> None:
        """Let go of the server."""
        self.bus.close()
        os.close(self._folder)
        self.store.close()
        if self._lock is not None:
            self._lock.release()


class HeadwayRun:
    """A run that goes on, as a source."""

    def __init__(self, feeder: Feeder, run: str, head: int) -> None:
        self.port = feeder.server.port
        self.pid = feeder.worker
        self.headers: Sequence[str] = [f"Authorization: Bearer {feeder.server.key}"]
        self.run = run
        self.head = head
        self._feeder = feeder

    def paths(self, watchers: int) -> list[str]:
        """As Source says."""
        return [f"{run_url(self.run)}/events?after={self.head}"] * watchers

    def record(self, events: Sequence[Event]) -> Sequence[Event]:
        """As Source says."""
        drafts = [Draft(one.run, 1, one.kind, one.body, one.time_ms) for one in events]
        recorded = self._feeder.store.append(drafts)
        assert recorded == list(events), "the store numbers them alike"
        return recorded

    def encode(self, events: Sequence[Event]) -> bytes:
        """As Source says."""
        (message,) = messages(events)
        return message

    def send(self, message: bytes) -> None:
        """As Source says."""
        self._feeder.bus.send(message)


@contextmanager
def fed_server() -> Iterator[Feeder]:
    """A server whose worker is on the first core and takes more watchers than any benchmark has."""
    allow_many_files()
    with server(HEADWAY_STREAMS="10000", HEADWAY_STREAMS_PER_OWNER="10000") as running:
        feeder = Feeder(running)
        pin(feeder.worker, SERVER)
        yield feeder
        feeder.close()


# The peers.


class Peer:
    """One of the programs of ``benchmarks/peers``, as a source."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.port = int(process.stdout.readline())
        self.pid = process.pid
        self.headers: Sequence[str] = ()
        self.run = PEERS_RUN
        self.head = 0
        self._stdin = process.stdin.fileno()
        fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def paths(self, watchers: int) -> list[str]:
        """As Source says."""
        return ["/events"] * watchers

    def record(self, events: Sequence[Event]) -> Sequence[Event]:
        """As Source says: it has no such place."""
        return events

    def encode(self, events: Sequence[Event]) -> bytes:
        """As Source says: the JSON that Headway's frames have, a line each."""
        return "".join(
            f'{event.body[:-1]},"run":"{event.run}","seq":{event.seq},"time":"{iso_time(event.time_ms)}"}}\n'
            for event in events
        ).encode("ascii")

    def send(self, message: bytes) -> None:
        """As Source says."""
        while message:
            message = message[os.write(self._stdin, message) :]


@contextmanager
def peer(command: Sequence[str]) -> Iterator[Peer]:
    """Start one of them, on the first core."""
    allow_many_files()
    with pinned(SERVER):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            yield Peer(process)
        finally:
            process.kill()
