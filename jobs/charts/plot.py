"""The inside of a chart: grid, ticks, and the marks of each series.

Across, everything stands at percents of the plot, so that a drawing fits any width without a script while its texts and
marks keep their size; down, it stands at pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.charts.axis import Axis, Tick, axis, brief, fitted, width_of
from jobs.charts.mark import FAINT, FONT_PX, GRID, PAPER, Look, escaped, looks_of, num, percent, stroke, words
from jobs.charts.words import title_of
from jobs.figures import Chart, Series

SCATTER_PX, LINE_PX = 340.0, 280.0
"""Heights of plots; bars take what they need."""
TICKS_PX = 24.0
"""Below the plot, for its ticks."""
MOST_LEFT_PX = 100
"""Names of categories that are longer stand above their bars: beside them they would take a phone's whole width."""
MOST_NAME_PX = 700
MOST_VALUE_PX = 90
BAR_PX, SLIM_BAR_PX, NAME_PX, GAP_PX = 16.0, 13.0, 18.0, 12.0
LONG_TICK_PX = 56
FEW_TICKS = 4
CROWDED = 300
"""From so many points on a scatter plot has smaller ones."""
DOTTED = 60
"""Up to so many points of a line are marked; of more only the line is seen, until one is pointed at."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot: its height, the room that it needs at its sides, and what stands in it."""

    height: float
    left: float
    right: float
    parts: tuple[str, ...]


def plot_of(chart: Chart) -> Plot:
    """Draw the inside of a chart."""
    if not chart.drawn:
        return Plot(3 * NAME_PX, 0, 0, (words("No data", x="50%", y=2 * NAME_PX, anchor="middle"),))
    return _bars(chart) if chart.kind == "bar" else _points(chart)


# Scatter plots and lines.


def _points(chart: Chart) -> Plot:
    is_scatter = chart.kind == "scatter"
    height = SCATTER_PX if is_scatter else LINE_PX
    across, up = _across(chart), _up(chart)
    parts = [*_rows(up, height), *_columns(across, height, 0 if is_scatter else height)]
    looks = looks_of(chart.series)
    for at in sorted(range(len(looks)), key=lambda at: not chart.series[at].muted):  # what is grey lies below
        parts.append(_series(chart, at, looks[at], _placed(chart.series[at], across, up, height), height))
    left = max(width_of(tick.text, FONT_PX) for tick in up.ticks) + 12
    right = max((width_of(tick.text, FONT_PX) / 2 for tick in across.ticks[-1:]), default=0)
    return Plot(height, left, max(right, 8), tuple(parts))


def _across(chart: Chart) -> Axis:
    """The axis below, with fewer ticks where their texts are long."""
    values = [point.across for series in chart.series for point in series.points]
    found = axis(values, most=6, rounded=False)
    is_long = any(width_of(tick.text, FONT_PX) > LONG_TICK_PX for tick in found.ticks)
    return axis(values, most=3, rounded=False) if is_long else found


def _up(chart: Chart) -> Axis:
    """The axis at the side. That of lines begins at zero, unless their ups and downs would be lost."""
    values = [point.y for series in chart.series for point in series.points]
    if chart.kind == "scatter":
        return axis(values, most=5, rounded=False)
    return axis(values, most=5, zero=0 <= min(values) <= max(values) / 2)


def _placed(series: Series, across: Axis, up: Axis, height: float) -> list[tuple[float, float]]:
    """Where the points stand: 0 to 1 across, pixels down."""
    return [(across.part(point.across), height * (1 - up.part(point.y))) for point in series.points]


def _series(chart: Chart, at: int, look: Look, places: Sequence[tuple[float, float]], height: float) -> str:
    series, is_line = chart.series[at], chart.kind == "line"
    size = 6.0 if is_line else 5.0 if chart.drawn > CROWDED else 8.0
    marks = [
        look.shape.mark(percent(x), y, size, f"<title>{escaped(title_of(chart, series, point))}</title>")
        for (x, y), point in zip(places, series.points, strict=True)
    ]
    line = _line(places, height, look) if is_line and len(places) > 1 else ""
    hidden = ' fill-opacity="0" stroke-opacity="0"' if is_line and len(places) > DOTTED else ' fill-opacity="0.8"'
    return _group(at, look, f'{line}<g data-marks="" {look.shape.ink}{hidden}>{"".join(marks)}</g>')


def _line(places: Sequence[tuple[float, float]], height: float, look: Look) -> str:
    """A line in a coordinate system of its own, which is stretched to the plot's width; its stroke is not."""
    points = " ".join(f"{num(1000 * x)},{num(y)}" for x, y in places)
    return (
        f'<svg width="100%" height="{num(height)}" viewBox="0 0 1000 {num(height)}" preserveAspectRatio="none"'
        f' overflow="visible"><polyline points="{points}" {stroke(look)} stroke-linejoin="round" stroke-linecap="round"'
        ' vector-effect="non-scaling-stroke"/></svg>'
    )


# Bars.


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a bar chart, one for each category in the order in which they were first seen.

    A category that a series has twice has two rows: two clusters may have one name.
    """

    categories: tuple[tuple[str, int], ...]
    bar_px: float
    bars: int
    beside: bool

    @property
    def height(self) -> float:
        """Of one row."""
        return (0 if self.beside else NAME_PX) + self.bar_px * self.bars + GAP_PX

    def tops(self, number: int, series: Series) -> Iterator[float]:
        """Where the bars of a series, which is number ``number``, begin."""
        first = self.height - GAP_PX / 2 - self.bar_px * (self.bars - number)
        places = {category: first + at * self.height for at, category in enumerate(self.categories)}
        return (places[category] for category in _categories(series))


def _categories(series: Series) -> Iterator[tuple[str, int]]:
    """The category of each point, and how often the series had it before."""
    seen: Counter[str] = Counter()
    for point in series.points:
        name = str(point.x)
        yield name, seen[name]
        seen[name] += 1


def _bars(chart: Chart) -> Plot:
    points = [point for series in chart.series for point in series.points]
    along = axis((point.y for point in points), most=5, zero=True)
    categories = tuple(dict.fromkeys(category for series in chart.series for category in _categories(series)))
    widest = max(width_of(name, FONT_PX) for name, _ in categories)
    bar_px = BAR_PX if len(chart.series) == 1 else SLIM_BAR_PX
    rows = _Rows(categories, bar_px, len(chart.series), beside=widest <= MOST_LEFT_PX)
    height = rows.height * len(categories)
    looks = looks_of(chart.series)
    parts = [
        *_columns(along, height, 0),
        _zero(along, height) if rows.beside or along.low < 0 else "",
        *(_category(name, at, rows) for at, (name, _) in enumerate(categories)),
        *(_series_of_bars(chart, at, looks[at], along, rows) for at in range(len(looks))),
    ]
    right = min(max(width_of(brief(point.y), FONT_PX) for point in points), MOST_VALUE_PX) + 10
    return Plot(height, widest + 12 if rows.beside else 4, right, tuple(parts))


def _category(name: str, at: int, rows: _Rows) -> str:
    top = at * rows.height
    if rows.beside:
        return words(name, x="-10", y=top + rows.height / 2 + 4, anchor="end", css="chart-ink")
    shown = words(fitted(name, FONT_PX, MOST_NAME_PX), x="0", y=12, css="chart-ink")
    halo = f'class="chart-halo" stroke="{PAPER[0]}" stroke-width="4" paint-order="stroke"'  # hides the grid behind it
    cut = f'<svg y="{num(top + GAP_PX / 2)}" width="100%" height="{num(NAME_PX)}">'  # cuts what is too long
    return f"{cut}<g {halo}>{shown}</g></svg>"


def _series_of_bars(chart: Chart, at: int, look: Look, along: Axis, rows: _Rows) -> str:
    zero, series = along.part(0), chart.series[at]
    marks, values = [], []
    for point, top in zip(series.points, rows.tops(at, series), strict=True):
        end = along.part(point.y)
        marks.append(
            f'<rect x="{percent(min(zero, end))}" y="{num(top)}" width="{percent(abs(end - zero))}"'
            f' height="{num(rows.bar_px - 1)}" rx="2"><title>{escaped(title_of(chart, series, point))}</title></rect>'
        )
        # The value of a bar to the left stands on the other side of zero, where there is always room.
        values.append(words(brief(point.y), x=percent(max(zero, end)), y=top + rows.bar_px / 2 + 4, dx=6))
    return _group(at, look, f'<g data-marks="" fill="currentColor">{"".join(marks)}</g>{"".join(values)}')


def _zero(along: Axis, height: float) -> str:
    x = percent(along.part(0))
    return f'<line class="chart-zero" x1="{x}" x2="{x}" y1="0" y2="{num(height)}" stroke="{FAINT[0]}"/>'


# What they share.


def _group(at: int, look: Look, inside: str) -> str:
    return f'<g data-series="{at}"><g {look.attributes}>{inside}</g></g>'


def _rows(up: Axis, height: float) -> Iterator[str]:
    for tick in up.ticks:
        y = height * (1 - up.part(tick.value))
        yield f'<line class="chart-grid" x1="0" x2="100%" y1="{num(y)}" y2="{num(y)}" stroke="{GRID[0]}"/>'
        yield words(tick.text, x="-10", y=y + 4, anchor="end")


def _columns(along: Axis, height: float, top: float) -> Iterator[str]:
    """The ticks of the axis below, with lines from ``top``. Spare texts go where there is little room."""
    for at, tick in enumerate(along.ticks):
        x = percent(along.part(tick.value))
        yield (
            f'<line class="chart-grid" x1="{x}" x2="{x}" y1="{num(top)}" y2="{num(height + 5)}" stroke="{GRID[0]}"/>'
        )
        css = "chart-faint is-spare" if _spare(along.ticks, at) else "chart-faint"
        yield words(tick.text, x=x, y=height + TICKS_PX - 5, anchor="middle", css=css)


def _spare(ticks: Sequence[Tick], at: int) -> bool:
    """Whether a tick's text may go: of many every second, counted from zero where that is one of them."""
    zero = next((number for number, tick in enumerate(ticks) if tick.text == "0"), 0)
    return len(ticks) > FEW_TICKS and (at - zero) % 2 == 1
