"""The drawings: whatever a chart holds, they are well-formed, hold every point inside the plot, and say what it is."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.charts.axis import SAME, axis, brief, fitted, spoken, width_of
from jobs.charts.mark import DARK, GREY, LIGHT, PAPER
from jobs.charts.svg import WIDTH_PX, draw, swatch
from jobs.figures import MAX_MAGNITUDE, MAX_MARKS, Chart, chart, read_chart
from tests.harness import ROOT

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-MAX_MAGNITUDE, MAX_MAGNITUDE) | st.integers(-(10**30), 10**30) | st.sampled_from([0, -0.0, 5e-324])
TEXTS = st.text(st.characters(codec=None), max_size=70)
"""Also control characters, lone surrogates and what XML forbids."""


COORDINATES = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "points", "viewBox")


def series_of(xs: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, list[Any]]]:
    """Some series, each of some points."""
    return st.dictionaries(TEXTS, st.lists(st.tuples(xs, NUMBERS, TEXTS), max_size=12), max_size=12)


@st.composite
def charts(draw_from: st.DrawFn) -> dict[str, Any]:
    """Any chart that can be made."""
    kind = draw_from(st.sampled_from(["scatter", "bar", "line"]))
    series = draw_from(series_of(TEXTS if kind == "bar" else NUMBERS))
    names = {name: draw_from(TEXTS) for name in ("x", "y", "x_unit", "y_unit")}
    muted = [name for name in series if draw_from(st.booleans())]
    return chart(kind, draw_from(TEXTS), series, muted=muted, **names)


def parsed(text: str) -> ElementTree.Element:
    """The drawing as a parser of XML sees it; a page's has no namespace of its own."""
    return ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", text, count=1))


def marks(drawing: ElementTree.Element) -> list[ElementTree.Element]:
    """The marks of all series."""
    return [mark for group in drawing.iter() if "data-marks" in group.attrib for mark in group]


def texts(drawing: ElementTree.Element) -> list[str]:
    """All that is written in a drawing."""
    return [text.text or "" for text in drawing.iter("text")]


@given(charts(), st.booleans())
@settings(deadline=None)
def test_any_chart_is_well_formed_and_stands_inside_its_plot(made: dict[str, Any], standalone: bool) -> None:
    drawing = parsed(draw(made, standalone=standalone))
    shown = marks(drawing)
    assert len(shown) == read_chart(made).drawn
    height = float(drawing.attrib["height"])
    for mark in shown:
        x = mark.get("cx") or mark.get("x") or ""
        y = float(mark.get("cy") or mark.get("y") or "nan")
        assert x.endswith("%")
        assert 0 <= float(x[:-1]) <= 100
        assert 0 <= y <= height
        if mark.tag == "rect":
            assert float(x[:-1]) + float(mark.attrib["width"].rstrip("%")) <= 100.01
        assert mark.find(".//title") is not None
    numbers = [element.get(name, "") for element in drawing.iter() for name in COORDINATES]
    assert not [number for number in numbers if "n" in number], "NaN and infinity"


@given(charts())
@settings(deadline=None)
def test_a_drawing_has_no_script_no_style_of_its_own_and_no_link(made: dict[str, Any]) -> None:
    drawing = parsed(draw(made, standalone=False))
    allowed = {"svg", "g", "text", "line", "circle", "rect", "path", "polyline", "title"}
    for element in drawing.iter():
        assert element.tag in allowed
        assert not {name for name in element.attrib if name.startswith("on") or name in ("style", "href", "id")}


@pytest.mark.parametrize(
    "text", ["</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\0b\x1b\ufffec\ud800"]
)
def test_hostile_texts_are_shown_as_text(text: str) -> None:
    made = chart("bar", text, {text: [(text, 1, text)], "b": [("x", 2)]}, x=text, y=text, y_unit=text)
    shown = re.sub("[\0\x1b\ufffe\ud800]", "", text)
    drawing = parsed(draw(made, standalone=True))
    assert shown in texts(drawing)
    assert drawing.attrib["aria-label"].startswith(f"{shown}. Bar chart")
    assert (marks(drawing)[0].findtext("title") or "").startswith(shown)


def test_a_scatter_plot_puts_points_where_they_belong() -> None:
    made = chart("scatter", "", {"a": [(0, 0), (10, 10), (5, 2.5)]})
    low, high, middle = [
        (float(mark.attrib["cx"][:-1]), float(mark.attrib["cy"]))
        for mark in marks(parsed(draw(made, standalone=False)))
    ]
    assert low[0] < middle[0] < high[0]
    assert low[1] > middle[1] > high[1], "upwards is less"
    assert middle[0] == pytest.approx((low[0] + high[0]) / 2, abs=0.02)
    assert middle[1] == pytest.approx(low[1] + (high[1] - low[1]) / 4, abs=0.02)


def test_bars_begin_at_zero_and_are_as_long_as_their_values() -> None:
    drawing = parsed(draw(chart("bar", "", {"a": [("up", 30), ("down", -10), ("none", 0)]}), standalone=False))
    up, down, none = [(float(bar.attrib["x"][:-1]), float(bar.attrib["width"][:-1])) for bar in marks(drawing)]
    assert up[1] == pytest.approx(3 * down[1], abs=0.05)
    assert down[0] + down[1] == pytest.approx(up[0], abs=0.02)
    assert none == (up[0], 0)
    zero = next(line for line in drawing.iter("line") if line.get("class") == "chart-zero")
    assert float(zero.attrib["x1"][:-1]) == up[0]


def test_bars_of_several_series_stand_in_rows_of_their_category() -> None:
    """Also where the series have them in another order, or lack some."""
    made = chart("bar", "", {"a": [("x", 1), ("y", 2)], "b": [("y", 3), ("z", 4)]})
    tops = [float(bar.attrib["y"]) for bar in marks(parsed(draw(made, standalone=False)))]
    assert sorted(tops) == [tops[0], tops[1], tops[2], tops[3]]
    assert tops[2] - tops[1] < tops[1] - tops[0], "the two of y are neighbours"


def test_two_categories_of_one_name_have_two_bars() -> None:
    made = chart("bar", "", {"a": [("shoes", 1), ("shoes", 2)], "b": [("shoes", 3)]})
    drawing = parsed(draw(made, standalone=False))
    assert texts(drawing).count("shoes") == 2
    first, second, other = (float(bar.attrib["y"]) for bar in marks(drawing))
    assert first < other < second


def test_a_line_goes_through_its_points() -> None:
    drawing = parsed(draw(chart("line", "", {"a": [(1, 5), (2, 7), (3, 6)]}), standalone=False))
    line = next(drawing.iter("polyline"))
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    dots = [(float(mark.attrib["cx"][:-1]) * 10, float(mark.attrib["cy"])) for mark in marks(drawing)]
    for place, dot in zip(places, dots, strict=True):
        assert place == pytest.approx(dot, abs=0.1)


@pytest.mark.parametrize("kind", ["scatter", "line", "bar"])
def test_a_chart_without_points_says_so(kind: Any) -> None:
    assert texts(parsed(draw(chart(kind, "", {"a": []}), standalone=False))) == ["No data"]
    assert "No data" in texts(parsed(draw(chart(kind, "Nothing", {}), standalone=True)))


def test_axes_have_names_units_and_round_numbers() -> None:
    made = chart("line", "T", {"a": [(0, 0), (400, 97)]}, x="Time", x_unit="s", y="Latency", y_unit="ms")
    shown = texts(parsed(draw(made, standalone=True)))
    assert {"T", "Time (s)", "Latency (ms)", "0", "100", "200", "300", "400", "20", "80"} <= set(shown)


def test_a_file_has_its_title_its_legend_and_its_size() -> None:
    made = chart("scatter", "Map", {f"series {number}": [(number, 1)] for number in range(12)}, muted=["series 3"])
    drawing = parsed(draw(made, standalone=True))
    assert drawing.attrib["viewBox"] == f"0 0 {WIDTH_PX:.0f} {drawing.attrib['height']}"
    assert {"Map", *(f"series {number}" for number in range(12))} <= set(texts(drawing))
    rules = drawing.findtext("style") or ""
    assert rules.startswith("@media (prefers-color-scheme: dark)")
    assert all(colour in rules for colour in DARK)


def test_a_drawing_in_a_page_leaves_title_and_legend_to_it() -> None:
    made = chart("scatter", "Map", {"one": [(1, 1)], "two": [(2, 2)]})
    assert not {"Map", "one", "two"} & set(texts(parsed(draw(made, standalone=False))))
    read = read_chart(made)
    marks_of_legend = [parsed(swatch(read, at)) for at in range(2)]
    assert [mark[0].attrib["class"] for mark in marks_of_legend] == ["chart-hue-1", "chart-hue-2"]
    assert all(mark.attrib["aria-hidden"] == "true" for mark in marks_of_legend)


def test_what_is_muted_is_grey_and_below() -> None:
    made = chart("scatter", "", {"noise": [(0, 0)], "a": [(1, 1)]}, muted=["noise"])
    groups = [one for one in parsed(draw(made, standalone=False)).iter("g") if "data-series" in one.attrib]
    assert [(one.attrib["data-series"], one[0].attrib["color"]) for one in groups] == [("0", GREY[0]), ("1", LIGHT[0])]
    made = chart("scatter", "", {"a": [(1, 1)], "noise": [(0, 0)]}, muted=["noise"])
    groups = [one for one in parsed(draw(made, standalone=False)).iter("g") if "data-series" in one.attrib]
    assert [one.attrib["data-series"] for one in groups] == ["1", "0"]


def test_every_mark_says_its_name_and_numbers() -> None:
    made = chart(
        "line", "", {"p50": [(1, 2.5, "start")], "p99": [(1, 9)]}, x="Time", x_unit="s", y="Latency", y_unit="ms"
    )
    told = [mark.findtext(".//title") for mark in marks(parsed(draw(made, standalone=False)))]
    assert told == ["start\np50\nTime: 1 s\nLatency: 2.5 ms", "p99\nTime: 1 s\nLatency: 9 ms"]
    made = chart("scatter", "", {"a": [(1, 2, "a page")]})
    assert [mark.findtext("title") for mark in marks(parsed(draw(made, standalone=False)))] == ["a page"]
    made = chart("bar", "", {"org": [("404", 2)], "com": [("404", 3)]}, y="Pages", y_unit="pages")
    told = [mark.findtext("title") for mark in marks(parsed(draw(made, standalone=False)))]
    assert told == ["404\norg: 2 pages", "404\ncom: 3 pages"]


def test_the_text_alternative_has_kind_axes_and_values() -> None:
    made = chart("bar", "Sizes", {"a": [("shoes", 12), ("hats", 3)]}, y="Size", y_unit="kB")
    told = parsed(draw(made, standalone=False)).attrib["aria-label"]
    assert told == "Sizes. Bar chart, 1 series, 2 points; y: Size (kB); a: shoes 12 kB, hats 3 kB."
    made = chart("line", "", {"a": [(1, 2), (2, 30_000)], "b": []}, x="Time")
    told = parsed(draw(made, standalone=True)).attrib["aria-label"]
    assert told == "Line chart, 2 series, 2 points; x: Time; a: 2 points, y from 2 to 30,000; b: no points."


def test_a_chart_that_is_not_drawn_whole_says_so() -> None:
    made = chart("scatter", "", {"a": [(number, number) for number in range(10_000)]})
    drawing = parsed(draw(made, standalone=False))
    assert len(marks(drawing)) == MAX_MARKS
    assert f"{MAX_MARKS:,} of 10,000 points drawn" in texts(drawing)


def test_long_names_of_categories_stand_above_their_bars() -> None:
    name = "The answer did not come within ten seconds of the request at all"
    drawing = parsed(draw(chart("bar", "", {"a": [(name, 1), ("b", 2)]}), standalone=True))
    shown = next(text for text in drawing.iter("text") if text.text == name)
    assert (shown.attrib["x"], shown.attrib["text-anchor"]) == ("0", "start")
    drawing = parsed(draw(chart("bar", "", {"a": [("short", 1), ("b", 2)]}), standalone=True))
    shown = next(text for text in drawing.iter("text") if text.text == "short")
    assert shown.attrib["text-anchor"] == "end"


def test_only_a_chart_is_drawn() -> None:
    with pytest.raises(ValueError):
        draw({"$headway": "markdown", "text": ""}, standalone=True)


# Axes.


@given(st.lists(NUMBERS), st.booleans(), st.booleans(), st.integers(2, 8))
def test_an_axis_holds_all_values_and_has_round_ticks(
    values: list[float], zero: bool, rounded: bool, most: int
) -> None:
    found = axis(values, zero=zero, rounded=rounded, most=most)
    off = max(map(abs, [*values, 0])) * SAME + 1e-300  # what is smaller is drawn as zero
    assert found.low < found.high
    assert all(found.low - off <= value <= found.high + off for value in values)
    assert all(0 <= found.part(value) <= 1 for value in values)
    assert 1 <= len(found.ticks) <= 2 * most + 2
    assert len({tick.text for tick in found.ticks}) == len(found.ticks), "each says something else"
    assert all(math.isfinite(tick.value) for tick in found.ticks)
    if zero:
        assert found.low <= 0 <= found.high


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([1990, 2019], ["1990", "1995", "2000", "2005", "2010", "2015", "2020"]),
        ([0, 19_000_000], ["0", "5,000,000", "10,000,000", "15,000,000", "20,000,000"]),
        ([-40, 40], ["−40", "−20", "0", "20", "40"]),
        ([0, 6e-7], ["0", "1e-7", "2e-7", "3e-7", "4e-7", "5e-7", "6e-7"]),
        ([0, 5e12], ["0", "1e12", "2e12", "3e12", "4e12", "5e12"]),
    ],
)
def test_ticks_read_well(values: list[float], texts: list[str]) -> None:
    assert [tick.text.replace("−", "-") for tick in axis(values).ticks] == [text.replace("−", "-") for text in texts]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"), (1352, "1352"), (12_345, "12,345"), (-3.80832, "−3.80832"), (0.1 + 0.2, "0.3"), (2.0, "2"),
        (1234567.891, "1,234,568"), (1e21, "1e21"), (1.5e-9, "1.5e−9"), (123.456789, "123.457"),
    ],
)  # fmt: skip
def test_numbers_are_said_with_six_figures(number: float, said: str) -> None:
    assert spoken(number) == said


def test_numbers_beside_bars_are_short() -> None:
    assert [brief(number) for number in (21.259_73, -3.808_32, 1352, 0.000_123_46)] == [
        "21.26",
        "−3.808",
        "1352",
        "0.0001235",
    ]


@given(st.text(max_size=100), st.floats(0, 500))
def test_a_fitted_text_is_no_wider_than_asked(text: str, most_px: float) -> None:
    found = fitted(text, 12, most_px)
    assert found == text or width_of(found, 12) <= max(most_px, width_of("…", 12)) + 0.001


# Colours.


def linear(colour: str) -> tuple[float, ...]:
    """A colour's red, green and blue as amounts of light (sRGB, IEC 61966-2-1)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2)."""
    bright, dim = sorted(
        (
            sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))
            for colour in (one, other)
        ),
        reverse=True,
    )
    return (bright + 0.05) / (dim + 0.05)


EYES = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""How eyes without one kind of cones see (Machado, Oliveira and Fernandes 2009, severity 1)."""


def seen(colour: str, eyes: str) -> tuple[float, ...]:
    """A colour as these eyes see it, in OKLab (bottosson.github.io/posts/oklab)."""
    light = linear(colour)
    red, green, blue = (max(0.0, sum(a * b for a, b in zip(row, light, strict=True))) for row in EYES[eyes])
    long, middle, short = (
        value ** (1 / 3)
        for value in (
            0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue,
            0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue,
            0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue,
        )
    )
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


@pytest.mark.parametrize(("colours", "paper"), [(LIGHT, PAPER[0]), (DARK, PAPER[1])], ids=["light", "dark"])
def test_colours_stand_out_and_are_told_apart_by_all_eyes(colours: tuple[str, ...], paper: str) -> None:
    """3:1 on the paper (WCAG 1.4.11); 0.085 in OKLab is some four times what is just seen."""
    assert len(colours) == 10
    assert min(contrast(colour, paper) for colour in colours) >= 3
    for eyes in EYES:
        pairs = [(one, other) for at, one in enumerate(colours) for other in colours[at + 1 :]]
        assert min(math.dist(seen(one, eyes), seen(other, eyes)) for one, other in pairs) >= 0.085, eyes


def test_pages_have_the_same_colours() -> None:
    sheet = (ROOT / "static" / "css" / "chart.css").read_text()
    shown = re.findall(r"--chart-\d+: light-dark\((#\w+), (#\w+)\);", sheet)
    assert shown == [GREY, *zip(LIGHT, DARK, strict=True)]


@given(charts())
@settings(deadline=None)
def test_pages_have_room_for_every_name_at_the_sides(made: dict[str, Any]) -> None:
    """Each class that a drawing asks for is in the style sheet."""
    sheet = (ROOT / "static" / "css" / "chart.css").read_text()
    classes = parsed(draw(made, standalone=False)).attrib["class"].split()
    assert [name for name in classes[1:] if f".{name} " not in sheet] == []


def test_a_read_chart_is_drawn_as_well() -> None:
    made = chart("scatter", "", {"a": [(1, 1)]})
    read = read_chart(made)
    assert isinstance(read, Chart)
    assert draw(read, standalone=False) == draw(made, standalone=False)


def test_namespaces_make_a_file_an_svg() -> None:
    assert ElementTree.fromstring(draw(chart("line", "", {}), standalone=True)).tag == f"{SVG}svg"
