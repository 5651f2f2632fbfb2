"""A model's text on the page: it comes token by token, and whatever it is, it is text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor
from tests.browser.test_hostile_text import PAYLOADS
from tests.harness import Server
from tests.library.chat_server import PLAIN, ChatServer, asking

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chat() -> Iterator[ChatServer]:
    with ChatServer() as chat:
        yield chat


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, chat: ChatServer) -> Iterator[Server]:
    """A server that has an endpoint."""
    data = tmp_path_factory.mktemp("generate") / "data"
    started = Server(data, workers=1, HEADWAY_OPENAI_BASE_URL=chat.url, HEADWAY_OPENAI_MODEL="tiny").start()
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture
def writer(chromium: Browser, generator: Server) -> Iterator[Visitor]:
    """Somebody in front of that server."""
    context = chromium.new_context()
    someone = Visitor(context, generator)
    yield someone
    context.close()
    assert someone.faults == []


def test_the_text_comes_while_it_is_written_and_stays_when_it_is_cancelled(writer: Visitor) -> None:
    """The endpoint has sent five tokens, and says nothing more."""
    writer.launch("generate", prompt=asking(tokens=60, pause_ms=20, stall_after=5), length="120")
    text = writer.page.locator("run-output pre")
    expect(text).to_have_text("w0 w1 w2 w3 w4 ")
    expect(writer.page.locator("[data-part=message]")).to_have_text(re.compile(r"^5 tokens · \d+ tokens/s$"))
    writer.page.get_by_role("button", name="Cancel").click()
    writer.expect_end("Cancelled")
    expect(text).to_have_text("w0 w1 w2 w3 w4 ")


def test_the_result_has_the_text_with_model_and_usage(writer: Visitor) -> None:
    writer.launch("generate", prompt=asking(tokens=30))
    writer.expect_end()
    result = writer.page.locator("#run-result")
    for part in ("w0 w1 w2", "tiny", "stop", "Completion tokens"):
        expect(result).to_contain_text(part, ignore_case=True)


def test_a_retry_is_said_beside_the_bar(writer: Visitor) -> None:
    writer.launch("generate", prompt=asking(statuses=[429], headers={"Retry-After": "2"}))
    expect(writer.page.locator("[data-part=message]")).to_have_text(
        "429 from the endpoint (too many requests); trying again in 2 s (1 of 5)"
    )
    writer.expect_end()
    expect(writer.page.locator("run-log li p")).to_contain_text(["trying again in 2 s"])


def test_whatever_a_model_writes_is_text(writer: Visitor) -> None:
    """As it comes, in the result where it is drawn as markdown, and in the rows of a table."""
    lines = [f"{payload}\n\n" for payload in [*PAYLOADS, "[x](javascript:alert(1))", "![x](https://evil.example/x)"]]
    writer.launch("generate", prompt=asking(pieces=lines))
    writer.expect_end()
    for _ in range(2):
        page = writer.page
        assert page.locator("run-output pre").text_content() == "".join(lines)
        found = page.locator("main :is(script, iframe, object, embed, base, meta, video, form[action^=javascript])")
        assert found.count() == 0
        assert page.locator("#run-result img").count() == 0
        links = page.locator("main a").evaluate_all("links => links.map((link) => link.protocol)")
        assert set(links) <= {"http:", "https:"}
        page.reload()


def test_a_click_tries_it_with_the_sample(writer: Visitor, chat: ChatServer) -> None:
    """One prompt, and no table."""
    writer.open("/jobs/generate").get_by_role("button", name=re.compile("sample", re.I)).click()
    writer.expect_end()
    assert "progress bar" in chat.asked[-1].prompt
    assert writer.page.locator("run-output pre").text_content() == "".join(PLAIN)
