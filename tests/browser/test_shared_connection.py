"""All tabs of a browser live on one connection: what each is told, who is forgotten, how it goes without a worker."""

import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, Route, expect

from tests.browser.conftest import Visitor
from tests.harness import Server, wait_for

pytestmark = pytest.mark.browser
JOBS = str(Path(__file__).parent / "jobs")
START = "https://example.org/"

REMEMBER = """
window.kinds = [];
window.seqs = [];
addEventListener("run:connection", (event) => window.kinds.push(event.detail.kind));
for (const name of ["update", "plan", "log", "output", "row"]) {
  addEventListener(`run:${name}`, (event) => window.seqs.push(event.detail.seq));
}
"""
NO_SHARED_WORKER = "delete window.SharedWorker;"
FAILING_WORKER = """
window.SharedWorker = class {
  port = new MessageChannel().port1;
  addEventListener(type, act) { if (type === "error") setTimeout(act); }
};
"""
SILENT_WORKER = "window.SharedWorker = class { port = new MessageChannel().port1; addEventListener() {} };"
HOLD_WORKER = """async () => {
  const { WORKER_NAME } = await import("/static/js/messages.js");
  window.held = new SharedWorker("/static/js/connection_worker.js", { type: "module", name: WORKER_NAME });
}"""
HIDE = """
Object.defineProperty(document, "hidden", { configurable: true, value: true });
document.dispatchEvent(new Event("visibilitychange"));
"""
SHOW = "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'));"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for these tests alone: they reload it, stop its workers and count its connections."""
    started = Server(tmp_path_factory.mktemp("shared") / "data", HEADWAY_JOBS=JOBS, HEADWAY_THREADS="16").start()
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture
def visitor(visitor):
    """Its pages remember what their elements are told."""
    visitor.context.add_init_script(REMEMBER)
    yield visitor
    for page in visitor.context.pages:
        page.close()
    for run in visitor.server.http.get("/api/v1/runs", params={"limit": "200"}).json()["runs"]:
        if run["status"] in ("queued", "processing"):
            visitor.server.cancel(run["id"])


def _walk(visitor: Visitor, steps: int = 2000, pause: float = 0.05) -> str:
    return visitor.server.launch("walk", start=START, steps=steps, pause=pause)


def _tab(visitor: Visitor, path: str) -> Page:
    page = visitor.context.new_page()
    page.goto(visitor.server.url + path)
    return page


def _follow(visitor: Visitor, run: str) -> Page:
    page = _tab(visitor, f"/runs/{run}")
    wait_for(lambda: _seqs(page), what="events")
    return page


def _kinds(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.kinds")
    return found


def _seqs(page: Page) -> list[int]:
    """The numbers of the events that the page was told of, since it was loaded."""
    found: list[int] = page.evaluate("window.seqs")
    return found


def _hide(page: Page) -> None:
    page.evaluate(HIDE)


def _show(page: Page) -> None:
    page.evaluate(SHOW)


def _crash(page: Page) -> None:
    with page.expect_event("crash"), suppress(Error):
        page.goto("chrome://crash")


def _is_whole(seqs: list[int]) -> bool:
    return seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def _goes_on(page: Page) -> bool:
    """Whether the page hears of more than it has heard until now."""
    before = len(_seqs(page))
    return bool(wait_for(lambda: len(_seqs(page)) > before, what="more events"))


def _connections(server: Server) -> int:
    """Established connections to the server's port, seen from its clients."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{server.port:04X}") and row[3] == "01" for row in rows)


def _wait_for_connections(visitor: Visitor, count: int) -> None:
    """Connections that are only kept alive go after two seconds."""
    wait_for(lambda: _connections(visitor.server) == count, what=f"{count} connections")


def _expect_end(page: Page, words: str = "Completed") -> None:
    expect(page.locator("[data-part=step]")).to_have_text(words, timeout=20_000)


def test_eight_tabs_on_eight_runs_are_live_over_one_connection(visitor):
    tabs = [_follow(visitor, _walk(visitor)) for _ in range(8)]
    _wait_for_connections(visitor, 1)
    for page in tabs:
        assert _goes_on(page)
    assert _connections(visitor.server) == 1
    for page in tabs:
        assert _is_whole(_seqs(page))
        assert _kinds(page) == ["live"]


def test_two_tabs_on_one_run_are_told_what_each_has_not_had(visitor):
    run = _walk(visitor)
    first = _follow(visitor, run)
    second = _follow(visitor, run)
    _hide(first)
    assert _goes_on(second)
    _show(first)  # it goes on from a lower number than the other
    assert _goes_on(first)
    assert _goes_on(second)
    assert _is_whole(_seqs(first))
    assert _is_whole(_seqs(second))
    _wait_for_connections(visitor, 1)
    visitor.server.cancel(run)
    for page in (first, second):
        _expect_end(page, "Cancelled")
        assert _kinds(page) == ["live", "ended"]
    assert _seqs(first)[-1] == _seqs(second)[-1]


def test_a_number_that_the_server_does_not_know_begins_again_in_its_tab_alone(visitor):
    run = _walk(visitor, steps=60)
    good = _follow(visitor, run)
    odd = visitor.context.new_page()

    def altered(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(' after="', ' after="99999'))

    odd.route("**/runs/*", altered)
    odd.goto(f"{visitor.server.url}/runs/{run}")
    for page in (good, odd):
        _expect_end(page)
        assert _is_whole(_seqs(page))
        expect(page.locator("run-rows tbody td:first-child")).to_have_text([str(number) for number in range(60)])
    assert _seqs(odd)[0] == 1
    assert _seqs(good)[0] > 1


def test_a_run_that_is_gone_is_said_to_be_so_in_its_tab_alone(visitor):
    live = _follow(visitor, _walk(visitor))
    ended = visitor.server.launch("walk", start=START, steps=1)
    visitor.server.wait_ended(ended)
    page = visitor.context.new_page()

    def stale(route: Route) -> None:
        answer = route.fetch()
        assert visitor.server.http.delete(f"/api/v1/runs/{ended}").status_code == 204
        route.fulfill(response=answer, body=answer.text().replace('status="completed" ended', 'status="processing"'))

    page.route(f"**/runs/{ended}", stale)
    page.goto(f"{visitor.server.url}/runs/{ended}")
    expect(page.get_by_text("This run was deleted.")).to_be_visible()
    assert _goes_on(live)
    assert _kinds(live) == ["live"]


def test_a_list_is_live_over_the_same_connection(visitor):
    run = _walk(visitor, steps=100)
    page = _tab(visitor, "/runs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    _follow(visitor, run)
    item = page.locator(f"[data-run='{run}']")
    bar = item.get_by_role("progressbar")
    places = set()
    wait_for(lambda: places.add(bar.get_attribute("aria-valuenow")) or len(places) > 5, what="a bar that moves")
    _wait_for_connections(visitor, 1)
    expect(item).to_contain_text("Completed")
    expect(bar).to_have_count(0)
    expect(item.locator(".runs-took")).to_have_text(re.compile(r"^([5-9]|1\d) s$"))  # the server has drawn it again
    assert not [url for url in asked if "/api/" in url]


def test_a_run_that_is_new_appears_in_the_list_and_the_focus_stays(visitor):
    visitor.server.wait_ended(_walk(visitor, steps=1))
    page = _tab(visitor, "/")
    wait_for(lambda: _kinds(page) == ["live"])
    page.locator(".runs a").first.focus()
    page.evaluate("window.focused = document.activeElement")
    run = _walk(visitor, steps=60)
    first = page.locator(".runs li").first
    expect(first).to_have_attribute("data-run", run)
    expect(first).to_contain_text("Running")
    expect(first).to_contain_text("Completed", timeout=15_000)
    expect(page.locator(".runs li")).to_have_count(page.locator(".runs li").count())
    assert page.evaluate("document.activeElement === window.focused && window.focused.isConnected")


def test_the_first_run_of_all_appears_on_every_page_with_a_list(chromium, new_server):
    visitor = Visitor(chromium.new_context(), new_server(HEADWAY_JOBS=JOBS))
    jobs, runs = _tab(visitor, "/"), _tab(visitor, "/runs")
    for page in (jobs, runs):
        expect(page.get_by_text("Nothing has run yet")).to_be_visible()
    run = visitor.server.launch("walk", start=START, steps=30)
    for page in (jobs, runs):
        expect(page.locator(".runs li")).to_have_attribute("data-run", run)
        expect(page.get_by_text("Nothing has run yet")).to_have_count(0)
        expect(page.locator(".runs li")).to_contain_text("Completed")
    expect(jobs.get_by_role("link", name="All runs")).to_be_visible()
    visitor.context.close()
    assert visitor.faults == []


def test_many_new_runs_are_drawn_in_a_few_goes(visitor):
    page = _tab(visitor, "/runs")
    wait_for(lambda: _kinds(page) == ["live"])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    runs = [visitor.server.launch("say", lines=["x"]) for _ in range(60)]
    expect(page.locator(".runs li").first).to_have_attribute("data-run", runs[-1])
    expect(page.locator(".runs li")).to_have_count(50)
    expect(page.locator(".runs li .status", has_text="Completed")).to_have_count(50, timeout=15_000)
    shown = page.locator(".runs li").evaluate_all("items => items.map((item) => item.dataset.run)")
    assert shown == runs[:9:-1]
    older = page.get_by_role("link", name="Older")
    expect(older).to_have_attribute("href", re.compile(f"before={runs[10]}"))
    assert len([url for url in asked if url.endswith("/runs")]) <= 6


def test_a_run_that_does_not_belong_into_the_list_is_not_asked_for_again(visitor):
    visitor.server.wait_ended(visitor.server.launch("say", lines=["x"]))
    other = _walk(visitor)
    page = _tab(visitor, "/runs?job=say")
    wait_for(lambda: _kinds(page) == ["live"])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    watched = _follow(visitor, other)
    mine = visitor.server.launch("say", lines=["y"])
    expect(page.locator(".runs li").first).to_have_attribute("data-run", mine)
    page.wait_for_timeout(5000)
    assert _goes_on(watched)
    expect(page.locator(f"[data-run='{other}']")).to_have_count(0)
    assert len(asked) <= 4


def test_a_tab_that_nobody_sees_is_told_nothing_and_goes_on_where_it_was(visitor):
    page = _follow(visitor, _walk(visitor, steps=100))
    other = _follow(visitor, _walk(visitor))
    _hide(page)
    assert _goes_on(other)
    heard = len(_seqs(page))
    assert _goes_on(other)
    assert len(_seqs(page)) == heard
    _show(page)
    _expect_end(page)
    assert _is_whole(_seqs(page))
    expect(page.locator("run-rows tbody tr")).to_have_count(100)
    assert _kinds(page) == ["live", "ended"]


@pytest.mark.parametrize("way", ["hidden", "closed", "elsewhere"])
def test_with_the_last_tab_the_connection_goes(visitor, way):
    """A page that shows no run holds the worker, so that it is not the browser that ends it."""
    holder = _tab(visitor, "/jobs/walk")
    holder.evaluate(HOLD_WORKER)
    page = _follow(visitor, _walk(visitor))
    _wait_for_connections(visitor, 1)
    if way == "hidden":
        _hide(page)
    elif way == "closed":
        page.close()
    else:
        page.goto(f"{visitor.server.url}/jobs/say")
    _wait_for_connections(visitor, 0)


def test_a_tab_that_crashes_takes_no_other_with_it(visitor):
    """The first tab's process has the worker in it; the others find out and ask for it anew."""
    first, *others = [_follow(visitor, _walk(visitor)) for _ in range(3)]
    _crash(first)
    for page in others:
        heard = len(_seqs(page))
        wait_for(lambda page=page, heard=heard: len(_seqs(page)) > heard + 50, 40, "events after the crash")
        assert _is_whole(_seqs(page))
    _wait_for_connections(visitor, 1)


def test_a_page_that_falls_silent_is_forgotten_and_may_come_back(visitor):
    """The clock is the worker's, so its part runs in a page here."""
    page = _tab(visitor, "/login")
    page.clock.install()
    page.evaluate("""async () => {
      const { Pages } = await import("/static/js/pages.js");
      const { port1, port2 } = new MessageChannel();
      new Pages().add(port2);
      window.heard = [];
      port1.onmessage = ({ data }) => window.heard.push(data.type === "connection" ? data.kind : data.type);
      window.say = (type) => port1.postMessage({ type, wish: { follow: {}, shows: [], newest: true } });
      say("follow");
    }""")

    def pass_time(looks: int) -> None:
        for _ in range(looks):
            page.clock.run_for(10_000)

    pass_time(1)
    wait_for(lambda: "live" in page.evaluate("window.heard"))
    for _ in range(5):
        page.evaluate("say('here')")
        pass_time(2)
    _wait_for_connections(visitor, 1)
    pass_time(4)
    _wait_for_connections(visitor, 0)
    page.evaluate("window.heard.length = 0; say('here')")
    pass_time(1)
    wait_for(lambda: page.evaluate("window.heard").count("live") == 1)


def test_more_runs_than_a_stream_may_follow_are_for_others_to_follow(visitor):
    said = _tab(visitor, "/login").evaluate("""async () => {
      const { Pages } = await import("/static/js/pages.js");
      const pages = new Pages();
      const answerTo = (run) => new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel();
        pages.add(port2);
        port1.onmessage = ({ data }) => data.type !== "connection" && resolve(data.type);
        port1.postMessage({ type: "follow", wish: { follow: { [run]: 0 }, shows: [], newest: false } });
      });
      return Promise.all(Array.from({ length: 52 }, (_, number) => answerTo(`run${Math.min(number, 50)}`)));
    }""")
    assert said == [*["heard"] * 50, "full", "full"]


def test_a_reload_of_the_server_is_not_seen_in_any_tab(visitor):
    tabs = [_follow(visitor, _walk(visitor, steps=150)) for _ in range(4)]
    page = _tab(visitor, "/runs")
    visitor.server.signal(signal.SIGHUP)
    for tab in tabs:
        _expect_end(tab)
        assert _is_whole(_seqs(tab))
        assert _kinds(tab) == ["live", "ended"]
        expect(tab.locator("run-rows tbody tr")).to_have_count(150)
    expect(page.locator(".runs").get_by_text("Running")).to_have_count(0)
    assert _kinds(page) == ["live"]


def test_a_lost_connection_is_shown_and_mended_in_every_tab(chromium, new_server):
    visitor = Visitor(chromium.new_context(), new_server(HEADWAY_JOBS=JOBS))
    visitor.context.add_init_script(REMEMBER)
    runs = [_walk(visitor, steps=300) for _ in range(3)]
    tabs = [*(_follow(visitor, run) for run in runs), _tab(visitor, "/runs")]
    visitor.server.kill_all()
    for page in tabs:
        expect(page.get_by_text(re.compile(r"Connection lost, retrying ?(in \d+ s|now)"))).to_be_visible()
    visitor.server.start()
    for page in tabs:
        wait_for(lambda page=page: "live" in _kinds(page)[1:], 40, "a live connection")
        expect(page.get_by_text("Connection lost")).to_have_count(0)
    for page in tabs[:-1]:
        _expect_end(page, "Interrupted")
        assert _is_whole(_seqs(page))
    expect(tabs[-1].locator(".runs").get_by_text("Interrupted")).to_have_count(3)
    visitor.context.close()
    assert visitor.faults == []


def test_who_is_logged_out_is_told_so_in_every_tab_until_somebody_logs_in(visitor):
    run = _walk(visitor)
    tabs = [_follow(visitor, run), _follow(visitor, _walk(visitor)), _tab(visitor, "/runs")]
    for page in tabs[:2]:
        _hide(page)
    tabs[2].get_by_role("button", name="Log out").click()
    tabs[2].wait_for_url("**/login")
    for page in tabs[:2]:
        _show(page)
        expect(page.get_by_text("You are logged out.")).to_be_visible()
    link = tabs[0].get_by_role("link", name="Log in again")
    expect(link).to_have_attribute("href", f"/login?next=%2Fruns%2F{run}")
    link.click()
    tabs[0].get_by_label("Key").fill(visitor.server.key)
    tabs[0].keyboard.press("Enter")
    tabs[0].wait_for_url(f"**/runs/{run}")
    for page in tabs[:2]:
        assert _goes_on(page)
        expect(page.get_by_text("You are logged out.")).to_have_count(0)
    assert _is_whole(_seqs(tabs[1]))


@pytest.mark.parametrize("worker", [NO_SHARED_WORKER, FAILING_WORKER], ids=["none", "fails"])
def test_where_there_is_no_shared_worker_each_visible_tab_holds_a_connection(visitor, worker):
    visitor.context.add_init_script(worker)
    tabs = [_follow(visitor, _walk(visitor)) for _ in range(2)]
    _wait_for_connections(visitor, 2)
    for page in tabs:
        assert _goes_on(page)
    _hide(tabs[0])
    _wait_for_connections(visitor, 1)
    _show(tabs[0])
    for page in tabs:
        assert _goes_on(page)
        assert _is_whole(_seqs(page))
    page = _tab(visitor, "/")
    run = _walk(visitor, steps=20)
    expect(page.locator(".runs li").first).to_have_attribute("data-run", run)
    expect(page.locator(".runs li").first).to_contain_text("Completed")


def test_a_worker_that_does_not_answer_is_done_without(visitor):
    visitor.context.add_init_script(SILENT_WORKER)
    page = visitor.context.new_page()
    page.clock.install()
    page.goto(f"{visitor.server.url}/runs/{_walk(visitor)}")
    page.clock.run_for(10_100)
    assert _goes_on(page)
    assert _is_whole(_seqs(page))
