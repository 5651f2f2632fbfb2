"""A real Chromium that is logged in; every page is watched for what must never happen on any of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.harness import Server, wait_for

JOBS = str(Path(__file__).parent / "jobs")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


class Visitor:
    """Somebody in front of a browser, logged in; remembers dialogs, CSP violations and script errors."""

    def __init__(self, context: BrowserContext, server: Server) -> None:
        self.context = context
        self.server = server
        self.faults: list[str] = []
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("dialog", self._note_dialog)
        context.on("weberror", lambda error: self.faults.append(f"script error: {error.error}"))
        context.on("console", self._note_console)
        answer = context.request.post(f"{server.url}/login", form={"key": server.key, "next": "/"})
        assert answer.ok
        self.page = context.new_page()

    def open(self, path: str) -> Page:
        """Go to a page of the server."""
        self.page.goto(self.server.url + path)
        return self.page

    def launch(self, job: str, **fields: str) -> str:
        """Fill in a job's form and send it; gives the run's id."""
        page = self.open(f"/jobs/{job}")
        for name, value in fields.items():
            page.fill(f"[name={name}]", value)
        page.get_by_role("button", name="Start run").click()
        page.wait_for_url(re.compile(r"/runs/\w+$"))
        return page.url.rpartition("/")[2]

    @property
    def bar(self) -> Locator:
        """The bar of the run's page."""
        return self.page.get_by_role("progressbar", name="Progress")

    @property
    def percent(self) -> float:
        """Where the bar stands."""
        return float(self.bar.get_attribute("aria-valuenow") or 0)

    @property
    def headline(self) -> Locator:
        """The step, or how the run ended."""
        return self.page.locator("[data-part=step]")

    def expect_beyond(self, percent: float) -> None:
        """Wait until the bar stands beyond this."""
        wait_for(lambda: self.percent > percent, what=f"a bar beyond {percent} %")

    def expect_end(self, words: str = "Completed") -> None:
        """Wait until the page says so."""
        expect(self.headline).to_have_text(words, timeout=20_000)

    def _note_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_console(self, message: Any) -> None:
        if "CSP violation" in message.text or "Content Security Policy" in message.text:
            self.faults.append(message.text)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the jobs of these tests, for all that do it no harm."""
    started = Server(tmp_path_factory.mktemp("pages") / "data", HEADWAY_JOBS=JOBS).start()
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture(scope="module")  # its event loop must not outlive the tests of the pages
def chromium() -> Iterator[Browser]:
    """Headless Chromium; the tests are skipped where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("NO BROWSER: install chromium to test the pages")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A logged-in visitor; an indirect parameter is the options of its browser's context."""
    context = chromium.new_context(**getattr(request, "param", {}))
    someone = Visitor(context, server)
    yield someone
    context.close()
    assert someone.faults == []
