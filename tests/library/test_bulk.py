"""Bulk over real tables and a real site on loopback."""

from __future__ import annotations

import csv
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from jobs import File, JobError, Progress
from jobs.errors import Cancelled, StopRun
from jobs.events import Draft
from jobs.library.bulk import LOOK_AHEAD, MAX_SAID, Bulk, Options, bulk
from jobs.library.fetch import Fetcher, parse_allow
from jobs.library.rows.addresses import Addresses
from jobs.library.rows.operations import Check
from jobs.library.rows.webhooks import NotAllowed, allowed_webhook
from tests.harness import wait_for
from tests.library.site import Handler, Site

SAMPLE = Path("jobs/library/samples/urls.csv")
CHECKED = ["status", "final_url", "redirects", "ms", "certificate_end", "attempts", "error"]
FORMULAS = [
    "=1+1", "+49 30 1", "-5", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x", " =1", "\u00a0=1",
    "\ufeff=1", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")', "'=1", "''=1", "-", "−1", "=\"a\",\"b\"",
]  # fmt: skip


class Run:
    """Bulk called with a real Progress, and all that it said. Runs of one folder are attempts of one run."""

    def __init__(self, folder: Path, allow: str, hooks: str = "") -> None:
        self.drafts: list[Draft] = []
        self.folder = folder
        settings = {"CRAWL_ALLOW": allow, "WEBHOOK_ALLOW": hooks}
        self.progress = Progress("r1", 1, self.drafts.append, folder=folder / "files", settings=settings)
        self.error: BaseException | None = None

    def bulk(self, table: str | bytes | Path, **options: Any) -> dict[str, Any]:
        if isinstance(table, str | bytes):
            content, table = table, self.folder / "table"
            table.parent.mkdir(exist_ok=True)
            table.write_bytes(content.encode() if isinstance(content, str) else content)
        options = {"rate": 0, "timeout": 2.0, **options}
        try:
            result = bulk(self.progress, File(table, table.name, table.stat().st_size), **options)
        finally:
            self.progress.finish()
        json.dumps(result, allow_nan=False)
        return result

    def start(self, table: str | Path, **options: Any) -> threading.Thread:
        """The same in a thread, whose error stands in ``error``."""

        def work() -> None:
            try:
                self.bulk(table, **options)
            except BaseException as error:  # noqa: BLE001 - StopRun is what is waited for
                self.error = error

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(draft.body) for draft in self.drafts if draft.kind == kind]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [said["row"] for said in self.said("row")]

    def file(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "files" / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        site.html("/", "Home")
        yield site


@pytest.fixture
def new_run(site: Site, tmp_path: Path) -> Callable[..., Run]:
    """A maker of runs that may fetch from the site; those of one ``name`` go on where the one before stopped."""
    return lambda name="run", *more, **options: Run(tmp_path / name, ",".join((site.host, *more)), **options)


def urls(site: Site, paths: Iterable[str]) -> str:
    return "url\n" + "".join(f"{site.url}{path}\n" for path in paths)


def in_turn(*answers: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """Answers one after the other, the last again and again."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(code, b"", {name.replace("_", "-"): value for name, value in headers.items()})


def cut(handler: Handler) -> None:
    """Read the request and close without a word."""
    handler.close_connection = True


def counted(site: Site) -> Counter[str]:
    """How often each path was asked for."""
    return Counter(one.path for one in site.seen)


# Checking.


def test_a_checked_row_tells_status_way_and_time(site: Site, new_run: Callable[..., Run]) -> None:
    """The input's columns come first, in rows and in the file."""
    site.redirect("/old", "/older", 301)
    site.redirect("/older", "/")
    run = new_run()
    result = run.bulk(f"name,url,n\nHome,{site.url}/,1\nMoved,{site.url}/old,2\nGone,{site.url}/gone,3\n")
    assert list(run.rows[0]) == ["row", "name", "url", "n", *CHECKED]
    found = run.file("results.csv")
    assert list(found[0]) == ["name", "url", "n", *CHECKED]
    assert all(int(row.pop("ms")) >= 0 for row in found)
    assert [list(row.values())[3:] for row in found] == [
        ["200", f"{site.url}/", "0", "", "1", ""],
        ["200", f"{site.url}/", "2", "", "1", ""],
        ["404", f"{site.url}/gone", "0", "", "1", "answered 404 (Not Found)"],
    ]
    assert (result["rows"], result["failed"]) == (3, 1)
    assert result["statuses"] == [{"status": "200", "rows": 2}, {"status": "404", "rows": 1}]
    assert run.file("failed.csv") == [
        {"name": "Gone", "url": f"{site.url}/gone", "n": "3", "failed_because": "answered 404 (Not Found)"}
    ]


def test_a_check_asks_by_head_and_by_get_where_that_is_not_answered_well(
    site: Site, new_run: Callable[..., Run]
) -> None:
    """Servers that refuse HEAD, or break it off, are not broken for that."""
    site.answers["/no-head"] = lambda handler: handler.answer(405 if handler.command == "HEAD" else 200, b"", {})
    site.answers["/cut-head"] = lambda handler: cut(handler) if handler.command == "HEAD" else status(200)(handler)
    run = new_run()
    run.bulk(urls(site, ["/", "/no-head", "/cut-head"]))
    assert [(row["status"], row["attempts"]) for row in run.rows] == [(200, 1)] * 3
    assert {one.method for one in site.seen if one.path == "/"} == {"HEAD"}
    assert [one.method for one in site.seen if one.path == "/no-head"] == ["HEAD", "GET"]


def test_the_certificate_that_ends_first_is_told(tmp_path: Path) -> None:
    """Of all hosts on the way, since each of them has to be renewed."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def served(host: str, end: datetime) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host, not_after=end).configure_cert(context)
        return context

    with (
        Site(tls=served("first.example", datetime(2031, 5, 17, 12))) as first,
        Site(tls=served("second.example", datetime(2032, 1, 1))) as second,
    ):
        first.redirect("/", f"https://second.example:{second.port}/")
        second.html("/", "Home")
        allow = set(parse_allow(f"first.example:{first.port},second.example:{second.port}"))
        table = tmp_path / "table.csv"
        table.write_text(f"https://first.example:{first.port}/\nhttps://second.example:{second.port}/\n")
        run = Run(tmp_path, "")
        fetcher = Fetcher(allow, tls=trusting, resolve=lambda host, port: ["127.0.0.1"])
        reader = File(table, "table", 1).table()
        with fetcher, Addresses(reader.column(None), allow) as addresses:
            Bulk(run.progress, reader, Options(rate=0), Check(fetcher), fetcher, addresses.url).run()
    ends = {row["row"]: (row["certificate_end"], row["error"]) for row in run.rows}
    assert ends == {1: ("2031-05-17", None), 2: ("2032-01-01", None)}


def test_a_bad_row_is_a_row_with_its_error(site: Site, new_run: Callable[..., Run]) -> None:
    """Whatever is wrong with a cell, a row or a server: the others are done, and all stand in the table's order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = f"127.0.0.1:{free.getsockname()[1]}"
    site.redirect("/loop", "/pool")
    site.redirect("/pool", "/loop")
    for number in range(9):
        site.redirect(f"/far{number}", f"/far{number + 1}")
    site.redirect("/inside", "http://127.0.0.1:1/")
    site.redirect("/mail", "mailto:a@b.example")
    site.raw("/ssh", b"SSH-2.0-x\r\n")
    site.stuck("/stuck")
    expected = {
        f"{site.url}/": None,
        "": "has no URL",
        "not a url at all": "is not a web address",
        "ftp://example.com/": "is not a web address",
        "http://user:pass@example.com/": "is not a web address",
        "http://127.0.0.1:9/": "port that is not allowed",
        "http://127.0.0.1/": "not public",
        "http://[::1]/": "not public",
        "http://169.254.169.254/latest/": "not public",
        "localhost": "not public",
        f"http://{dead}/": "refused the connection",
        f"{site.url}/gone": "answered 404 (Not Found)",
        f"{site.url}/loop": "in a circle",
        f"{site.url}/far0": "more than 5 times",
        f"{site.url}/inside": "port that is not allowed",
        f"{site.url}/mail": "redirects to what is no web address",
        f"{site.url}/ssh": "not HTTP",
        f"{site.url}/stuck": "took longer|did not answer",
        f"{site.url}/?last": None,
    }
    site.html("/?last", "Last")
    table = "n,url\n" + "".join(f'{n},"{url}"\n' for n, url in enumerate(expected)) + "x\n"
    run = new_run("run", dead)
    result = run.bulk(table, retries=0, timeout=0.5)
    found = run.file("results.csv")
    assert [row["n"] for row in found] == [*map(str, range(len(expected))), "x"]
    for row, (url, error) in zip(found, expected.items(), strict=False):
        if error is None:
            assert (row["status"], row["error"]) == ("200", ""), url
        else:
            assert any(one in row["error"] for one in error.split("|")), (url, row["error"])
    assert found[-1]["error"] == "has 1 cell where the table has 2 columns"
    assert result["rows"] == len(found) == len(run.rows) and result["failed"] == len(found) - 2
    assert [row["n"] for row in run.file("failed.csv")] == [row["n"] for row in found if row["error"]]


def test_the_column_with_the_urls_is_found(site: Site, new_run: Callable[..., Run]) -> None:
    """By its name, or because its cells look like it; a sentence says what to do where none does."""
    rows = f"id,e-mail,home page,note\n1,a@b.example,{site.url}/,x\n2,c@d.example,{site.host},y\n"
    for name, column in (("found", None), ("named", "home page"), ("other-case", "HOME PAGE")):
        run = new_run(name)
        assert run.bulk(rows, column=column)["failed"] == 0
    for column, sentence in ((None, "URL column"), ("nope", 'no column "nope"')):
        with pytest.raises(JobError, match=sentence):
            new_run("wrong").bulk("a,b\n1,2\n3,4\n", column=column)
    run = new_run("lines")
    assert run.bulk(f"{site.url}/\n{site.url}/?b\n")["rows"] == 2
    with pytest.raises(JobError, match="empty"):
        new_run("empty").bulk("")


# The files.


def test_no_cell_becomes_a_formula_and_failed_rows_come_back_as_they_were(
    site: Site, new_run: Callable[..., Run]
) -> None:
    """Read by another parser no cell begins like a formula; fed in again the webhook gets the very same values."""
    site.answers["/hook"] = in_turn(*[status(500)] * len(FORMULAS), status(200))
    with (new_run().folder.parent / "formulas.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["=evil", "n"], *[[text, number] for number, text in enumerate(FORMULAS)]])
    first = new_run("first", hooks=f"{site.url}/hook")
    result = first.bulk(Path(file.name), operation="post", webhook=f"{site.url}/hook", retries=0)
    assert result["failed"] == result["rows"] == len(FORMULAS)
    for name in ("results.csv", "failed.csv"):
        for row in first.file(name):
            for cell in [*row, *row.values()]:
                assert cell.strip(" \t\r\n\0\ufeff\u00a0")[:1] not in tuple("=+-@＝＋－＠−"), (name, cell)
    second = new_run("second", hooks=f"{site.url}/hook")
    again = second.bulk(first.folder / "files" / "failed.csv", operation="post", webhook=f"{site.url}/hook")
    assert again["failed"] == 0 and list(second.file("results.csv")[0])[-4:] == ["answer", "ms", "attempts", "error"]
    bodies = [json.loads(one.body) for one in site.seen]
    by_number = sorted(bodies[: len(FORMULAS)], key=lambda body: int(body["n"]))
    assert sorted(bodies[len(FORMULAS) :], key=lambda body: int(body["n"])) == by_number
    assert len(bodies) == 2 * len(FORMULAS)


def test_failed_rows_can_be_fed_in_again_and_again(site: Site, new_run: Callable[..., Run]) -> None:
    """The column with the reasons does not pile up, and is nobody's data."""
    table = f"name,url\na,{site.url}/gone\nb,{site.url}/\nc,{site.url}/gone2\n"
    for attempt in ("1", "2", "3"):
        run = new_run(attempt)
        run.bulk(table)
        table = run.folder / "files" / "failed.csv"
        assert [(row["name"], row["failed_because"]) for row in run.file("failed.csv")] == [
            ("a", "answered 404 (Not Found)"),
            ("c", "answered 404 (Not Found)"),
        ]
        assert list(run.file("failed.csv")[0]) == ["name", "url", "failed_because"]
        assert list(run.file("results.csv")[0]) == ["name", "url", *CHECKED]
    site.html("/gone", "Back")
    site.html("/gone2", "Back")
    assert new_run("4").bulk(table)["failed"] == 0


def test_columns_of_the_same_name_stay_apart(site: Site, new_run: Callable[..., Run]) -> None:
    """The results of one run can be the table of the next: nothing of it is lost."""
    first, second = new_run("first"), new_run("second")
    first.bulk(f"url,Status\n{site.url}/,mine\n")
    assert first.file("results.csv")[0]["Status"] == "mine"
    second.bulk(first.folder / "files" / "results.csv", column="url")
    (row,) = second.file("results.csv")
    assert (row["Status"], row["status_2"], row["status_3"]) == ("mine", "200", "200")


def test_json_keeps_what_it_has(site: Site, new_run: Callable[..., Run]) -> None:
    """Numbers, lists and null reach the webhook as they are, and so does a failed row that is fed in again."""
    site.answers["/hook"] = in_turn(status(500), status(500), status(200))
    objects = [{"id": 1, "tags": ["a", {"b": None}], "note": "=1"}, {"id": 2.5, "ok": True, "huge": 10**30}]
    lines = "".join(json.dumps(one) + "\n" for one in objects) + "nonsense\n"
    options = {"operation": "post", "webhook": f"{site.url}/hook", "retries": 0, "concurrency": 1}
    first, second = new_run("first", hooks=f"{site.url}/hook"), new_run("second", hooks=f"{site.url}/hook")
    result = first.bulk(lines, **options)
    assert result["errors"][-1]["error"] == "is not a JSON object"
    assert first.file("results.csv")[0]["tags"] == '["a", {"b": null}]'
    second.bulk(first.folder / "files" / "failed.jsonl", **options)
    bodies = [json.loads(one.body) for one in site.seen]
    assert bodies[:2] == bodies[2:4]
    assert {key: value for key, value in bodies[0].items() if value is not None} == objects[0]
    assert {key: value for key, value in bodies[1].items() if value is not None} == objects[1]


def test_rows_are_told_up_to_a_limit_and_the_file_has_all(new_run: Callable[..., Run]) -> None:
    """The log of the run is kept for long, and a million rows are nothing to look at."""
    count = MAX_SAID + 50
    run = new_run()
    result = run.bulk("a,url\n" + "x,\n" * count, column="url")
    assert result["rows"] == result["failed"] == count
    assert len(run.rows) == MAX_SAID and len(run.file("results.csv")) == len(run.file("failed.csv")) == count
    assert [said["message"] for said in run.said("log")] == ["10,000 rows are shown one by one; results.csv has all."]


def test_progress_counts_rows(site: Site, new_run: Callable[..., Run]) -> None:
    """Steps are announced, the bar never goes back, and the message says how many of how many, failed, how fast."""
    run = new_run()
    run.bulk(urls(site, ["/", "/gone"] * 200))
    assert run.said("plan") == [{"steps": ["Reading the table", "Checking URLs"]}]
    updates = run.said("update")
    percents = [update["progress"] for update in updates]
    assert percents == sorted(percents) and percents[-1] == 99.9
    assert any((update["message"] or "").startswith("400 of 400 rows · 200 failed · ") for update in updates)


# Extracting.


def test_extract_takes_out_what_a_page_says(site: Site, new_run: Callable[..., Run]) -> None:
    """Title, description, heading, words, main text, and what the selectors find; no page is the row's error."""
    site.add(
        "/p",
        '<title>=T</title><meta name="description" content="About"><nav>Menu</nav><main><h1>Head</h1>'
        '<p class="price">9.90</p><a href="/x">more</a></main>',
        content_type="text/html",
    )
    site.add("/pdf", b"%PDF", content_type="application/pdf")
    site.html("/deep", "Deep", text="<div>" * 200_000)
    site.redirect("/moved", "/p")
    run = new_run()
    selectors = ["price = .price", "link = main a::attr(href)", "missing = .nope", "title = h1"]
    run.bulk(urls(site, ["/p", "/moved", "/pdf", "/deep", "/gone"]), operation="extract", selectors=selectors)
    page, moved, pdf, deep, gone = run.file("results.csv")
    assert list(page) == [
        "url", "status", "final_url", "title", "description", "h1", "words", "price", "link", "missing", "title_2",
        "text", "ms", "attempts", "error",
    ]  # fmt: skip
    assert (page["title"], page["description"], page["h1"], page["words"]) == ("'=T", "About", "Head", "4")
    assert (page["price"], page["link"], page["missing"], page["title_2"]) == ("9.90", "/x", "", "Head")
    assert page["text"] == "Head\n9.90\nmore" == moved["text"]
    assert moved["final_url"] == f"{site.url}/p"
    assert pdf["error"] == "is not a web page but application/pdf"
    assert "nested more than" in deep["error"]
    assert gone["error"] == "answered 404 (Not Found)"


def test_a_wrong_selector_ends_the_run_before_it_begins(site: Site, new_run: Callable[..., Run]) -> None:
    """With a sentence that holds it."""
    with pytest.raises(JobError, match=r"'p >' is no CSS selector"):
        new_run().bulk(urls(site, ["/"]), operation="extract", selectors=["x = p >"])
    assert site.seen == []


# Tried again.


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_what_asks_to_come_later_is_asked_again(site: Site, new_run: Callable[..., Run], code: int) -> None:
    """After as long as it says, and the attempts stand in the row; other errors are final."""
    site.answers["/busy"] = in_turn(status(code, Retry_After="1"), status(200))
    site.answers["/broken"] = status(500)
    run = new_run()
    run.bulk(urls(site, ["/busy", "/broken"]))
    assert {row["url"]: (row["status"], row["attempts"], row["error"]) for row in run.rows} == {
        f"{site.url}/busy": (200, 2, None),
        f"{site.url}/broken": (500, 1, "answered 500 (Internal Server Error)"),
    }
    first, second = [one.at for one in site.seen if one.path == "/busy"]
    assert second - first >= 1


def test_retry_after_holds_the_whole_host(site: Site, new_run: Callable[..., Run]) -> None:
    """A server that is overloaded is left alone, not asked by the other rows; other servers are not kept waiting."""
    site.answers["/busy"] = in_turn(status(429, Retry_After=formatdate(time.time() + 3, usegmt=True)), status(200))
    with Site() as other:
        other.html("/", "Other")
        table = "url\n" + f"{site.url}/busy\n" + f"{site.url}/\n" * 20 + f"{other.url}/\n" * 20
        run = new_run("run", other.host)
        assert run.bulk(table, concurrency=1, rate=1000)["failed"] == 0
        asked = [one.at for one in site.seen]
        assert asked[1] - asked[0] > 1.5, "nothing of this host in between"
        assert max(one.at for one in other.seen) < asked[1]


def test_one_url_that_is_out_of_order_holds_nothing_else(site: Site, new_run: Callable[..., Run]) -> None:
    """A 503 that names no time is tried again later, and the host's other rows are done meanwhile."""
    site.answers["/broken"] = status(503)
    run = new_run()
    run.bulk(urls(site, ["/broken", *["/"] * 20]), concurrency=1, retries=1)
    first, second = [one.at for one in site.seen if one.path == "/broken"]
    assert second - first >= 1 and all(one.at < second for one in site.seen if one.path == "/")
    assert [row["attempts"] for row in run.rows if row["error"]] == [2]


def test_a_server_that_asks_for_too_long_is_given_up(site: Site, new_run: Callable[..., Run]) -> None:
    """The row says how long it was."""
    site.answers["/busy"] = status(503, Retry_After="3600")
    run = new_run()
    run.bulk(urls(site, ["/busy"]))
    assert run.rows[0]["error"] == "answered 503 and asks to come back after 3,600 s"
    assert len(site.seen) == 1


def test_broken_connections_are_tried_again(site: Site, new_run: Callable[..., Run]) -> None:
    """So often as asked for, then the row has failed."""
    site.answers["/once"] = in_turn(cut, cut, cut, cut, status(200))
    site.answers["/never"] = cut
    run = new_run()
    run.bulk(urls(site, ["/once", "/never"]), operation="extract", retries=1)
    found = {row["url"].rpartition("/")[2]: row for row in run.rows}
    assert (found["never"]["attempts"], found["never"]["status"]) == (2, None)
    assert "closed before the answer" in found["never"]["error"]
    assert found["once"]["attempts"] == 2


# Rates, and who waits for whom.


def most_in_a_second(times: list[float]) -> int:
    """The most requests within any second."""
    return max(sum(start <= one < start + 1 for one in times) for start in times)


def test_the_rate_is_kept_for_each_host(site: Site, new_run: Callable[..., Run]) -> None:
    """By requests, redirects included, and however many threads there are; the other host has its own."""
    site.redirect("/old", "/")
    with Site() as other:
        other.html("/", "Other")
        table = "url\n" + "".join(f"{site.url}/old\n{other.url}/\n" for _ in range(12))
        run = new_run("run", other.host)
        assert run.bulk(table, rate=10, concurrency=16)["failed"] == 0
        assert (len(site.seen), len(other.seen)) == (24, 12)
        for one in (site, other):
            assert most_in_a_second([seen.at for seen in one.seen]) <= 12  # 10, and what the clock of two ends may cost


def test_a_slow_host_does_not_keep_the_others_waiting(site: Site, new_run: Callable[..., Run]) -> None:
    """Its rows stand first and hang; all others are done meanwhile, and their results are told."""
    with Site() as other:
        other.html("/", "Other")
        for number in range(30):
            site.stuck(f"/stuck{number}")
        table = "url\n" + "".join(f"{site.url}/stuck{number}\n" for number in range(30)) + f"{other.url}/\n" * 300
        run = new_run("run", other.host)
        thread = run.start(table, timeout=60, concurrency=4)
        wait_for(lambda: len(run.rows) == 300, 20, "the rows of the other host")
        assert 0 < len(site.seen) <= 4
        assert len(run.file("results.csv")) == 0, "the file has the order of the table"
        for number in range(30):
            site.html(f"/stuck{number}", "Late")
        site.release.set()
        thread.join(20)
    assert run.error is None
    assert len(run.file("results.csv")) == 330


def test_the_table_is_read_only_so_far_ahead(site: Site, new_run: Callable[..., Run]) -> None:
    """Behind a row that hangs a bounded number of others goes ahead; with it the rest comes."""
    site.stuck("/stuck")
    count = LOOK_AHEAD + 2000
    table = f"url\n{site.url}/stuck\n" + "not a url\n" * count
    run = new_run()
    thread = run.start(table, column="url", timeout=60)
    wait_for(lambda: len(run.rows) == LOOK_AHEAD - 1, 20, "the rows that are read ahead")
    site.release.set()
    thread.join(20)
    assert len(run.file("results.csv")) == count + 1


def test_long_results_that_wait_for_a_row_before_them_are_whole_in_the_file(
    site: Site, new_run: Callable[..., Run]
) -> None:
    """They are not kept in memory meanwhile, but in the checkpoint."""
    site.stuck("/stuck")
    for number in range(300):
        site.html(f"/long{number}", f"Page {number}", text=f"<main>{number} {'long ' * 2000}</main>")
    table = urls(site, ["/stuck", *(f"/long{number}" for number in range(300))])
    run = new_run()
    thread = run.start(table, operation="extract", retries=0, timeout=60)
    wait_for(lambda: len(run.rows) == 300, 20, "all but the first")
    site.release.set()
    thread.join(20)
    first, *found = run.file("results.csv")
    assert first["error"] and len(found) == 300
    assert [row["text"] for row in found] == [f"{number} {'long ' * 2000}".strip() for number in range(300)]


# Going on.


@pytest.mark.parametrize("stuck_at", [1, 100, 399])
def test_a_run_that_goes_on_repeats_no_finished_row(site: Site, new_run: Callable[..., Run], stuck_at: int) -> None:
    """Stopped in the middle it has written down what is done; then it does the rest, and the files have all."""
    paths = [f"/p{number}" for number in range(400)]
    for number, path in enumerate(paths):
        site.html(path, "Page")
        if stuck_at <= number < stuck_at + 8:
            site.stuck(path)
    run = new_run()
    thread = run.start(urls(site, paths), timeout=60)
    wait_for(lambda: len(site.seen) >= 400 if stuck_at == 399 else len(run.rows) >= stuck_at, 20, "the middle")
    run.progress.stop(Cancelled)
    thread.join(10)
    assert isinstance(run.error, StopRun)
    done = {row["url"] for row in run.rows}
    before = run.file("results.csv")
    assert {row["url"] for row in before} >= done and len(before) < 400
    asked = counted(site)
    for path in paths:
        site.html(path, "Page")
    again = new_run()
    result = again.bulk(urls(site, paths))
    assert result["rows"] == 400 and result["done_before"] == len(before) and result["failed"] == 0
    assert [row["url"] for row in again.file("results.csv")] == [f"{site.url}{path}" for path in paths]
    for row in before:
        path = row["url"].removeprefix(site.url)
        assert counted(site)[path] == asked[path], f"{path} was finished and is asked again"
    assert len(again.rows) == 400 - len(before), "what was told is not told again"
    assert "were done before" in again.said("log")[0]["message"]


def test_a_run_may_be_stopped_again_and_again(site: Site, new_run: Callable[..., Run]) -> None:
    """Each attempt leaves files with all that is done so far, also when it is stopped at once."""
    paths = [f"/p{number}" for number in range(60)]
    for path in paths:
        site.html(path, "Page")
    for goal in (20, 40):
        for path in paths[goal:]:
            site.stuck(path)
        run = new_run()
        thread = run.start(urls(site, paths), timeout=60)
        wait_for(lambda goal=goal: sum(counted(site)[path] > 0 for path in paths) > goal, 20)  # type: ignore[misc]
        wait_for(lambda run=run, goal=goal: len(run.rows) + 20 * (goal == 40) == goal, 20)  # type: ignore[misc]
        run.progress.stop(Cancelled)
        thread.join(10)
        assert [row["url"] for row in run.file("results.csv")] == [f"{site.url}{path}" for path in paths[:goal]]
        for path in paths[goal:]:
            site.html(path, "Page")
    stopped = new_run()
    thread = stopped.start(urls(site, paths), rate=0.5)
    wait_for(lambda: (stopped.folder / "files" / "results.csv").exists() and stopped.said("log"), 10)
    stopped.progress.stop(Cancelled)
    thread.join(10)
    assert len(stopped.file("results.csv")) >= 40
    assert new_run().bulk(urls(site, paths))["rows"] == 60


@pytest.mark.parametrize("phase", ["connecting", "waiting for its rate", "before the next attempt", "in a pause"])
def test_a_cancelled_run_ends_at_once(site: Site, new_run: Callable[..., Run], phase: str) -> None:
    """Whatever it waits for; its threads end, and the files hold what was done."""
    table, options = urls(site, ["/", *["/more"] * 20]), {"concurrency": 2, "timeout": 60.0}
    if phase == "connecting":
        site.stuck("/more")
    elif phase == "waiting for its rate":
        options["rate"] = 0.01
    elif phase == "before the next attempt":
        site.answers["/more"] = cut
    else:
        site.answers["/more"] = status(503, Retry_After="100")
    run = new_run()
    thread = run.start(table, **options)
    wait_for(lambda: run.rows and (len(site.seen) > 2 or "rate" in options), 10, phase)
    run.progress.stop(Cancelled)
    thread.join(5)
    assert isinstance(run.error, Cancelled)
    assert [row["url"] for row in run.file("results.csv")] == [f"{site.url}/"]
    assert not [one for one in threading.enumerate() if one.name.startswith("bulk-")]


# Webhooks.


def test_a_row_is_posted_as_json_under_a_key_of_its_own(site: Site, new_run: Callable[..., Run]) -> None:
    """All its columns as they are; what the webhook answers stands in the row."""
    site.add("/hook", b'{"id":  7}', 201)
    run = new_run(hooks=f"https://other.example/,{site.url}/hook")
    table = "name,phone\nÄda,+49 30\nBob,\n"
    result = run.bulk(table, operation="post", webhook=f"{site.url}/hook")
    assert [json.loads(one.body) for one in sorted(site.seen, key=lambda one: one.body)] == [
        {"name": "Bob", "phone": ""},
        {"name": "Äda", "phone": "+49 30"},
    ]
    assert {one.headers["Content-Type"] for one in site.seen} == {"application/json"}
    assert len({one.headers["Idempotency-Key"] for one in site.seen}) == 2
    assert result["failed"] == 0 and {(row["status"], row["answer"]) for row in run.rows} == {(201, '{"id": 7}')}


def test_a_post_is_repeated_only_where_it_was_surely_not_worked_on(site: Site, new_run: Callable[..., Run]) -> None:
    """429 and 503, under the same key; not 500, 502, a broken connection, or a redirect."""
    site.answers["/busy"] = in_turn(status(429, Retry_After="0"), status(503, Retry_After="0"), status(200))
    site.answers["/cut"] = cut
    for code in (302, 400, 500, 502):
        site.answers[f"/{code}"] = status(code, Location="/busy")
    for path, times, told in (
        ("/busy", 3, None),
        ("/cut", 1, "may have been received"),
        ("/302", 1, "answered 302 (Found)"),
        ("/400", 1, "answered 400"),
        ("/500", 1, "answered 500"),
        ("/502", 1, "answered 502"),
    ):
        run = new_run(path[1:], hooks=f"{site.url}/")
        run.bulk("a,b\n1,2\n", operation="post", webhook=f"{site.url}{path}")
        asked = [one for one in site.seen if one.path == path]
        assert len(asked) == times and len({one.headers["Idempotency-Key"] for one in asked}) == 1
        assert run.rows[0]["attempts"] == times and {one.method for one in asked} == {"POST"}
        assert run.rows[0]["error"] is None if told is None else told in run.rows[0]["error"]


def test_rows_that_are_posted_again_have_the_same_key(site: Site, new_run: Callable[..., Run]) -> None:
    """A run that was stopped in the midst of sending may send those again whose answers it never saw."""
    site.stuck("/hook")
    table = "text\n" + "".join(f"text number {number}\n" for number in range(20))
    options = {"operation": "post", "webhook": f"{site.url}/hook", "concurrency": 4, "timeout": 60.0}
    run = new_run(hooks=f"{site.url}/hook")
    thread = run.start(table, **options)
    wait_for(lambda: len(site.seen) == 4, 10)
    run.progress.stop(Cancelled)
    thread.join(10)
    assert run.file("results.csv") == []
    site.add("/hook", b"")
    assert new_run(hooks=f"{site.url}/hook").bulk(table, **options)["failed"] == 0
    keys = {one.headers["Idempotency-Key"]: one.body for one in site.seen}
    assert len(keys) == 20 and len(site.seen) == 24
    assert all(keys[one.headers["Idempotency-Key"]] == one.body for one in site.seen)


def test_answers_that_are_on_their_way_are_waited_for(site: Site, new_run: Callable[..., Run]) -> None:
    """When a run has to stop: what was received is done, and not sent again when the run goes on."""
    arrived = threading.Event()

    def answer_slowly(handler: Handler) -> None:
        arrived.set()
        wait_for(lambda: run.progress._stop, 10)
        handler.answer(200, b"", {})

    site.answers["/hook"] = answer_slowly
    options = {"operation": "post", "webhook": f"{site.url}/hook", "concurrency": 1}
    run = new_run(hooks=f"{site.url}/hook")
    thread = run.start("a,b\n1,2\n3,4\n5,6\n", **options)
    assert arrived.wait(10)
    run.progress.stop(Cancelled)
    thread.join(10)
    assert len(run.file("results.csv")) == len(site.seen) < 3
    site.add("/hook", b"")
    assert new_run(hooks=f"{site.url}/hook").bulk("a,b\n1,2\n3,4\n5,6\n", **options)["rows"] == 3
    assert [json.loads(one.body)["a"] for one in site.seen] == ["1", "3", "5"]


ALLOWED = "https://hooks.example/exact, https://hooks.example/below/ ,http://127.0.0.1:8765/in,https://all.example/"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example/exact", True),
        ("HTTPS://HOOKS.example:443/exact", True),
        (" https://hooks.example./exact ", True),
        ("https://hooks.example/exact/", False),
        ("https://hooks.example/exact?x=1", False),
        ("https://hooks.example/exac", False),
        ("http://hooks.example/exact", False),
        ("https://hooks.example:8443/exact", False),
        ("https://hooks.example/below/", True),
        ("https://hooks.example/below/a/b?c=d", True),
        ("https://hooks.example/below", False),
        ("https://hooks.example/belowx/", False),
        ("https://hooks.example/below/../exact2", False),
        ("https://hooks.example/below/%2e%2e/x", False),
        ("https://hooks.example/below/..%2fx", False),
        ("https://hooks.example/below/%2E%2E%2Fx", False),
        ("https://hooks.example/below/%252e%252e/x", False),
        ("https://hooks.example/below/..;/x", False),
        ("https://hooks.example/below/.", False),
        ("https://hooks.example/below/..\\x", False),
        ("https://hooks.example/below/%5c..", False),
        ("https://user@hooks.example/exact", False),
        ("https://hooks.example@evil.example/exact", False),
        ("https://hooks.example/exact#x", False),
        ("https://evil.example/?https://hooks.example/exact", False),
        ("https://hooks.example.evil.example/below/", False),
        ("http://127.0.0.1:8765/in", True),
        ("http://127.0.0.1:8766/in", False),
        ("http://localhost:8765/in", False),
        ("http://127.1:8765/in", False),
        ("https://all.example", True),
        ("https://all.example/any", True),
        ("https://all.example:0/any", False),
        ("https://all.example:99999/any", False),
        ("ftp://all.example/any", False),
        ("//all.example/any", False),
        ("", False),
        (None, False),
    ],
)
def test_rows_are_sent_only_where_the_setting_allows_it(url: str | None, allowed: bool) -> None:
    """To an exact URL, or below one that ends with a slash, whatever spelling is tried."""
    if allowed:
        assert allowed_webhook(url, ALLOWED).url
    else:
        with pytest.raises(NotAllowed):
            allowed_webhook(url, ALLOWED)


@pytest.mark.parametrize(
    "entry", ["hooks.example/x", "https://user@hooks.example/", "https://a.example/../", "ftp://x/"]
)
def test_a_wrong_setting_is_named(entry: str) -> None:
    """And nothing is sent."""
    with pytest.raises(NotAllowed, match="HEADWAY_WEBHOOK_ALLOW") as caught:
        allowed_webhook("https://hooks.example/exact", f"{ALLOWED},{entry}")
    assert repr(entry) in str(caught.value)


def test_nothing_is_sent_without_the_setting_or_to_another_host(site: Site, new_run: Callable[..., Run]) -> None:
    """CRAWL_ALLOW is no leave to send; and an allowed webhook is no leave to fetch."""
    for hooks, webhook, sentence in (
        ("", f"{site.url}/hook", "Set HEADWAY_WEBHOOK_ALLOW"),
        ("https://hooks.example/", f"{site.url}/hook", "may not be sent to"),
        (f"{site.url}/hook", None, "Name the webhook"),
    ):
        with pytest.raises(JobError, match=sentence):
            new_run(hooks=hooks).bulk("a\nb\nc\n", operation="post", webhook=webhook)
    with Site() as other:
        other.html("/", "Other")
        run = new_run(hooks=f"{other.url}/")
        run.bulk(f"url\n{other.url}/\n")
        assert "port that is not allowed" in run.rows[0]["error"] and other.connections == 0
    assert site.seen == []


# The sample.


@pytest.mark.parametrize("operation", ["check", "extract"])
def test_the_sample_works_offline(tmp_path: Path, operation: str) -> None:
    """Every kind of row is in it: pages, one that has moved, one that is missing."""
    run = Run(tmp_path, "")
    result = run.bulk(SAMPLE, operation=operation, rate=100, selectors=["minutes = .minutes"])
    found = {row["name"]: row for row in run.file("results.csv")}
    assert result["rows"] == len(found) == 13 and result["failed"] == 1
    assert found["Leek soup"]["error"] == "answered 404 (Not Found)"
    assert found["The favourite bread"]["final_url"].endswith("/breads/sourdough.html")
    if operation == "extract":
        assert found["Lentil soup"]["minutes"] == "40" and "Red lentils" in found["Lentil soup"]["description"]
    assert [row["url"] for row in run.file("failed.csv")] == ["sample:site/soups/leek.html"]
    assert not [one for one in threading.enumerate() if one.name == "sample-site"]
