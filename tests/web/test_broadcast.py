"""The fast lane: whatever becomes of a socket, its client gets the very bytes that its own generator would have sent.

What is real here: the store, the bus, the feed with its threads, streams, the sockets, and the function of gunicorn
that makes chunks. That takes a process in which gevent has patched the standard library, as in a web worker. So every
scenario below runs in one such process, all in a row; each test looks at what became of its scenario.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event as Signal
from gunicorn.util import write_chunk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bus import Ear, messages
from jobs.events import Draft, Event, now_ms
from jobs.runs import Claim
from jobs.store import Page, Store
from tests.harness import ROOT
from tests.jobs.workbench import OWNER, claimed, completed, line, update
from web import broadcast, connection, feed, frame, lifetime
from web.broadcast import Lane, chunked
from web.connection import Connection
from web.feed import Channel, Feed
from web.reader import Cursor
from web.slots import Slots
from web.stream import SLOW_WRITE_S, Stream
from web.takeover import Body, TakenOver

scenarios: dict[str, Callable[[], None]] = {}


def scenario(play: Callable[[], None]) -> Callable[[], None]:
    """Have a function run in the patched process."""
    scenarios[play.__name__] = play
    return play


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in each scenario, "" for nothing."""
    report = tmp_path_factory.mktemp("scenarios") / "outcomes"
    code = (
        "from gevent import monkey; monkey.patch_all(); import sys; from tests.web import test_broadcast\n"
        "test_broadcast.play_all(sys.argv[1])"
    )
    report.touch()
    with contextlib.suppress(subprocess.TimeoutExpired):  # what was played until then is reported
        subprocess.run([sys.executable, "-W", "error", "-c", code, str(report)], cwd=ROOT, timeout=110)
    return dict(json.loads(line) for line in report.read_text().splitlines())


def play_all(report: str) -> None:
    """Play every scenario, or those named in SCENARIOS; in the patched process."""
    named = os.environ.get("SCENARIOS", "").split()
    for name, play in scenarios.items():
        if named and name not in named:
            continue
        failure = ""
        began = time.monotonic()
        try:
            with gevent.Timeout(60):
                play()
        except BaseException:  # noqa: BLE001 - it is raised again in the test
            failure = traceback.format_exc()
        print(f"{name}: {time.monotonic() - began:.2f} s", "failed" if failure else "", file=sys.stderr)
        with open(report, "a") as file:
            print(json.dumps([name, failure]), file=file)


# A worker made small.


class Worker:
    """A web worker without HTTP: store, feed and slots, and clients that connect to it."""

    def __init__(self, *, lends: bool = True, threads: bool = True) -> None:
        """Without ``threads`` nothing is heard but what the scenario itself tells the feed."""
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store(self.folder / "headway.db", checkpoints=True)
        ear = Ear(self.folder / "bus", f"web-{os.getpid()}", selective=True)
        with patched(Feed, **({} if threads else dict.fromkeys(THREADS, lambda _: None))):
            self.feed = Feed(self.store, ear)
        self.feed.lends = lends
        self.slots = Slots(100_000, 100_000)
        self.clients: list[Client] = []
        self.ear = ear
        self._bus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def connect(self, claim: Claim, after: int = 0, **how: Any) -> Client:
        """Open a stream after an event."""
        self.clients.append(Client(self, claim.run, after, **how))
        return self.clients[-1]

    def tell(self, *said: Any) -> list[Event]:
        """Commit what a run said, and tell this worker of it, as the bus would."""
        events = self.store.append(said)
        self.feed._tell(events, {})
        return events

    def send(self, message: bytes) -> None:
        """Send a message of the bus."""
        with contextlib.suppress(BlockingIOError):
            self._bus.sendto(message, socket.MSG_DONTWAIT, str(self.ear.path))

    def lane(self, claim: Claim) -> Lane:
        """The lane of a run that somebody watches."""
        return self.feed._channels[claim.run].lane

    def until_lent(self, claim: Claim, count: int) -> None:
        """Wait until so many sockets are in the lane."""
        until(lambda: claim.run in self.feed._channels and len(self.lane(claim)) == count, f"{count} loans")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.leave()
        until(lambda: self.slots.taken == 0, "all slots to be back")
        assert self.feed._channels == {} and not any(self.ear.watched._marks[:]), "a run is watched by nobody"  # type: ignore[union-attr]
        self.feed.close()
        self._bus.close()
        self.store.close()
        shutil.rmtree(self.folder)


THREADS = ("_hear_bus", "_fill_gaps", "_poll_store", "_keep_time")


class Client:
    """A client, and the greenlet that serves it: taken over from gunicorn where sockets are lent; else as gunicorn
    does, each piece a chunk, and the end one without bytes."""

    def __init__(
        self, worker: Worker, run: str, after: int = 0, *, tcp: bool = False, buffer: int = 0, eager: bool = True
    ) -> None:
        self.run, self.after = run, after
        self.theirs, self.ours = _tcp_pair(buffer) if tcp else socket.socketpair()
        if buffer and not tcp:
            self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.fd = self.theirs.fileno()
        self.got = b""
        self.ended = Signal()
        self.taken_over = worker.feed.lends
        worker.slots.take("someone")
        headway = SimpleNamespace(store=worker.store, feed=worker.feed, slots=worker.slots)
        environ = {"gunicorn.socket": self.theirs, "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET"}
        principal = SimpleNamespace(owner=OWNER, slot="someone")
        self.connection = Connection(environ)
        self.stream = Stream(headway, principal, run, self.connection, lends=self.taken_over)  # type: ignore[arg-type]
        self.had_all = not self.stream.open(Cursor(after, given=after > 0))
        self.serving = gevent.spawn(self._serve)
        self.reading = gevent.spawn(self._read) if eager else None

    def _serve(self) -> None:
        self.theirs.settimeout(20)
        frames = self.stream.frames() if not self.had_all else iter(())
        if self.taken_over:
            body = Body(frames, self.connection)
            body.begin(b"", self._end)
            with contextlib.suppress(TakenOver):
                next(body)
            return
        try:
            for said in filter(None, frames):
                write_chunk(self.theirs, said)
            write_chunk(self.theirs, b"")
        finally:
            self._end()
            self.theirs.close()

    def _end(self) -> None:
        self.stream.close()
        self.ended.set()

    def _read(self, most: int = 1 << 16) -> None:
        with contextlib.suppress(OSError):
            while piece := self.ours.recv(most):
                self.got += piece

    def read_on(self) -> None:
        """Begin to read."""
        self.reading = self.reading or gevent.spawn(self._read)

    def finish(self) -> bytes:
        """Read to the end; all that came."""
        self.read_on()
        assert self.ended.wait(30), "the stream does not end"
        assert self.reading is not None
        self.reading.join(5)
        return self.got

    def leave(self) -> None:
        """Close."""
        if self.reading is not None:
            self.reading.kill()
        self.ours.close()
        self.ended.wait(5)

    def reset(self) -> None:
        """Close with a RST."""
        if self.reading is not None:
            self.reading.kill()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ours.close()

    @property
    def body(self) -> bytes:
        """What has come of the answer's body, out of its chunks."""
        return b"".join(chunks(self.got))

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events that have come whole."""
        return [int(one) for one in re.findall(rb"data: (?!\{\"run\")[^\n]+\nid: [0-9a-z]+-(\d+)\n\n", self.body)]

    @property
    def names(self) -> list[str]:
        """The names of all frames: hello, update, log ..."""
        return [_name(one) for one in self.body.split(b"\n\n")[:-1]]


def _name(one: bytes) -> str:
    return one[7:].partition(b"\n")[0].decode() if one.startswith(b"event: ") else "update"


def chunks(said: bytes, *, whole: bool = False) -> list[bytes]:
    """What stands in chunks (RFC 9112, 7.1, without what gunicorn does not send); of the last one what is there."""
    found = []
    while said:
        size, ended, said = said.partition(b"\r\n")
        assert ended and re.fullmatch(rb"[0-9A-F]+", size) or not whole and not ended, f"no chunk begins with {size!r}"
        found.append(said[: int(size or b"0", 16)])
        end, said = said[int(size, 16) : int(size, 16) + 2], said[int(size, 16) + 2 :]
        assert end == b"\r\n" or not whole and b"\r\n".startswith(end), f"a chunk ends with {end!r}"
    if whole:
        assert found[-1] == b"" and b"" not in found[:-1], "the answer has one end"
    return found


def _tcp_pair(buffer: int) -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = socket.socket()
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    return theirs, ours


def until(condition: Callable[[], object], what: str, limit_s: float = 10) -> None:
    """Wait in this greenlet."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        gevent.sleep(0.001)


@contextlib.contextmanager
def patched(target: Any, **values: Any) -> Iterator[None]:
    """Have other values for a while. For what a thread of the feed reads, before there is a worker."""
    before = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)


def sending(write: Callable[[int, bytes], int]) -> contextlib.AbstractContextManager[None]:
    """Have the lane use another function to send; it is given the socket's number."""
    return patched(broadcast, send=lambda sock, chunk: write(sock.fileno(), chunk))


def said_by(worker: Worker, claim: Claim, after: int = 0) -> bytes:
    """The frames of all events after one, as they have to be on the wire."""
    return b"".join(map(frame.event_frame, log_of(worker, claim, after)))


def log_of(worker: Worker, claim: Claim, after: int = 0) -> list[Event]:
    """All events after one."""
    found: list[Event] = []
    while events := worker.store.events_after(claim.run, found[-1].seq if found else after).events:
        found += events
    return found


# Loans.


@scenario
def a_lent_socket_gets_what_its_own_generator_would_send() -> None:
    with Worker() as lending, patched(lifetime, RETRY_MS=(1000, 1000)):
        claim = claimed(lending.store)
        in_lane = [lending.connect(claim, after) for after in (0, 1, 2) for _ in range(3)]
        in_lane += [lending.connect(claim, 2, tcp=True)]
        lending.until_lent(claim, 10)
        lending.feed.lends = False
        plain = [lending.connect(claim, after) for after in (0, 1, 2) for _ in range(3)] + [lending.connect(claim, 2)]
        for number in range(20):
            lending.tell(line(claim, f"line {number} ü"))
            until(lambda head=number + 3: all(one.numbers[-1:] == [head] for one in lending.clients), "all to have it")
        lending.until_lent(claim, 10)
        lending.tell(completed(claim))
        for one, other in zip(in_lane, plain, strict=True):
            assert one.finish() == other.finish() and one.got.endswith(b"\r\n0\r\n\r\n")
            assert b"".join(chunks(one.got, whole=True)).endswith(said_by(lending, claim, one.after))


@scenario
def a_chunk_may_be_cut_at_every_offset() -> None:
    """Each of the clients has the chunk cut at another place, the first (nothing taken) and the last included."""
    with Worker() as worker, patched(lifetime, RETRY_MS=(1000, 1000)), patched(broadcast, TURN=50):
        claim = claimed(worker.store)
        probe = chunked(frame.event_frame(Event(claim.run, 3, "log", 0, line(claim, "cut me").body)))
        clients = [worker.connect(claim, 2) for _ in range(len(probe) + 1)]
        worker.until_lent(claim, len(clients))
        cut = {client.fd: size for size, client in enumerate(clients)}

        def write(fd: int, chunk: bytes) -> int:
            assert len(chunk) == len(probe)
            if cut[fd] == 0:
                raise BlockingIOError
            return os.write(fd, chunk[: cut[fd]])

        for head in (3, 4):
            with sending(write):
                worker.tell(line(claim, "cut me"))
            until(lambda head=head: all(client.numbers[-1:] == [head] for client in clients), "all to have it")
            worker.until_lent(claim, len(clients))
            cut = {client.fd: len(probe) - size for size, client in enumerate(clients)}
        worker.tell(completed(claim))
        for client in clients:
            client.finish()
            assert client.got == clients[-1].got and client.numbers == [3, 4, 5]
            assert b"".join(chunks(client.got, whole=True)).endswith(said_by(worker, claim, 2))


@scenario
def a_heartbeat_may_be_cut_too_and_events_that_come_meanwhile_follow_it() -> None:
    with Worker(threads=False) as worker:
        claim = claimed(worker.store)
        clients = [worker.connect(claim, 2) for _ in range(80)]
        worker.until_lent(claim, len(clients))
        cut = {client.fd: size for size, client in enumerate(clients)}
        channel = worker.feed._channels[claim.run]
        with sending(lambda fd, chunk: os.write(fd, chunk[: cut[fd]])):
            channel.heartbeat(time.monotonic() + feed.HEARTBEAT_S)
        worker.tell(line(claim))  # while the rests are to be written yet
        worker.tell(completed(claim))
        for client in clients:
            client.finish()
            assert client.names == ["hello", "heartbeat", "log", "update"] and client.numbers == [3, 4]
            chunks(client.got, whole=True)


@scenario
def tiny_buffers_and_slow_readers_get_every_byte() -> None:
    """Real partial writes: of some kilobytes at a time nobody takes all, and some do not read at all for a while."""
    with Worker() as worker:
        claim = claimed(worker.store)
        clients = [
            worker.connect(claim, 2, tcp=tcp, buffer=buffer, eager=eager)
            for tcp in (True, False)
            for buffer in (1, 8000, 30_000)
            for eager in (True, False)
        ]
        until(lambda: len(worker.lane(claim)) == len(clients), "loans")
        dice = random.Random(5)
        cuts: list[int] = []

        def write(fd: int, chunk: bytes) -> int:
            taken = 0
            try:
                taken = os.write(fd, chunk)
            finally:
                cuts.append(len(chunk) - taken)
            return taken

        with sending(write):
            for _ in range(120):
                worker.tell(*[line(claim, "x" * dice.randrange(9000)) for _ in range(dice.randrange(1, 4))])
                gevent.sleep(0.002)
            assert sum(cut > 0 for cut in cuts) > 5, "nothing was cut"
            worker.tell(completed(claim))
            for client in clients:
                client.finish()
        for client in clients:
            assert b"".join(chunks(client.got, whole=True)).endswith(said_by(worker, claim, 2))
            assert client.body.count(b"event: hello") == 1


@scenario
def clients_that_reset_or_close_are_let_go_and_the_others_get_all() -> None:
    with Worker() as worker:
        claim = claimed(worker.store)
        stay = [worker.connect(claim, 2, tcp=True) for _ in range(5)]
        go = [worker.connect(claim, 2, tcp=True) for _ in range(30)]
        worker.until_lent(claim, 35)
        for number, client in enumerate(go):
            (client.reset if number % 2 else client.leave)()
            if number % 3 == 0:
                worker.tell(line(claim))
        until(lambda: worker.slots.taken == 5 and len(worker.lane(claim)) == 5, "the dead to be gone")
        worker.tell(completed(claim))
        for client in stay:
            assert client.finish().endswith(b"\r\n0\r\n\r\n") and client.numbers == list(range(3, 14))


@scenario
def a_reset_that_only_the_write_notices_ends_the_stream() -> None:
    with Worker() as worker:
        claim = claimed(worker.store)
        dead, alive = worker.connect(claim, 2), worker.connect(claim, 2)
        worker.until_lent(claim, 2)
        failing = {dead.fd}

        def write(fd: int, chunk: bytes) -> int:
            if fd in failing:
                raise ConnectionResetError
            return os.write(fd, chunk)

        with sending(write):
            worker.tell(line(claim))
        until(lambda: worker.slots.taken == 1, "the stream to end")
        worker.tell(completed(claim))
        alive.finish()
        assert alive.numbers == [3, 4] and dead.numbers == []


@scenario
def a_loan_that_ends_in_the_middle_of_a_broadcast_is_not_written_to() -> None:
    """Its number may belong to another file by then."""
    with Worker() as worker, patched(broadcast, TURN=1):
        claim = claimed(worker.store)
        clients = [worker.connect(claim, 2) for _ in range(6)]
        worker.until_lent(claim, 6)
        written: list[int] = []
        leaving = clients[3:5]

        def write(fd: int, chunk: bytes) -> int:
            if not written:
                for client in leaving:
                    client.ours.close()
            written.append(fd)
            if len(written) == 2:  # both have ended, and their numbers are another's
                until(lambda: all(client.ended.is_set() for client in leaving), "the sockets to close")
            return os.write(fd, chunk)

        for client in leaving:
            assert client.reading is not None
            client.reading.kill()
        with sending(write):
            worker.tell(line(claim))
        assert not {client.fd for client in leaving} & set(written)
        worker.tell(completed(claim))
        for client in (clients[0], clients[1], clients[2], clients[5]):
            client.finish()
            assert client.numbers == [3, 4]
            chunks(client.got, whole=True)


@scenario
def a_goodbye_or_rotation_that_is_due_during_a_broadcast_waits_for_its_end() -> None:
    for closing in (False, True):
        with (
            patched(broadcast, TURN=1),
            patched(feed, GOODBYES_S=0.0, TICK_S=0.01, TURN=8 if closing else 7),
            Worker() as worker,
        ):
            claim = claimed(worker.store)
            clients = [worker.connect(claim, 2) for _ in range(8)]
            worker.until_lent(claim, 8)
            with sending(_ending_in_the_middle(worker, worker.lane(claim), closing)):
                worker.tell(line(claim))
                for client in clients:
                    client.finish()
                    assert client.names == ["hello", "log", "bye"] and client.numbers == [3]
                    assert (b'"restart"' if closing else b'"rotate"') in client.body
                    chunks(client.got, whole=True)


def _ending_in_the_middle(worker: Worker, lane: Lane, closing: bool) -> Callable[[int, bytes], int]:
    """A write in whose third call the streams' time is over."""
    written: list[int] = []

    def write(fd: int, chunk: bytes) -> int:
        written.append(fd)
        if len(written) == 3:
            worker.feed.say_bye() if closing else lane.limit(lambda: 0.0)
        gevent.sleep(0.03)
        return os.write(fd, chunk)

    return write


@scenario
def a_stream_that_has_its_socket_back_just_as_the_server_stops_says_goodbye() -> None:
    """The loan of a slow client is back, its greenlet has not run yet, and the feed says goodbye."""
    with Worker() as worker, patched(feed, GOODBYES_S=0.1):
        claim = claimed(worker.store)
        slow, other = worker.connect(claim, 2), worker.connect(claim, 2)
        worker.until_lent(claim, 2)

        def write(fd: int, chunk: bytes) -> int:
            return os.write(fd, chunk[:10] if fd == slow.fd else chunk)

        with sending(write):
            worker.tell(line(claim))
        worker.feed.say_bye()
        assert slow.ended.wait(3), "it has forgotten to say goodbye"
        for client in (other, slow):
            client.finish()
            assert client.names == ["hello", "log", "bye"]


@scenario
def rotation_comes_although_broadcasts_never_pause() -> None:
    """More sockets than a turn, and the next event is there before the last one is with everybody."""
    with patched(broadcast, TURN=2), patched(feed, TURN=2, TICK_S=0.01), Worker() as worker:
        claim = claimed(worker.store)
        clients = [worker.connect(claim, 2) for _ in range(6)]
        worker.until_lent(claim, 6)
        channel = worker.feed._channels[claim.run]
        begun = time.monotonic()
        last_write = begun

        def write(_fd: int, chunk: bytes) -> int:
            nonlocal last_write
            if last_write == begun:
                channel.lane.limit(lambda: 0.0)
            last_write = time.monotonic()
            if last_write - begun < 2:
                channel.hear([Event(claim.run, channel.newest + 1, "log", 0, '{"message":"x"}', False)])
            return len(chunk)

        with sending(write):
            channel.hear([Event(claim.run, 3, "log", 0, "{}", False)])
            until(lambda: not len(channel.lane), "the loans to be back")
        for client in clients:
            client.leave()
        assert last_write - begun < 1, f"due loans were given back after {last_write - begun:.1f} s"


@scenario
def at_the_end_of_the_run_all_sockets_come_back_and_the_answers_end() -> None:
    with Worker() as worker, patched(broadcast, TURN=7):
        claim = claimed(worker.store)
        clients = [worker.connect(claim, 2) for _ in range(50)]
        worker.until_lent(claim, 50)
        worker.tell(line(claim), update(claim), completed(claim))
        for client in clients:
            assert client.finish().endswith(b"\r\n0\r\n\r\n") and client.numbers == [3, 4, 5]
        late = worker.connect(claim, 5)
        assert late.had_all


@scenario
def an_end_that_comes_in_the_middle_of_a_broadcast_is_told_after_it() -> None:
    for turn in (100, 1):  # announced by who hears of it, or by a greenlet of its own
        with patched(broadcast, TURN=1), patched(feed, TURN=turn), Worker() as worker:
            claim = claimed(worker.store)
            clients = [worker.connect(claim, 2) for _ in range(10)]
            worker.until_lent(claim, 10)
            with sending(_saying(worker, line(claim), completed(claim))):
                worker.tell(line(claim))
                for client in clients:
                    client.finish()
            for client in clients:
                assert client.numbers == [3, 4, 5] and client.names == ["hello", "log", "log", "update"]
                chunks(client.got, whole=True)


@scenario
def events_that_come_in_the_middle_of_a_heartbeat_follow_it() -> None:
    with patched(broadcast, TURN=1), Worker(threads=False) as worker:
        claim = claimed(worker.store)
        clients = [worker.connect(claim, 2) for _ in range(10)]
        worker.until_lent(claim, 10)
        channel = worker.feed._channels[claim.run]
        saying = _saying(worker, line(claim))

        def write(fd: int, chunk: bytes) -> int:
            size = saying(fd, chunk[:9] if fd == clients[-1].fd and b"heartbeat" in chunk else chunk)
            gevent.sleep(0.001)
            return size

        with sending(write):
            channel.heartbeat(time.monotonic() + feed.HEARTBEAT_S)
        worker.tell(completed(claim))
        for client in clients:
            client.finish()
            assert client.names == ["hello", "heartbeat", "log", "update"] and client.numbers == [3, 4]
            chunks(client.got, whole=True)


def _saying(worker: Worker, *said: Any) -> Callable[[int, bytes], int]:
    """A write in whose first call a run says something."""
    left = list(said)

    def write(fd: int, chunk: bytes) -> int:
        if left:
            now = tuple(left)
            left.clear()
            worker.tell(*now)
        return os.write(fd, chunk)

    return write


@scenario
def streams_that_come_during_a_broadcast_get_the_event_once() -> None:
    with Worker() as worker, patched(broadcast, TURN=1):
        claim = claimed(worker.store)
        for _ in range(5):
            worker.connect(claim, 2)
        worker.until_lent(claim, 5)

        def write(fd: int, chunk: bytes) -> int:
            if len(worker.clients) < 25:
                worker.connect(claim, 2)
                worker.connect(claim, 0)
                gevent.sleep(0)
            return os.write(fd, chunk)

        with sending(write):
            worker.tell(line(claim))
            worker.tell(line(claim))
        worker.until_lent(claim, len(worker.clients))
        worker.tell(completed(claim))
        assert len(worker.clients) > 12
        for client in worker.clients:
            client.finish()
            assert client.numbers == list(range(client.after + 1, 6))


@scenario
def silence_is_broken_by_heartbeats_in_the_lane_and_outside() -> None:
    with (
        patched(feed, HEARTBEAT_S=0.2, TICK_S=0.05),
        patched(lifetime, HEARTBEAT_S=0.2),
        Worker() as worker,
    ):
        claim = claimed(worker.store)
        lent = worker.connect(claim, 2)
        worker.until_lent(claim, 1)
        worker.feed.lends = False
        plain = worker.connect(claim, 2)
        gevent.sleep(1.1)
        worker.tell(completed(claim))
        for client in (lent, plain):
            client.finish()
            assert client.names[0] == "hello" and client.names[-1] == "update"
            assert set(client.names[1:-1]) == {"heartbeat"} and 3 <= len(client.names) - 2 <= 6


@scenario
def more_at_once_than_is_kept_is_read_from_the_store() -> None:
    with Worker() as worker:
        claim = claimed(worker.store)
        clients = [worker.connect(claim, 2) for _ in range(3)]
        worker.until_lent(claim, 3)
        worker.tell(*[line(claim, f"{number}") for number in range(3 * feed.KEPT_EVENTS)])
        worker.tell(completed(claim))
        for client in clients:
            client.finish()
            assert b"".join(chunks(client.got, whole=True)).endswith(said_by(worker, claim, 2))


@scenario
def what_the_bus_loses_comes_from_the_store_to_lent_sockets_too() -> None:
    with patched(feed, POLL_S=0.1), Worker() as worker:
        claim = claimed(worker.store)
        client = worker.connect(claim, 2)
        worker.until_lent(claim, 1)
        lost = worker.store.append([line(claim), line(claim)])
        later = worker.store.append([line(claim)])
        worker.send(messages(later)[0])
        until(lambda: client.numbers == [3, 4, 5], "the gap to be filled")
        worker.send(messages(lost)[0])  # late
        worker.store.append([completed(claim)])  # lost without a trace
        client.finish()
        assert client.numbers == [3, 4, 5, 6]


@scenario
def a_slow_client_is_spared_overtaken_updates_and_nothing_else() -> None:
    with Worker() as worker:
        claim = claimed(worker.store)
        worker.tell(*[update(claim, number / 1000) for number in range(1010)])  # history: told in full
        clients = [worker.connect(claim, 0, tcp=tcp, buffer=16_000, eager=False) for tcp in (True, False)]
        fast = worker.connect(claim, 0)
        dice = random.Random(3)
        kinds = ("log", "output", "row", "plan")
        for number in range(200):
            said: list[Any] = [update(claim, 10 + number / 10, "x" * 200) for _ in range(dice.randrange(4))]
            body = json.dumps({"text": "x" * dice.randrange(1500)})
            said += [Draft(claim.run, claim.attempt, dice.choice(kinds), body, now_ms())]  # type: ignore[arg-type]
            worker.tell(*said)
            if number % 10 == 0:
                gevent.sleep(0.001)
        gevent.sleep(2 * SLOW_WRITE_S)  # who takes longer for a write is slow
        for client in clients:
            client.read_on()
        gevent.sleep(0.1)
        worker.tell(completed(claim))
        events = log_of(worker, claim)
        rest = [event.seq for event in events if event.kind != "update"]
        fast.finish()
        assert fast.numbers == [event.seq for event in events]
        for client in clients:
            client.finish()
            assert client.numbers == sorted(set(client.numbers))
            assert set(rest) <= set(client.numbers) and set(range(1, 1013)) <= set(client.numbers)
            assert client.numbers[-1] == events[-1].seq
            assert len(client.numbers) < len(events) - 50, "it was spared nothing"
            spared = [event for event in events if event.seq not in set(client.numbers)]
            assert {event.kind for event in spared} == {"update"}
            chunks(client.got, whole=True)


@scenario
def a_client_that_the_lane_finds_slow_is_spared_until_it_has_caught_up() -> None:
    with Worker() as worker:
        claim = claimed(worker.store)
        client = worker.connect(claim, 2, buffer=2000, eager=False)
        worker.until_lent(claim, 1)
        worker.tell(line(claim, "x" * 20_000))
        until(lambda: len(worker.lane(claim)) == 0, "the socket to be full")
        worker.tell(*[update(claim, number) for number in range(1, 50)], line(claim))
        client.read_on()
        until(lambda: client.numbers == [3, 52, 53], "the newest update and both lines")
        worker.until_lent(claim, 1)
        worker.tell(update(claim, 60), update(claim, 61))
        until(lambda: client.numbers == [3, 52, 53, 54, 55], "all that came since")


@scenario
def a_client_that_reads_nothing_is_cut_off_without_an_end_and_holds_up_nobody() -> None:
    with Worker() as worker, patched(connection, WRITE_TIMEOUT_S=0.2):
        claim = claimed(worker.store)
        stuck = [worker.connect(claim, 2, buffer=2000, eager=False) for _ in range(3)]
        fast = worker.connect(claim, 2)
        worker.until_lent(claim, 4)
        began = time.monotonic()
        for _ in range(20):
            worker.tell(line(claim, "x" * 2000))
        until(lambda: fast.numbers[-1:] == [22], "the fast one")
        assert time.monotonic() - began < 0.2
        until(lambda: worker.slots.taken == 1, "the stuck ones to be cut off")
        for client in stuck:
            client.finish()
            assert not client.got.endswith(b"\r\n0\r\n\r\n")
            assert client.numbers == list(range(3, 3 + len(client.numbers))), "its cursor is good to go on from"


@scenario
def a_failure_while_something_is_told_does_not_end_the_telling_for_good() -> None:
    """Here: the store lacks what was told. The threads of the feed have to outlive whatever one run brings about."""
    with patched(feed, KEPT_EVENTS=4, TICK_S=0.01), Worker() as worker:
        bad, good = claimed(worker.store), claimed(worker.store)
        watching = worker.connect(bad, 2)
        other = worker.connect(good, 2)
        worker.until_lent(bad, 1)
        for message in messages([Event(bad.run, seq, "log", 0, "{}", False) for seq in range(3, 30)]):
            worker.send(message)
        gevent.sleep(0.1)
        watching.leave()
        for message in messages(worker.store.append([line(good)])):
            worker.send(message)
        until(lambda: other.numbers == [3], "what another run says", 0.8)


@scenario
def lends_that_cannot_be_are_refused() -> None:
    """Not what everybody else has had, a gap, an end: the generator goes on alone."""
    sock = _socket.socket()
    channel = Channel("r", lambda _: None, lambda: 1 << 20, lambda *_: None)  # type: ignore[arg-type,return-value]
    assert channel.lend(sock, -1, 1e9) is None or channel.newest == -1
    channel.begin(Page("r", OWNER, [(1, "log", 0, "{}")], 1, False))
    assert channel.lend(sock, 0, 1e9) is None and channel.lend(sock, 2, 1e9) is None
    loan = channel.lend(sock, 1, 1e9)
    assert loan is not None
    channel.lane.end(loan)
    channel.lane.end(loan)
    assert len(channel.lane) == 0
    loan.wait()
    channel.hear([Event("r", 2, "update", 0, "{}", last=True)])
    assert channel.lend(sock, 2, 1e9) is None
    sock.close()


# Everything at once, against a model: the log.

MOVES = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 5)),
    st.tuples(st.just("publish"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["tell", "lose", "double", "number"]), st.integers(0, 3)),
    st.tuples(st.just("tell"), st.just(0)),
    st.tuples(st.just("join"), st.integers(0, 30)),
    st.tuples(st.sampled_from(["drop", "reset", "resume", "read", "half"]), st.integers(0, 5)),
    st.tuples(st.just("settle"), st.integers(0, 12)),
    st.tuples(st.just("poll"), st.just(0)),
)


class Reader:
    """Somebody who wants all events after one number, over however many connections."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.seen: list[int] = []
        self.client: Client | None = None

    def take(self) -> None:
        """Keep what has come whole over the last connection."""
        if self.client is not None:
            self.seen += self.client.numbers
            self.client = None

    @property
    def cursor(self) -> int:
        """Where it would go on."""
        return (self.seen + (self.client.numbers if self.client else []) or [self.start])[-1]


@scenario
def no_interleaving_makes_a_gap_or_a_repeat() -> None:
    with (
        patched(feed, POLL_S=0.02, KEPT_EVENTS=6, PORTION_BYTES=5000, TURN=2, HEARTBEAT_S=0.004, TICK_S=0.001),
        patched(lifetime, HEARTBEAT_S=0.004),
        patched(broadcast, TURN=2),
        Worker() as worker,
    ):

        @given(moves=st.lists(MOVES, min_size=3, max_size=50), seed=st.integers(0, 2**32))
        @settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck), database=None)
        def follow(moves: list[tuple[str, int]], seed: int) -> None:
            _play(worker, moves, random.Random(seed))

        follow()


def _play(worker: Worker, moves: list[tuple[str, int]], dice: random.Random) -> None:
    claim = claimed(worker.store)
    waiting: list[bytes] = []
    readers: list[Reader] = []
    head = 2

    def join(reader: Reader) -> None:
        worker.feed.lends = dice.random() < 0.8
        slow = dice.random() < 0.4
        after = reader.cursor
        reader.take()
        tcp = dice.random() < 0.3
        reader.client = worker.connect(claim, after, tcp=tcp, buffer=2000 if slow else 0, eager=not slow)

    def cut(fd: int, chunk: bytes) -> int:
        chance = dice.random()
        if chance < 0.1:
            raise BlockingIOError
        return os.write(fd, chunk[: dice.randrange(1, len(chunk))] if chance < 0.3 else chunk)

    with sending(cut):
        for verb, number in moves:
            if verb == "publish":
                said = [line(claim, "x" * dice.choice([1, 50, 4000])) for _ in range(number)]
                events = worker.store.append(said)
                head = events[-1].seq
                waiting += messages(events)
            elif verb in ("tell", "double") and waiting:  # in order or late
                message = waiting[number % len(waiting)]
                worker.send(message)
                if verb == "tell":
                    waiting.remove(message)
            elif verb == "lose" and waiting:
                waiting.pop(number % len(waiting))
            elif verb == "number":
                worker.send(f"{claim.run} {max(1, head - number)}\n".encode())
            elif verb == "poll":
                gevent.sleep(0.03)
            elif verb == "settle":
                gevent.sleep(number / 4000)
            elif verb == "join":
                readers.append(Reader(min(number, head)))
                join(readers[-1])
            elif verb in ("drop", "reset", "resume", "read", "half") and readers:
                reader = readers[number % len(readers)]
                if verb == "resume":
                    if reader.client is not None:
                        reader.client.leave()
                    join(reader)
                elif reader.client is not None and verb == "read":
                    reader.client.read_on()
                elif reader.client is not None and verb == "half" and reader.client.reading is None:
                    with contextlib.suppress(OSError):
                        reader.client.ours.setblocking(False)
                        reader.client.got += reader.client.ours.recv(dice.randrange(1, 500))
                    reader.client.ours.setblocking(True)
                elif reader.client is not None:
                    (reader.client.reset if verb == "reset" else reader.client.leave)()
                    reader.take()
        end = worker.store.append([completed(claim)])[-1].seq
        if dice.random() < 0.5:
            worker.send(messages(worker.store.events_after(claim.run, end - 1).events)[0])
        for reader in readers:
            if reader.client is None:
                join(reader)
            assert reader.client is not None
            reader.client.finish()
            chunks(reader.client.got, whole=True)
            reader.take()
            assert reader.seen == list(range(reader.start + 1, end + 1)), (
                f"after {reader.start} of {end}: {reader.seen}"
            )
    for client in worker.clients:
        client.leave()
    worker.clients.clear()


@pytest.mark.parametrize("name", scenarios)
def test_in_a_web_worker(outcomes: dict[str, str], name: str) -> None:
    assert name in outcomes, "the process died or hung before"
    assert outcomes[name] == "", outcomes[name]
