"""Tables that a job is given: CSV, TSV, JSONL or lines of text, in whatever encoding, read row by row.

What a file is, :mod:`jobs.tables.text` tells from its bytes and :mod:`jobs.tables.shape` from its first lines. Reading
takes the same memory for ten rows and for ten million.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jobs.errors import TableError
from jobs.tables.columns import refuse_wide
from jobs.tables.shape import Dialect, Kind, Sample, is_blank, shape_of, shape_of_objects
from jobs.tables.text import MAX_CELL, TextLines, encoding_of, read_text
from jobs.tables.writer import without_apostrophe

__all__ = ["MAX_ROWS", "TableError", "TableReader", "TableRow"]

MAX_ROWS = 10_000_000
MAX_ARRAY_BYTES = 20_000_000
"""The size of a file that is one JSON array, whose text is held as a whole."""
SAMPLE_CHARS = 64_000
"""What a table's shape is told from: whole lines, at least this much where there is as much."""
SAMPLE_OBJECTS = 100
CHECK_EVERY = 10_000
"""Rows between two calls of a check: some milliseconds."""
MAX_NAMES_SAID = 20
MAX_NAME_CHARS = 80

_ARRAY = re.compile(r"\ufeff?\s*\[\s*(?=[{\]])")
_COMMA = re.compile(r"\s*(?:,|(\]))\s*")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: its number among the rows (from 1), a value for each column, and what is wrong with it.

    Values are texts, but for JSONL what JSON has; a cell that is missing is empty there, and None in JSONL.
    """

    number: int
    values: dict[str, Any]
    problem: str | None = None


class TableReader:
    """A table in a file. Going through it gives its rows; do so as often as you like, also several times at once.

    Blank rows, and rows that repeat the header, are left out. ``column`` is the column that will be asked for: a first
    row that names it is a header for sure. Raises TableError, a sentence for the user, for a file that is no table and,
    on the way, for one that is too large.
    """

    def __init__(self, path: Path, name: str = "", column: str | None = None) -> None:
        self.path = path
        self.name = name
        """The file's name as its user knows it, for sentences."""
        self.encoding: str = encoding_of(path)
        """The codec that the file is read by; what it cannot decode becomes U+FFFD."""
        self.kind: Kind
        """What the file is, by its content: "csv", "tsv", "jsonl" or "txt"."""
        self.columns: tuple[str, ...]
        """The columns' names, no two the same: "column_1" and so on where the file has none, "text" for lines."""
        self._rows: int | None = None
        self._is_array = self._begins_an_array()
        self._find_shape(column)

    @property
    def delimiter(self) -> str | None:
        """What stands between two cells; None in JSONL and text."""
        return self._dialect.delimiter if self._dialect else None

    @property
    def has_header(self) -> bool:
        """Whether the file names its columns."""
        return self._header is not None or self.kind == "jsonl"

    def column(self, name: str | None = None) -> str:
        """The column that is meant: by its exact name, else by its name in other letters' case.

        Without a name the only column, or the first that has texts rather than numbers, links or dates. Raises
        TableError naming the columns there are.
        """
        if not self.columns:
            raise TableError(f"{self._called} is empty. Give it at least one row.")
        if name is None or not name.strip():
            return self._main or self.columns[0]
        if name in self.columns:
            return name
        for one in self.columns:
            if one.casefold() == name.strip().casefold():
                return one
        raise TableError(f"{self._called} has no column {_short(name)}. It has {self._columns_said()}.")

    def count(self, check: Callable[[], object] | None = None) -> int:
        """How many rows going through it gives, exactly. ``check`` is called now and then, and may raise."""
        if self._rows is None:
            rows = 0
            for rows, _ in enumerate(self._records(self._lines()), 1):
                if check is not None and rows % CHECK_EVERY == 0:
                    check()
            self._rows = rows
        return self._rows

    def __iter__(self) -> Iterator[TableRow]:
        if self.kind == "jsonl":
            return self._rows_of_objects()
        if self._dialect is None:
            return self._rows_of_texts()
        return self._rows_of_cells()

    # --- the shape

    def _begins_an_array(self) -> bool:
        if not _ARRAY.match(next(read_text(self.path, self.encoding))):
            return False
        if self.path.stat().st_size > MAX_ARRAY_BYTES:
            raise TableError(
                f"{self._called} is one JSON array of more than {MAX_ARRAY_BYTES // 1_000_000} MB. Write one object a"
                " line (JSONL) instead."
            )
        return True

    def _find_shape(self, wanted: str | None) -> None:
        self._dialect: Dialect | None = None
        if self._is_array:
            return self._find_columns_of_objects()
        shape = shape_of(self._sample(), wanted)
        if shape.kind == "jsonl":
            return self._find_columns_of_objects()
        self.kind, self.columns, self._main = shape.kind, shape.columns, shape.main
        self._header, self._dialect = shape.header, shape.dialect

    def _sample(self) -> Sample:
        sample, chars = [], 0
        lines = _from_first_text(TextLines(self.path, self.encoding))
        for line in lines:
            sample.append(line)
            chars += len(line)
            if chars >= SAMPLE_CHARS:
                break
        return Sample(sample, whole=next(lines, None) is None)

    def _find_columns_of_objects(self) -> None:
        """All keys of all objects, in the order in which they come: what is written with these columns is complete."""
        self.kind, self._header = "jsonl", None
        keys: dict[str, None] = {}
        first: list[dict[str, Any]] = []
        rows = 0
        for record in self._objects(self._lines()):
            rows += 1
            if record is not None and not record.keys() <= keys.keys():
                keys |= dict.fromkeys(record)
                refuse_wide(len(keys))
            if record is not None and len(first) < SAMPLE_OBJECTS:
                first.append(record)
        shape = shape_of_objects(tuple(keys), first)
        self.columns, self._main, self._rows = shape.columns, shape.main, rows

    # --- the rows

    def _lines(self) -> TextLines:
        # Where a cell may begin with an apostrophe that TableWriter has put there.
        rare = (f"{self.delimiter}'", "\"'", "\n'", "\r'", "\ufeff") if self._dialect else ()
        return TextLines(self.path, self.encoding, rare)

    def _records(self, lines: TextLines) -> Iterator[object]:
        if self.kind == "jsonl":
            return self._objects(lines)
        return self._texts(lines) if self._dialect is None else self._cells(lines, self._dialect)

    def _rows_of_cells(self) -> Iterator[TableRow]:
        assert self._dialect is not None
        columns, width = self.columns, len(self.columns)
        lines = self._lines()
        for number, cells in enumerate(self._cells(lines, self._dialect), 1):
            if len(cells) == width and lines.plain:
                yield TableRow(number, dict(zip(columns, cells, strict=True)))
            else:
                yield self._uncommon_row(number, cells, lines.ended)

    def _cells(self, lines: TextLines, dialect: Dialect) -> Iterator[list[str]]:
        """The cells of each row that counts."""
        header, rows, several = self._header, 0, len(self.columns) > 1
        reader = dialect.rows(_from_first_text(lines))
        try:
            for cells in itertools.islice(reader, dialect.skipped, None):
                lines.rows += 1
                if cells == header or not any(cells) or (several and is_blank(cells)):
                    continue
                if not lines.plain and header and cells[0][:1] == "\ufeff" and _without_mark(cells) == header:
                    continue  # of a file with a byte order mark that was joined to another
                if (rows := rows + 1) > MAX_ROWS:
                    _refuse_long()
                yield cells
        except csv.Error as error:
            raise TableError(
                f"Row {lines.rows + 1} of the file has a cell of more than {csv.field_size_limit():,} characters. Is a"
                " quotation mark missing?"
            ) from error

    def _uncommon_row(self, number: int, cells: list[str], unended: bool) -> TableRow:
        """A row with cells to mend: apostrophes to take away, cells that are missing or too many."""
        width = len(self.columns)
        problem = None
        if unended:
            problem = "begins a quotation that does not end"
        elif len(cells) < width or any(cells[width:]):
            problem = f"has {_counted(len(cells), 'cell')} where the table has {_counted(width, 'column')}"
        cells = [without_apostrophe(cell) for cell in cells[:width]] + [""] * (width - len(cells))
        return TableRow(number, dict(zip(self.columns, cells, strict=True)), problem)

    def _rows_of_texts(self) -> Iterator[TableRow]:
        for number, text in enumerate(self._texts(self._lines()), 1):
            yield TableRow(number, {self.columns[0]: text})

    def _texts(self, lines: TextLines) -> Iterator[str]:
        header, rows = self._header and self._header[0], 0
        for line in lines:
            lines.rows += 1
            text = line.strip()
            if not text or text == header:
                continue
            if len(line) > MAX_CELL:
                raise TableError(
                    f"Row {lines.rows} of the file has more than {MAX_CELL:,} characters. Is a line end missing?"
                )
            if (rows := rows + 1) > MAX_ROWS:
                _refuse_long()
            yield text

    def _rows_of_objects(self) -> Iterator[TableRow]:
        empty, width = dict.fromkeys(self.columns), len(self.columns)
        for number, record in enumerate(self._objects(self._lines()), 1):
            if record is None:
                yield TableRow(number, dict(empty), "is not a JSON object")
            else:
                yield TableRow(number, record if len(record) == width else empty | record)

    def _objects(self, lines: TextLines) -> Iterator[dict[str, Any] | None]:
        """The objects; None for what should be one."""
        rows = 0
        for rows, record in enumerate(self._array() if self._is_array else _json_lines(lines), 1):
            if rows > MAX_ROWS:
                _refuse_long()
            yield record

    def _array(self) -> Iterator[dict[str, Any] | None]:
        """The objects of an array, one at a time: their texts take far less memory than they."""
        text = "".join(read_text(self.path, self.encoding))
        begin = _ARRAY.match(text)
        at = begin.end() if begin else 0
        while not text.startswith("]", at):
            start = at
            try:
                value, at = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                yield None
                return
            yield _object_of(value, at - start)
            comma = _COMMA.match(text, at)
            if comma is None:
                yield None
            if comma is None or comma[1]:
                return
            at = comma.end()

    # --- sentences

    @property
    def _called(self) -> str:
        return _short(self.name) if self.name else "The table"

    def _columns_said(self) -> str:
        said = ", ".join(map(_short, self.columns[:MAX_NAMES_SAID]))
        more = len(self.columns) - MAX_NAMES_SAID
        return f"the column{'s' if len(self.columns) > 1 else ''} {said}" + (f" and {more:,} more" if more > 0 else "")


def _from_first_text(lines: TextLines) -> Iterator[str]:
    return itertools.dropwhile(str.isspace, lines)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""JSON has no NaN and no Infinity, though Python reads them."""


def _json_lines(lines: TextLines) -> Iterator[dict[str, Any] | None]:
    for line in lines:
        lines.rows += 1
        text = line.strip()
        if not text:
            continue
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            yield None
            continue
        yield _object_of(value, end) if end == len(text) else None


def _object_of(value: object, chars: int) -> dict[str, Any] | None:
    """The value, of so many characters, where it is an object. Raises TableError for one with a text too long."""
    if not isinstance(value, dict):
        return None
    if chars > MAX_CELL and any(isinstance(one, str) and len(one) > MAX_CELL for one in value.values()):
        raise TableError(f"A row has a text of more than {MAX_CELL:,} characters. Shorten it.")
    return value


def _without_mark(cells: list[str]) -> list[str]:
    # A quotation mark behind a byte order mark is not the first character of its cell, so it was left in place.
    return [cells[0].strip('\ufeff"'), *cells[1:]]


def _refuse_long() -> NoReturn:
    raise TableError(f"The table has more than {MAX_ROWS:,} rows. Split it.")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _short(name: str) -> str:
    return f'"{name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 1] + "…"}"'
