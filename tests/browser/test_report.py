"""The report of a site, made by one click and read without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor

pytestmark = pytest.mark.browser


def test_the_sample_is_one_click_and_its_report_needs_nothing_but_itself(
    visitor: Visitor, chromium: Browser, tmp_path: Path
) -> None:
    """The run's page shows the charts; the downloaded file opens offline, in light and dark, on a narrow screen."""
    page = visitor.open("/jobs/site_report")
    page.get_by_role("button", name="Try it with a sample").click()
    visitor.expect_end()
    expect(page.get_by_role("img", name="Map of the pages: near is what reads alike")).to_be_visible()
    with page.expect_download() as download:
        page.locator(".files").get_by_role("link", name="report.html", exact=True).click()
    path = tmp_path / "report.html"
    download.value.save_as(path)

    for scheme in ("light", "dark"):
        context = chromium.new_context(color_scheme=scheme, offline=True, viewport={"width": 320, "height": 640})
        reader = context.new_page()
        asked: list[str] = []
        faults: list[str] = []
        reader.on("request", lambda request, asked=asked: asked.append(request.url))
        reader.on("console", lambda message, faults=faults: faults.append(message.text))
        reader.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
        reader.goto(path.as_uri())
        assert asked == [path.as_uri()] and faults == []
        expect(reader.get_by_role("heading", level=1)).to_contain_text("Report on 127.0.0.1")
        assert reader.locator("figure svg[role=img]").count() == 5
        for name in ("Answers by status", "Pages by group", "Map of the pages: near is what reads alike"):
            expect(reader.get_by_role("img", name=name)).to_be_visible()
        assert reader.evaluate("document.documentElement.scrollWidth") <= 320
        ink, paper = (
            reader.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor")
        )
        assert (brightness(paper) > brightness(ink)) is (scheme == "light")
        context.close()


def brightness(colour: str) -> int:
    """The sum of ``rgb(1, 2, 3)``."""
    return sum(int(part) for part in colour.strip("rgb()").split(","))
