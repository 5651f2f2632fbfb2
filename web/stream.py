"""The generator behind the streaming Response: greeting, history, live events, heartbeats, the end.

What the client lacks is reader.py's to know. A stream that has said everything lends its socket to the channel's lane
(broadcast.py), where that can be, and sleeps. It has it back for whatever is not the next event of everybody: a reader
that is slow, a goodbye, the end.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from flask import Request, Response
from werkzeug.exceptions import NotAcceptable

from jobs.errors import StoreError, UnknownRun
from web import frame
from web.answer import Answer
from web.auth import Principal
from web.connection import Connection
from web.feed import HEARTBEAT_S, Feed
from web.lifetime import Lifetime, retry_ms
from web.reader import Cursor, Reader
from web.slots import Slots
from web.takeover import Body

log = logging.getLogger(__name__)

Said = TypeVar("Said", bytes, memoryview)

SLOW_WRITE_S = 0.1
"""A client that takes longer for a write is a slow one until it has caught up: overtaken updates are spared it."""
WRITE_BYTES = 64 * 1024
"""Longest single write: the time limit is for each, and a slow but steady reader shall make it."""
BUSY_RETRY_MS = (15_000, 30_000)

HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Referrer-Policy": "no-referrer",
}

FORMS = ("text/event-stream",)
"""The forms of a stream, in the order of preference. The contract has three more (application/x-ndjson, text/plain,
application/json); a form is an encoder in place of frame.py and a name here."""


def cursor_of(request: Request, run: str) -> Cursor:
    """The cursor of a request: the Last-Event-ID header, else ``?after=N``, else ``?last_event_id=``."""
    if header := request.headers.get("Last-Event-ID"):
        return Cursor.of(header, run)
    if "after" in request.args:
        return Cursor.of(f"{run}-{request.args['after']}", run)
    if "last_event_id" in request.args and request.args["last_event_id"]:
        return Cursor.of(request.args["last_event_id"], run)
    return Cursor()


def form_of(request: Request) -> str:
    """The form of stream that the request accepts. Raises NotAcceptable."""
    if request.headers.get("Accept", "*/*") in (FORMS[0], "*/*"):  # what nearly all say needs no parser
        return FORMS[0]
    if not request.accept_mimetypes:
        return FORMS[0]
    form = request.accept_mimetypes.best_match(FORMS)
    if form is None:
        raise NotAcceptable(f"Streams are served as {' or '.join(FORMS)}. Ask for that with the Accept header.")
    return form


def stream_response(
    headway: Any, principal: Principal, run: str, cursor: Cursor, environ: dict[str, Any], **headers: str
) -> Response:
    """The answer to a request for a run's events: a stream, "busy" where too many are open, or 204 for a client that
    has had the last event.

    Raises UnknownRun, also for a run of another owner.
    """
    if (refusal := headway.slots.take(principal.slot)) is not None:
        return busy_response(refusal)
    connection = Connection(environ)
    stream = Stream(headway, principal, run, connection)
    try:
        something_left = stream.open(cursor)
    except BaseException:
        stream.close()
        raise
    if not something_left:
        stream.close()
        return Response(status=204, headers=HEADERS)
    frames = stream.frames()
    body = Body(frames, connection) if headway.feed.lends and connection.lendable is not None else frames
    response = Answer(body, headers={**HEADERS, **headers}, content_type=frame.CONTENT_TYPE)
    response.call_on_close(stream.close)  # a generator that never started runs no `finally`
    return response


def wants_stream(request: Request) -> bool:
    """Whether a request that may be answered by JSON asks for a stream instead."""
    return request.accept_mimetypes.best_match(["application/json", *FORMS]) in FORMS


def busy_response(reason: str) -> Response:
    """The answer "not now" to a request for a stream: 200 with one busy frame, since any other status would end an
    EventSource for good."""
    retry_ms = random.randint(*BUSY_RETRY_MS)
    return Response(frame.busy(reason, retry_ms), headers=HEADERS, content_type=frame.CONTENT_TYPE)


class Stream:
    """One client's stream of one run."""

    def __init__(self, headway: Any, principal: Principal, run: str, connection: Connection) -> None:
        self._feed: Feed = headway.feed
        self._slots: Slots = headway.slots
        self._slot = principal.slot
        self._connection = connection
        self._reader = Reader(headway.store, headway.feed, run, principal.owner)
        self._lifetime = Lifetime(headway.feed)
        self._opening = b""
        self._closed = False

    def open(self, cursor: Cursor) -> bool:
        """Find out what the client lacks; False where it has had the last event. Raises UnknownRun."""
        opening = self._reader.open(cursor)
        greeting = frame.hello(
            self._reader.run, opening.seq, opening.head,
            reset=opening.reset, heartbeat_s=HEARTBEAT_S, retry_ms=retry_ms(),
        )  # fmt: skip
        self._opening = greeting + opening.said
        return not opening.nothing_left

    def frames(self) -> Iterator[bytes]:
        """All that the client gets. Whatever it lacks at a time is one piece, however many events it is."""
        self._connection.begin(self._end_wait)
        said, self._opening = self._opening, b""
        while True:
            if said:
                yield from self._pieces(said)
                self._lifetime.said()
            if self._reader.last or self._connection.gone:
                return
            said = b""  # an idle stream is to be small
            utterance, leaving = self._lifetime.utterance()
            if leaving:
                yield utterance
                return
            try:
                said = self._reader.news()
            except UnknownRun:  # deleted in the meantime: the next request is told so
                return
            except StoreError as error:
                log.error("a stream cannot go on: %s", error)
                yield self._lifetime.bye()
                return
            if not said and not self._reader.last:
                said = utterance
                if not said and not (yield from self._lend()):
                    self._reader.channel.wait(self._reader.after, self._lifetime.rest_s)

    def close(self) -> None:
        """Give the slot back; may be called twice."""
        if not self._closed:
            self._closed = True
            self._connection.end()
            self._reader.close()
            self._slots.give_back(self._slot)

    def _lend(self) -> Generator[bytes, None, bool]:
        """Lend the socket until it is back; False at once where it cannot be lent (now).

        Whoever drives this generator may stay away as long as the loan does, from where nothing (``b""``) is yielded.
        """
        sock = self._connection.lendable if self._feed.lends else None
        channel, reader = self._reader.channel, self._reader
        loan = channel.lend(sock, reader.after, self._lifetime.until) if sock is not None else None
        if loan is None:
            return False
        self._connection.loan = loan
        try:
            yield b""
            loan.wait()
        finally:
            self._connection.loan = None
            channel.lane.end(loan)
        if loan.gone or self._connection.gone:
            self._connection.gone = True
            return True
        reader.after, reader.last = loan.seq, channel.is_end(loan.seq)
        self._lifetime.limit(loan.until)
        self._lifetime.said()
        if loan.rest:  # whatever it ends with: the last event's rest is written before the end
            reader.slow = True
            for piece in pieces(loan.rest):
                self._connection.write(piece)
        return True

    def _pieces(self, said: bytes) -> Iterator[bytes]:
        for piece in pieces(said):
            began = time.monotonic()
            yield piece
            if time.monotonic() - began > SLOW_WRITE_S:
                self._reader.slow = True

    def _end_wait(self) -> None:
        """The client has closed."""
        if self._connection.loan is not None:
            self._reader.channel.lane.end(self._connection.loan)
        else:
            self._reader.channel.wake()


def pieces(said: Said) -> Iterator[Said]:
    """What is to be written, in portions that a slow but steady reader takes within the time limit of a write."""
    if len(said) <= WRITE_BYTES:
        yield said
    else:
        yield from (said[start : start + WRITE_BYTES] for start in range(0, len(said), WRITE_BYTES))
