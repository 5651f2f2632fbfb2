"""One client's way through the log of one run: where it is, and what it lacks.

History and live are joined here. A reader joins the run's channel first and reads the store then (or finds in the
channel all that it lacks); from there on it asks the channel for what comes after its cursor, and the store whenever
the channel cannot tell. So nothing is missed and nothing comes twice, whatever the bus loses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.errors import UnknownRun
from jobs.store import Page, Store
from web import frame
from web.feed import Feed
from web.offhub import off_hub

PAGE_EVENTS = 1000
_CURSOR = re.compile(r"([0-9a-z]{1,40})-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a client wants to go on: after event ``seq``. ``given`` tells that it named a place at all."""

    seq: int = 0
    given: bool = False
    usable: bool = True

    @classmethod
    def of(cls, text: str, run: str) -> Cursor:
        """The cursor ``<run>-<seq>``; unusable where it is none of this run."""
        found = _CURSOR.fullmatch(text)
        if found is None or found[1] != run:
            return cls(given=True, usable=False)
        return cls(int(found[2]), given=True)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a reader begins: after event ``seq`` of ``head``, with the frames ``said``; ``reset`` where its cursor was
    unusable; ``nothing_left`` where the client has had the last event."""

    seq: int
    head: int
    reset: bool
    said: bytes
    nothing_left: bool


class Reader:
    """Reads one run for one client. ``ids`` says whether frames have them."""

    def __init__(self, store: Store, feed: Feed, run: str, owner: str, *, ids: bool = True) -> None:
        self._store = store
        self._feed = feed
        self._owner = owner
        self._ids = ids
        self._history_to = 0
        self.run = run
        self.channel = feed.join(run)
        self.after = 0
        """The number of the last event that the client was given."""
        self.last = False
        """Whether that was the run's last."""
        self.slow = False
        """Set it where the client takes its time: it is spared overtaken updates until it has caught up."""

    def close(self) -> None:
        """Leave the channel. To be called once."""
        self._feed.leave(self.channel)

    def open(self, cursor: Cursor) -> Opening:
        """Find out where the client is, and what it lacks. Raises UnknownRun, also for a run of another owner."""
        if self.channel.newest >= 0:
            return self._open(cursor)
        with self.channel.opening:  # who comes in the same moment finds in memory what the first has read
            return self._open(cursor)

    def _open(self, cursor: Cursor) -> Opening:
        asked = cursor.seq if cursor.usable else 0
        channel = self.channel
        kept = channel.after(asked) if channel.owner == self._owner and asked <= channel.newest else None
        reset = not cursor.usable
        if kept is not None:
            head = kept[-1].seq if kept else asked
            self.after, self.last = head, kept[-1].last if kept else channel.is_end(head)
            said = b"".join([self._frame(one.frame) for one in kept])
        else:
            page = self._read(asked)
            if page.owner != self._owner:
                raise UnknownRun("There is no such run.")
            if asked > page.head:
                reset, asked, page = True, 0, self._read(0)
            head = page.head
            channel.begin(page)
            self.after = asked
            said = self._said(page)
        self._history_to = head
        return Opening(asked, head, reset, said, cursor.given and not reset and self.last and not said)

    def news(self) -> bytes:
        """All that is new, in one piece; nothing new is nothing. Raises UnknownRun where the run was deleted."""
        kept = self.channel.after(self.after)
        if kept is None:
            page = self._read(self.after)
            self.channel.advance(page.head)
            return self._said(page)
        if not kept:
            self.slow = False
            self.last = self.channel.is_end(self.after)
            return b""
        self.after, self.last = kept[-1].seq, kept[-1].last
        if self.slow and (spared := self._spared([one.seq for one in kept if one.update])):
            kept = [one for one in kept if one.seq not in spared]
        return b"".join([self._frame(one.frame) for one in kept])

    def _said(self, page: Page) -> bytes:
        """The frames of what was read from the store."""
        if page.rows:
            self.after = page.rows[-1][0]
        self.last = page.ended and self.after == page.head
        rows = page.rows
        if self.slow and (spared := self._spared([row[0] for row in rows if row[1] == "update"])):
            rows = [row for row in rows if row[0] not in spared]
        return off_hub(frame.event_frames, self.run, rows, ids=self._ids) if rows else b""

    def _spared(self, updates: list[int]) -> frozenset[int]:
        """Of the updates that could be sent now, those that a slow client need not take: a newer one has overtaken
        them. Not what was there before it came: history is told in full."""
        return frozenset(seq for seq in updates[:-1] if seq > self._history_to)

    def _read(self, seq: int) -> Page:
        return off_hub(self._store.events_after, self.run, seq, PAGE_EVENTS)

    def _frame(self, kept: bytes) -> bytes:
        return kept if self._ids else frame.without_id(kept)
