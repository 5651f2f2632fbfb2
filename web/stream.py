"""The generator behind the streaming Response: greeting, history, live events, heartbeats, the end.

What the client lacks is reader.py's to know. A stream that has said everything lends its socket to the channel's lane
(broadcast.py), where that can be, and sleeps. It has it back for whatever is not the next event of everybody: a reader
that is slow, a goodbye, the end.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeVar

from flask import Request, Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import NotAcceptable, TooManyRequests

from jobs.errors import BadParameters, StoreError, UnknownRun
from web import frame
from web.answer import Answer
from web.auth import Principal
from web.connection import Connection
from web.feed import HEARTBEAT_S
from web.lifetime import Lifetime, retry_ms
from web.reader import Cursor, Reader
from web.slots import Slots
from web.streamform import NDJSON, TEXT, json_lines, text
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

EVENTS = "text/event-stream"
JSON = "application/json"
FORMS = (EVENTS, NDJSON, TEXT)
"""The forms of a stream, in the order of preference."""
ALL_FORMS = (EVENTS, JSON, NDJSON, TEXT)
"""The forms of a run's events. JSON is no stream (longpoll.py), and before those that clients name for want of better
(``application/json, text/plain, */*``)."""
MAX_COLUMNS = 200


def cursor_of(request: Request, run: str) -> Cursor:
    """The cursor of a request: the Last-Event-ID header, else ``?after=N``, else ``?last_event_id=``."""
    if header := request.headers.get("Last-Event-ID"):
        return Cursor.of(header, run)
    if "after" in request.args:
        return Cursor.of(f"{run}-{request.args['after']}", run)
    if "last_event_id" in request.args and request.args["last_event_id"]:
        return Cursor.of(request.args["last_event_id"], run)
    return Cursor()


def form_of(request: Request, forms: Sequence[str] = FORMS) -> str:
    """The form of stream that the request accepts. Raises NotAcceptable."""
    if request.headers.get("Accept", "*/*") in (EVENTS, "*/*"):  # what nearly all say needs no parser
        return EVENTS
    if not request.accept_mimetypes:
        return EVENTS
    form = _accepted(request).best_match(forms)
    if form is None:
        raise NotAcceptable(f"Streams are served as {' or '.join(forms)}. Ask for that with the Accept header.")
    return form


def columns_of(request: Request, form: str | None) -> int:
    """How long the bar of a stream as text is: ``?bar=``, 0 where there is to be none. Raises BadParameters."""
    if form != TEXT:
        return 0
    given = request.args.get("bar", "0")
    if not given.isascii() or not given.isdigit() or int(given) > MAX_COLUMNS:
        raise BadParameters({"bar": [f"Give the number of its columns, from 0 to {MAX_COLUMNS}."]})
    return int(given)


def stream_response(
    headway: Any,
    principal: Principal,
    run: str,
    cursor: Cursor,
    request: Request,
    form: str = EVENTS,
    columns: int = 0,
) -> Response:
    """The answer to a request for a run's events: a stream, "busy" where too many are open, or 204 for a client that
    has had the last event.

    Raises UnknownRun, also for a run of another owner, and TooManyRequests for the forms that know no "busy".
    """
    if (refusal := headway.slots.take(principal.slot)) is not None:
        if form != EVENTS:
            raise TooManyRequests(refusal, retry_after=BUSY_RETRY_MS[0] // 1000)
        return busy_response(refusal)
    connection = Connection(request.environ)
    lends = headway.feed.lends and form == EVENTS
    stream = Stream(headway, principal, run, connection, lends=lends)
    try:
        something_left = stream.open(cursor)
    except BaseException:
        stream.close()
        raise
    if not something_left:
        stream.close()
        return Response(status=204, headers=HEADERS)
    frames = stream.frames()
    body: Iterator[bytes] = frames
    if form == NDJSON:
        body = json_lines(frames)
    elif form == TEXT:
        body = text(frames, columns)
    elif lends and connection.lendable is not None:
        body = Body(frames, connection)
    response = Answer(body, headers=HEADERS, content_type=f"{form}; charset=utf-8")
    response.call_on_close(stream.close)  # a generator that never started runs no `finally`
    return response


def wanted_form(request: Request) -> str | None:
    """The form of stream that a request asks for which may be answered by JSON, None where it does not."""
    form = _accepted(request).best_match([JSON, *FORMS])
    return form if form in FORMS else None


def _accepted(request: Request) -> MIMEAccept:
    """What a request accepts, without parameters: ``text/plain; charset=utf-8`` is text/plain."""
    return MIMEAccept([(form.partition(";")[0].strip(), quality) for form, quality in request.accept_mimetypes])


def busy_response(reason: str) -> Response:
    """The answer "not now" to a request for a stream: 200 with one busy frame, since any other status would end an
    EventSource for good."""
    retry_ms = random.randint(*BUSY_RETRY_MS)
    return Response(frame.busy(reason, retry_ms), headers=HEADERS, content_type=frame.CONTENT_TYPE)


class Stream:
    """One client's stream of one run."""

    def __init__(
        self, headway: Any, principal: Principal, run: str, connection: Connection, *, lends: bool = False
    ) -> None:
        """``lends`` says whether its socket may be lent, where it can be."""
        self._lends = lends
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
        sock = self._connection.lendable if self._lends else None
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
