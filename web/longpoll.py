"""The finite form of a stream: the events after a number as one JSON object, for clients that ask again and again."""

from __future__ import annotations

import time
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import TooManyRequests

from jobs.errors import BadParameters
from web.auth import Principal
from web.connection import Connection
from web.feed import Feed
from web.reader import Cursor, Reader
from web.streamform import json_line, told_in

MAX_WAIT_S = 60
RETRY_AFTER_S = 15


def wait_of(request: Request) -> int:
    """How long to wait for something new: ``?wait=`` in seconds, 0 where it is not given. Raises BadParameters."""
    given = request.args.get("wait", "0")
    if not given.isascii() or not given.isdigit() or int(given) > MAX_WAIT_S:
        raise BadParameters({"wait": [f"Give whole seconds from 0 to {MAX_WAIT_S}."]})
    return int(given)


def events_response(
    headway: Any, principal: Principal, run: str, cursor: Cursor, wait_s: int, environ: dict[str, Any]
) -> Response:
    """The events after the cursor, as many as one look at the store gives; where there are none, the next ones that
    come within ``wait_s``.

    Raises UnknownRun, and TooManyRequests where too many streams are open.
    """
    if (refusal := headway.slots.take(principal.slot)) is not None:
        raise TooManyRequests(refusal, retry_after=RETRY_AFTER_S)
    connection = Connection(environ)
    reader = Reader(headway.store, headway.feed, run, principal.owner)
    try:
        opening = reader.open(cursor)
        said = opening.said
        if not said and not reader.last and wait_s:
            connection.begin(reader.channel.wake)
            said = _next(reader, headway.feed, connection, wait_s)
    finally:
        connection.end()
        reader.close()
        headway.slots.give_back(principal.slot)
    lines = [json_line(told)[:-1] for frames in told_in(iter([said])) for told in frames]
    head = max(reader.channel.newest, opening.head, reader.after)
    body = (
        f'{{"run":"{run}","from":{opening.seq},"after":{reader.after},"head":{head},'
        f'"reset":{str(opening.reset).lower()},"ended":{str(reader.last).lower()},"events":['
    )
    return Response(body.encode() + b",".join(lines) + b"]}\n", content_type="application/json")


def _next(reader: Reader, feed: Feed, connection: Connection, wait_s: int) -> bytes:
    """What comes next, in time: nothing where nothing does, the server stops, or nobody waits any more."""
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0 and not (feed.closing or connection.gone):
        reader.channel.wait(reader.after, left)
        if (said := reader.news()) or reader.last:
            return said
    return b""
