"""An event to bytes of ``text/event-stream`` (WHATWG HTML, section 9.2), and nothing else.

Made for the readers that exist: LF only, data on one line of ASCII JSON, the id last (one client stores an id before
its frame is complete), no comments and no frame without data (both make phantom events in real clients).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from jobs.events import Event, to_json

MAX_FRAME_BYTES = 64 * 1024
CONTENT_TYPE = "text/event-stream; charset=utf-8"

_NAME = re.compile(r"[a-z]+")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_TAKEN = frozenset({"error", "open", "message"})
"""Names that EventSource uses itself: an event named ``error`` would fire ``onerror``."""


def frame(data: str, *, event: str | None = None, retry_ms: int | None = None, id: str | None = None) -> bytes:
    """One frame. ``data`` is JSON text on one line. Raises ValueError for what would break out of the frame."""
    lines = []
    if event is not None:
        if not _NAME.fullmatch(event) or event in _TAKEN:
            raise ValueError(f"{event!r} cannot name an event")
        lines.append(f"event: {event}")
    if retry_ms is not None:
        lines.append(f"retry: {retry_ms:d}")
    if not data or "\n" in data or "\r" in data or "\0" in data:
        raise ValueError("the data of a frame is one line of JSON")
    lines.append(f"data: {data}")
    if id is not None:
        if not _ID.fullmatch(id):
            raise ValueError(f"{id!r} cannot be the id of a frame")
        lines.append(f"id: {id}")
    return ("\n".join(lines) + "\n\n").encode("ascii")


def event_frame(event: Event) -> bytes:
    """A numbered event: updates are unnamed, everything else has its kind as name. The same bytes for every reader."""
    name = None if event.kind == "update" else event.kind
    return frame(event_data(event), event=name, id=f"{event.run}-{event.seq}")


def event_data(event: Event) -> str:
    """The JSON of an event: what it says, then where it stands (run, seq, time)."""
    return f'{event.body[:-1]},"run":"{event.run}","seq":{event.seq},"time":"{iso_time(event.time_ms)}"}}'


def hello(run: str, after: int, head: int, *, reset: bool, heartbeat_s: float, retry_ms: int) -> bytes:
    """The first frame of a stream. Its id is the cursor that the stream goes on from."""
    data = to_json({"run": run, "from": after, "head": head, "reset": reset, "heartbeat_s": heartbeat_s})
    return frame(data, event="hello", retry_ms=retry_ms, id=f"{run}-{after}")


def heartbeat(time_ms: int) -> bytes:
    """Says that nothing is new and the connection lives."""
    return frame(to_json({"time": iso_time(time_ms)}), event="heartbeat")


def bye(reason: str, retry_ms: int) -> bytes:
    """Says that the server closes for its own reasons, and when to come back."""
    return frame(to_json({"reason": reason}), event="bye", retry_ms=retry_ms)


def busy(reason: str, retry_ms: int) -> bytes:
    """Says that the server cannot serve this stream now; an answer other than 200 would end an EventSource for good."""
    return frame(to_json({"reason": reason}), event="busy", retry_ms=retry_ms)


def iso_time(time_ms: int) -> str:
    """``2026-11-22T10:00:00.123Z``."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{_iso_second(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=64)
def _iso_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
