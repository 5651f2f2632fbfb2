"""Results as what they are, in a real browser: tables that sort and filter, charts that answer, pictures, markdown."""

from __future__ import annotations

import csv
import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import expect

from jobs.charts.mark import DARK, LIGHT
from jobs.figures import chart, image, markdown
from tests.browser.test_hostile_text import PAYLOADS
from tests.harness import wait_for

pytestmark = pytest.mark.browser

DARK_CONTEXT = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True}
NO_SCRIPT = {"java_script_enabled": False}


@pytest.fixture(scope="module")
def figures(server):
    """A run that returned one of everything."""
    run = server.launch("figures")
    assert server.wait_ended(run)["status"] == "completed"
    return run


def result_of(visitor, value):
    """The page of a run that returned this."""
    run = visitor.server.launch("give", value=json.dumps(value))
    assert visitor.server.wait_ended(run)["status"] == "completed"
    return visitor.open(f"/runs/{run}")


def column(table, number):
    """The texts of a column, of the rows that are seen."""
    return table.locator(f"tbody tr:not([hidden]) td:nth-child({number})").all_inner_texts()


def part(page, name):
    """A part of the result, by its name."""
    return page.locator(f".value .fact:has(> dt:text-is('{name}')) > dd")


def rgb(colour):
    """A colour of a style sheet as the browser says it."""
    return "rgb({}, {}, {})".format(*(int(colour[at : at + 2], 16) for at in (1, 3, 5)))


PLACED_TEXTS = """
drawing => [...drawing.querySelectorAll("text")]
  .filter((text) => text.checkVisibility() && !text.closest(".chart-halo")) // those are cut where the plot ends
  .map((text) => ({ box: text.getBoundingClientRect(), anchor: text.getAttribute("text-anchor") }))
  .map(({ box, anchor }) => ({ left: box.left, right: box.right, top: Math.round(box.top), anchor }))
"""

# Tables.

ROWS = [
    {"name": "ten", "size": 10, "text": "10"},
    {"name": "nine", "size": 9, "text": "9"},
    {"name": "none", "size": None, "text": ""},
    {"name": "minus", "size": -3.5, "text": "a"},
    {"name": "Nine again", "size": 9, "text": "B"},
    {"name": "big", "size": 1e21, "text": "9b"},
]


def test_a_heading_sorts_up_then_down_then_not(visitor):
    page = result_of(visitor, ROWS)
    table = page.locator(".value table")
    heading = page.get_by_role("columnheader", name="size")
    own = column(table, 1)
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert column(table, 1) == ["minus", "nine", "Nine again", "ten", "big", "none"], (
        "as numbers, equal ones as they came"
    )
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert column(table, 1) == ["big", "ten", "nine", "Nine again", "minus", "none"], "what is empty stays last"
    heading.get_by_role("button").click()
    expect(heading).not_to_have_attribute("aria-sort", re.compile(".*"))
    assert column(table, 1) == own


def test_texts_are_sorted_as_people_do_and_by_the_keyboard(visitor):
    page = result_of(visitor, ROWS)
    page.get_by_role("button", name="text").focus()
    page.keyboard.press("Enter")
    assert column(page.locator(".value table"), 3) == ["9", "9b", "10", "a", "B", ""]
    expect(page.get_by_role("status").filter(has_text="Sorted by text, ascending")).to_have_count(1)


def test_a_filter_hides_what_does_not_hold_the_text_and_counts(visitor):
    page = result_of(visitor, [{"word": f"{'even' if number % 2 else 'odd'} {number}"} for number in range(300)])
    field = page.get_by_role("searchbox", name="Filter rows")
    field.fill("EVEN 1")
    expect(page.locator(".value .table-count")).to_have_text("56 of 300 rows")
    expect(page.get_by_role("status").filter(has_text="56 of 300 rows")).to_have_count(1)
    assert {text[:6] for text in column(page.locator(".value table"), 1)} == {"even 1"}
    page.get_by_role("button", name="word").click()
    page.get_by_role("button", name="word").click()
    assert column(page.locator(".value table"), 1)[0] == "even 199"
    field.fill("")
    expect(page.locator(".value tbody tr:visible")).to_have_count(300)
    expect(page.locator(".value .table-count")).to_have_text("")


def test_a_short_table_has_no_filter(visitor):
    page = result_of(visitor, ROWS[:4])
    expect(page.get_by_role("button", name="size")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_count(0)


def test_a_table_in_a_cell_is_not_taken_for_the_table(visitor):
    inner = [{"x": 2, "deep": {"y": 1}}, {"x": 1, "deep": {"y": 2}}]
    page = result_of(visitor, [{"name": name, "inner": inner} for name in ("b", "a")])
    page.get_by_role("button", name="name").click()
    table = page.locator(".value data-table > .scroller > table")
    expect(page.locator(".value data-table")).to_have_count(1)
    names = table.evaluate("table => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent)")
    assert names == ["a", "b"]
    assert column(table.locator("table").first, 1) == ["2", "1"]


def test_rows_are_sorted_and_filtered_while_they_come(visitor):
    visitor.launch("walk", start="https://example.org/", steps="400", pause="0.02")
    page = visitor.page
    rows = page.locator("run-rows tbody tr:visible")
    expect(page.get_by_role("searchbox", name="Filter rows")).to_be_visible()
    page.get_by_role("button", name="step").click()
    page.get_by_role("button", name="step").click()
    page.get_by_role("searchbox", name="Filter rows").fill("7")
    seen = rows.count()
    wait_for(lambda: rows.count() > seen + 3, what="more rows that fit")
    shown = [int(text) for text in column(page.locator("run-rows table"), 1)]
    assert shown == sorted(shown, reverse=True)
    assert all("7" in str(number) for number in shown)
    expect(page.locator("run-rows .table-count")).to_have_text(re.compile(r"^\d+ of \d+ rows$"))
    page.get_by_role("button", name="Cancel").click()
    visitor.expect_end("Cancelled")


def test_of_sorted_rows_the_oldest_goes_when_there_are_too_many(visitor):
    """Not the first on the page: that is the newest here."""
    visitor.launch("walk", start="https://example.org/", steps="900", pause="0.004")
    page = visitor.page
    page.get_by_role("button", name="step").click()
    page.get_by_role("button", name="step").click()
    visitor.expect_end()
    expect(page.locator("run-rows tbody tr")).to_have_count(500)
    expect(page.locator("run-rows tbody td:first-child").first).to_have_text("899")
    expect(page.locator("run-rows tbody td:first-child").last).to_have_text("400")
    page.get_by_role("button", name="step").click()
    expect(page.locator("run-rows tbody td:first-child").first).to_have_text("400")


def test_of_a_long_table_some_rows_are_shown_and_all_are_downloaded(visitor, tmp_path):
    rows = [{"number": number, "text": "=1+1"} for number in range(1200)]
    page = result_of(visitor, {"rows": rows})
    expect(page.locator(".value tbody tr")).to_have_count(500)
    expect(page.get_by_text("500 of 1,200 shown; the downloads have all.")).to_be_visible()
    saved = download(page, "Download rows as CSV", tmp_path)
    with saved.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [int(row["number"]) for row in found] == list(range(1200))
    assert found[0]["text"] == "'=1+1"
    assert json.loads(download(page, "Download rows as JSON", tmp_path).read_text()) == rows


def download(page, name: str, folder: Path) -> Path:
    """The file that a link gives."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_the_rows_of_a_run_are_downloaded_and_used_as_input(visitor, figures, tmp_path):
    page = visitor.open(f"/runs/{figures}")
    with download(page, "Download the rows as CSV", tmp_path).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 40
    assert len(json.loads(download(page, "Download the rows as JSON", tmp_path).read_text())) == 40
    expect(page.get_by_role("link", name="Use the rows as input")).to_have_attribute(
        "href", f"/?input=run%3A{figures}/rows"
    )
    used = page.get_by_role("link", name="Use pages.csv as input")
    expect(used).to_have_attribute("href", f"/?input=run%3A{figures}/pages.csv")
    expect(page.get_by_role("link", name="Use picture.png as input")).to_have_count(0)
    used.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("pages.csv")


def test_only_rows_of_a_run_that_has_ended_are_offered_as_input(visitor):
    visitor.launch("walk", start="https://example.org/", steps="30")
    expect(visitor.page.get_by_role("link", name="Download the rows as CSV")).to_be_visible()
    expect(visitor.page.get_by_role("link", name="Use the rows as input")).to_have_count(0)
    visitor.expect_end()
    expect(visitor.page.get_by_role("link", name="Use the rows as input")).to_be_visible()


# Charts.

TWO_LINES = chart(
    "line",
    "Latency",
    {"p50": [(1, 2), (2, 3), (3, 2.5)], "p99": [(1, 9), (2, 12), (3, 8)]},
    x="Time",
    x_unit="s",
    y="Time to answer",
    y_unit="ms",
)


def test_arrow_keys_walk_the_points_of_a_chart(visitor):
    page = result_of(visitor, TWO_LINES)
    tip = page.locator(".chart-tip")
    expect(tip).to_be_hidden()
    page.get_by_role("application", name="Latency").focus()
    page.keyboard.press("ArrowRight")
    for key, said in [
        ("ArrowRight", "p50Time: 3 sTime to answer: 2.5 ms"),
        ("ArrowLeft", "p50Time: 2 sTime to answer: 3 ms"),
        ("ArrowDown", "p99Time: 2 sTime to answer: 12 ms"),
        ("ArrowDown", "p99Time: 2 sTime to answer: 12 ms"),
        ("End", "p99Time: 3 sTime to answer: 8 ms"),
        ("ArrowUp", "p50Time: 3 sTime to answer: 2.5 ms"),
        ("Home", "p50Time: 1 sTime to answer: 2 ms"),
    ]:
        page.keyboard.press(key)
        assert tip.text_content().replace("\n", "") == said
        status = page.locator(".chart-frame [role=status]")
        assert status.text_content().replace("\n", "") == said
        expect(page.locator(".chart-drawing .is-here")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_a_point_says_its_values_when_pointed_at(visitor):
    page = result_of(visitor, TWO_LINES)
    drawing = page.locator(".chart-drawing")
    expect(drawing.locator("title")).to_have_count(0)  # the browser would show a second tip
    mark = drawing.locator("[data-series='1'] [data-marks] > *").nth(1).locator("path")
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 9, box["y"] - 6)
    tip = page.locator(".chart-tip")
    expect(tip).to_have_text(re.compile(r"^p99\s*Time: 2 s\s*Time to answer: 12 ms$"))
    shown = tip.bounding_box()
    frame = page.locator(".chart-frame").bounding_box()
    assert frame["x"] <= shown["x"] and shown["x"] + shown["width"] <= frame["x"] + frame["width"]
    page.mouse.move(1, 1)
    expect(tip).to_be_hidden()


def test_entries_of_the_legend_hide_their_series(visitor):
    page = result_of(visitor, TWO_LINES)
    entry = page.get_by_role("button", name="p50")
    expect(entry).to_have_attribute("aria-pressed", "true")
    entry.press("Enter")
    expect(entry).to_have_attribute("aria-pressed", "false")
    expect(page.locator("[data-series='0']")).to_be_hidden()
    expect(page.locator("[data-series='1']")).to_be_visible()
    page.get_by_role("application", name="Latency").focus()
    page.keyboard.press("Home")
    expect(page.locator(".chart-tip strong")).to_have_text("p99")
    entry.press("Enter")
    expect(page.locator("[data-series='0']")).to_be_visible()


def test_charts_are_downloaded_as_svg_csv_and_json(visitor, figures, tmp_path):
    page = visitor.open(f"/runs/{figures}")
    drawing = ElementTree.fromstring(download(page, "Download map as SVG", tmp_path).read_text())
    assert drawing.attrib["aria-label"].startswith("Map of the texts. Scatter plot")
    saved = download(page, "Download map as CSV", tmp_path)
    with saved.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 600
    assert json.loads(download(page, "Download map as JSON", tmp_path).read_text())["kind"] == "scatter"


@pytest.mark.parametrize("visitor", [{}, DARK_CONTEXT], indirect=True, ids=["light", "dark"])
def test_charts_have_their_own_colours_by_day_and_by_night(visitor, request):
    page = result_of(visitor, TWO_LINES)
    wanted = DARK if "dark" in request.node.name else LIGHT
    lines = page.locator(".chart-drawing polyline")
    shown = lines.evaluate_all("lines => lines.map((line) => getComputedStyle(line).stroke)")
    assert shown == [rgb(colour) for colour in wanted[:2]]
    ink = page.locator(".chart-ink").first.evaluate("text => getComputedStyle(text).fill")
    assert ink == page.locator("h1").evaluate("heading => getComputedStyle(heading).color")


def test_a_downloaded_drawing_is_dark_where_the_system_is(visitor, figures, tmp_path):
    page = visitor.open(f"/runs/{figures}")
    saved = download(page, "Download scores as SVG", tmp_path)
    for scheme, colour in (("light", LIGHT[0]), ("dark", DARK[0])):
        page.emulate_media(color_scheme=scheme)
        page.goto(saved.as_uri())
        assert page.locator("polyline").first.evaluate("line => getComputedStyle(line).stroke") == rgb(colour)


@pytest.mark.parametrize("visitor", [PHONE, PHONE | DARK_CONTEXT], indirect=True, ids=["light", "dark"])
def test_results_fit_a_phone(visitor, figures):
    """No part of the page is wider than 320 px, and no two texts of an axis stand on each other."""
    page = visitor.open(f"/runs/{figures}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for drawing in page.locator(".chart-drawing").all():
        texts = drawing.evaluate(PLACED_TEXTS)
        assert texts and all(0 <= text["left"] and text["right"] <= 320 for text in texts)
        ticks = sorted((text["top"], text["left"], text["right"]) for text in texts if text["anchor"] == "middle")
        for (top, _, right), (next_top, left, _) in pairwise(ticks):
            assert top != next_top or right < left, drawing.get_attribute("aria-label")


@pytest.mark.parametrize("visitor", [PHONE], indirect=True, ids=["touch"])
def test_a_touch_shows_a_value(visitor):
    page = result_of(visitor, chart("bar", "Sizes", {"a": [("shoes", 3), ("hats", 5)]}, y="Size", y_unit="kB"))
    page.locator(".chart-drawing [data-marks] rect").nth(1).tap()
    expect(page.locator(".chart-tip")).to_have_text(re.compile(r"^hats\s*5 kB$"))


@pytest.mark.parametrize("visitor", [NO_SCRIPT], indirect=True, ids=["no JavaScript"])
def test_results_are_whole_without_scripts(visitor, figures):
    page = visitor.open(f"/runs/{figures}")
    expect(page.locator(".chart-drawing")).to_have_count(6)
    expect(page.locator(".legend button")).to_have_count(0)
    expect(page.locator(".legend li").first).to_have_text("running shoes")
    first = page.locator("[data-series='0'] title").first
    assert first.evaluate("title => title.textContent").startswith("running shoes number 0")
    expect(page.locator(".value data-table").first.locator("tbody tr")).to_have_count(10)
    expect(page.get_by_role("searchbox")).to_have_count(0)
    expect(page.get_by_role("link", name="Download clusters as CSV")).to_be_visible()


def test_a_drawing_says_in_words_what_it_shows(visitor):
    page = result_of(visitor, chart("bar", "Sizes", {"a": [("shoes", 3)]}, y="Size", y_unit="kB"))
    words = "Sizes. Bar chart, 1 series, 1 point; y: Size (kB); a: shoes 3 kB."
    expect(page.get_by_role("img", name=words, exact=True)).to_be_visible()


@pytest.mark.parametrize(
    "broken",
    [
        {"$headway": "chart", "kind": "pie", "series": []},
        {"$headway": "chart", "kind": "line", "series": [{"name": "a", "points": [["x", 1]]}]},
        {"$headway": "markdown", "text": ["not", "text"]},
        {"$headway": "image"},
        {"$headway": {"chart": 1}},
        {"$headway": "surprise"},
    ],
)
def test_what_only_claims_to_be_a_figure_is_shown_as_any_object(visitor, broken):
    page = result_of(visitor, {"part": broken, "list": [broken]})
    expect(page.locator(".chart-drawing, .markdown, .picture")).to_have_count(0)
    expect(page.get_by_text("$headway").first).to_be_visible()


def test_charts_in_a_list_are_drawn_each(visitor):
    page = result_of(visitor, [{"name": "one", "chart": TWO_LINES}, {"name": "two", "chart": TWO_LINES}])
    expect(page.locator(".chart-drawing")).to_have_count(2)
    expect(page.get_by_role("link", name="Download chart as SVG").last).to_have_attribute(
        "href", re.compile(r"\?part=/1/chart&format=svg$")
    )


# Pictures, markdown, hostile texts.


def test_pictures_of_the_run_are_shown(visitor, figures):
    page = visitor.open(f"/runs/{figures}")
    for name in ("A gradient from red to blue", "drawing.svg"):
        picture = page.get_by_role("img", name=name)
        picture.scroll_into_view_if_needed()
        wait_for(lambda picture=picture: picture.evaluate("image => image.naturalWidth") > 0, what=name)
    expect(page.get_by_role("img", name="picture.png")).to_have_count(0)  # it is in the result already


def test_a_picture_that_the_run_did_not_write_is_named(visitor):
    page = result_of(visitor, image("../../../key", "A key"))
    expect(page.locator(".value")).to_contain_text("The image ../../../key is missing. A key")
    expect(page.locator(".value img")).to_have_count(0)


def test_markdown_is_rendered(visitor, figures):
    page = visitor.open(f"/runs/{figures}")
    text = page.locator(".markdown")
    expect(text.get_by_role("heading", name="A report", level=3)).to_be_visible()
    expect(text.locator("strong")).to_have_text("bold")
    expect(text.get_by_role("link", name="link", exact=True)).to_have_attribute("rel", "noreferrer noopener")
    expect(text.get_by_role("cell", name="120")).to_have_css("text-align", "end")
    expect(text.get_by_role("link", name="a picture from elsewhere")).to_be_visible()
    expect(text.locator("img")).to_have_count(0)
    expect(page.locator("h1")).to_have_count(1)


def test_hostile_texts_in_figures_do_nothing(visitor):
    """The visitor's fixture sees dialogs, violations of the CSP and script errors; the texts are seen as they are."""
    series = {payload: [(1, 2, payload)] for payload in PAYLOADS}
    page = result_of(
        visitor,
        {
            "scatter": chart("scatter", PAYLOADS[0], series, x=PAYLOADS[2], y=PAYLOADS[4], y_unit=PAYLOADS[6]),
            "bars": chart("bar", PAYLOADS[1], {"a": [(payload, 1, payload) for payload in PAYLOADS]}),
            "markdown": markdown("\n\n".join(PAYLOADS)),
            "image": image(PAYLOADS[2], PAYLOADS[2]),
            "table": [{payload: payload} for payload in PAYLOADS],
            PAYLOADS[2]: [[payload, 1] for payload in PAYLOADS],
        },
    )
    expect(page.locator(".legend li")).to_have_text(PAYLOADS)
    page.locator(".chart-frame").first.focus()
    page.keyboard.press("Home")
    for payload in PAYLOADS[:5]:
        expect(page.locator(".chart-tip strong").first).to_have_text(payload)
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Column 1").click()
    assert page.locator(".value :is(script, iframe, object, embed, base, meta, video, img, form, marquee)").count() == 0
    links = page.locator(".value a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(links) <= {"http:", "https:"}
    for form in ("svg", "csv"):
        path = page.get_by_role("link", name=f"Download scatter as {form.upper()}").get_attribute("href")
        assert visitor.context.request.get(visitor.server.url + path).ok


def test_two_thousand_points_are_drawn_and_found(visitor):
    run = visitor.server.launch("figures", points=2000)
    visitor.server.wait_ended(run)
    page = visitor.open(f"/runs/{run}")
    marks = page.get_by_role("img", name="Map of the texts").locator("[data-marks] > *")
    expect(marks).to_have_count(2000)
    page.get_by_role("application", name="Map of the texts").focus()
    page.keyboard.press("Home")
    expect(page.locator(".chart-tip strong").first).to_have_text("running shoes number 0")
