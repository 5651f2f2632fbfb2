"""Tables as CSV files that are safe to open in a spreadsheet.

A spreadsheet takes a cell that begins like a formula for one, quoted or not, and a formula can send the sheet away. So
text that begins so gets an apostrophe in front, which spreadsheets show as plain text. Numbers stay numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

Cell = str | int | float | bool | None

_FORMULA = r"(?:[\t\r\n\0]|[\s\0\ufeff]*[=+@\-＝＋－＠﹦﹢﹣﹫−])"
"""A formula's first character, in full width and small forms too; also behind blanks, which importers may trim."""
_NEEDS_APOSTROPHE = re.compile("'*" + _FORMULA)
"""Apostrophes before a formula need one more, so that taking one away always gives what there was."""
_HAS_APOSTROPHE = re.compile("'+" + _FORMULA)


def cell(value: Cell) -> str:
    """A value as the text of one CSV field (RFC 4180): text quoted and harmless, numbers as they are, None empty."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return '"true"' if value else '"false"'
    if not isinstance(value, str):
        return str(value)
    if _NEEDS_APOSTROPHE.match(value):
        value = "'" + value
    return '"' + value.replace('"', '""') + '"'


def without_apostrophe(text: str) -> str:
    """What :func:`cell` was given for this text of a cell: it has an apostrophe only where a formula follows."""
    return text[1:] if text[:1] == "'" and _HAS_APOSTROPHE.match(text) else text


class TableWriter:
    """A CSV file that is being written, in UTF-8, with the names of its columns first. Use it as a context manager."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = path.open("w", encoding="utf-8", errors="replace", newline="")
        self.row(columns)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def row(self, values: Iterable[Cell]) -> None:
        """Write one row."""
        self.lines([",".join(map(cell, values))])

    def lines(self, lines: Iterable[str]) -> None:
        """Write rows whose cells were made by :func:`cell` and joined by commas before: cheaper where cells repeat."""
        self._file.write("".join([line + "\r\n" for line in lines]))
