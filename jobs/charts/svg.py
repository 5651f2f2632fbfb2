"""Charts as SVG: pages, downloads and self-contained reports get the same drawing.

It is ours since it has to stand in a page whose CSP forbids inline styles, follow light and dark, say its values to a
keyboard and a screen reader, fit a phone, and be a file that any viewer of SVG shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.charts.axis import fitted, width_of
from jobs.charts.mark import DARK, FAINT, FONT_PX, GREY, GRID, INK, PAPER, escaped, looks_of, num, words
from jobs.charts.mark import swatch as drawn_swatch
from jobs.charts.plot import TICKS_PX, Plot, plot_of
from jobs.charts.words import describe, named
from jobs.figures import Chart, Dimension, read_chart

WIDTH_PX, MARGIN_PX = 760.0, 20.0
"""Of a drawing that stands alone."""
REM_PX = 16.0
"""A page gives a drawing whole rems of room at its sides: the classes chart-left-N and chart-right-N."""
TOP_PX, UP_NAME_PX, ACROSS_NAME_PX, NOTE_PX = 12.0, 22.0, 20.0, 22.0
TITLE_PX, TITLE_ROW_PX, LEGEND_ROW_PX = 16.0, 26.0, 20.0
MOST_LEGEND, MOST_LEGEND_NAME_PX = 30, 260
FONT = "-apple-system, BlinkMacSystemFont, Segoe UI, Inter, Roboto, Helvetica Neue, Arial, sans-serif"


def draw(chart: Mapping[str, Any] | Chart, *, standalone: bool) -> str:
    """A chart, as :func:`~jobs.figures.chart` made it, as the text of one SVG element.

    ``standalone`` gives a file: with title, legend, and colours for light and dark. Else the page around it has these.
    Raises ValueError for what is no chart.
    """
    found = chart if isinstance(chart, Chart) else read_chart(chart)
    return _file(found) if standalone else _inline(found)


def swatch(chart: Chart, at: int) -> str:
    """The mark of series number ``at`` as a small SVG of its own, for a legend that a page makes."""
    look = looks_of(chart.series)[at]
    inside = f"<g {look.attributes}>{drawn_swatch(chart.kind, look)}</g>"
    return f'<svg class="chart-swatch" width="16" height="12" aria-hidden="true">{inside}</svg>'


def _inline(chart: Chart) -> str:
    """As a part of a page, as wide as that lets it."""
    plot, top = plot_of(chart), _top(chart)
    left, right = (math.ceil(side / REM_PX) for side in (plot.left, plot.right))
    css, height = f"chart-drawing chart-left-{left} chart-right-{right}", num(top + plot.height + _bottom(chart))
    return (
        f'<svg class="{css}" width="100%" height="{height}" {_said(chart)}>'
        f'<g transform="translate(0 {num(top)})">{_inside(chart, plot, left * REM_PX)}</g></svg>'
    )


def _file(chart: Chart) -> str:
    """As a file of its own: of a fixed size, which scales as a whole."""
    plot = plot_of(chart)
    legend, legend_px = _legend(chart)
    head = MARGIN_PX + (TITLE_ROW_PX if chart.title else 0)
    top = head + legend_px + _top(chart)
    width, height = num(WIDTH_PX), num(top + plot.height + _bottom(chart) + MARGIN_PX / 2)
    room = WIDTH_PX - 2 * MARGIN_PX - plot.left - plot.right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="headway-chart" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" {_said(chart)} font-family="{FONT}" font-size="{num(FONT_PX)}">'
        f"<style>{_DARK_RULES}</style>"
        f'<rect class="chart-paper" width="100%" height="100%" fill="{PAPER[0]}"/>{_title(chart)}'
        f'<g transform="translate({num(MARGIN_PX)} {num(head)})">{legend}</g>'
        f'<svg x="{num(MARGIN_PX + plot.left)}" y="{num(top)}" width="{num(room)}" height="{num(plot.height)}"'
        f' overflow="visible">{_inside(chart, plot, plot.left)}</svg></svg>'
    )


def _said(chart: Chart) -> str:
    """The text alternative; in a <desc> few browsers would find it."""
    told = f"{chart.title}. {describe(chart)}" if chart.title else describe(chart)
    return f'role="img" aria-label="{escaped(told)}"'


def _inside(chart: Chart, plot: Plot, left: float) -> str:
    return "".join([*_names(chart, plot, left), *plot.parts])


def _top(chart: Chart) -> float:
    return TOP_PX + (UP_NAME_PX if chart.drawn and _dimensions(chart)[1].label else 0)


def _bottom(chart: Chart) -> float:
    if not chart.drawn:
        return 0.0
    named_px = ACROSS_NAME_PX if _dimensions(chart)[0].label else 0
    return TICKS_PX + named_px + (NOTE_PX if chart.drawn < chart.total else 0)


def _dimensions(chart: Chart) -> tuple[Dimension, Dimension]:
    """What lies across and what goes up: bars lie, and their categories stand on each other."""
    return (chart.y, chart.x) if chart.kind == "bar" else (chart.x, chart.y)


def _names(chart: Chart, plot: Plot, left: float) -> Iterator[str]:
    """What the axes measure, and how much of the chart is drawn."""
    if not chart.drawn:
        return
    below = plot.height + TICKS_PX
    across, up = _dimensions(chart)
    if up.label:
        yield words(named(up), x=num(-left), y=-TOP_PX, css="chart-ink")
    if across.label:
        below += ACROSS_NAME_PX
        yield words(named(across), x="50%", y=below - 4, anchor="middle", css="chart-ink")
    if chart.drawn < chart.total:
        what = "bars" if chart.kind == "bar" else "points"
        yield words(f"{chart.drawn:,} of {chart.total:,} {what} drawn", x=num(-left), y=below + NOTE_PX - 6)


def _title(chart: Chart) -> str:
    shown = escaped(fitted(chart.title, TITLE_PX, WIDTH_PX - 2 * MARGIN_PX))
    at = f'x="{num(MARGIN_PX)}" y="{num(MARGIN_PX + TITLE_PX - 3)}" font-size="{num(TITLE_PX)}" font-weight="600"'
    return f'<text class="chart-ink" {at} fill="{INK[0]}">{shown}</text>' if shown else ""


def _legend(chart: Chart) -> tuple[str, float]:
    """The legend of a file, in as many rows as it needs; and its height."""
    if len(chart.series) < 2:
        return "", 0.0
    parts, x, y = [], 0.0, 0.0
    for series, look in list(zip(chart.series, looks_of(chart.series), strict=True))[:MOST_LEGEND]:
        name = fitted(series.name or "–", FONT_PX, MOST_LEGEND_NAME_PX)
        width = 22 + width_of(name, FONT_PX) + 14
        if x and x + width > WIDTH_PX - 2 * MARGIN_PX:
            x, y = 0.0, y + LEGEND_ROW_PX
        mark = f"<g {look.attributes}>{drawn_swatch(chart.kind, look)}</g>{words(name, x='22', y=10, css='chart-ink')}"
        parts.append(f'<g transform="translate({num(x)} {num(y)})">{mark}</g>')
        x += width
    if len(chart.series) > MOST_LEGEND:
        y += LEGEND_ROW_PX
        parts.append(words(f"and {len(chart.series) - MOST_LEGEND} more", x="0", y=y + 10))
    return "".join(parts), y + LEGEND_ROW_PX + 6


def _dark_rules() -> str:
    """What a file looks like where the system is dark."""
    rules = {f"chart-hue-{hue}": f"color: {colour}" for hue, colour in enumerate((GREY[1], *DARK))}
    rules |= {f"chart-{name}": f"fill: {both[1]}" for name, both in (("ink", INK), ("faint", FAINT), ("paper", PAPER))}
    rules |= {
        f"chart-{name}": f"stroke: {both[1]}" for name, both in (("grid", GRID), ("zero", FAINT), ("halo", PAPER))
    }
    shown = " ".join(f".headway-chart .{name} {{ {rule} }}" for name, rule in rules.items())
    return f"@media (prefers-color-scheme: dark) {{ {shown} }}"


_DARK_RULES = _dark_rules()
