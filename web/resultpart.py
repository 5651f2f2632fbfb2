"""Parts of a result, named by JSON pointers (RFC 6901): where they stand, and what they look like as files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from werkzeug.exceptions import BadRequest, NotFound

from jobs.charts.svg import draw
from jobs.charts.words import named
from jobs.events import to_json
from jobs.figures import MARK, Chart, Dimension, figure_of, read_chart
from jobs.tables.writer import cell

TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "svg": "image/svg+xml"}
"""The forms of a part, and their media types."""
PIECE_BYTES = 64 * 1024

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def pointer(keys: Iterable[str | int]) -> str:
    """The pointer that leads by these keys and numbers of items."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def part_of(result: Any, where: str) -> Any:
    """What the pointer leads to. Raises BadRequest for one that is none, NotFound where nothing is there."""
    if not _POINTER.fullmatch(where):
        raise BadRequest("part is a JSON pointer (RFC 6901), such as /clusters or /pages/0/links.")
    for key in where.split("/")[1:]:
        result = _step(result, key.replace("~1", "/").replace("~0", "~"))
    return result


def _step(value: Any, key: str) -> Any:
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
        return value[int(key)]
    raise NotFound("The result has no such part.")


def part_file(result: str, where: str, form: str) -> list[bytes]:
    """A part of a result (JSON text) as a file in one of the forms, in pieces that a slow reader can take in time.

    Raises NotFound and BadRequest.
    """
    part = part_of(json.loads(result), where)
    text = as_csv(part) if form == "csv" else as_svg(part) if form == "svg" else to_json(part) + "\n"
    body = text.encode("utf-8", "replace")
    return [body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES)]


def name_of(where: str) -> str:
    """What the file of a part is called."""
    return re.sub(r"[^A-Za-z0-9]+", "-", where).strip("-")[:60] or "result"


def as_svg(part: Any) -> str:
    """A chart as a drawing. Raises BadRequest for anything else."""
    chart = figure_of(part)
    if not isinstance(chart, Chart):
        raise BadRequest("Only a chart can be had as SVG.")
    return draw(chart, standalone=True)


def as_csv(part: Any) -> str:
    """A table or a chart as CSV that is safe to open. Raises BadRequest for anything else."""
    if isinstance(part, Mapping) and part.get(MARK) == "chart":
        return csv_of(_points(_chart(part)))
    if isinstance(part, list) and all(isinstance(one, Mapping) for one in part):
        columns = tuple(dict.fromkeys(key for row in part for key in row))
        return csv_of([columns, *([row.get(name) for name in columns] for row in part)] if columns else [])
    if isinstance(part, list) and all(isinstance(one, list) for one in part):
        widest = max(map(len, part))
        return csv_of([*row, *[None] * (widest - len(row))] for row in part)
    raise BadRequest("Only a table (a list of objects or of lists) or a chart can be had as CSV.")


def csv_of(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV (RFC 4180); what is no plain value stands in its cell as JSON."""
    return "".join([",".join(map(field, row)) + "\r\n" for row in rows])


def field(value: Any) -> str:
    """Any JSON value as one field of a CSV file."""
    return cell(to_json(value) if isinstance(value, list | Mapping) else value)


def _chart(part: Any) -> Chart:
    try:
        return read_chart(part, whole=True)
    except ValueError as error:
        raise BadRequest(f"This is no chart that could be drawn: {error}.") from None


def _points(chart: Chart) -> Iterator[Sequence[Any]]:
    """All points of a chart, also those that its drawing leaves out."""
    yield ("series", _named(chart.x, "x"), _named(chart.y, "y"), "label")
    for series in chart.series:
        for point in series.points:
            yield (series.name, point.x, point.y, point.label)


def _named(dimension: Dimension, otherwise: str) -> str:
    return named(dimension) or otherwise
