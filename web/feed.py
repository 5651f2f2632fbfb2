"""What one web process knows live: the newest events of every run that somebody here watches.

Fed by the bus; the store is the truth. Bus messages may be lost, so a channel knows from the numbers whether it holds
what a reader lacks, and a reader that lacks more reads the store. Plain ``threading``: under gunicorn's gevent worker,
which patches it, the threads are greenlets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from jobs.bus import Ear, News
from jobs.errors import StoreError
from jobs.events import Event
from jobs.store import Store
from web.frame import event_frame
from web.offhub import off_hub

log = logging.getLogger(__name__)

KEPT_EVENTS = 512
"""Most events kept for a run. A reader further behind reads the store, 500 at a time."""
KEPT_BYTES = 512 * 1024
POLL_S = 1.0
"""How often the heads of watched runs are read from the store: it mends what the bus has lost."""


class Channel:
    """The newest events of one run, in order and without a hole, each encoded once for all readers."""

    def __init__(self) -> None:
        self.readers = 0
        self._head = 0
        self._kept: deque[tuple[int, bytes, bool]] = deque()
        self._kept_bytes = 0
        self._changed = threading.Condition()

    def hear(self, news: News) -> None:
        """Take in a message of the bus."""
        with self._changed:
            for event in news.events:
                self._keep(event)
            self.advance(news.head)

    def advance(self, head: int) -> None:
        """Know that events up to ``head`` exist, and wake the readers."""
        with self._changed:
            self._head = max(self._head, head)
            self._changed.notify_all()

    def after(self, seq: int) -> list[tuple[int, bytes, bool]] | None:
        """What comes after ``seq`` as (number, frame, last); None where the store has to be asked for it."""
        with self._changed:
            if not self._kept or self._kept[-1][0] <= seq:
                return None if self._head > seq else []
            first = self._kept[0][0]
            if first > seq + 1:
                return None
            return list(islice(self._kept, seq + 1 - first, None))

    def wait(self, seq: int, timeout_s: float) -> None:
        """Wait until there may be something after ``seq``, somebody calls :meth:`wake`, or the time is over."""
        with self._changed:
            if self._head <= seq:
                self._changed.wait(timeout_s)

    def wake(self) -> None:
        """End every reader's wait: there is something to look at beside events."""
        with self._changed:
            self._changed.notify_all()

    def _keep(self, event: Event) -> None:
        newest = self._kept[-1][0] if self._kept else event.seq - 1
        if event.seq <= newest:
            return
        if event.seq > newest + 1:  # something was lost between: what is older is the store's to give
            self._kept.clear()
            self._kept_bytes = 0
        encoded = event_frame(event)
        self._kept.append((event.seq, encoded, event.last))
        self._kept_bytes += len(encoded)
        while len(self._kept) > KEPT_EVENTS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft()[1])


class Feed:
    """The channels of this process, and the two threads that feed them."""

    def __init__(self, store: Store, ear: Ear) -> None:
        self._store = store
        self._ear = ear
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()
        self.closing = False
        self._threads = [
            threading.Thread(target=self._hear_bus, name="feed", daemon=True),
            threading.Thread(target=self._poll_store, name="feed-poll", daemon=True),
        ]
        self._ended = threading.Event()
        for thread in self._threads:
            thread.start()

    @contextmanager
    def channel(self, run: str) -> Iterator[Channel]:
        """The channel of a run, for as long as somebody reads it."""
        channel = self.join(run)
        try:
            yield channel
        finally:
            self.leave(run, channel)

    def join(self, run: str) -> Channel:
        """Begin to read a run's channel. What happens from now on is in it."""
        with self._lock:
            channel = self._channels.setdefault(run, Channel())
            channel.readers += 1
        return channel

    def leave(self, run: str, channel: Channel) -> None:
        """Read it no longer; the last reader takes it down."""
        with self._lock:
            channel.readers -= 1
            if channel.readers == 0:
                self._channels.pop(run, None)

    def say_bye(self) -> None:
        """Tell all streams to end themselves soon: the server stops or reloads."""
        self.closing = True
        for channel in list(self._channels.values()):
            channel.wake()

    def close(self) -> None:
        """End the threads."""
        self._ended.set()
        self._ear.close()

    @property
    def streams(self) -> int:
        """How many streams are open in this process."""
        return sum(channel.readers for channel in self._channels.values())

    def _hear_bus(self) -> None:
        while not self._ended.is_set():
            try:
                news = self._ear.hear(timeout_s=5.0)
            except OSError:
                if self._ended.is_set():
                    return
                raise
            channel = self._channels.get(news.run) if news is not None and news.run is not None else None
            if channel is not None and news is not None:
                channel.hear(news)

    def _poll_store(self) -> None:
        while not self._ended.wait(POLL_S):
            watched = list(self._channels)
            if not watched:
                continue
            try:
                heads = off_hub(self._store.heads, watched)
            except StoreError as error:
                log.error("cannot look for news in the store: %s", error)
                time.sleep(POLL_S)
                continue
            for run, head in heads.items():
                channel = self._channels.get(run)
                if channel is not None:
                    channel.advance(head)
