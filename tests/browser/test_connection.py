"""A lost connection is shown and mended; an orderly goodbye is not even seen."""

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visitor
from tests.harness import Server, wait_for

pytestmark = pytest.mark.browser
JOBS = str(Path(__file__).parent / "jobs")

KINDS = """
window.kinds = [];
addEventListener("run:connection", (event) => window.kinds.push(event.detail.kind));
"""
OWN_CONNECTION = "delete window.SharedWorker;"
"""The page holds the connection itself then, where its clock and its requests can be had."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for these tests alone: they kill its workers."""
    started = Server(tmp_path_factory.mktemp("killed") / "data", HEADWAY_JOBS=JOBS).start()
    yield started
    started.stop()


def _kill_workers(server):
    wait_for(lambda: len(server.worker_pids()) == server.workers, what="all workers")
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)


def _pass_time_until(page: Page, step_ms: int, condition):
    """Let the page's clock run in steps; real answers get a moment of real time between two."""
    for _ in range(40):
        if condition():
            return
        page.clock.fast_forward(step_ms)
        page.wait_for_timeout(100)
    raise AssertionError("time passed in vain")


def _kinds(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.kinds")
    return found


def test_killed_web_workers_are_shown_and_mended_without_a_gap_or_a_repeat(visitor):
    visitor.context.add_init_script(KINDS)
    visitor.launch("walk", start="https://example.org/", steps="150")
    page = visitor.page
    wait_for(lambda: "live" in _kinds(visitor.page))
    _kill_workers(visitor.server)
    wait_for(lambda: "lost" in _kinds(visitor.page))
    visitor.expect_end()
    assert _kinds(page)[-1] == "ended"
    expect(page.locator("run-rows tbody td:first-child")).to_have_text([str(number) for number in range(150)])


def test_the_page_says_that_the_connection_is_lost_and_the_bar_keeps_its_place(visitor):
    visitor.context.add_init_script(KINDS)
    visitor.launch("walk", start="https://example.org/", steps="2000")
    page = visitor.page
    wait_for(lambda: "live" in _kinds(page))
    visitor.expect_beyond(1)
    visitor.server.signal(signal.SIGSTOP)  # the master starts no new workers meanwhile
    try:
        _kill_workers(visitor.server)
        expect(page.get_by_text("Connection lost, retrying")).to_be_visible()
        assert visitor.percent > 1
    finally:
        visitor.server.signal(signal.SIGCONT)
    expect(page.get_by_text("Connection lost, retrying")).to_have_count(0, timeout=40_000)
    page.get_by_role("button", name="Cancel").click()
    visitor.expect_end("Cancelled")


def test_a_reload_of_the_server_shows_no_error(visitor):
    visitor.context.add_init_script(KINDS)
    visitor.launch("walk", start="https://example.org/", steps="120")
    wait_for(lambda: "live" in _kinds(visitor.page))
    visitor.server.signal(signal.SIGHUP)
    visitor.expect_end()
    assert "lost" not in _kinds(visitor.page)
    expect(visitor.page.locator("run-rows tbody tr")).to_have_count(120)


def test_a_page_that_nobody_sees_holds_no_connection(visitor):
    visitor.context.add_init_script(OWN_CONNECTION)
    visitor.launch("walk", start="https://example.org/", steps="100")
    page = visitor.page
    visitor.expect_beyond(1)
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    with page.expect_request("**/events?follow=*") as again:
        page.evaluate("dispatchEvent(new Event('pageshow'))")
    assert int(again.value.url.rpartition("@")[2]) > 1
    visitor.expect_end()
    expect(page.locator("run-rows tbody tr")).to_have_count(100)


def test_one_who_is_logged_out_is_told_so_with_the_way_back(visitor):
    visitor.context.add_init_script(KINDS)
    run = visitor.launch("walk", start="https://example.org/", steps="400")
    wait_for(lambda: "live" in _kinds(visitor.page), what="a stream that was let in before the cookie went")
    visitor.context.clear_cookies()
    _kill_workers(visitor.server)
    link = visitor.page.get_by_role("link", name="Log in again")
    expect(link).to_have_attribute("href", f"/login?next=%2Fruns%2F{run}", timeout=40_000)
    link.click()
    visitor.page.get_by_label("Key").fill(visitor.server.key)
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url(f"**/runs/{run}")
    visitor.page.get_by_role("button", name="Cancel").click()
    visitor.expect_end("Cancelled")


def test_a_page_from_before_the_end_learns_of_the_end_without_an_error(visitor):
    visitor.context.add_init_script(KINDS)
    run = visitor.launch("walk", start="https://example.org/", steps="5")
    visitor.expect_end()
    page = visitor.open("/")

    def stale(route: Route) -> None:
        answer = route.fetch()
        body = re.sub('after="\\d+" status="completed" ended', 'after="3" status="processing"', answer.text())
        route.fulfill(response=answer, body=body)

    page.route(f"**/runs/{run}", stale, times=1)
    visitor.open(f"/runs/{run}")
    wait_for(lambda: "ended" in _kinds(visitor.page))
    assert _kinds(page) == ["live", "ended"]


def test_where_streams_do_not_come_through_the_page_polls_and_says_so(visitor):
    held: list[Route] = []
    visitor.context.add_init_script(OWN_CONNECTION)
    visitor.page.route("**/api/v1/events?*", lambda route: held.append(route))  # never answered
    visitor.page.clock.install()
    run = visitor.launch("walk", start="https://example.org/", steps="1000")
    polling = visitor.page.get_by_text("No live stream here")
    _pass_time_until(visitor.page, 10_100, polling.is_visible)
    visitor.server.cancel(run)
    _pass_time_until(visitor.page, 5000, lambda: visitor.headline.text_content() == "Cancelled")
    expect(visitor.page.get_by_text("Load the page again")).to_be_visible()
    for route in held:
        route.abort()


def test_a_list_is_polled_where_streams_do_not_come_through(visitor):
    held: list[Route] = []
    visitor.context.add_init_script(OWN_CONNECTION)
    visitor.page.route("**/api/v1/events", lambda route: held.append(route))
    visitor.page.clock.install()
    first = visitor.server.launch("walk", start="https://example.org/", steps=1000)
    page = visitor.open("/")
    _pass_time_until(page, 10_100, page.get_by_text("No live stream here").is_visible)
    visitor.server.cancel(first)
    _pass_time_until(page, 5000, page.locator(f"[data-run='{first}']").get_by_text("Cancelled").is_visible)
    second = visitor.server.launch("say", lines=["x"])
    _pass_time_until(page, 5000, page.locator(f"[data-run='{second}']").is_visible)
    for route in held:
        route.abort()


def test_a_busy_server_is_said_to_be_so_and_asked_again(chromium, new_server):
    server = new_server(workers="1", HEADWAY_JOBS=JOBS, HEADWAY_STREAMS_PER_OWNER="1")
    first, second = (Visitor(chromium.new_context(), server) for _ in range(2))
    for visitor in (first, second):
        visitor.context.add_init_script(KINDS)
    second.context.add_init_script(OWN_CONNECTION)
    second.page.clock.install()
    first.launch("walk", start="https://example.org/", steps="1000")
    wait_for(lambda: _kinds(first.page) == ["live"])
    second.open(first.page.url.removeprefix(server.url))
    expect(second.page.get_by_text("The server is busy, trying again")).to_be_visible()
    first.context.close()
    _pass_time_until(second.page, 20_000, lambda: _kinds(second.page)[-1] == "live")
    second.context.close()
    assert first.faults == second.faults == []


def test_a_silent_connection_counts_as_lost_after_two_heartbeats(visitor):
    visitor.context.add_init_script(OWN_CONNECTION)
    visitor.context.add_init_script(KINDS)
    visitor.page.clock.install()
    visitor.launch("walk", start="https://example.org/", steps="1000")
    wait_for(lambda: "live" in _kinds(visitor.page))
    workers = visitor.server.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        visitor.page.clock.fast_forward(30_000)
        assert _kinds(visitor.page) == ["live"]
        visitor.page.clock.fast_forward(6000)
        expect(visitor.page.get_by_text("Connection lost, retrying")).to_be_visible()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    _pass_time_until(visitor.page, 3000, lambda: _kinds(visitor.page)[-1] == "live")
    visitor.page.get_by_role("button", name="Cancel").click()
    visitor.expect_end("Cancelled")


def test_a_cursor_that_the_server_does_not_know_begins_again_without_repeats(visitor):
    def altered(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(' after="', ' after="99999'))

    visitor.page.route("**/runs/*", altered)
    visitor.launch("walk", start="https://example.org/", steps="30")
    visitor.expect_end()
    expect(visitor.page.locator("run-rows tbody td:first-child")).to_have_text([str(number) for number in range(30)])
    expect(visitor.page.locator("run-log li")).to_have_count(1)


def test_waits_grow_to_half_a_minute_and_shrink_only_after_a_good_stream(visitor):
    waits = visitor.open("/login").evaluate("""async () => {
      const { Backoff } = await import("/static/js/backoff.js");
      let now = 0;
      Math.random = () => 1;
      performance.now = () => now;
      const backoff = new Backoff();
      const after = (goodMs) => { backoff.opened(); now += goodMs; return backoff.failed(); };
      return [...Array.from({ length: 6 }, () => backoff.failed()), after(29_000), after(31_000), after(1000)];
    }""")
    assert waits == [3000, 6000, 12_000, 24_000, 30_000, 30_000, 30_000, 3000, 6000]
