"""The files of a bulk run: every row with what came of it, and the failed ones again, fit to be fed in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jobs import TableWriter, cell
from jobs.library.rows.operations import Row

REASON = "failed_because"
"""The column that failed rows have besides those of the input. In an input it is none: the rows are fed in again."""
Cell = str | int | float | bool | None
_PLAIN = frozenset({str, int, float, bool, type(None)})


class ResultFiles:
    """Writes rows in the order in which they are given, each at once to the files that it belongs to.

    ``results`` has the input's columns first. ``failed`` comes into being with the first failed row, and is of the
    input's kind: JSON lines keep what is no text in them.
    """

    def __init__(
        self, results: Path, failed: Path, columns: Sequence[str], added: Sequence[str], *, as_json: bool
    ) -> None:
        self._columns = columns
        self._results = TableWriter(results, [*columns, *added])
        self._failed_path = failed
        self._failed: TableWriter | IO[str] | None = None
        self._as_json = as_json

    def write(self, rows: Iterable[Row]) -> None:
        """Write rows that have their results."""
        lines, failed = [], []
        for row in rows:
            assert row.result is not None
            inputs = self._inputs(row.values)
            lines.append(",".join([*inputs, *(cell(as_cell(one)) for one in row.result)]))
            error = row.result[-1]
            if error is not None and self._as_json:
                failed.append(json.dumps({**row.values, REASON: error}))
            elif error is not None:
                failed.append(",".join([*inputs, cell(error)]))
        self._results.lines(lines)
        if failed:
            self._write_failed(failed)

    def close(self) -> None:
        """Close the files."""
        self._results.__exit__(None, None, None)
        if self._failed is not None:
            self._failed.__exit__(None, None, None)

    def _inputs(self, values: Mapping[str, Any]) -> list[str]:
        return [cell(as_cell(values.get(column))) for column in self._columns]

    def _write_failed(self, lines: list[str]) -> None:
        if self._failed is None:
            if self._as_json:
                self._failed = self._failed_path.open("w", encoding="utf-8")
            else:
                self._failed = TableWriter(self._failed_path, [*self._columns, REASON])
        if isinstance(self._failed, TableWriter):
            self._failed.lines(lines)
        else:
            self._failed.writelines(line + "\n" for line in lines)


def as_cell(value: Any) -> Cell:
    """A value as what a cell can be: what is nested becomes JSON text."""
    return value if value.__class__ in _PLAIN else json.dumps(value, ensure_ascii=False)


def added_names(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Names for the added columns; one that the input has already gets a number."""
    used = {name.lower() for name in taken}
    found = []
    for name in names:
        free, number = name, 2
        while free.lower() in used:
            free, number = f"{name}_{number}", number + 1
        used.add(free.lower())
        found.append(free)
    return found
