"""The latest update of every run, for the streams that show all of them: newer ones replace older ones unseen."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jobs.events import Event, now_ms
from jobs.store import Latest
from web.frame import event_frames

MOST_RUNS = 10_000
"""Most runs on a board; those that were silent longest leave it, and come back with their next update."""


@dataclass(slots=True)
class Note:
    """A run's latest update. ``change`` orders the notes of a board; ``owner`` is None until it is known."""

    run: str
    owner: str | None
    seq: int
    body: str
    time_ms: int
    change: int

    @property
    def frame(self) -> bytes:
        """The update as a frame without an id."""
        return event_frames(self.run, [(self.seq, "update", self.time_ms, self.body)], ids=False)


class Board:
    """The notes, in the order of their last change."""

    def __init__(self) -> None:
        self._notes: OrderedDict[str, Note] = OrderedDict()
        self._strangers: set[str] = set()
        self._lock = threading.Lock()
        self.change = 0
        """The number of the newest change."""
        self.listeners: set[Callable[[], None]] = set()
        """Called at each change."""

    def put(self, event: Event) -> None:
        """Take in an update from the bus."""
        self._put(event.run, None, event.seq, event.body, event.time_ms)
        self.wake()

    def compare(self, latest: Iterable[Latest]) -> None:
        """Take in what the store has; what the bus brought already changes nothing."""
        for one in latest:
            self._put(one.run, one.owner, one.head, one.body, now_ms())
        self.wake()

    def strangers(self) -> list[str]:
        """The runs whose owner is not known yet."""
        with self._lock:
            return list(self._strangers)

    def introduce(self, asked: Iterable[str], owners: Mapping[str, str]) -> None:
        """Say whose these strangers are. One that nobody knows was deleted, and leaves the board."""
        with self._lock:
            for run in asked:
                self._strangers.discard(run)
                if run in self._notes:
                    if run in owners:
                        self._changed(self._notes[run]).owner = owners[run]
                    else:
                        del self._notes[run]
        self.wake()

    def since(self, change: int, owner: str) -> list[Note]:
        """The notes on an owner's runs that were changed after ``change``, in that order."""
        found: list[Note] = []
        with self._lock:
            for note in reversed(self._notes.values()):
                if note.change <= change:
                    break
                if note.owner == owner:
                    found.append(note)
        return found[::-1]

    def clear(self) -> None:
        """Forget everything: nobody looks."""
        with self._lock:
            self._notes.clear()
            self._strangers.clear()

    def wake(self) -> None:
        """Call the listeners."""
        for listener in tuple(self.listeners):
            listener()

    def _put(self, run: str, owner: str | None, seq: int, body: str, time_ms: int) -> None:
        with self._lock:
            note = self._notes.get(run)
            if note is None:
                note = self._notes[run] = Note(run, owner, seq, body, time_ms, 0)
                if len(self._notes) > MOST_RUNS:
                    self._strangers.discard(self._notes.popitem(last=False)[0])
                if owner is None:
                    self._strangers.add(run)
            elif note.owner is None and owner is not None:
                note.owner = owner
                self._strangers.discard(run)
            elif seq <= note.seq or body == note.body:
                note.seq = max(seq, note.seq)
                return
            if seq >= note.seq:
                note.seq, note.body, note.time_ms = seq, body, time_ms
            self._changed(note)

    def _changed(self, note: Note) -> Note:
        self.change += 1
        note.change = self.change
        self._notes.move_to_end(note.run)
        return note
