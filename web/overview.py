"""The pages' one stream: the latest update of every run that the caller may see, and all events of those it follows.

The latest updates are conflated: however fast runs speak, each is told at most every 100 ms, in its newest state. The
events of followed runs are told as they come, by a reader each, and none is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import BadRequest

from jobs.errors import StoreError, UnknownRun
from web import frame
from web.answer import Answer
from web.auth import Principal
from web.connection import Connection
from web.feed import HEARTBEAT_S, Feed
from web.lifetime import Lifetime, retry_ms
from web.reader import Cursor, Reader
from web.slots import Slots
from web.stream import HEADERS, busy_response, pieces

log = logging.getLogger(__name__)

MAX_FOLLOWED = 50
CONFLATED_S = 0.1
"""A run's updates that come faster are told in their newest state only."""


def followed(request: Request) -> dict[str, Cursor]:
    """The runs of ``?follow=<run>@<seq>,...`` and where to go on. Raises BadRequest where there are too many."""
    wanted: dict[str, Cursor] = {}
    for one in filter(None, request.args.get("follow", "").split(",")):
        run, _, seq = one.partition("@")
        wanted[run] = Cursor.of(f"{run}-{seq}", run)
    if len(wanted) > MAX_FOLLOWED:
        raise BadRequest(f"At most {MAX_FOLLOWED} runs can be followed at a time.")
    return wanted


def overview_response(
    headway: Any, principal: Principal, wanted: Mapping[str, Cursor], environ: dict[str, Any]
) -> Response:
    """The answer to a request for the pages' stream; "busy" where too many streams are open."""
    if (refusal := headway.slots.take(principal.slot)) is not None:
        return busy_response(refusal)
    overview = Overview(headway, principal, Connection(environ))
    try:
        overview.open(wanted)
    except BaseException:
        overview.close()
        raise
    response = Answer(overview.frames(), headers=HEADERS, content_type=frame.CONTENT_TYPE)
    response.call_on_close(overview.close)
    return response


class Overview:
    """One client's stream of all runs."""

    def __init__(self, headway: Any, principal: Principal, connection: Connection) -> None:
        self._store = headway.store
        self._feed: Feed = headway.feed
        self._owner = principal.owner
        self._connection = connection
        self._lifetime = Lifetime(headway.feed)
        self._readers: dict[str, Reader] = {}
        self._told = 0
        self._tell_at = 0.0
        self._opening = b""
        self._stir = threading.Event()
        self._held = ExitStack()
        slots: Slots = headway.slots
        self._held.callback(slots.give_back, principal.slot)
        self._held.callback(connection.end)

    def open(self, wanted: Mapping[str, Cursor]) -> None:
        """Join the followed runs and the board, and find out what the client lacks."""
        follow: dict[str, dict[str, object]] = {}
        gone: list[str] = []
        said: list[bytes] = []
        for run, cursor in wanted.items():
            reader = Reader(self._store, self._feed, run, self._owner, ids=False)
            try:
                opening = reader.open(cursor)
            except UnknownRun:
                reader.close()
                gone.append(run)
                continue
            except BaseException:
                reader.close()
                raise
            self._held.callback(self._leave, reader)
            reader.channel.listeners.add(self._stir.set)
            self._readers[run] = reader
            follow[run] = {"from": opening.seq, "head": opening.head, "reset": opening.reset}
            said.append(opening.said)
        board = self._held.enter_context(self._feed.everything())
        board.listeners.add(self._note_change)
        self._held.callback(board.listeners.discard, self._note_change)
        hello = frame.hello_all(follow, gone, heartbeat_s=HEARTBEAT_S, retry_ms=retry_ms())
        self._opening = b"".join([hello, *said])

    def frames(self) -> Iterator[bytes]:
        """All that the client gets. Whatever it lacks at a time is one piece."""
        self._connection.begin(self._stir.set)
        said, self._opening = self._opening, b""
        while True:
            if said:
                yield from pieces(said)
                self._lifetime.said()
            if self._connection.gone:
                return
            utterance, leaving = self._lifetime.utterance()
            if leaving:
                yield utterance
                return
            self._stir.clear()
            try:
                said = self._news()
            except StoreError as error:
                log.error("a stream cannot go on: %s", error)
                yield self._lifetime.bye()
                return
            if not said:
                said = utterance
            if not said:
                self._stir.wait(self._rest_s())

    def close(self) -> None:
        """Give everything back; may be called twice."""
        self._held.close()

    def _news(self) -> bytes:
        said = [self._read(reader) for reader in list(self._readers.values()) if not reader.last]
        now = time.monotonic()
        if now >= self._tell_at and self._feed.board.change > self._told:
            self._tell_at = now + CONFLATED_S
            notes = self._feed.board.since(self._told, self._owner)
            self._told = self._feed.board.change
            said += [note.frame for note in notes if note.run not in self._readers]
        return b"".join(said)

    def _read(self, reader: Reader) -> bytes:
        try:
            return reader.news()
        except UnknownRun:  # deleted in the meantime: nothing more will come of it
            reader.last = True
            return b""

    def _note_change(self) -> None:
        """The board has changed: look at it now, unless that is done soon anyway."""
        if time.monotonic() >= self._tell_at:
            self._stir.set()

    def _rest_s(self) -> float:
        pause = self._tell_at - time.monotonic()
        return min(self._lifetime.rest_s, pause) if pause > 0 else self._lifetime.rest_s

    def _leave(self, reader: Reader) -> None:
        reader.channel.listeners.discard(self._stir.set)
        reader.close()
