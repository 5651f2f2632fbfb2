"""A run's rows as a file, a page of the store at a time: a million rows take no more memory than a thousand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from werkzeug.exceptions import Conflict

from jobs.runs import Run
from jobs.store import Store
from web.offhub import off_hub
from web.resultpart import csv_of

T = TypeVar("T")

PAGE_BYTES = 64 * 1024
"""Of rows that are read, and written, at a time: a write has a time limit, which a slow reader shall meet."""
MAX_COLUMNS = 1000
"""Of a CSV file: no spreadsheet likes more, and names without end would fill the memory."""
TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
}
"""The forms of the file, and their media types."""


def row_file(store: Store, run: Run, form: str) -> Iterator[bytes]:
    """The file, piece by piece, with the rows that the run has said until now.

    A CSV file begins with the names of all its columns, in the order in which they were first seen. So for it the rows
    are read twice, the first time before this returns. Raises Conflict where they have more than MAX_COLUMNS.
    """
    if form == "csv":
        return _csv(store, run, _columns(store, run))
    return _json_lines(store, run) if form == "jsonl" else _json(store, run)


def _csv(store: Store, run: Run, columns: Sequence[str]) -> Iterator[bytes]:
    if not columns:
        return
    yield csv_of([columns]).encode()
    for lines in _pages(store, run, lambda rows: csv_of(map(json.loads(row).get, columns) for row in rows)):
        yield lines.encode()


def _json_lines(store: Store, run: Run) -> Iterator[bytes]:
    for lines in _pages(store, run, lambda rows: "".join([row + "\n" for row in rows])):
        yield lines.encode()


def _json(store: Store, run: Run) -> Iterator[bytes]:
    before = "["
    for items in _pages(store, run, ",\n".join):
        yield f"{before}\n{items}".encode()
        before = ","
    yield b"[]\n" if before == "[" else b"\n]\n"


def _columns(store: Store, run: Run) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for keys in _pages(store, run, lambda rows: dict.fromkeys(key for row in rows for key in json.loads(row))):
        found |= keys
        if len(found) > MAX_COLUMNS:
            raise Conflict(f"The rows have more than {MAX_COLUMNS:,} columns. Take them as format=jsonl.")
    return tuple(found)


def _pages(store: Store, run: Run, make: Callable[[list[str]], T]) -> Iterator[T]:
    """What ``make`` makes of each page of rows (JSON texts), off the hub: reading and making both take their time."""
    after = 0
    while (page := off_hub(_page, store, run, after, make)) is not None:
        made, after = page
        yield made


def _page(store: Store, run: Run, after: int, make: Callable[[list[str]], T]) -> tuple[T, int] | None:
    events = [event for event in store.rows_of(run.id, after, PAGE_BYTES) if event.seq <= run.head]
    if not events:
        return None
    return make([event.body.removeprefix('{"row":')[:-1] for event in events]), events[-1].seq
