"""The forms of a stream beside Server-Sent Events: the same frames, in the same order, written otherwise.

A line of JSON for each event, for programs that have no parser of SSE; or text for people, a line for each step, and
a bar that redraws itself where the request asks for one (a server cannot see whether it writes to a terminal).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.events import to_json
from web.feed import HEARTBEAT_S

NDJSON = "application/x-ndjson"
TEXT = "text/plain"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and line feed: what a job says may not move a terminal's cursor, or worse."""
_CLEAR = "\r\x1b[K"
MAX_BESIDE_BAR = 40
"""Longest text beside a bar: one that does not fit on the line cannot be redrawn."""


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
    """A stream as text/plain; ``columns`` is how long its bar is, 0 for none. Never silent for longer than a heart
    beats: proxies would cut it."""
    teller = _Teller(columns)
    said_at = time.monotonic()
    for frames in told_in(pieces):
        said = "".join([teller.tell(one.name, json.loads(one.data)) for one in frames])
        if not said and time.monotonic() - said_at >= HEARTBEAT_S:
            said = teller.repeat()
        if said:
            said_at = time.monotonic()
            yield said.encode()


class _Teller:
    """Says what happens in a run, a line each."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._shown = ("", "")
        self._status = ""
        """Where the run is, in a line."""
        self._bar = ""
        self._at_start = True
        self._run = ""
        self._seq = 0

    def tell(self, name: str, data: dict[str, Any]) -> str:
        """The text of one frame."""
        self._seq = data.get("seq", self._seq)
        match name:
            case "hello":
                self._run, self._seq = data["run"], data["from"]
                return self._line("(unknown place: all from the start)") if data["reset"] else ""
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
                where = f"/api/v1/runs/{self._run}/events?after={self._seq}"
                return self._last_line(f"(the server closes this stream; go on with GET {where})")
            case _:
                return ""

    def repeat(self) -> str:
        """Where the run is, once more."""
        if self._bar:
            return _CLEAR + self._bar if self._at_start else ""
        return self._line(self._status) if self._status else ""

    def _update(self, update: dict[str, Any]) -> str:
        status, step = update["status"], update.get("step") or ""
        message = _one_line(update.get("message") or "")
        if status in ("completed", "error"):
            failed = "Error: " + _one_line((update.get("error") or {}).get("message", ""))
            return self._last_line("100 %  " + (message or "Completed") if status == "completed" else failed)
        where = _one_line(step) or status.capitalize()
        percent = "  ?" if update.get("indeterminate") else f"{int(update['progress']):3d}"  # 100 is the end's alone
        self._status = f"{percent} %  {where}" + (f": {message}" if message else "")
        if self._columns:
            filled = int(update["progress"] * self._columns / 100)
            self._bar = f"{percent} % [{'#' * filled}{' ' * (self._columns - filled)}] {where[:MAX_BESIDE_BAR]}"
            return _CLEAR + self._bar if self._at_start else ""
        if (status, step) == self._shown:
            return ""
        self._shown = (status, step)
        return self._line(self._status)

    def _line(self, said: str) -> str:
        return self._above_bar(f"{'' if self._at_start else chr(10)}{_clean(said)}\n")

    def _last_line(self, said: str) -> str:
        clear, self._bar, self._status = self._clear, "", ""
        return clear + self._line(said)

    def _above_bar(self, said: str) -> str:
        clear = self._clear
        self._at_start = said.endswith("\n")
        return clear + said + (self._bar if self._at_start else "")

    @property
    def _clear(self) -> str:
        """What takes the bar away where it stands on the line."""
        return _CLEAR if self._bar and self._at_start else ""


def _clean(said: str) -> str:
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", said.replace("\r\n", "\n").replace("\r", "\n"))


def _one_line(said: str) -> str:
    return _clean(said).replace("\n", " ")
