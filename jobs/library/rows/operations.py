"""What bulk can do with a row: check its URL, extract from its page, or POST it. How each asks, and reads the answer.

``ask`` runs in the threads of a crew and touches nothing but its own row; all else runs in the run's own thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from jobs.library.exchange import BodyPolicy
from jobs.library.fetch import UNREAD, Fetcher, Response
from jobs.library.fetch_errors import BadResponse, Disconnected, FetchError, Overdue
from jobs.library.page import HTML_TYPES, PAGES, TooDeep, parse_page, read_tree
from jobs.library.page_text import Selector, main_text
from jobs.library.rows.webhooks import Webhook
from jobs.library.urls import Links, host_of

ANSWERS = BodyPolicy(max_bytes=16_384, cut=True, keep_bytes=2000)
MAX_ANSWER_CHARS = 500
"""Shown of what a webhook answers."""
BUSY = frozenset({429, 503})
"""Statuses that say: not now (RFC 6585, RFC 9110). The request was not worked on."""
BROKEN_GATEWAY = frozenset({502, 504})
"""Statuses that may pass, of a request that may have been worked on."""

Result = list[Any]
"""The cells that an operation adds to a row, in the order of its columns; the last is the error, None where none is."""


@dataclass(slots=True, eq=False)
class Row:
    """A row of the table on its way: what is asked for it next, and what came of it in the end."""

    number: int
    values: Mapping[str, Any]
    key: str
    """What no other row of any run has, and this one has at every attempt."""
    weight: int = 0
    """Characters that it keeps in memory."""
    url: str = ""
    """What is asked next: the URL of the row, or where a redirect led."""
    host: str = ""
    attempts: int = 0
    """The first counts, too; none where nothing could be asked."""
    get: bool = False
    """Whether HEAD is not enough for its server."""
    hops: tuple[str, ...] = ()
    elapsed_s: float = 0.0
    certificate_end: datetime | None = None
    result: Result | None = None

    def lead_to(self, url: str) -> None:
        """Ask this next."""
        self.url, self.host = url, host_of(url)

    def see(self, response: Response) -> None:
        """Remember of an answer what counts for the whole way: the certificate that ends first."""
        end = response.certificate_end
        if end is not None and (self.certificate_end is None or end < self.certificate_end):
            self.certificate_end = end

    def begin_again(self) -> None:
        """Begin the next attempt, forgetting the way that the failed one went."""
        self.attempts += 1
        if self.hops:
            self.lead_to(self.hops[0])
        self.hops, self.elapsed_s = (), 0.0

    @property
    def ms(self) -> int:
        """How long the last attempt took, with its redirects."""
        return round(1000 * self.elapsed_s)


class Operation:
    """What is done with each row. As far as it is written here it only reads, so that asking twice does no harm."""

    columns: Sequence[str]
    """What it adds to a row, the status first; attempts and error come behind them for every operation."""
    follows = True
    """Whether redirects are followed."""
    sends = False
    """Whether it gives something to the server, which may keep it without answering."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def ask(self, row: Row) -> Response:
        """Send the row's next request. Raises FetchError."""
        raise NotImplementedError

    def ask_otherwise(self, row: Row, outcome: Response | FetchError) -> bool:
        """Whether the same is to be asked at once in another way, to which the row is changed."""
        return False

    def may_repeat(self, error: FetchError) -> bool:
        """Whether a request that failed so may be sent again, and may then succeed."""
        return isinstance(error, Disconnected | Overdue | BadResponse)

    def busy(self, status: int) -> bool:
        """Whether a status asks to come later."""
        return status in BUSY or status in BROKEN_GATEWAY

    def read(self, row: Row, response: Response | None) -> tuple[list[Any], str | None]:
        """The cells of :attr:`columns`, and the row's error; without an answer the cells of a row that has none."""
        raise NotImplementedError


class Check(Operation):
    """Status, redirects, time and certificate of a URL, by HEAD, or by GET where HEAD is not answered well."""

    columns = ("status", "final_url", "redirects", "ms", "certificate_end")

    def ask(self, row: Row) -> Response:
        """HEAD first: it costs the server less and keeps the connection, whatever the size of the page."""
        if row.get:
            return self._fetcher.get(row.url, follow=False, body=UNREAD)
        return self._fetcher.head(row.url, follow=False)

    def ask_otherwise(self, row: Row, outcome: Response | FetchError) -> bool:
        """By GET, where a HEAD met an error: many servers answer it with 403, 404 or 405, or not at all."""
        if row.get:
            return False
        if isinstance(outcome, FetchError):
            row.get = outcome.sent and isinstance(outcome, Disconnected | BadResponse)
        else:
            row.get = outcome.status >= 400
        if row.get:
            row.elapsed_s = 0.0
        return row.get

    def read(self, row: Row, response: Response | None) -> tuple[list[Any], str | None]:
        """An error status is what the check found, and the row's error."""
        end = row.certificate_end
        status = response.status if response is not None else None
        return [status, row.url, len(row.hops), row.ms, end and end.date().isoformat()], status_error(status)


class Extract(Operation):
    """What a page says: title, description, first heading, main text, words, and what the user's selectors find."""

    def __init__(self, fetcher: Fetcher, selectors: Sequence[Selector]) -> None:
        super().__init__(fetcher)
        self._selectors = selectors
        named = [selector.name for selector in selectors]
        self.columns = ("status", "final_url", "title", "description", "h1", "words", *named, "text", "ms")

    def ask(self, row: Row) -> Response:
        """GET, reading HTML only."""
        return self._fetcher.get(row.url, follow=False, body=PAGES)

    def read(self, row: Row, response: Response | None) -> tuple[list[Any], str | None]:
        """Read the page; what is no page is the row's error."""
        nothing = [None] * (len(self.columns) - 3)
        if response is None or response.body is None:
            error = status_error(response.status) or _no_page(response) if response is not None else None
            return [response and response.status, row.url, *nothing, row.ms], error
        try:
            said, error = self._extract(response.body.kept, response), None
        except TooDeep as problem:
            said, error = nothing, str(problem)
        return [response.status, row.url, *said, row.ms], error

    def _extract(self, body: bytes, response: Response) -> list[Any]:
        tree = parse_page(body, response.headers)
        found = [selector.find(tree) for selector in self._selectors]  # before the tree is taken apart
        page = read_tree(tree, response.headers, response.url, Links())
        return [page.title, page.description, page.h1, page.words, *found, main_text(tree)]


class Post(Operation):
    """Sends each row as JSON to a webhook, each under a key of its own by which a repeated row can be told."""

    columns = ("status", "answer", "ms")
    follows = False
    sends = True

    def __init__(self, fetcher: Fetcher, webhook: Webhook) -> None:
        super().__init__(fetcher)
        self._webhook = webhook

    def ask(self, row: Row) -> Response:
        """POST the row as a JSON object. Whoever gets the same key again got the same row again."""
        try:
            content = json.dumps(row.values, allow_nan=False).encode()
        except ValueError:
            raise FetchError("holds a number that is too large for JSON") from None
        headers = {"Content-Type": "application/json", "Accept": "*/*", "Idempotency-Key": row.key}
        return self._fetcher.post(self._webhook.url, content, headers, body=ANSWERS)

    def may_repeat(self, error: FetchError) -> bool:
        """Only what was certainly not worked on (RFC 9110, 9.2.2)."""
        return super().may_repeat(error) and not error.sent

    def busy(self, status: int) -> bool:
        """Only what says that it was not worked on."""
        return status in BUSY

    def read(self, row: Row, response: Response | None) -> tuple[list[Any], str | None]:
        """Any 2xx is a success; a redirect is not followed, so it is none."""
        if response is None:
            return [None, None, row.ms], None
        text = response.body.kept.decode("utf-8", "replace") if response.body is not None else ""
        answer = " ".join(text.split())[:MAX_ANSWER_CHARS]
        return [response.status, answer, row.ms], status_error(response.status, redirected=True)


def status_error(status: int | None, *, redirected: bool = False) -> str | None:
    """What is wrong with a final status, None where nothing is."""
    if status is None or 200 <= status < 300 or (status < 400 and not redirected):
        return None
    return f"answered {status}{_phrase(status)}"


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def _no_page(response: Response) -> str:
    if response.status < 300 and response.content_type not in HTML_TYPES:
        return f"is not a web page but {response.content_type[:100] or 'something without a type'}"
    return "has no content"
