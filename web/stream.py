"""The generator behind the streaming Response: greeting, history, live events, heartbeats, the end.

History and live are joined in one place. A stream first joins the run's channel, then reads the store; from there on
it asks the channel for what comes after its cursor, and the store whenever the channel cannot tell. So nothing is
missed and nothing comes twice, whatever the bus loses.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import NotAcceptable

from jobs.errors import UnknownRun
from jobs.events import now_ms
from jobs.store import Page, Store
from web import frame
from web.connection import Connection
from web.feed import Channel, Feed
from web.offhub import off_hub

HEARTBEAT_S = 15.0
LIFE_S = 15 * 60.0
"""Longest life of a stream, less up to a fifth at random: rights are checked again, and proxies cut long streams."""
GOODBYES_S = 1.5
"""At a stop or reload the goodbyes are spread over so long, that not all clients return at once."""
PAGE_EVENTS = 500
WRITE_BYTES = 64 * 1024
"""Longest single write: the time limit is for each, and a slow but steady reader shall make it."""
RETRY_MS = (1000, 3000)
BUSY_RETRY_MS = (15_000, 30_000)

HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Referrer-Policy": "no-referrer",
}

FORMS = ("text/event-stream",)
"""The forms of a stream, in the order of preference. The contract has three more (application/x-ndjson, text/plain,
application/json); a form is an encoder in place of frame.py and a name here."""

_CURSOR = re.compile(r"([0-9a-z]{1,40})-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a client wants to go on: after event ``seq``. ``given`` tells that it named a place at all."""

    seq: int = 0
    given: bool = False
    usable: bool = True


def cursor_of(request: Request, run: str) -> Cursor:
    """The cursor of a request: the Last-Event-ID header, else ``?after=N``, else ``?last_event_id=``."""
    if header := request.headers.get("Last-Event-ID"):
        return _cursor(header, run)
    if (after := request.args.get("after")) is not None:
        return _cursor(f"{run}-{after}", run)
    if last := request.args.get("last_event_id"):
        return _cursor(last, run)
    return Cursor()


def _cursor(text: str, run: str) -> Cursor:
    found = _CURSOR.fullmatch(text)
    if found is None or found[1] != run:
        return Cursor(given=True, usable=False)
    return Cursor(int(found[2]), given=True)


def form_of(request: Request) -> str:
    """The form of stream that the request accepts. Raises NotAcceptable."""
    if not request.accept_mimetypes:
        return FORMS[0]
    form = request.accept_mimetypes.best_match(FORMS)
    if form is None:
        raise NotAcceptable(f"Streams are served as {' or '.join(FORMS)}. Ask for that with the Accept header.")
    return form


def stream_response(
    store: Store, feed: Feed, run: str, cursor: Cursor, environ: dict[str, Any], **headers: str
) -> Response:
    """The answer to a request for a run's events: a stream, or 204 for a client that has had the last one.

    Raises UnknownRun.
    """
    channel = feed.join(run)
    try:
        page = off_hub(store.events_after, run, cursor.seq if cursor.usable else 0, PAGE_EVENTS)
        reset = not cursor.usable or cursor.seq > page.head
        if cursor.given and not reset and page.ended and cursor.seq == page.head:
            feed.leave(run, channel)
            return Response(status=204, headers=HEADERS)
        if reset and cursor.seq:
            page = off_hub(store.events_after, run, 0, PAGE_EVENTS)
    except BaseException:
        feed.leave(run, channel)
        raise
    stream = Stream(store, feed, channel, run, 0 if reset else cursor.seq, Connection(environ))
    response = Response(stream.frames(page, reset=reset), headers={**HEADERS, **headers})
    response.headers["Content-Type"] = frame.CONTENT_TYPE
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

    def __init__(
        self, store: Store, feed: Feed, channel: Channel, run: str, after: int, connection: Connection
    ) -> None:
        self._store = store
        self._feed = feed
        self._channel = channel
        self._run = run
        self._after = after
        self._connection = connection
        self._closed = False
        self._rotate_at = time.monotonic() + LIFE_S * random.uniform(0.8, 1.0)
        self._bye_at: float | None = None

    def frames(self, page: Page, *, reset: bool) -> Iterator[bytes]:
        """All that the client gets, one write each. ``page`` is what the store had when the stream was opened."""
        self._connection.begin(on_gone=self._channel.wake)
        greeting = frame.hello(
            self._run, self._after, page.head, reset=reset, heartbeat_s=HEARTBEAT_S, retry_ms=random.randint(*RETRY_MS)
        )
        said, last = self._history(page)
        yield from _pieces(greeting + said)
        heartbeat_at = time.monotonic() + HEARTBEAT_S
        while not last and not self._connection.gone:
            now = time.monotonic()
            if (reason := self._goodbye(now)) is not None:
                yield frame.bye(reason, random.randint(*RETRY_MS))
                return
            try:
                said, last = self._news()
            except UnknownRun:  # deleted in the meantime: the next request is told so
                return
            if said:
                yield from _pieces(said)
            elif now >= heartbeat_at:
                yield frame.heartbeat(now_ms())
            else:
                self._channel.wait(self._after, self._wait_s(now, heartbeat_at))
                continue
            heartbeat_at = time.monotonic() + HEARTBEAT_S

    def close(self) -> None:
        """Give the slot back; may be called twice."""
        if not self._closed:
            self._closed = True
            self._connection.end()
            self._feed.leave(self._run, self._channel)

    def _news(self) -> tuple[bytes, bool]:
        """All that is new after the cursor, in one piece; and whether it ends the run."""
        kept = self._channel.after(self._after)
        if kept is None:
            return self._history(off_hub(self._store.events_after, self._run, self._after, PAGE_EVENTS))
        if not kept:
            return b"", False
        self._after = kept[-1][0]
        return b"".join([encoded for _, encoded, _ in kept]), kept[-1][2]

    def _history(self, page: Page) -> tuple[bytes, bool]:
        self._channel.advance(page.head)
        if not page.events:
            return b"", False
        self._after = page.events[-1].seq
        return b"".join(map(frame.event_frame, page.events)), page.events[-1].last

    def _goodbye(self, now: float) -> str | None:
        if self._feed.closing and self._bye_at is None:
            self._bye_at = now + random.uniform(0, GOODBYES_S)
        if self._bye_at is not None and now >= self._bye_at:
            return "restart"
        return "rotate" if now >= self._rotate_at else None

    def _wait_s(self, now: float, heartbeat_at: float) -> float:
        times = [heartbeat_at, self._rotate_at]
        if self._bye_at is not None:
            times.append(self._bye_at)
        return max(0.0, min(times) - now)


def _pieces(said: bytes) -> Iterator[bytes]:
    if len(said) <= WRITE_BYTES:
        yield said
    else:
        yield from (said[start : start + WRITE_BYTES] for start in range(0, len(said), WRITE_BYTES))
