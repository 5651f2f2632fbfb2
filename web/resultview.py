"""What the templates need to show a result as what it is: where each part stands, drawings, rendered markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from jobs.charts import svg as chart_svg
from jobs.figures import Chart, Image, figure_of
from web import markdown
from web.resultpart import pointer
from web.wording import grid_like, table_like

LONG_CHARS = 300
"""From so many characters on a text has a place of its own, which scrolls."""
MAX_PREVIEW_BYTES = 5_000_000
PREVIEWED = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
INPUTS = (".csv", ".tsv", ".jsonl", ".txt", ".json")
"""Endings of files that another job may take."""

File = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands in the result of a run: it is downloaded from there."""

    url: str
    files: Mapping[str, str]
    keys: tuple[str | int, ...] = ()

    def at(self, key: str | int) -> Place:
        """The place of one of its parts."""
        return Place(self.url, self.files, (*self.keys, key))

    def link(self, form: str) -> str:
        """Where the value is to be had as csv, json or svg."""
        return f"{self.url}?{urlencode({'part': pointer(self.keys), 'format': form}, safe='/')}"


def result_place(run: Mapping[str, Any]) -> Place:
    """The place of a run's whole result."""
    return Place(run["result_url"], {file["name"]: file["url"] for file in run["files"]})


def drawing(chart: Chart) -> Markup:
    """A chart as a part of the page."""
    return Markup(chart_svg.draw(chart, standalone=False))  # noqa: S704 - it escapes all texts


def legend(chart: Chart) -> list[tuple[str, Markup]]:
    """The name and the mark of each series; nothing where there is but one."""
    if len(chart.series) < 2:
        return []
    return [(one.name or "–", Markup(chart_svg.swatch(chart, at))) for at, one in enumerate(chart.series)]  # noqa: S704


def rendered(text: str, place: Place) -> Markup:
    """Markdown as HTML."""
    return markdown.rendered(text, place.files)


def previewed(files: Iterable[File], result: Any) -> list[File]:
    """The files that are pictures, not too large to load along with the page, and not shown in the result already."""
    found = [one for one in files if is_picture(one["name"]) and one["bytes"] <= MAX_PREVIEW_BYTES]
    seen = set(_pictured(result)) if found else set()
    return [one for one in found if one["name"] not in seen]


def _pictured(value: Any) -> Iterator[str]:
    if isinstance(figure := figure_of(value), Image):
        yield figure.file
    elif isinstance(value, list | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _pictured(part)


def is_picture(name: str) -> bool:
    """Whether a browser shows a file of that name as a picture."""
    return name.lower().endswith(PREVIEWED)


def usable_as_input(name: str) -> bool:
    """Whether another job may take a file of that name."""
    return name.lower().endswith(INPUTS)


def wants_width(value: Any) -> bool:
    """Whether a value is shown below its name rather than beside it."""
    if isinstance(value, str):
        return len(value) > LONG_CHARS
    if isinstance(value, list):
        return table_like(value) or grid_like(value) or any(isinstance(one, Mapping) for one in value)
    return figure_of(value) is not None


FILTERS = [drawing, figure_of, legend, previewed, rendered, result_place]
TESTS = [is_picture, usable_as_input, wants_width]
