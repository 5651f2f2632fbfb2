"""What a job returns to be drawn, and how its result is read again: a stranger's JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs
from jobs.figures import MAX_BARS, MAX_MARKS, Chart, Image, Markdown, chart, figure_of, image, markdown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = (
    "$headway",
    "kind",
    "title",
    "x",
    "y",
    "series",
    "text",
    "file",
    "alt",
    "name",
    "points",
    "label",
    "unit",
    "muted",
)
WORDS = st.sampled_from(["chart", "markdown", "image", "scatter", "bar", "line"])
CLAIMS = st.recursive(
    JSON | WORDS,
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner | WORDS, max_size=8) | st.lists(inner, max_size=3),
    max_leaves=20,
)


def points_of(made: dict[str, Any]) -> list[Any]:
    """The points of a chart's first series."""
    found: list[Any] = made["series"][0]["points"]
    return found


def test_a_chart_is_json_that_says_all() -> None:
    made = chart(
        "line",
        "Latency",
        {"p50": [(1, 2.5), (2, 3, "here")], "rest": []},
        x="Time",
        y="Latency",
        x_unit="s",
        y_unit="ms",
        muted=["rest"],
    )
    assert (
        json.loads(json.dumps(made))
        == made
        == {
            "$headway": "chart",
            "kind": "line",
            "title": "Latency",
            "x": {"label": "Time", "unit": "s"},
            "y": {"label": "Latency", "unit": "ms"},
            "series": [
                {"name": "p50", "points": [[1, 2.5], [2, 3, "here"]]},
                {"name": "rest", "points": [], "muted": True},
            ],
        }
    )


def test_authors_have_all_of_it_at_their_door() -> None:
    assert (jobs.chart, jobs.markdown, jobs.image) == (chart, markdown, image)
    assert jobs.draw_chart(chart("bar", "", {"a": [("x", 1)]}), standalone=True).startswith("<svg")


def test_numbers_of_other_libraries_become_json() -> None:
    numpy = pytest.importorskip("numpy")
    given = [(numpy.int64(1), numpy.float32(0.5)), (Decimal("2"), numpy.float64(1e-3))]
    found = points_of(chart("scatter", "", {"a": given}))
    assert json.loads(json.dumps(found)) == [[1, 0.5], [2.0, 0.001]]


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("line", [(1, float("nan"))]),
        ("line", [(float("inf"), 1)]),
        ("line", [(1, -float("inf"))]),
        ("line", [(1, 10**400)]),
        ("line", [(1, True)]),
        ("line", [(1, None)]),
        ("line", [(1, "2")]),
        ("line", [("category", 2)]),
        ("line", [(1,)]),
        ("line", [(1, 2, 3)]),
        ("scatter", [("a", 2)]),
        ("bar", [(1, 2)]),
        ("pie", [(1, 2)]),
    ],
)
def test_what_cannot_be_drawn_is_refused_where_it_is_made(kind: Any, points: list[Any]) -> None:
    with pytest.raises(ValueError):
        chart(kind, "title", {"series": points})


def test_a_point_that_cannot_be_drawn_is_found_among_those_that_are_not() -> None:
    """Only every n-th point is drawn, but all are downloaded."""
    many: list[Any] = [(number, number) for number in range(3 * MAX_MARKS)]
    many[1] = (1, "x")
    with pytest.raises(ValueError):
        chart("scatter", "", {"a": many})


def test_a_muted_series_has_to_exist() -> None:
    with pytest.raises(ValueError, match="noise"):
        chart("scatter", "", {"a": []}, muted=["noise"])


def test_an_image_needs_a_file() -> None:
    with pytest.raises(ValueError):
        image("", "nothing")


def test_figures_are_read_as_what_they_are() -> None:
    found = figure_of(chart("bar", "Sizes", {"a": [("x", 1)]}, y="Size", y_unit="kB"))
    assert isinstance(found, Chart)
    assert (found.title, found.y.unit, found.series[0].points[0].x) == ("Sizes", "kB", "x")
    assert figure_of(markdown("# Hello")) == Markdown("# Hello")
    assert figure_of(image("a.png", "A cat")) == Image("a.png", "A cat")


def test_of_too_many_points_every_nth_is_drawn_and_all_are_kept() -> None:
    made = chart("scatter", "", {name: [(number, 1) for number in range(5000)] for name in ("a", "b")})
    found = figure_of(made)
    assert isinstance(found, Chart)
    assert found.total == 10_000
    assert MAX_MARKS / 2 < found.drawn <= MAX_MARKS
    assert len(points_of(made)) == 5000
    assert [point.x for point in found.series[0].points[:3]] == [0, 5, 10]


def test_of_too_many_bars_the_first_are_drawn() -> None:
    made = chart("bar", "", {name: [(f"c{number}", 1) for number in range(400)] for name in ("a", "b")})
    found = figure_of(made)
    assert isinstance(found, Chart)
    assert found.drawn == MAX_BARS
    assert [point.x for point in found.series[1].points] == [f"c{number}" for number in range(MAX_BARS // 2)]


@given(CLAIMS)
def test_whatever_claims_to_be_a_figure_is_one_or_plain_json(value: Any) -> None:
    """Never an error."""
    figure_of(value)


@pytest.mark.parametrize(
    "broken",
    [
        {"series": None},
        {"series": {}},
        {"series": [None]},
        {"series": [{"name": "a"}]},
        {"series": [{"points": [[1]]}]},
        {"series": [{"points": [[1, None]]}]},
        {"series": [{"points": [["x", 1]]}]},
        {"series": [{"points": [[1, 1e301]]}]},
        {"series": [{"points": [[1, 1, {}]]}]},
        {"series": [{"points": "ab"}]},
        {"series": [], "kind": "pie"},
        {"series": [], "kind": []},
        {"series": [], "x": "x"},
        {"series": [], "x": {"label": 5}},
        {"series": [], "title": {}},
    ],
)
def test_a_malformed_chart_is_plain_json(broken: dict[str, Any]) -> None:
    assert figure_of({"$headway": "chart", "kind": "line", **broken}) is None


def test_a_huge_chart_costs_no_more_than_one_that_fits() -> None:
    """Cost, not time: of a million points only those that are drawn are looked at, the broken ones between are not."""
    points: list[Any] = [[number, number] if number % 500 == 0 else None for number in range(1_000_000)]
    found = figure_of({"$headway": "chart", "kind": "scatter", "series": [{"name": "a", "points": points}]})
    assert isinstance(found, Chart)
    assert found.drawn == MAX_MARKS
