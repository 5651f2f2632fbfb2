"""A chart in words: what a mark says when somebody points at it, and the whole for those who do not see it."""

from __future__ import annotations

from jobs.charts.axis import spoken
from jobs.figures import Chart, Dimension, Point, Series

KINDS = {"scatter": "Scatter plot", "bar": "Bar chart", "line": "Line chart"}
DESCRIBED = 40
"""Series, and bars of each, that a description names."""


def describe(chart: Chart) -> str:
    """The text alternative: kind, axes, and what each series holds; of bars every value."""
    axes = [f"{name}: {named(one)}" for name, one in (("x", chart.x), ("y", chart.y)) if one.label]
    series = [_told(chart, one) for one in chart.series[:DESCRIBED]]
    return "; ".join([f"{KINDS[chart.kind]}, {len(chart.series)} series, {_points(chart.total)}", *axes, *series]) + "."


def _told(chart: Chart, series: Series) -> str:
    name = f"{series.name}: " if series.name else ""
    if not series.points:
        return name + "no points"
    if chart.kind == "bar":
        return name + ", ".join(f"{one.x} {with_unit(one.y, chart.y)}" for one in series.points[:DESCRIBED])
    low, high = min(one.y for one in series.points), max(one.y for one in series.points)
    return f"{name}{_points(len(series.points))}, y from {spoken(low)} to {spoken(high)}"


def _points(count: int) -> str:
    return f"{count:,} point{'' if count == 1 else 's'}"


def title_of(chart: Chart, series: Series, point: Point) -> str:
    """A mark's name first, then its numbers, each on a line."""
    among = series.name if len(chart.series) > 1 else ""
    if chart.kind == "bar":
        value = with_unit(point.y, chart.y)
        lines = [str(point.x), point.label, f"{among}: {value}" if among else value]
    else:
        lines = [point.label, among, *_numbers(chart, point)]
    return "\n".join(filter(None, lines))


def _numbers(chart: Chart, point: Point) -> list[str]:
    """Of a labelled point on a map without axes the label says it all."""
    both = (("x", chart.x, point.across), ("y", chart.y, point.y))
    return [
        f"{axis.label or name}: {with_unit(value, axis)}" for name, axis, value in both if axis.label or not point.label
    ]


def named(dimension: Dimension) -> str:
    """An axis' name with its unit: Time (ms)."""
    return f"{dimension.label} ({dimension.unit})" if dimension.unit else dimension.label


def with_unit(value: float, dimension: Dimension) -> str:
    """A value as it is said: 12.5 ms."""
    return f"{spoken(value)} {dimension.unit}" if dimension.unit else spoken(value)
