"""An event to bytes of ``text/event-stream`` (WHATWG HTML, section 9.2), and nothing else.

Made for the readers that exist: LF only, data on one line of ASCII JSON, the id last (one client stores an id before
its frame is complete), no comments and no frame without data (both make phantom events in real clients).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from jobs.events import Event, to_json

MAX_FRAME_BYTES = 64 * 1024
CONTENT_TYPE = "text/event-stream; charset=utf-8"

_NAME = re.compile(r"[a-z]+")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_ID_LINE = re.compile(rb"\nid: [A-Za-z0-9-]+\n\n")
_TAKEN = frozenset({"error", "open", "message"})
"""Names that EventSource uses itself: an event named ``error`` would fire ``onerror``."""
_EVENT_LINES = {"update": "", **{kind: f"event: {kind}\n" for kind in ("plan", "log", "output", "row")}}
_LINES = {kind: 3 + bool(line) for kind, line in _EVENT_LINES.items()}
"""Line ends in the frame of each kind."""


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
    return event_frames(event.run, [(event.seq, event.kind, event.time_ms, event.body)])


def event_frames(run: str, rows: Sequence[tuple[int, str, int, str]], *, ids: bool = True) -> bytes:
    """The frames of events of one run, given as (seq, kind, time in ms, body); for long logs without a call for each.

    The JSON is what the event says, then where it stands: run, seq, time. Without ``ids`` for streams of several runs.
    """
    said = [
        f'{_EVENT_LINES[kind]}data: {body[:-1]},"run":"{run}","seq":{seq},'
        f'"time":"{_iso_second(time_ms // 1000)}{_MS[time_ms % 1000]}"}}\nid: {run}-{seq}\n\n'
        for seq, kind, time_ms, body in rows
    ]
    text = "".join(said)
    lines = sum([_LINES[row[1]] for row in rows])
    if text.count("\n") != lines or "\r" in text or "\0" in text:
        raise ValueError("the data of a frame is one line of JSON")
    encoded = text.encode("ascii")
    return encoded if ids else _ID_LINE.sub(b"\n\n", encoded)


def without_id(event: bytes) -> bytes:
    """One event's frame without its id."""
    return event[: event.rindex(b"\nid: ")] + b"\n\n"


def hello(run: str, after: int, head: int, *, reset: bool, heartbeat_s: float, retry_ms: int) -> bytes:
    """The first frame of a stream. Its id is the cursor that the stream goes on from."""
    rest = f'"reset":{"true" if reset else "false"},"heartbeat_s":{heartbeat_s}'
    data = f'{{"run":"{run}","from":{after},"head":{head},{rest}}}'
    return frame(data, event="hello", retry_ms=retry_ms, id=f"{run}-{after}")


def hello_all(
    follow: Mapping[str, Mapping[str, object]], gone: Sequence[str], *, heartbeat_s: float, retry_ms: int
) -> bytes:
    """The first frame of a stream of several runs: where each followed one goes on, and which do not exist."""
    return frame(
        to_json({"follow": follow, "gone": gone, "heartbeat_s": heartbeat_s}), event="hello", retry_ms=retry_ms
    )


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
    return f"{_iso_second(time_ms // 1000)}{_MS[time_ms % 1000]}"


_MS = tuple(f".{ms:03d}Z" for ms in range(1000))


@lru_cache(maxsize=64)
def _iso_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
