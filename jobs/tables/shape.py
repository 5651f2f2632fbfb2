"""What a table looks like, told from its first lines: kind, delimiter, names of the columns; by no file name.

Where lines can be read as cells and as mere texts ("Shoes, red and blue"), they are cells only if something says so.
"""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobs.errors import TableError
from jobs.tables.columns import (
    column_names,
    has_header,
    has_typed_column,
    heads_links,
    is_named,
    main_column,
    names_columns,
    names_lines,
    refuse_wide,
)
from jobs.tables.text import MAX_CELL

Kind = Literal["csv", "tsv", "jsonl", "txt"]

DELIMITERS = (",", ";", "\t", "|")
OBJECT_LINES = 20
"""Lines that are looked at for JSON objects; half of them being some is enough, since one may be broken."""
MAX_TITLE_ROWS = 10
"""Rows before the header that exports put there: the report's name, its dates."""
MAX_DETECTED_CHARS = 5_000
"""Characters that clevercsv 0.8 looks at: 5 ms for most, 80 ms for the worst found."""
LONG_RUN = re.compile(r"""([^,;|\t"'\s]{32})[^,;|\t"'\s]+""")
"""What clevercsv's patterns take cubic time for (8,000 times "a." took 44 s), and what tells no more when cut."""
SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
"""A first line by which Excel is told the delimiter."""

_detecting = threading.Lock()
"""clevercsv 0.8 sets a limit of its module while it looks, so it may look at one table at a time."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a row are told apart. ``skipped`` rows stand before the table; ``sure``: no doubt is left."""

    delimiter: str
    quoted: bool = True
    spaced: bool = False
    skipped: int = 0
    sure: bool = False

    def rows(self, lines: Iterator[str] | Sequence[str]) -> Iterator[list[str]]:
        """The rows of these lines, those before the table too; blank lines are empty rows. Raises csv.Error."""
        allow_long_cells()
        rows: Iterator[list[str]] = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            skipinitialspace=self.spaced,
        )
        return ([cell.rstrip(" ") for cell in row] for row in rows) if self.spaced else rows


@dataclass(frozen=True, slots=True)
class Sample:
    """The first lines of a file, from the first that is not blank on; ``whole``: they are all."""

    lines: list[str]
    whole: bool

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "".join(self.lines)

    def rows(self, dialect: Dialect) -> list[list[str]]:
        """The rows of the table, without blank ones and one that may have been cut."""
        return [row for row in self.all_rows(dialect)[dialect.skipped :] if row]

    def all_rows(self, dialect: Dialect) -> list[list[str]]:
        """The same with the rows before the table; blank ones are empty."""
        rows: list[list[str]] = []
        try:
            rows.extend([] if is_blank(row) else row for row in dialect.rows(self.lines))
        except csv.Error:
            return rows  # a cell that is too long, of which reading will speak
        return rows if self.whole or len(rows) < 2 else rows[:-1]

    def strict_rows(self, dialect: Dialect, quoting: Literal[0, 2] = csv.QUOTE_MINIMAL) -> list[list[Any]] | None:
        """The rows, None where a quotation mark stands in a wrong place or (QUOTE_NONNUMERIC) is missing."""
        allow_long_cells()
        rows: list[list[Any]] = []
        mark, spaced = dialect.delimiter, dialect.spaced
        reader = csv.reader(self.lines, delimiter=mark, skipinitialspace=spaced, quoting=quoting, strict=True)
        try:
            rows.extend(reader)
        except ValueError:
            return None  # a cell is neither quoted nor a number
        except csv.Error:
            if self.whole or reader.line_num < len(self.lines):
                return None
        return rows


@dataclass(frozen=True, slots=True)
class Shape:
    """All that is known of a table before it is read. ``header`` is the row (or line) as it stands in the file."""

    kind: Kind
    columns: tuple[str, ...] = ()
    header: list[str] | None = None
    main: str | None = None
    """The first column of texts, or the first."""
    dialect: Dialect | None = None


def is_blank(cells: list[str]) -> bool:
    """Whether nothing stands in a row: a line of blanks, or cells that are all empty."""
    return not any(cells) or (len(cells) == 1 and cells[0].isspace())


def allow_long_cells() -> None:
    """Let :mod:`csv` read cells up to MAX_CELL.

    Its limit is one for the whole process, so it is raised where it is lower and never lowered: whoever else raised it
    keeps what they need, and what a row may take here is bounded by TextLines as well.
    """
    if csv.field_size_limit() < MAX_CELL:
        csv.field_size_limit(MAX_CELL)


def shape_of(sample: Sample, wanted: str | None) -> Shape:
    """The shape of the table that begins so. ``wanted`` is a column: a first row that has it is the header."""
    if _are_objects(sample):
        return Shape("jsonl")
    dialect = _dialect(sample, wanted)
    return _shape_of_lines(sample, wanted) if dialect is None else _shape_of_rows(sample, dialect, wanted)


def shape_of_objects(columns: Sequence[str], objects: Sequence[dict[str, Any]]) -> Shape:
    """The shape of a table of JSON objects, of which these are the keys of all and the first few."""
    refuse_wide(len(columns))
    rows = [[value if isinstance(value := one.get(name), str) else "" for name in columns] for one in objects]
    return Shape("jsonl", tuple(columns), main=main_column(columns, rows))


def _are_objects(sample: Sample) -> bool:
    looked = [line.strip() for line in sample.lines if line.strip()][:OBJECT_LINES]
    if not looked or not looked[0].startswith("{"):
        return False
    found = sum(map(_is_object, looked))
    if not found and (looked[0] == "{" or looked[0].startswith('{"')):
        raise TableError("The file looks like JSON. Give one object a line (JSONL), or one array of objects.")
    return found * 2 >= len(looked)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _shape_of_lines(sample: Sample, wanted: str | None) -> Shape:
    texts = [line.strip() for line in sample.lines if line.strip("\ufeff \t\r\n")]
    if not texts:
        return Shape("txt")
    name = texts[0].strip("\ufeff")
    if names_lines(name, wanted) or heads_links(name, texts[1:]):
        return Shape("txt", (name,), [texts[0]], name)
    return Shape("txt", ("text",), main="text")


def _shape_of_rows(sample: Sample, dialect: Dialect, wanted: str | None) -> Shape:
    kind: Kind = "tsv" if dialect.delimiter == "\t" else "csv"
    rows = sample.rows(dialect)
    if not rows:
        return Shape(kind, dialect=dialect)
    header = rows[0] if has_header(rows, wanted, dialect.sure) else None
    columns = column_names(header, rows)
    return Shape(kind, columns, header, main_column(columns, rows[1:] if header else rows), dialect)


# --- the delimiter


def _dialect(sample: Sample, wanted: str | None) -> Dialect | None:
    """How these lines are cells; None where they are texts."""
    if not sample.lines:
        return None
    if said := SEPARATOR_LINE.fullmatch(sample.lines[0]):
        return Dialect(said[1], skipped=1, sure=True)
    text = sample.text
    candidates = [Dialect(mark) for mark in DELIMITERS if mark in text]
    if exact := _quoted_throughout(sample, candidates) or _quoted_where_needed(sample):
        return exact
    if not candidates or names_lines(sample.lines[0], wanted):
        return None
    for candidate in candidates:
        if any(len(row) > 1 and is_named(row, wanted) for row in sample.rows(candidate)[:1]):
            return _in_detail(candidate, sample, wanted)
    detected = _detected(text)
    candidates.sort(key=lambda candidate: candidate.delimiter != detected)
    for candidate in candidates:
        dialect = _in_detail(candidate, sample, wanted)
        if dialect is not None and _fits(dialect, sample, wanted, candidate.delimiter == detected):
            return dialect
    return None


def _quoted_throughout(sample: Sample, candidates: list[Dialect]) -> Dialect | None:
    """The only delimiter for which all cells but numbers are quoted, as our own tables are and those of many programs.

    No doubt is left then, whatever the cells contain, and a table of one column is told from mere lines.
    """
    if not sample.lines[0].startswith('"'):
        return None
    for dialect in candidates or [Dialect(",")]:
        rows = sample.strict_rows(dialect, csv.QUOTE_NONNUMERIC) or []
        if len({len(row) for row in rows if row}) == 1:
            return replace(dialect, sure=True)
    return None


def _quoted_where_needed(sample: Sample) -> Dialect | None:
    """One column of which those cells are quoted that have to be, and no others: no delimiter shows that it is one."""
    dialect = Dialect(",", sure=True)
    rows = sample.rows(dialect)
    if not any(line.startswith('"') for line in sample.lines) or {len(row) for row in rows} != {1}:
        return None
    again = io.StringIO()
    csv.writer(again, lineterminator="\n").writerows(rows)
    text = "".join(line.rstrip("\r\n") + "\n" for line in sample.lines if line.strip() not in ("", '""'))
    return dialect if text.startswith(again.getvalue()) else None


def _detected(text: str) -> str | None:
    """The delimiter by clevercsv."""
    from clevercsv.detect import Detector

    head = text[:MAX_DETECTED_CHARS].replace("\0", "")  # which its parser refuses
    head = LONG_RUN.sub(r"\1", head[: head.rfind("\n") + 1] or head)
    with _detecting:
        try:
            found = Detector().detect(head, delimiters=DELIMITERS)
        except Exception:  # a guess that fails is no guess, whatever it fails by
            return None
    return found.delimiter if found else None


def _in_detail(dialect: Dialect, sample: Sample, wanted: str | None) -> Dialect | None:
    """With what else there is to know for this delimiter; None where it looks like one of punctuation."""
    text, mark = sample.text, dialect.delimiter
    if mark == "\t":
        dialect = _best_quoting(dialect, sample)
    elif not re.search(re.escape(mark) + r"(?! |$)", text, re.MULTILINE):
        dialect = replace(dialect, spaced=True)
        quotes = text.startswith('"') or f'{mark} "' in text
        if not (_says_columns(dialect, sample, wanted) or (quotes and sample.strict_rows(dialect))):
            return None
    return replace(dialect, skipped=_title_rows(sample.all_rows(dialect)))


def _best_quoting(dialect: Dialect, sample: Sample) -> Dialect:
    """Some programs never quote in TSV, so that a cell may begin with a quotation mark and not end with one."""
    bare = replace(dialect, quoted=False)
    gain = _consistency(bare, sample) - _consistency(dialect, sample)
    return bare if gain > 0 or (gain == 0 and sample.strict_rows(dialect) is None) else dialect


def _title_rows(rows: list[list[str]]) -> int:
    """How many rows stand before the table: they have one cell where the rows that follow have several."""
    filled = [sum(map(bool, row)) for row in rows]
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    count = 0
    while count < len(rows) and (filled[count] == 0 or (filled[count] == 1 and (len(rows[count]) == 1 or width > 2))):
        count += 1
    rest = filled[count:]
    few = sum(1 for one in rest if one == 1) * 5 <= len(rest)
    return count if count <= MAX_TITLE_ROWS and len(rest) > 1 and few else 0


def _fits(dialect: Dialect, sample: Sample, wanted: str | None, detected: bool) -> bool:
    """Whether that delimiter gives rows of about the same width: less will do where more speaks for it."""
    least = 0.9
    if detected:
        least = 0.25 if _says_columns(dialect, sample, wanted) else 0.5
    named = any(names_columns(row, wanted) for row in sample.rows(dialect)[:1])
    return _consistency(dialect, sample, bare=0.5 if named else 0.2) >= least


def _consistency(dialect: Dialect, sample: Sample, bare: float = 0.2) -> float:
    """The part of the rows that has the most usual width; 0 where more than the part ``bare`` have one cell."""
    widths = Counter(map(len, sample.rows(dialect)))
    rows, alone = widths.total(), widths.pop(1, 0)
    return max(widths.values()) / rows if widths and alone <= rows * bare else 0


def _says_columns(dialect: Dialect, sample: Sample, wanted: str | None) -> bool:
    """Whether the first row names columns, or one column is all numbers, dates or links."""
    rows = sample.rows(dialect)
    return bool(rows) and (names_columns(rows[0], wanted) or has_typed_column(rows))
