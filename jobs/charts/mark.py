"""What the drawings of charts are made of: colours, the shapes of marks, texts.

Each series has a colour and a shape, so that no two differ by their hue alone. Colours are attributes, which a style
sheet overrides: ``static/css/chart.css`` in pages, a few rules for the dark in a file that stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.figures import Series

LIGHT = (
    "#2f6fdb", "#e27556", "#2d5e59", "#a0449c", "#6d0000", "#1e9ce1", "#75690c", "#51228e", "#bb719b", "#033748",
)  # fmt: skip
DARK = (
    "#68b2ff", "#de6c08", "#17a475", "#f07cbc", "#b54a0e", "#6ddeff", "#c3cc34", "#946cdf", "#ffafb3", "#517887",
)  # fmt: skip
"""Ten colours each, found by a search: 3:1 on the paper, and as far apart as ten can be for three kinds of colour-blind
eyes too (a test measures both). ``static/css/chart.css`` has the same."""
GREY = ("#8f919d", "#6f7380")
INK, FAINT, GRID, PAPER = ("#17181c", "#ecedf1"), ("#5e606b", "#a0a3af"), ("#e4e4e9", "#2f333b"), ("#ffffff", "#15171b")
"""The other colours, by day and by night."""
FONT_PX = 12.0

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped (section 2.2)."""
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


@dataclass(frozen=True, slots=True)
class Shape:
    """A disc, or the outline of a mark of size 1 by its corners; filled, or open."""

    corners: tuple[tuple[float, float], ...] = ()
    open: bool = False

    def mark(self, x: str, y: float, size_px: float, inside: str = "") -> str:
        """One mark. What is no disc stands in a coordinate system of its own: paths know no percents."""
        if not self.corners:
            return f'<circle cx="{x}" cy="{num(y)}" r="{num(size_px / 2)}">{inside}</circle>'
        path = "L".join(f"{num(across * size_px)},{num(down * size_px)}" for across, down in self.corners)
        at = f'x="{x}" y="{num(y)}" width="1" height="1"'
        return f'<svg {at} overflow="visible"><path d="M{path}Z">{inside}</path></svg>'

    @property
    def ink(self) -> str:
        """What all marks of a group have in common, as attributes."""
        return 'fill="none" stroke="currentColor" stroke-width="1.75"' if self.open else 'fill="currentColor"'


SHAPES = (
    Shape(),
    Shape(((-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45))),
    Shape(((0, -0.6), (0.58, 0.45), (-0.58, 0.45))),
    Shape(open=True),
    Shape(((0, -0.66), (0.58, 0), (0, 0.66), (-0.58, 0))),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a series is told from the others. ``hue`` is 1 to 10, or 0 for grey."""

    hue: int
    shape: Shape
    dashes: str = ""

    @property
    def attributes(self) -> str:
        """Its colour, for a group: a class and, where no style sheet knows that, an attribute."""
        return f'class="chart-hue-{self.hue}" color="{(GREY[0], *LIGHT)[self.hue]}"'


def looks_of(series: Sequence[Series]) -> list[Look]:
    """A look for each series; from the eleventh on a hue comes again with another shape."""
    looks, number = [], 0
    for one in series:
        if one.muted:
            looks.append(Look(0, SHAPES[0]))
            continue
        turn, hue = divmod(number, len(LIGHT))
        looks.append(Look(hue + 1, SHAPES[(hue + turn) % len(SHAPES)], "6 3" if hue >= len(LIGHT) // 2 else ""))
        number += 1
    return looks


def swatch(kind: str, look: Look) -> str:
    """The mark that stands for a series in a legend, 16 by 12 pixels."""
    if kind == "bar":
        return '<rect x="2" y="1" width="12" height="10" rx="2" fill="currentColor"/>'
    mark = f"<g {look.shape.ink}>{look.shape.mark('8', 6, 8)}</g>"
    return f'<line x1="0" x2="16" y1="6" y2="6" {stroke(look)}/>{mark}' if kind == "line" else mark


def stroke(look: Look) -> str:
    """The attributes of a series' line."""
    dashes = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
    return f'fill="none" stroke="currentColor" stroke-width="2"{dashes}'


def words(text: str, *, x: str, y: float, anchor: str = "start", dx: float = 0, css: str = "chart-faint") -> str:
    """A text at a place, in the colour of its class: chart-ink, or chart-faint."""
    fill = (INK if css == "chart-ink" else FAINT)[0]
    moved = f' dx="{num(dx)}"' if dx else ""
    placed = f'x="{x}" y="{num(y)}"{moved} text-anchor="{anchor}"'
    return f'<text class="{css}" {placed} fill="{fill}">{escaped(text)}</text>'


def percent(part: float) -> str:
    """A place across the plot, of 0 to 1."""
    return f"{num(100 * part)}%"


def num(number: float) -> str:
    """A coordinate: two decimals are a hundredth of a pixel."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def escaped(text: str) -> str:
    """A text as XML, without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("", text).translate(_ESCAPES)
