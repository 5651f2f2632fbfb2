"""Which column of a table holds URLs, and which URL a cell means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import Any

from jobs import JobError, TableReader, TableRow
from jobs.library.fetch_errors import BadURL
from jobs.library.sample_site import SAMPLE, SampleSite, is_sample
from jobs.library.urls import link_to

TRIED_ROWS = 100
"""Rows that are looked at to find the column."""
_LIKE_URL = re.compile(
    rf"\s*(?:https?://\S|{SAMPLE}(?:/|\s*$)|(?:[\w-]+\.)+[a-z]{{2,}}(?::\d+)?(?:[/?]\S*)?\s*$)", re.IGNORECASE
)


def url_column(reader: TableReader, wanted: str | None) -> str:
    """The column named so, or else the first in which half of the cells look like URLs. Raises JobError."""
    if wanted or len(reader.columns) < 2:
        return reader.column(wanted)
    rows = list(islice(reader, TRIED_ROWS))
    for column in reader.columns:
        if _holds_urls(row.values.get(column) for row in rows):
            return column
    names = ", ".join(reader.columns[:20])
    raise JobError(
        f"No column of the table holds URLs. Name the one that should under “URL column”; there are: {names}."
    )


def _holds_urls(values: Iterable[Any]) -> bool:
    filled = [value for value in values if value not in (None, "")]
    return 2 * sum(isinstance(one, str) and _LIKE_URL.match(one) is not None for one in filled) >= max(1, len(filled))


class Addresses:
    """The URLs that rows mean; one that is a page of the sample has the sample served as long as this is open.

    ``allow`` is what may be fetched though private: the sample's address is added to it.
    """

    def __init__(self, column: str, allow: set[tuple[str, int]]) -> None:
        self._column = column
        self._allow = allow
        self._sample: SampleSite | None = None

    def __enter__(self) -> Addresses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sample is not None:
            self._sample.close()

    def url(self, row: TableRow) -> str:
        """The row's URL in its normal form; what lacks a scheme is taken for http. Raises BadURL."""
        value = row.values.get(self._column)
        text = value.strip() if isinstance(value, str) else ""
        if not text:
            raise BadURL("has no URL")
        if is_sample(text):
            text = self._served().at(text)
        elif "://" not in text:
            text = f"http://{text}"
        link = link_to(text)
        if link is None:
            raise BadURL("is not a web address; one looks like https://example.com/page")
        return link.url

    def _served(self) -> SampleSite:
        if self._sample is None:
            self._sample = SampleSite()
            self._allow.add(self._sample.allow)
        return self._sample
