"""What holds for every page: true without scripts, whole on a phone, readable in the dark, usable without a mouse."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

DARK_LUMINANCE = 60
PHONE = {"viewport": {"width": 320, "height": 640}}


def _paths(visitor):
    """Each page of the server, with runs in each state on them."""
    launch = visitor.server.launch
    long = "https://example.org/" + "long-" * 60
    runs = [
        launch("walk", start=long, steps=3, skip=[long]),
        launch("say", lines=[long, "x"], fail=True),
        launch("walk", start=long, steps=400),
    ]
    for run in runs[:2]:  # what is live on the pages does not change while they are looked at
        visitor.server.wait_ended(run)
    return [
        "/",
        "/jobs/walk",
        "/jobs/say",
        "/jobs/count",
        "/runs",
        *[f"/runs/{run}" for run in runs],
        "/runs/none",
        "/login",
    ]


def _colour(locator, name):
    """Red, green and blue of a computed style."""
    style = locator.evaluate("(element, name) => getComputedStyle(element)[name]", name)
    return [int(part) for part in re.findall(r"\d+", style)[:3]]


@pytest.mark.parametrize("visitor", [PHONE], indirect=True, ids=["320 px"])
def test_no_page_scrolls_sideways_on_a_phone(visitor):
    for path in _paths(visitor):
        page = visitor.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path


@pytest.mark.parametrize("visitor", [{"color_scheme": "dark"}], indirect=True, ids=["dark"])
def test_every_page_is_dark_where_the_system_is(visitor):
    for path in ("/", "/jobs/walk", "/runs", "/login"):
        page = visitor.open(path)
        background = _colour(page.locator("body"), "backgroundColor")
        text = _colour(page.locator("h1"), "color")
        assert max(background) < DARK_LUMINANCE < min(text), path


@pytest.mark.parametrize("visitor", [{"java_script_enabled": False}], indirect=True, ids=["no JavaScript"])
def test_every_page_is_true_and_every_form_works_without_scripts(visitor):
    page = visitor.open("/jobs/walk")
    page.get_by_label("Start").fill("https://example.org/")
    page.get_by_label("Steps").fill("400")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/*")
    while page.locator("run-rows tbody tr").count() < 5:
        page.reload()
    assert visitor.percent > 0
    expect(visitor.headline).to_have_text("Walking")
    expect(page.locator(".bar rect")).to_have_attribute("width", re.compile(r"^[\d.]+%$"))
    expect(page.get_by_text("Load it again")).to_be_visible()
    expect(page.locator("run-log")).to_contain_text("packed")
    page.get_by_role("button", name="Cancel").click()
    while visitor.headline.text_content() != "Cancelled":
        page.goto(page.url)
    expect(page.get_by_role("region", name="Error")).to_contain_text("The run was cancelled.")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Runs").click()
    expect(page.locator(".runs li").first).to_contain_text("Cancelled")


def test_every_field_has_a_name_and_every_page_one_heading(visitor):
    for path in _paths(visitor):
        page = visitor.open(path)
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("main")).to_have_count(1)
        for way in ("upload", "paste", "choice"):  # to give a file, of which the page shows one
            for radio in page.locator(f".ways [value={way}]").all():
                radio.check()
            fields = page.locator("input:not([type=hidden]), select, textarea, button, [role=progressbar]")
            for field in fields.filter(visible=True).all():
                expect(field).to_have_accessible_name(re.compile(r"\S"))


def test_the_list_of_runs_is_filtered_and_kept_up_to_date(visitor):
    run = visitor.launch("walk", start="https://example.org/", steps="60")
    page = visitor.open("/runs?job=walk")
    item = page.locator(f"[data-run='{run}']")
    expect(item).to_contain_text("Running")
    expect(item.get_by_role("progressbar")).to_be_visible()
    expect(item).to_contain_text("Completed", timeout=15_000)
    expect(item.get_by_role("progressbar")).to_have_count(0)
    page.get_by_label("Job").select_option(label="Say")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".runs").get_by_text("Walk")).to_have_count(0)


def test_a_run_that_no_longer_fits_the_filter_leaves_the_list(visitor):
    run = visitor.launch("walk", start="https://example.org/", steps="60")
    page = visitor.open("/runs?status=processing")
    item = page.locator(f"[data-run='{run}']")
    expect(item.get_by_role("progressbar")).to_be_visible()
    expect(item).to_have_count(0, timeout=15_000)


def test_older_runs_are_a_link_away(visitor):
    for _ in range(52):
        visitor.server.launch("say", lines=["x"])
    page = visitor.open("/runs?job=say")
    expect(page.locator(".runs li")).to_have_count(50)
    newest = page.locator(".runs a").first.get_attribute("href")
    page.get_by_role("link", name="Older").click()
    expect(page.locator(".runs li").first).to_be_visible()
    assert newest not in page.locator(".runs a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")


def test_a_thousand_rows_a_second_do_not_freeze_the_page(visitor):
    visitor.launch("walk", start="https://example.org/", steps="5000", pause="0")
    visitor.expect_end()
    expect(visitor.page.locator("run-rows tbody tr")).to_have_count(500)
    expect(visitor.page.get_by_text("the newest 500 of 5,000 rows")).to_be_visible()
