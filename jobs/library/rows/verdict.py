"""What becomes of a row when its request is over: it is done, asked on where a redirect leads, or tried again."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from jobs.library.fetch import Response
from jobs.library.fetch_errors import FetchError
from jobs.library.retry_after import retry_after_s
from jobs.library.rows.operations import Operation, Row
from jobs.library.urls import link_to

MAX_HOPS = 5
BACKOFF_S, MAX_BACKOFF_S = 1.0, 30.0
"""Before the second attempt, doubled before each further one."""
MAX_PAUSE_S = 120.0
"""The longest wait that a server may ask for; a row of one that asks for more has failed."""


@dataclass(frozen=True, slots=True)
class Done:
    """The row has its result, or its error."""

    error: str | None = None


@dataclass(frozen=True, slots=True)
class Onwards:
    """The row is asked on, after ``wait_s`` seconds; with ``pause`` nothing is asked of its host until then."""

    wait_s: float = 0.0
    pause: bool = False


def judge_answer(row: Row, response: Response, operation: Operation, retries: int) -> Done | Onwards:
    """What an answer means for its row, which is changed to what is asked next."""
    if operation.busy(response.status):
        return _later(row, response, retries)
    if operation.ask_otherwise(row, response):
        return Onwards()
    location = response.location if operation.follows else None
    return Done() if location is None else _follow(row, location)


def judge_error(row: Row, error: FetchError, operation: Operation, retries: int) -> Done | Onwards:
    """What it means that a request gave no answer."""
    if operation.ask_otherwise(row, error):
        return Onwards()
    if not operation.may_repeat(error):
        return Done(
            f"{error}; it may have been received all the same" if operation.sends and error.sent else str(error)
        )
    if row.attempts > retries:
        return Done(str(error))
    wait_s = _backoff_s(row)
    row.begin_again()
    return Onwards(wait_s)


def _later(row: Row, response: Response, retries: int) -> Done | Onwards:
    asked_s = retry_after_s(response.headers)
    if row.attempts > retries:
        return Done()
    if asked_s is not None and asked_s > MAX_PAUSE_S:
        return Done(f"answered {response.status} and asks to come back after {asked_s:,.0f} s")
    wait_s = _backoff_s(row) if asked_s is None else asked_s
    row.begin_again()
    # A 503 that names no time may be this one URL's; 429 is always about whoever asks.
    return Onwards(wait_s, pause=asked_s is not None or response.status == HTTPStatus.TOO_MANY_REQUESTS)


def _backoff_s(row: Row) -> float:
    return min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (row.attempts - 1))


def _follow(row: Row, location: str) -> Done | Onwards:
    link = link_to(location)
    if link is None:
        return Done("redirects to what is no web address")
    if link.url == row.url or link.url in row.hops:
        return Done("redirects in a circle")
    if len(row.hops) == MAX_HOPS:
        return Done(f"redirects more than {MAX_HOPS} times")
    row.hops += (row.url,)
    row.lead_to(link.url)
    return Onwards()
