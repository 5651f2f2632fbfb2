"""The forms of a stream beside Server-Sent Events: the same frames, in the same order, written otherwise.

A line of JSON for each event, for programs that have no parser of SSE; or text for people, a line for each step, and
a bar that redraws itself where the request asks for one (a server cannot see whether it writes to a terminal).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.events import to_json

NDJSON = "application/x-ndjson"
TEXT = "text/plain"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and line feed: what a job says may not move a terminal's cursor, or worse."""
_CLEAR = "\r\x1b[K"


class Told(NamedTuple):
    """A frame, taken apart; ``data`` is its JSON as it stands there."""

    name: str
    data: bytes
    retry_ms: int | None


def told_in(pieces: Iterator[bytes]) -> Iterator[list[Told]]:
    """The frames in pieces of a stream, which may be cut anywhere; those that are whole with each piece."""
    rest = b""
    for piece in pieces:
        said = rest + piece
        end = said.rfind(b"\n\n") + 2
        if end > 1:
            rest = said[end:]
            yield [_told(frame) for frame in said[: end - 2].split(b"\n\n")]
        else:
            rest = said


def _told(frame: bytes) -> Told:
    fields = dict(line.split(b": ", 1) for line in frame.split(b"\n"))
    retry = fields.get(b"retry")
    return Told(fields.get(b"event", b"update").decode(), fields[b"data"], int(retry) if retry else None)


def json_line(told: Told) -> bytes:
    """``{"event": "log", ...}``: the frame's name, its retry where it has one, and all that its data says."""
    retry = b'"retry_ms":%d,' % told.retry_ms if told.retry_ms is not None else b""
    return b'{"event":"%b",%b%b\n' % (told.name.encode(), retry, told.data[1:])


def json_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A stream as application/x-ndjson."""
    for frames in told_in(pieces):
        yield b"".join(map(json_line, frames))


def text(pieces: Iterator[bytes], columns: int) -> Iterator[bytes]:
    """A stream as text/plain; ``columns`` is how long its bar is, 0 for none."""
    teller = _Teller(columns)
    for frames in told_in(pieces):
        if said := "".join([teller.tell(one.name, json.loads(one.data)) for one in frames]):
            yield said.encode()


class _Teller:
    """Says what happens in a run, a line each."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._shown = ("", "")
        self._bar = ""
        self._at_start = True
        self._seq = 0

    def tell(self, name: str, data: dict[str, Any]) -> str:
        """The text of one frame."""
        self._seq = data.get("seq", self._seq)
        match name:
            case "update":
                return self._update(data)
            case "plan":
                return self._line("Steps: " + ", ".join(data["steps"]))
            case "log":
                level = data["level"]
                return self._line(data["message"] if level in ("info", "debug") else f"{level}: {data['message']}")
            case "row":
                return self._line(to_json(data["row"]))
            case "output":
                return self._above_bar(_clean(data["text"]))
            case "bye":
                return self._line(f"The server closes this stream. Go on with ?after={self._seq}")
            case _:
                return ""

    def _update(self, update: dict[str, Any]) -> str:
        status, step = update["status"], update.get("step") or ""
        message = _one_line(update.get("message") or "")
        if status == "completed":
            self._bar, clear = "", self._clear()
            return clear + "100 %  " + (message or "Completed") + "\n"
        if status == "error":
            self._bar, clear = "", self._clear()
            return clear + "Error: " + _one_line(update["error"]["message"]) + "\n"
        where = _one_line(step) or status.capitalize()
        percent = "  ?" if update.get("indeterminate") else f"{update['progress']:3.0f}"
        if self._columns:
            filled = round(update["progress"] / 100 * self._columns)
            self._bar = f"{percent} % [{'#' * filled}{' ' * (self._columns - filled)}] {where}"
            return _CLEAR + self._bar if self._at_start else ""
        if (status, step) == self._shown:
            return ""
        self._shown = (status, step)
        return self._line(f"{percent} %  {where}" + (f": {message}" if message else ""))

    def _line(self, said: str) -> str:
        start = "" if self._at_start else "\n"
        self._at_start = True
        return self._above_bar(f"{start}{_clean(said)}\n")

    def _above_bar(self, said: str) -> str:
        clear = _CLEAR if self._bar and self._at_start else ""
        self._at_start = said.endswith("\n")
        return clear + said + (self._bar if self._at_start else "")

    def _clear(self) -> str:
        start = "" if self._at_start else "\n"
        self._at_start = True
        return _CLEAR if self._columns and not start else start


def _clean(said: str) -> str:
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", said)


def _one_line(said: str) -> str:
    return _clean(said.replace("\n", " "))
