"""The columns of a table: whether its first row names them, how they are called, which of them holds texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from jobs.errors import TableError
from jobs.tables.writer import without_apostrophe

MAX_COLUMNS = 1_000
LOOKED_AT = 100
"""Rows that a header is compared with."""
LIST_NAMES = frozenset(
    "keyword keywords text texts title titles url urls link links query queries name names sentence sentences phrase"
    " phrases description descriptions".split()
)
"""A line that is one of these names the lines that follow, also where nothing else tells."""
TABLE_NAMES = LIST_NAMES | frozenset(
    "id email e-mail domain host page product category price volume date status label cluster topic question answer"
    " comment review prompt content body message summary h1 language country city company term search_term".split()
)
"""The same in a row of several cells."""
TYPES = {
    "number": re.compile(r"[-+]?[$€£¥]?\s?\d[\d.,'\u00a0\u202f ]*(?:e[-+]?\d+)?\s?[%$€£¥]?", re.IGNORECASE),
    "url": re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|(?:[\w-]+\.)+[a-z]{2,}(?:[/:?#]\S*)?", re.IGNORECASE),
    "e-mail": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+"),
    "date": re.compile(r"(?:\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{2,4})(?:[T ]\d\d?:\d\d\S*)?|\d\d?:\d\d(?::\d\d)?"),
    "boolean": re.compile(r"true|false|yes|no", re.IGNORECASE),
}
"""What a cell can be besides text. Names of columns are none of it, save by chance."""
MAX_TYPED_CHARS = 200

Rows = Sequence[list[str]]


def has_header(rows: Rows, wanted: str | None, sure: bool) -> bool:
    """Whether the first row names the columns: it says so, or differs from the rows below as names do.

    Where nothing tells, it does; of a row that is alone only if these are ``sure`` to be cells.
    """
    first = rows[0][: MAX_COLUMNS + 1]
    below = [row for row in rows[1 : LOOKED_AT + 1] if row != rows[0]]
    if names_columns(first, wanted):
        return True
    if not below:
        return sure and "text" in map(_type_of, first)
    votes = sum(_vote(cell, _column(below, at)) for at, cell in enumerate(first))
    if votes:
        return votes > 0
    return any(first) and all(first[1:]) and len(set(first)) == len(first)


def _vote(cell: str, below: list[str]) -> int:
    """What one column says: 1 for a header, -1 against, 0 for neither."""
    kind, kind_below = _type_of(cell), _type_of_all(below)
    if kind not in ("text", ""):
        return -1
    if kind == "text" and kind_below not in ("text", ""):
        return 1
    return -1 if kind == "text" and cell in below else 0


def names_columns(cells: list[str], wanted: str | None) -> bool:
    """Whether one of the cells is the column wanted, or has a usual name and all could be names."""
    if is_named(cells, wanted):
        return True
    cells = cells[: MAX_COLUMNS + 1]
    return not TABLE_NAMES.isdisjoint(map(_folded, cells)) and {_type_of(cell) for cell in cells} <= {"text", ""}


def is_named(cells: list[str], wanted: str | None) -> bool:
    """Whether one of the cells is the column wanted."""
    name = _folded(wanted or "")
    return bool(name) and name in map(_folded, cells)


def names_lines(line: str, wanted: str | None) -> bool:
    """Whether a line is the column wanted, or a usual name for what follows."""
    return _folded(line) in LIST_NAMES | {_folded(wanted or "")}


def heads_links(line: str, below: Sequence[str]) -> bool:
    """Whether a line is a text before several that all are links, or e-mail addresses."""
    kinds = {_type_of(one) for one in below[:LOOKED_AT]}
    return _type_of(line) == "text" and len(below) >= 3 and kinds in ({"url"}, {"e-mail"})


def has_typed_column(rows: Rows) -> bool:
    """Whether one column is all numbers, dates or links."""
    width = min(max(map(len, rows)), MAX_COLUMNS)
    return any(_type_of_all(_column(rows, at)) not in ("text", "") for at in range(width))


def column_names(header: list[str] | None, rows: Rows) -> tuple[str, ...]:
    """A name for each column, no two the same. Raises TableError where there are too many."""
    width = len(header) if header else Counter(map(len, rows)).most_common(1)[0][0]
    # Not the empty columns that a spreadsheet has on the right.
    width = min(width, max(map(_filled_width, [header or [], *rows])))
    refuse_wide(width)
    names: dict[str, None] = {}
    for number, cell in enumerate(header[:width] if header else [""] * width, 1):
        name = wanted = _stripped(cell) or f"column_{number}"
        again = 2
        while name in names:
            name, again = f"{wanted}_{again}", again + 1
        names[name] = None
    return tuple(names)


def refuse_wide(width: int) -> None:
    """Raise TableError where a table has too many columns."""
    if width > MAX_COLUMNS:
        raise TableError(f"The table has more than {MAX_COLUMNS:,} columns. Leave out those that are not needed.")


def main_column(columns: Sequence[str], rows: Rows) -> str | None:
    """The first column of texts; the first of all where none is."""
    for at, name in enumerate(columns):
        if _type_of_all(_column(rows, at)) == "text":
            return name
    return columns[0] if columns else None


def _column(rows: Rows, at: int) -> list[str]:
    return [row[at] for row in rows[:LOOKED_AT] if at < len(row)]


def _filled_width(row: list[str]) -> int:
    return next((width for width in range(len(row), 0, -1) if row[width - 1]), 0)


def _type_of_all(cells: list[str]) -> str:
    """What at least four in five of the cells are that are not empty; "" where all are."""
    kinds = Counter(filter(None, map(_type_of, cells)))
    if not kinds:
        return ""
    kind, count = kinds.most_common(1)[0]
    return kind if count * 5 >= kinds.total() * 4 else "text"


def _type_of(cell: str) -> str:
    text = cell.strip()
    if not text:
        return ""
    if len(text) > MAX_TYPED_CHARS:
        return "text"
    return next((name for name, pattern in TYPES.items() if pattern.fullmatch(text)), "text")


def _folded(name: str) -> str:
    return _stripped(name).casefold()


def _stripped(name: str) -> str:
    return without_apostrophe(name).strip(" \t\r\n\ufeff\u00a0")
