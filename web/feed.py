"""What one web process knows live: the newest events of every run that somebody here watches.

Fed by the bus; the store is the truth. Bus messages may be lost, which shows by the numbers: then the channel's gap is
read from the store, once for all who watch. Plain ``threading``: under gunicorn's gevent worker, which patches it, the
threads are greenlets.
"""

from __future__ import annotations

import _socket
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import gevent

from jobs.bus import Ear
from jobs.errors import StoreError, UnknownRun
from jobs.events import Event, now_ms
from jobs.store import Page, Store
from web import frame
from web.board import Board
from web.broadcast import TURN, Lane, Loan, chunked
from web.offhub import off_hub

log = logging.getLogger(__name__)

KEPT_EVENTS = 512
"""Most events kept for a run. A reader further behind reads the store."""
KEPT_BYTES = 512 * 1024
ALL_KEPT_BYTES = 64 * 1024 * 1024
"""For all runs together: each has its share of it where that is less."""
GAP_PATIENCE_S = 0.005
"""What is missing is mostly on its way; the store is read when it has not come after so long."""
POLL_S = 1.0
"""How often the heads of watched runs are read from the store: it mends what the bus has lost without a trace."""
POLLED = 1000
"""Most runs in one such look; where there are more they take turns."""
PAGE_EVENTS = 500
STUMBLE_S = 0.1
PORTION_BYTES = 64 * 1024
"""After so much the lane begins another chunk."""
MESSAGES = 16
"""Most messages of the bus that are taken in before they are told on."""
SHOWN_RUNS = 200
"""The newest runs, whose latest updates are of interest even when they have ended: as many as a list shows."""
HEARTBEAT_S = 15.0
TICK_S = 0.5
GOODBYES_S = 1.5
"""At a stop or reload the goodbyes are spread over so long, that not all clients return at once."""
GOODBYE_TICK_S = 0.05


class Kept(NamedTuple):
    """An event as it is kept: its frame is made once for all readers."""

    seq: int
    frame: bytes
    update: bool
    last: bool


class Channel:
    """The newest events of one run, in order and without a hole, each encoded once; and the lane of its streams."""

    def __init__(
        self,
        run: str,
        on_gap: Callable[[Channel], None],
        kept_bytes: Callable[[], int],
        read: Callable[[str, int], Page],
    ) -> None:
        """``on_gap`` is called when events are known to exist that have not come, ``kept_bytes`` says the limit, and
        ``read`` gives events of the run after a number from the store."""
        self.run = run
        self.readers = 0
        self.owner: str | None = None
        """Whose run it is, once somebody has read that from the store."""
        self.heard_at = 0.0
        self.lane = Lane()
        self._on_gap = on_gap
        self._kept_bytes = kept_bytes
        self._read = read
        self._newest = -1
        """The number up to which everything was here; -1 before anybody has read the store."""
        self._head = 0
        self._kept: deque[Kept] = deque()
        self._size = 0
        self._ended = False
        self._changed = threading.Condition()
        self.opening = threading.Lock()
        """Held by who reads the run from the store before anybody here has."""
        self._announcing = False
        self.listeners: set[Callable[[], None]] = set()
        """Called on news, for those who wait for several channels."""

    @property
    def newest(self) -> int:
        """The number up to which this channel knows everything."""
        return self._newest

    @property
    def gap(self) -> bool:
        """Whether events exist that are not here."""
        return self._head > self._newest >= 0

    def is_end(self, seq: int) -> bool:
        """Whether event ``seq`` is known to be the run's last."""
        with self._changed:
            return self._ended and seq == self._newest

    def begin(self, page: Page) -> None:
        """Take in what a stream has read from the store when it joined: all after its cursor, or the first of it."""
        with self._changed:
            self.owner = page.owner
            if self._newest < 0:
                self._newest, self._head = page.head, max(page.head, self._head)
                self.lane.seq = page.head
                self._ended = page.ended
            first = self._kept[0].seq if self._kept else self._newest + 1
            complete = bool(page.rows) and page.rows[-1][0] == page.head == self._newest
            if complete and page.rows[0][0] < first:  # the next who joins may find in memory what it lacks
                self._kept.clear()
                self._size = 0
                for event in page.events[-KEPT_EVENTS:]:
                    self._keep(event)
        self.advance(page.head)

    def hear(self, events: Iterable[Event]) -> None:
        """Take in events from the bus or the store, in order, and tell them to everybody."""
        with self._changed:
            for event in events:
                if event.seq == self._newest + 1:
                    self._newest = event.seq
                    self._ended = event.last
                    self._keep(event)
            self._head = max(self._head, self._newest)
        self.announce()

    def advance(self, head: int) -> None:
        """Know that events up to ``head`` exist."""
        with self._changed:
            self._head = max(self._head, head)
            gap = self.gap
        if gap:
            self._on_gap(self)

    def after(self, seq: int) -> list[Kept] | None:
        """What comes after ``seq``; None where the store has to be asked for it."""
        with self._changed:
            if seq >= self._newest >= 0:
                return []
            if not self._kept or self._kept[0].seq > seq + 1:
                return None
            return list(islice(self._kept, seq + 1 - self._kept[0].seq, None))

    def wait(self, seq: int, timeout_s: float) -> None:
        """Wait until there may be something after ``seq``, somebody calls :meth:`wake`, or the time is over."""
        with self._changed:
            if self._newest <= seq:
                self._changed.wait(timeout_s)

    def wake(self) -> None:
        """End every reader's wait: there is something to look at beside events."""
        with self._changed:
            self._changed.notify_all()
        for listener in tuple(self.listeners):
            listener()

    def lend(self, sock: _socket.socket, seq: int, until: float) -> Loan | None:
        """Lend a socket whose client has had everything up to ``seq``; None where that is not all there is."""
        if seq != self.lane.seq or seq != self._newest or self._ended:
            return None
        return self.lane.lend(sock, until)

    def announce(self) -> None:
        """Give the lane what it has not had, and wake those who wait. A call during another one leaves it to that."""
        self.wake()
        if self._announcing:
            return
        self._announcing = True
        if len(self.lane) > TURN:
            gevent.spawn(self._announce)  # what other runs say need not wait for so many
        else:
            self._announce()

    def heartbeat(self, now: float) -> None:
        """Say something to the streams in the lane where they have heard nothing for long."""
        if self._announcing or not self.lane.is_silent(now, HEARTBEAT_S):
            return
        self._announcing = True
        try:
            self.lane.write(chunked(frame.heartbeat(now_ms())), self.lane.seq)
        finally:
            self._announce()

    def _announce(self) -> None:
        try:
            while self.lane.seq < self._newest:
                if len(self.lane):
                    said, seq = self._next_portion()
                    self.lane.write(chunked(said), seq)
                    self.lane.give_back_due(time.monotonic())
                else:
                    self.lane.seq = self._newest
        except (StoreError, UnknownRun, LookupError):  # the streams find out for themselves
            self.lane.give_back_all()
            self.lane.seq = self._newest
        finally:
            self._announcing = False
        if self._ended:
            self.lane.give_back_all()

    def _next_portion(self) -> tuple[bytes, int]:
        """What the lane writes next, with the number of its last event. Not much at once: a socket takes little."""
        fresh = self.after(self.lane.seq)
        if fresh is None:  # so much came during the last write that it is kept no longer
            fresh = [_kept(event) for event in self._read(self.run, self.lane.seq).events]
            if not fresh:
                raise LookupError("the store does not have what the bus told")
        said, size = [], 0
        for kept in fresh:
            said.append(kept.frame)
            size += len(kept.frame)
            if size >= PORTION_BYTES:
                break
        return b"".join(said), fresh[len(said) - 1].seq

    def _keep(self, event: Event) -> None:
        kept = _kept(event)
        self._kept.append(kept)
        self._size += len(kept.frame)
        most = self._kept_bytes()
        while len(self._kept) > KEPT_EVENTS or self._size > most:
            self._size -= len(self._kept.popleft().frame)


def _kept(event: Event) -> Kept:
    return Kept(event.seq, frame.event_frame(event), event.kind == "update", event.last)


class Feed:
    """The channels of this process, and the threads that feed them."""

    def __init__(self, store: Store, ear: Ear) -> None:
        self._store = store
        self._ear = ear
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()
        self.closing = False
        self.lends = False
        """Whether streams may lend their sockets; set by who runs the server and knows how it writes to them."""
        self.board = Board()
        self._lookers = 0
        self._gaps: dict[Channel, None] = {}
        self._gap = threading.Event()
        self._ended = threading.Event()
        self._bye = threading.Event()
        for work in (self._hear_bus, self._fill_gaps, self._poll_store, self._keep_time):
            threading.Thread(target=self._keep_on, args=(work,), name=f"feed {work.__name__}", daemon=True).start()

    @contextmanager
    def channel(self, run: str) -> Iterator[Channel]:
        """The channel of a run, for as long as somebody reads it."""
        channel = self.join(run)
        try:
            yield channel
        finally:
            self.leave(channel)

    def join(self, run: str) -> Channel:
        """Begin to read a run's channel. What happens from now on is in it."""
        with self._lock:
            channel = self._channels.get(run)
            if channel is None:
                channel = self._channels[run] = Channel(run, self._note_gap, self._share, self._read)
                if self._ear.watched is not None:
                    self._ear.watched.add(run)
            channel.readers += 1
        return channel

    def leave(self, channel: Channel) -> None:
        """Read it no longer; the last reader takes it down."""
        with self._lock:
            channel.readers -= 1
            if channel.readers == 0:
                del self._channels[channel.run]
                self._gaps.pop(channel, None)
                if self._ear.watched is not None:
                    self._ear.watched.remove(channel.run)

    @contextmanager
    def everything(self) -> Iterator[Board]:
        """The board, kept up to date as long as somebody looks at it."""
        with self._lock:
            self._lookers += 1
            if self._lookers == 1 and self._ear.watched is not None:
                self._ear.watched.add(None)
        try:
            self._look_at_runs()
            yield self.board
        finally:
            with self._lock:
                self._lookers -= 1
                if self._lookers == 0:
                    self.board.clear()
                    if self._ear.watched is not None:
                        self._ear.watched.remove(None)

    def goodbye_at(self) -> float:
        """When a stream should say goodbye, in ``time.monotonic()``, now that the server stops or reloads."""
        return time.monotonic() + random.uniform(0, GOODBYES_S)

    def say_bye(self) -> None:
        """Tell all streams to end themselves soon: the server stops or reloads."""
        self.closing = True
        self._bye.set()
        for channel in list(self._channels.values()):
            channel.lane.limit(self.goodbye_at)
            channel.wake()
        self.board.wake()

    def close(self) -> None:
        """End the threads."""
        self._ended.set()
        self._bye.set()
        self._gap.set()
        self._ear.close()

    @property
    def streams(self) -> int:
        """How many streams are open in this process."""
        return sum(channel.readers for channel in self._channels.values())

    def _read(self, run: str, seq: int) -> Page:
        return off_hub(self._store.events_after, run, seq, PAGE_EVENTS)

    def _share(self) -> int:
        return min(KEPT_BYTES, ALL_KEPT_BYTES // (len(self._channels) or 1))

    def _keep_on(self, work: Callable[[], None]) -> None:
        """Do one of the feed's works until the feed is closed, whatever goes wrong in it."""
        while not self._ended.is_set():
            try:
                return work()
            except Exception:
                if not self._ended.is_set():
                    log.exception("the feed stumbled, and goes on")
                    time.sleep(STUMBLE_S)

    def _hear_bus(self) -> None:
        while not self._ended.is_set():
            news = self._ear.hear(timeout_s=5.0)
            if news is None:
                continue
            events, heads = list(news.events), dict(news.heads)
            for _ in range(MESSAGES):  # one write to each socket for all that is there
                if (more := self._ear.hear_waiting()) is None:
                    break
                events += more.events
                heads.update(more.heads)
            self._tell(events, heads)

    def _tell(self, events: Iterable[Event], heads: dict[str, int]) -> None:
        by_run: dict[str, list[Event]] = {}
        for event in events:
            by_run.setdefault(event.run, []).append(event)
            if self._lookers and event.kind == "update":
                self.board.put(event)
        if self._lookers and self.board.strangers():
            self._gap.set()
        now = time.monotonic()
        for run, told in by_run.items():
            channel = self._channels.get(run)
            if channel is not None:
                channel.heard_at = now
                channel.hear(told)
                channel.advance(told[-1].seq)
        for run, head in heads.items():
            channel = self._channels.get(run)
            if channel is not None:
                channel.advance(head)

    def _note_gap(self, channel: Channel) -> None:
        self._gaps[channel] = None
        self._gap.set()

    def _fill_gaps(self) -> None:
        while not self._ended.is_set():
            self._gap.wait()
            self._gap.clear()
            time.sleep(GAP_PATIENCE_S)
            self._meet_strangers()
            for channel in list(self._gaps):
                self._gaps.pop(channel, None)
                self._fill(channel)

    def _meet_strangers(self) -> None:
        if strangers := self.board.strangers():
            try:
                self.board.introduce(strangers, off_hub(self._store.owners, strangers))
            except StoreError as error:  # the next look at the runs knows them
                log.error("cannot look whose runs are: %s", error)

    def _fill(self, channel: Channel) -> None:
        while channel.gap and self._channels.get(channel.run) is channel:
            try:
                page = self._read(channel.run, channel.newest)
            except UnknownRun:
                return
            except StoreError as error:  # the next look at the heads finds the gap again
                log.error("cannot read what the bus has lost: %s", error)
                return
            channel.hear(page.events)
            if not page.events:
                return

    def _poll_store(self) -> None:
        turn = 0
        while not self._ended.wait(POLL_S):
            if self._lookers:
                self._look_at_runs()
            quiet_since = time.monotonic() - POLL_S
            quiet = [run for run, channel in list(self._channels.items()) if channel.heard_at < quiet_since]
            if not quiet:
                continue
            turn = turn + POLLED if turn + POLLED < len(quiet) else 0
            try:
                heads = off_hub(self._store.heads, quiet[turn : turn + POLLED])
            except StoreError as error:
                log.error("cannot look for news in the store: %s", error)
                continue
            self._tell((), heads)

    def _look_at_runs(self) -> None:
        """Put on the board what the store has and the bus may have lost."""
        try:
            self.board.compare(off_hub(self._store.latest, SHOWN_RUNS))
        except StoreError as error:
            log.error("cannot look for the latest updates in the store: %s", error)

    def _keep_time(self) -> None:
        while not self._ended.is_set():
            if self._bye.is_set():
                time.sleep(GOODBYE_TICK_S)
            else:
                self._bye.wait(TICK_S)
            for channel in list(self._channels.values()):
                now = time.monotonic()
                channel.lane.give_back_due(now)
                channel.heartbeat(now)
