"""What a result can hold besides JSON to be read as such: charts, markdown and images, marked by ``$headway``.

A job makes them by :func:`chart`, :func:`markdown` and :func:`image` and returns them anywhere inside its result. What
comes back from a result is a stranger's JSON again: :func:`figure_of` reads it, and takes nothing that cannot be drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, ClassVar, Literal, SupportsFloat, SupportsIndex, cast, get_args

ChartKind = Literal["scatter", "bar", "line"]

MARK = "$headway"
"""The key by which a figure differs from any other object of a result."""
MAX_MARKS = 2000
"""Points that are drawn; of more every n-th is. The result keeps them all."""
MAX_BARS = 60
MAX_SERIES = 50
MAX_MAGNITUDE = 1e300
"""Of a number: the differences of two must be numbers too."""
MAX_NAME_CHARS = 100
MAX_LABEL_CHARS = 300


def chart(
    kind: ChartKind,
    title: str,
    series: Mapping[str, Iterable[Sequence[Any]]],
    *,
    x: str = "",
    y: str = "",
    x_unit: str | None = None,
    y_unit: str | None = None,
    muted: Iterable[str] = (),
) -> dict[str, Any]:
    """A chart to return inside a result: its page draws it, and offers it as SVG, CSV and JSON.

    ``series`` maps a name to points: ``(x, y)`` or ``(x, y, "label")``; in a bar chart ``x`` is a category's name and
    ``y`` its length. ``x`` and ``y`` name the axes. The series in ``muted`` are drawn in grey: noise, the rest.
    Up to MAX_MARKS points and MAX_BARS bars are drawn. Raises ValueError for what cannot be drawn: NaN, another kind.
    """
    grey = set(muted)
    if unknown := grey - series.keys():
        raise ValueError(f"muted names no series of this chart: {', '.join(sorted(unknown))}")
    made = {
        MARK: "chart",
        "kind": kind,
        "title": title,
        "x": {"label": x, "unit": x_unit},
        "y": {"label": y, "unit": y_unit},
        "series": [
            {"name": name, "points": [_plain(point) for point in points]} | ({"muted": True} if name in grey else {})
            for name, points in series.items()
        ],
    }
    read_chart(made, whole=True)  # what its page could not draw is refused where it can be mended
    return made


def markdown(text: str) -> dict[str, Any]:
    """Markdown (CommonMark and tables) to return inside a result. HTML in it is shown as text."""
    return {MARK: "markdown", "text": text}


def image(file_name: str, alt: str) -> dict[str, Any]:
    """An image to return inside a result: one that the run wrote by ``progress.file(file_name)``.

    ``alt`` says what is to be seen on it, for those who do not see it. Raises ValueError for an empty name.
    """
    if not file_name:
        raise ValueError("an image needs the name of its file")
    return {MARK: "image", "file": file_name, "alt": alt}


@dataclass(frozen=True, slots=True)
class Dimension:
    """What an axis measures, and in which unit ("" where it has none)."""

    label: str
    unit: str


@dataclass(frozen=True, slots=True)
class Point:
    """One mark of a chart. ``x`` is a text in bar charts."""

    x: float | str
    y: float
    label: str = ""

    @property
    def across(self) -> float:
        """``x`` where it is a number."""
        assert not isinstance(self.x, str), "the x of a bar chart is a text"
        return self.x


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together."""

    name: str
    points: tuple[Point, ...]
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that can be drawn; ``total`` is how many points it had before they were thinned to what is drawn."""

    kind: ChartKind
    title: str
    x: Dimension
    y: Dimension
    series: tuple[Series, ...]
    total: int
    shown_as: ClassVar[str] = "chart"

    @property
    def drawn(self) -> int:
        """How many points are left."""
        return sum(len(one.points) for one in self.series)


@dataclass(frozen=True, slots=True)
class Markdown:
    """Text in markdown."""

    text: str
    shown_as: ClassVar[str] = "markdown"


@dataclass(frozen=True, slots=True)
class Image:
    """One of the run's files, to be looked at."""

    file: str
    alt: str
    shown_as: ClassVar[str] = "image"


def figure_of(value: object) -> Chart | Markdown | Image | None:
    """What a part of a result is drawn as; None for plain JSON, and for what only claims to be a figure."""
    if not isinstance(value, Mapping):
        return None
    match value.get(MARK):
        case "chart":
            try:
                return read_chart(value)
            except ValueError:
                return None
        case "markdown" if isinstance(text := value.get("text"), str):
            return Markdown(text)
        case "image" if isinstance(file := value.get("file"), str) and isinstance(alt := value.get("alt"), str):
            return Image(file, alt)
    return None


def read_chart(value: Mapping[str, Any], *, whole: bool = False) -> Chart:
    """A chart as it can be drawn: thinned to that, unless the ``whole`` of it is wanted. Raises ValueError.

    Only what is left is looked at, so that a chart of a million points costs no more than one of MAX_MARKS.
    """
    if value.get(MARK) != "chart" or value.get("kind") not in get_args(ChartKind):
        raise ValueError(f"a chart's kind is one of {', '.join(get_args(ChartKind))}, not {value.get('kind')!r:.100}")
    kind: ChartKind = value["kind"]
    listed = _list(value.get("series"), "series")
    found = [_mapping(one, "a series") for one in (listed if whole else listed[:MAX_SERIES])]
    points = [_list(one.get("points"), "the points of a series") for one in found]
    kept = points if whole else _first(points, MAX_BARS) if kind == "bar" else _every_nth(points, MAX_MARKS)
    return Chart(
        kind=kind,
        title=_text(value.get("title"), MAX_NAME_CHARS * 2),
        x=_dimension(value.get("x")),
        y=_dimension(value.get("y")),
        series=tuple(
            Series(_text(one.get("name"), MAX_NAME_CHARS), tuple(_points(left, kind)), one.get("muted") is True)
            for one, left in zip(found, kept, strict=True)
        ),
        total=sum(map(len, points)),
    )


def _plain(point: Sequence[Any]) -> list[Any]:
    """A point as JSON: numbers of other libraries become Python's."""
    x, y, *label = point
    return [x if isinstance(x, str) else _number(x), _number(y), *label]


def _points(points: Iterable[Any], kind: ChartKind) -> Iterator[Point]:
    for one in points:
        x, y, *label = _list(one, "a point", least=2)
        if isinstance(x, str) != (kind == "bar"):
            raise ValueError("a bar's x is the name of its category" if kind == "bar" else "x is a number here")
        yield Point(
            _text(x, MAX_LABEL_CHARS) if isinstance(x, str) else float(_number(x)),
            float(_number(y)),
            _text(label[0], MAX_LABEL_CHARS) if label else "",
        )


def _number(value: object) -> float:
    """A number that can be drawn; whole ones stay whole."""
    if isinstance(value, bool | str):
        raise ValueError(f"a chart draws numbers, not {value!r}")
    if isinstance(value, SupportsIndex):
        number: float = index(value)
    elif isinstance(value, SupportsFloat):
        number = float(value)
    else:
        raise ValueError(f"a chart draws numbers, not {value!r:.100}")
    if not abs(number) <= MAX_MAGNITUDE:  # nor is NaN
        raise ValueError(f"a chart cannot show {number!r:.100}")
    return number


def _dimension(value: object) -> Dimension:
    if value is None:
        return Dimension("", "")
    found = _mapping(value, "an axis")
    return Dimension(_text(found.get("label"), MAX_NAME_CHARS), _text(found.get("unit"), MAX_NAME_CHARS))


def _text(value: object, most_chars: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"a text is missing where {value!r:.100} stands")
    return value if len(value) <= most_chars else value[:most_chars] + "…"


def _list(value: object, what: str, least: int = 0) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or len(value) < least:
        raise ValueError(f"{what}: a list is missing")
    return value


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what}: an object is missing")
    return cast("Mapping[str, Any]", value)


def _every_nth(series: Sequence[Sequence[Any]], most: int) -> list[Sequence[Any]]:
    step = max(1, -(-sum(map(len, series)) // most))
    return [points[::step] for points in series]


def _first(series: Sequence[Sequence[Any]], most: int) -> list[Sequence[Any]]:
    """The first bars of each series, as many of each, so that no category loses some of its bars."""
    return [points[: max(1, most // max(1, len(series)))] for points in series]
