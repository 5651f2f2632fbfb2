"""What travels from a job to its watchers: small, frozen, made once.

A :class:`Draft` is what a run said, before it has a number. The store numbers drafts, densely from 1 in each run, and
they are :class:`Event` from then on. The body is JSON text from the first moment (ASCII, one object): it is encoded
once, by whoever says it, and no station on the way needs to look inside.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["queued", "processing", "completed", "error"]
Kind = Literal["update", "plan", "log", "output", "row"]
ErrorCode = Literal["failed", "cancelled", "timeout", "interrupted", "crashed"]

MAX_BODY_BYTES = 60 * 1024
"""Longest body of an event. A frame may have 64 KiB (the contract); the difference is for its other fields."""

MAX_FILES_BYTES = 8 * 1024
"""Of the files that a last update names; the run itself names all of them."""
MAX_DEPTH = 100
"""Levels of parameters and results. Python's own JSON reader gives up somewhere below 1,000."""

ENDED: frozenset[str] = frozenset({"completed", "error"})
"""The statuses after which nothing follows."""


def now_ms() -> int:
    """Milliseconds since 1970 (wall clock): for showing, never for measuring."""
    return time.time_ns() // 1_000_000


_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def to_json(value: object) -> str:
    """Encode as ASCII JSON on one line. Raises TypeError or ValueError for what JSON cannot hold (NaN included).

    Lone surrogates, which are no text and which no page could be encoded with, become U+FFFD.
    """
    text = _encode(value)
    return _encode(_without_lone_surrogates(json.loads(text))) if "\\ud" in text else text


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_lone_surrogates(key): _without_lone_surrogates(one) for key, one in value.items()}
    return [_without_lone_surrogates(one) for one in value] if isinstance(value, list) else value


def too_deep(value: object, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and dicts stand in each other deeper than ``levels``: recursive readers would give up on it."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(too_deep(one, levels - 1) for one in value)


@dataclass(frozen=True, slots=True)
class ProgressUpdate:
    """How far a run is. The fields and their order are those on the wire.

    ``progress`` is 0-100 and never goes back within an attempt; 100 only when ``status`` is ``completed``.
    """

    status: Status
    progress: float
    message: str | None = None
    step: str | None = None
    indeterminate: bool = False
    eta_s: float | None = None
    cancelling: bool = False

    def body(self, **end: object) -> str:
        """JSON text; ``end`` adds what only a last update has (data, result_url, files, error)."""
        fields: dict[str, object] = {
            "status": self.status,
            "progress": round(self.progress, 2),
            "message": self.message,
            "step": self.step,
        }
        if self.indeterminate:
            fields["indeterminate"] = True
        if self.eta_s is not None:
            fields["eta_s"] = round(self.eta_s, 1)
        if self.cancelling:
            fields["cancelling"] = True
        fields.update(end)
        return to_json(fields)


@dataclass(frozen=True, slots=True)
class Draft:
    """One thing that a run said, not yet numbered. ``attempt`` lets the store refuse what a dead attempt still says."""

    run: str
    attempt: int
    kind: Kind
    body: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The last thing that a run says: recorded as its final update, with a full sync, and nothing after it.

    ``result`` is JSON text, or None where there is none; ``files`` are ``{"name", "bytes"}``.
    """

    run: str
    attempt: int
    status: Literal["completed", "error"]
    time_ms: int
    message: str | None = None
    code: ErrorCode | None = None
    result: str | None = None
    files: tuple[Mapping[str, Any], ...] = ()


def last_update(ending: Ending, previous: str, run_url: str) -> str:
    """The body of a run's last update, given the body of the update before it and where the API has the run.

    A completed run stands at 100 %, one that failed at the percent that it reached. A result that is too large for a
    frame is named by its URL instead.
    """
    before = json.loads(previous)
    end: dict[str, object] = {}
    if ending.files:
        end["files"] = _fitting_files(ending, run_url)
    if ending.status == "completed":
        update = ProgressUpdate("completed", 100, ending.message or "Done")
        result = ending.result or "null"
        if len(result) + len(to_json(end)) <= MAX_BODY_BYTES:
            return update.body(data=json.loads(result), **end)
        return update.body(data=None, result_url=f"{run_url}/result", **end)
    message = ending.message or ""
    update = ProgressUpdate("error", before["progress"], message, before["step"])
    return update.body(error={"code": ending.code, "message": message}, **end)


def _fitting_files(ending: Ending, run_url: str) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = []
    left = MAX_FILES_BYTES
    for file in ending.files:
        named = {**file, "url": f"{run_url}/files/{file['name']}"}
        left -= len(to_json(named))
        if left < 0:
            break
        files.append(named)
    return files


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a run's log: number ``seq`` of run ``run``, dense from 1. ``last`` tells that the run ended here."""

    run: str
    seq: int
    kind: Kind
    time_ms: int
    body: str
    last: bool = False
