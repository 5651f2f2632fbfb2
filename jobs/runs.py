"""A run as everybody sees it, and how runs get their ids."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.events import ENDED
from jobs.locks import native_lock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RUN_ID_LENGTH = 26
_making = native_lock()
_newest = 0


def new_run_id() -> str:
    """A new id: 48 bits of time and 80 random bits in Crockford's base 32, lower case (a ULID, github.com/ulid/spec).

    Later ids of a process sort after earlier ones, which keeps the queue in order and the database's newest pages
    together; 80 random bits cannot be guessed. Access is checked by owner all the same.
    """
    global _newest
    with _making:
        value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
        if value >> 80 <= _newest >> 80:  # the same millisecond: a random step further keeps the order
            value = _newest + secrets.randbits(64)
        _newest = value
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def run_url(run: str) -> str:
    """Where the API has a run: last updates name their files and large results by it."""
    return f"/api/v1/runs/{run}"


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job, as the store knows it. Times are milliseconds since 1970.

    ``head`` is the number of the newest event. ``params`` are safe to show: secrets stand there as ``***``.
    ``result`` is JSON text, kept apart from the events since it may be large.
    """

    id: str
    job: str
    owner: str
    status: str
    attempt: int
    head: int
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    progress: float = 0.0
    message: str | None = None
    step: str | None = None
    indeterminate: bool = False
    eta_s: float | None = None
    cancelling: bool = False
    error: Mapping[str, str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Mapping[str, Any], ...] = ()
    result: str | None = None
    retry_of: str | None = None
    queue_position: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has had its last event."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a runner has taken: what it needs to execute it. ``secrets`` are the real values of masked ones."""

    run: str
    job: str
    owner: str
    attempt: int
    params: Mapping[str, Any]
    secrets: Mapping[str, str]
