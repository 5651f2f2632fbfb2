"""What an endpoint does wrong, in sentences; and which of it may be better at the next try."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs import JobError
from jobs.library.retry_after import number_of, retry_after_s

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that another try may not meet; any other 5xx too."""
LASTING = frozenset({401, 403, 404, 405, 407})
"""Statuses that every request would meet, whatever it asks for."""
NO_MONEY = "insufficient_quota"
"""OpenAI's code for a 429 that no waiting ends."""
MAX_DETAIL_CHARS = 300

BASE_URL, API_KEY = "HEADWAY_OPENAI_BASE_URL", "HEADWAY_OPENAI_API_KEY"
MODEL, EMBEDDING_MODEL = "HEADWAY_OPENAI_MODEL", "HEADWAY_OPENAI_EMBEDDING_MODEL"


class EndpointError(JobError):
    """Raised when the endpoint gives no whole answer. ``text`` is what had come.

    ``lasting``: other requests would fare no better (a wrong key, say). ``refused``: it is this request that it does
    not take. Neither: the endpoint is out of order.
    """

    def __init__(self, message: str, *, text: str = "", lasting: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.text = text
        self.lasting = lasting
        self.refused = refused


class BadAnswer(Exception):
    """Raised when an answer makes no sense, and would make none if asked for again.

    The message goes on after "The endpoint", as that of the next.
    """


class BrokenOff(Exception):
    """Raised when nothing more comes of an answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request gave no whole answer: a sentence without its stop, and what the endpoint or we add to it."""

    what: str
    detail: str = ""
    advice: str = ""
    passing: bool = False
    lasting: bool = False
    refused: bool = False
    after_s: float | None = None
    """How long the endpoint wants to be left alone."""

    def sentence(self, tries: int) -> str:
        """All of it, after so many tries in all."""
        tried = f", also at the last of {tries} tries" if tries > 1 else ""
        said = f" It says: “{self.detail}”." if self.detail else ""
        return f"{self.what}{tried}.{said}{f' {self.advice}' if self.advice else ''}"


def failure_of(error: Exception) -> Failure | None:
    """What that exception of a request means; None for one that is no fault of the endpoint."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _of_status(error.status_code, error.body, error.response.headers)
    if isinstance(error, openai.APIConnectionError):
        return _of_connection(error.__cause__)
    if isinstance(error, openai.APIError):  # an error object in the stream
        return _of_error_object(error.body)
    if isinstance(error, BadAnswer | BrokenOff):
        return Failure(f"The endpoint {error}", passing=isinstance(error, BrokenOff))
    if isinstance(error, UnicodeDecodeError | json.JSONDecodeError):
        return Failure("The endpoint sent what is no stream of completions")
    return None


def names(error: Exception, parameter: str) -> bool:
    """Whether a refusal (400, 422) speaks of that parameter."""
    return parameter in json.dumps(getattr(error, "body", None), default=str)


def _of_status(status: int, body: object, headers: Mapping[str, str]) -> Failure:
    detail = _detail(body)
    if 300 <= status < 400:
        advice = f"Set {BASE_URL} to where it leads."
        return Failure(
            f"The endpoint answers with a redirect ({status}), which is not followed", "", advice, lasting=True
        )
    if status == 429 and NO_MONEY in json.dumps(body, default=str):
        return Failure("The endpoint's quota is used up (429)", detail, lasting=True)
    if status in PASSING or status >= 500:
        meaning = " (too many requests)" if status == 429 else ""
        return Failure(f"{status} from the endpoint{meaning}", detail, passing=True, after_s=retry_after_s(headers))
    if status == 401:
        advice = f"{API_KEY} has to be a key that it knows."
        return Failure("The endpoint refuses the key (401)", detail, advice, lasting=True)
    if status == 404:
        advice = f"Check {BASE_URL}, which usually ends with /v1, and {MODEL}."
        return Failure("The endpoint knows no such address or model (404)", detail, advice, lasting=True)
    lasting = status in LASTING
    return Failure(f"The endpoint refuses the request ({status})", detail, lasting=lasting, refused=not lasting)


def _of_connection(cause: BaseException | None) -> Failure:
    import httpx2

    from jobs.library.endpoint.transport import CONNECT_S, Unfit

    if isinstance(cause, Unfit):
        return Failure(f"The endpoint {cause}")
    if isinstance(cause, httpx2.ConnectTimeout):
        return Failure(f"The endpoint cannot be reached within {CONNECT_S:g} s", advice=_REACH, passing=True)
    if isinstance(cause, httpx2.ConnectError):
        reason = _tidy(str(cause))
        if "CERTIFICATE" in reason.upper():
            return Failure(f"The endpoint's certificate is not trusted ({reason})", lasting=True)
        return Failure(f"The endpoint cannot be reached ({reason})", advice=_REACH, passing=True)
    return Failure("The endpoint broke the connection off", passing=True)


def _of_error_object(body: object) -> Failure:
    """An error in mid-stream comes after the status 200, so its ``code`` has to say of which kind it is, if it does."""
    code = body.get("code") if isinstance(body, Mapping) else None
    number = number_of(str(code)) if isinstance(code, int | str) else None
    refused = number is not None and 400 <= number < 500 and int(number) not in PASSING
    return Failure("The endpoint broke off with an error", _detail(body), passing=not refused, refused=refused)


_REACH = f"Does it run where {BASE_URL} says?"


def _detail(body: Any) -> str:
    """The words of an error's body, in one line: OpenAI's form, FastAPI's, Ollama's, or plain text."""
    for name in ("error", "message", "detail"):
        if isinstance(body, Mapping) and body.get(name):
            body = body[name]
    return _tidy(body if isinstance(body, str) else json.dumps(body, default=str) if body else "")


def _tidy(text: str) -> str:
    if text.lstrip().startswith("<"):  # a page of some proxy
        return ""
    words = "".join(char if char.isprintable() else " " for char in text[: 4 * MAX_DETAIL_CHARS]).split()
    line = " ".join(words).rstrip(".")
    return line if len(line) <= MAX_DETAIL_CHARS else line[:MAX_DETAIL_CHARS] + " …"
