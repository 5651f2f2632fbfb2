"""The crawl, from a start URL to its files, over a real site on loopback."""

from __future__ import annotations

import csv
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import JobError, Progress
from jobs.errors import Cancelled, StopRun
from jobs.events import Draft
from jobs.library.crawl import crawl
from jobs.library.linkgraph import LinkGraph
from jobs.library.page import parse_page, read_tree
from jobs.library.urls import Base, Links, Scope, link_to
from tests.library.site import Site


class Run:
    """The crawl called with a real Progress, and all that it said."""

    def __init__(self, folder: Path, allow: str, timeout_s: float | None = None) -> None:
        self.drafts: list[Draft] = []
        self.folder = folder
        settings = {"CRAWL_ALLOW": allow}
        self.progress = Progress("r1", 1, self.drafts.append, folder=folder, settings=settings, timeout_s=timeout_s)

    def crawl(self, url: str, **options: Any) -> dict[str, Any]:
        result = crawl(self.progress, url, **options)
        self.progress.finish()
        json.dumps(result, allow_nan=False)
        return result

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(draft.body) for draft in self.drafts if draft.kind == kind]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows by path."""
        rows = [said["row"] for said in self.said("row")]
        found = {row["url"].partition("://")[2].partition("/")[2]: row for row in rows}
        assert len(found) == len(rows), "a page was fetched twice"
        return {"/" + path: row for path, row in found.items()}

    def file(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def new_run(site: Site, tmp_path: Path) -> Callable[..., Run]:
    return lambda *more, **options: Run(tmp_path, ",".join((site.host, *more)), **options)


def test_a_page_becomes_a_row_with_what_it_says(site: Site, new_run: Callable[..., Run]) -> None:
    """Every column of a page, links in among them as far as they were known."""
    site.html(
        "/",
        "  Home\n page ",
        ["/b", "b#x", "/b?", "mailto:a@b", "javascript:x()", "http://elsewhere.example/", "#top", ""],
        head='<meta name="Description" content="About  it"><link rel="canonical" href="/home">',
        text="<h1>Big <b>words</b></h1><script>not words</script><p>one two</p><h1>Second</h1>",
    )
    site.html("/b", "B", ["/"])
    run = new_run()
    result = run.crawl(site.url)
    row = run.rows["/"]
    assert row["ms"] >= 0 and row["bytes"] > 100
    del row["ms"], row["bytes"]
    assert row == {
        "url": f"{site.url}/", "status": 200, "title": "Home page", "description": "About it", "h1": "Big words",
        "canonical": f"{site.url}/home", "words": 13, "links_in": 0, "links_out": 2, "depth": 0, "error": None,
        "type": "text/html", "redirects_to": None, "robots": "",
    }  # fmt: skip
    assert (run.rows["/b"]["links_in"], run.rows["/b"]["depth"]) == (1, 1)
    assert result["pages"] == 2 and result["statuses"] == {"200": 2} and result["complete"]
    assert result["links"] == {"total": 3, "urls": 3, "out_of_scope": 1, "disallowed_by_robots": 0}


def test_files_hold_everything_with_formulas_disarmed(site: Site, new_run: Callable[..., Run]) -> None:
    """pages.csv has the final number of links in; links.csv says what is known of each target."""
    site.html("/", "=1+1", ["/a", "/gone", "http://elsewhere.example/=1"])
    site.html("/a", "@SUM(1)", ["/", "/gone"])
    run = new_run()
    run.crawl(site.url)
    pages = {row["url"]: row for row in run.file("pages.csv")}
    assert pages[f"{site.url}/"]["title"] == "'=1+1" and pages[f"{site.url}/a"]["title"] == "'@SUM(1)"
    assert pages[f"{site.url}/"]["links_in"] == "1" and pages[f"{site.url}/gone"]["links_in"] == "2"
    links = [(row["from"], row["to"], row["status"], row["in_scope"], row["kind"]) for row in run.file("links.csv")]
    assert sorted(links) == sorted(
        [
            (f"{site.url}/", f"{site.url}/a", "200", "true", "link"),
            (f"{site.url}/", f"{site.url}/gone", "404", "true", "link"),
            (f"{site.url}/", "http://elsewhere.example/=1", "", "false", "link"),
            (f"{site.url}/a", f"{site.url}/", "200", "true", "link"),
            (f"{site.url}/a", f"{site.url}/gone", "404", "true", "link"),
        ]
    )
    assert [file["name"] for file in run.progress.finish()] == ["pages.csv", "links.csv"]


def test_the_result_names_what_is_wrong(site: Site, new_run: Callable[..., Run]) -> None:
    """Broken links with the pages that hold them, chains, duplicates, and the slowest pages."""
    describe = '<meta name="description" content="Same">'
    site.html("/", "Same title", ["/a", "/b", "/old", "/error"], head=describe)
    site.html("/a", "Same title", ["/gone", "/c"], head=describe)
    site.html("/b", "Other", ["/gone"])
    site.html("/c", "Same title", head='<meta name="robots" content="noindex">')
    site.redirect("/old", "/older", 301)
    site.redirect("/older", "/b", 302)
    site.add("/error", "oops", 503)
    run = new_run()
    result = run.crawl(site.url)
    assert result["statuses"] == {"200": 4, "301": 1, "302": 1, "404": 1, "503": 1}
    broken = {link["url"]: link for link in result["broken_links"]}
    assert broken[f"{site.url}/gone"] == {
        "url": f"{site.url}/gone", "status": 404, "error": None,
        "pages": [f"{site.url}/a", f"{site.url}/b"], "pages_total": 2,
    }  # fmt: skip
    assert broken[f"{site.url}/error"]["pages"] == [f"{site.url}/"] and len(broken) == 2
    chain = [f"{site.url}/old", f"{site.url}/older", f"{site.url}/b"]
    assert result["redirects"] == [{"urls": chain, "status": 200, "error": None}]
    duplicate = {"pages": [f"{site.url}/", f"{site.url}/a"], "pages_total": 2}
    assert result["duplicate_titles"] == [{"title": "Same title", **duplicate}]
    assert result["duplicate_descriptions"] == [{"description": "Same", **duplicate}]
    times = [page["ms"] for page in result["slowest"]]
    assert len(times) == 8 and times == sorted(times, reverse=True)


def test_what_goes_wrong_is_a_row(site: Site, new_run: Callable[..., Run]) -> None:
    """A dead host, a loop, a 10 MB title, a page without end, a bomb, no HTTP: each a row with an error."""
    dead = Site()
    with dead:
        dead_host = dead.host
    site.html(
        "/", "Home", ["/loop", "/title", "/endless", "/bomb", "/ssh", "/far", "/deep", f"http://{dead_host}/", "/ok"]
    )
    site.redirect("/loop", "/pool")
    site.redirect("/pool", "/loop")
    site.html("/title", "T" * 10_000_000)
    site.endless("/endless", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>E</title>", b"<p>more" * 9000)
    site.packed("/bomb", bytes(30_000_000), "gzip")
    site.raw("/ssh", b"SSH-2.0-x\r\n")
    site.html("/deep", "Deep", text="<div>" * 200_000)
    for number in range(7):
        site.redirect("/far" if number == 0 else f"/far{number}", f"/far{number + 1}")
    site.html("/ok", "Fine")
    run = new_run(dead_host)
    result = run.crawl(site.url)
    errors = {path: row["error"] for path, row in run.rows.items() if row["error"]}
    assert errors == {
        "/pool": "redirects in a circle",
        "/title": "is larger than 10 MB",
        "/endless": "is larger than 10 MB",
        "/bomb": "unpacks to more than 100 times its size",
        "/ssh": "the answer is not HTTP",
        "/deep": "its elements are nested more than 10,000 deep",
        "/far5": "redirects more than 5 times",
    }
    assert run.rows["/ok"]["title"] == "Fine" and result["statuses"]["error"] == 7
    circle = [f"{site.url}/loop", f"{site.url}/pool", f"{site.url}/loop"]
    assert {"urls": circle, "status": None, "error": "redirects in a circle"} in result["redirects"]


def test_a_dead_start_is_a_row_too(site: Site, tmp_path: Path) -> None:
    """A crawl of a server that is down completes and says so."""
    with Site() as dead:
        host = dead.host
    run = Run(tmp_path, host)
    result = run.crawl(f"http://{host}/")
    assert result["statuses"] == {"error": 1} and "refused the connection" in run.rows["/"]["error"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense://x", "not a web address"),
        ("http://", "not a web address"),
        ("http://user:password@example.com/", "not a web address"),
        ("http://127.0.0.1/", "host name is unknown, or its address is not public"),
        ("http://nothing.invalid/", "host name is unknown, or its address is not public"),
        ("localhost", "host name is unknown, or its address is not public"),
        ("http://example.com:8080/", "only 80 and 443"),
    ],
)
def test_a_start_that_may_not_be_fetched_fails_with_a_sentence(tmp_path: Path, url: str, reason: str) -> None:
    """Only then the run fails: there is nothing to crawl."""
    with pytest.raises(JobError, match=reason):
        Run(tmp_path, "").crawl(url)


def test_a_wrong_exception_in_the_settings_is_said(tmp_path: Path) -> None:
    """The operator's mistake is not blamed on the URL."""
    with pytest.raises(JobError, match="CRAWL_ALLOW"):
        Run(tmp_path, "*").crawl("http://example.com/")


def test_the_start_may_lead_to_another_host(site: Site, tmp_path: Path) -> None:
    """The scope is seen from where the start URL leads."""
    with Site() as moved:
        site.redirect("/", f"{moved.url}/")
        moved.html("/", "Moved", ["/a", f"{site.url}/x"])
        moved.html("/a", "A")
        run = Run(tmp_path, f"{site.host},{moved.host}")
        result = run.crawl(site.url)
    assert result["statuses"] == {"200": 2, "301" if "301" in result["statuses"] else "302": 1}
    assert site.paths == ["/robots.txt", "/"]


def test_one_page_is_fetched_once_whatever_its_links_look_like(site: Site, new_run: Callable[..., Run]) -> None:
    """Fragments, the order of parameters, dots, the usual port and letter case of the host make no other page."""
    links = ["/a?y=2&x=1", "/a?x=1&y=2#f", "./a?x=1&y=2", "/z/../a?x=1&y=2", f"HTTP://{site.host}/a?x=1&y=2"]
    site.html("/", "Home", links)
    site.html("/a?y=2&x=1", "A")
    run = new_run()
    run.crawl(site.url, robots=False, sitemaps=False)
    assert site.paths == ["/", "/a?y=2&x=1"]


@pytest.mark.parametrize("scope", ["host", "path"])
def test_links_out_of_scope_are_counted_and_not_followed(site: Site, new_run: Callable[..., Run], scope: str) -> None:
    """This host means host and port; this path also the folder of the start."""
    with Site() as other:
        other.html("/", "Other")
        site.html("/blog/start", "Start", ["/blog/a", "../shop", f"{other.url}/"])
        site.html("/blog/a", "A")
        site.html("/shop", "Shop")
        run = new_run(other.host)
        run.crawl(f"{site.url}/blog/start", scope=scope)
        assert other.requests == []
    assert set(run.rows) == {"/blog/start", "/blog/a"} | ({"/shop"} if scope == "host" else set())


def test_scopes_are_read_from_the_start() -> None:
    """Subdomains are those of the host without www; other hosts that end alike are not among them."""
    assert "https://a.example.com/x" in Scope("http://www.example.com/", "subdomains")
    assert "https://example.com/" in Scope("http://www.example.com/", "subdomains")
    assert "https://badexample.com/" not in Scope("http://example.com/", "subdomains")
    assert "http://example.com.evil/" not in Scope("http://example.com/", "subdomains")
    assert "https://example.com/x" in Scope("http://example.com/", "host")
    assert "https://www.example.com/" not in Scope("http://example.com/", "host")
    assert "http://example.com:8080/" not in Scope("http://example.com/", "host")
    assert "http://example.com/a/b" in Scope("http://example.com/a/", "path")
    assert "http://example.com/ab" not in Scope("http://example.com/a/", "path")


def test_limits_on_pages_and_depth_hold(site: Site, new_run: Callable[..., Run], tmp_path: Path) -> None:
    """No more pages than asked for, and none further from the start."""
    for number in range(30):
        site.html(f"/{number or ''}", f"Page {number}", [f"/{number + 1}", f"/{number + 2}"])
    run = new_run()
    result = run.crawl(site.url, pages=7)
    assert (result["pages"], result["complete"]) == (7, False) and result["known_pages"] > 7
    again = Run(tmp_path / "2", site.host)
    assert again.crawl(site.url, depth=2)["pages"] == 5
    assert {row["depth"] for row in again.rows.values()} == {0, 1, 2}
    alone = Run(tmp_path / "3", site.host)
    assert alone.crawl(site.url, depth=0)["pages"] == 1


# robots.txt and how robots are spoken to.


def test_robots_txt_is_obeyed_unless_switched_off(site: Site, new_run: Callable[..., Run], tmp_path: Path) -> None:
    """Rules for this crawler go before those for all; the number of pages left out is told."""
    site.add(
        "/robots.txt", "User-agent: *\nDisallow: /\n\nUser-agent: headway\nDisallow: /private\nAllow: /private/ok\n"
    )
    site.html("/", "Home", ["/private/a", "/private/ok", "/b"])
    site.html("/private/ok", "Ok")
    site.html("/private/a", "A")
    site.html("/b", "B")
    run = new_run()
    result = run.crawl(site.url)
    assert set(run.rows) == {"/", "/private/ok", "/b"} and result["links"]["disallowed_by_robots"] == 1
    free = Run(tmp_path / "2", site.host)
    free.crawl(site.url, robots=False)
    assert set(free.rows) == {"/", "/private/ok", "/private/a", "/b"}


def test_a_start_that_robots_txt_forbids_fails_with_a_way_out(site: Site, new_run: Callable[..., Run]) -> None:
    """The sentence names the switch."""
    site.add("/robots.txt", "User-agent: *\nDisallow: /")
    with pytest.raises(JobError, match="Obey robots.txt"):
        new_run().crawl(site.url)
    assert site.paths == ["/robots.txt"]


def test_robots_txt_that_fails_forbids_everything(site: Site, new_run: Callable[..., Run]) -> None:
    """RFC 9309, 2.3.1.4: while it answers 5xx nothing may be fetched; 4xx means that there is none."""
    site.html("/", "Home")
    site.add("/robots.txt", "", 503)
    run = new_run()
    run.crawl(site.url)
    assert site.paths == ["/robots.txt"] and "robots.txt answered 503" in run.rows["/"]["error"]


def test_only_the_beginning_of_a_huge_robots_txt_is_read(site: Site, new_run: Callable[..., Run]) -> None:
    """512 KiB of it count, and reading ends there."""
    rules = b"User-agent: *\nDisallow: /private\n"
    site.endless("/robots.txt", b"HTTP/1.1 200 OK\r\n\r\n" + rules, b"# filler\n" * 1000)
    site.html("/", "Home", ["/private", "/b"])
    site.html("/b", "B")
    run = new_run()
    run.crawl(site.url, sitemaps=False)
    assert set(run.rows) == {"/", "/b"}


def test_the_longer_of_delay_and_crawl_delay_counts(site: Site, new_run: Callable[..., Run]) -> None:
    """Requests to a host begin that far from each other, whatever the concurrency."""
    times: list[float] = []
    site.add("/robots.txt", "User-agent: *\nCrawl-delay: 0.15")
    site.html("/", "Home", ["/1", "/2", "/3"])
    for number in (1, 2, 3):
        site.answers[f"/{number}"] = lambda handler: (times.append(time.monotonic()), handler.answer(200, b"", {}))[1]
    new_run().crawl(site.url, delay=0.05, sitemaps=False)
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert len(times) == 3 and min(gaps) > 0.1


def test_nofollow_and_noindex_are_respected(site: Site, new_run: Callable[..., Run], tmp_path: Path) -> None:
    """By meta element, by header, and by rel; the last can be switched off."""
    site.html("/", "Home", ["/meta", "/header"], text='<a rel="ugc NoFollow" href="/rel">x</a>')
    site.html("/meta", "Meta", ["/m"], head='<meta name="robots" content="NOINDEX, nofollow">')
    site.html("/header", "Header", ["/h"], X_Robots_Tag="nofollow")
    site.html("/rel", "Rel")
    run = new_run()
    run.crawl(site.url)
    assert set(run.rows) == {"/", "/meta", "/header"}
    assert run.rows["/meta"]["robots"] == "noindex, nofollow"
    again = Run(tmp_path / "2", site.host)
    again.crawl(site.url, follow_nofollow=True)
    assert set(again.rows) == {"/", "/meta", "/header", "/rel"}
    assert [row["kind"] for row in again.file("links.csv") if row["to"].endswith("/rel")] == ["nofollow"]


# Sitemaps.

URLSET = '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'


def urlset(*urls: str) -> str:
    return URLSET.format("".join(f"<url><loc>\n {url} </loc><image:loc>x</image:loc></url>" for url in urls))


def test_pages_of_sitemaps_are_fetched_too(site: Site, new_run: Callable[..., Run]) -> None:
    """From robots.txt, through an index, packed, and as text; entities undone; other hosts left alone."""
    site.add("/robots.txt", f"Sitemap: {site.url}/index.xml\nSitemap: {site.url}/list.txt")
    names = f"<loc>{site.url}/a.xml.gz</loc>", f"<loc><![CDATA[{site.url}/index.xml]]></loc>"
    site.add("/index.xml", "<sitemapindex>" + "".join(f"<sitemap>{name}</sitemap>" for name in names))
    site.add("/a.xml.gz", gzip.compress(urlset(f"{site.url}/a?x=1&amp;y=2", "http://other.example/").encode()))
    site.add("/list.txt", f"{site.url}/t\nnonsense\n")
    site.html("/", "Home", ["/linked"])
    site.html("/linked", "Linked", ["/t"])
    site.html("/t", "T")
    site.html("/a?x=1&y=2", "A")
    run = new_run()
    run.crawl(site.url)
    assert set(run.rows) == {"/", "/linked", "/t", "/a?x=1&y=2"}
    assert site.paths.count("/index.xml") == 1


def test_the_usual_sitemap_is_tried(site: Site, new_run: Callable[..., Run], tmp_path: Path) -> None:
    """Where robots.txt names none; that it is missing is nothing to complain about."""
    site.html("/", "Home")
    site.html("/orphan", "Orphan")
    site.add("/sitemap.xml", urlset(f"{site.url}/orphan"))
    run = new_run()
    run.crawl(site.url)
    assert set(run.rows) == {"/", "/orphan"} and run.rows["/orphan"]["depth"] == 1
    del site.answers["/sitemap.xml"]
    again = Run(tmp_path / "2", site.host)
    again.crawl(site.url)
    assert set(again.rows) == {"/"} and again.said("log") == []


def test_a_sitemap_that_is_a_bomb_or_private_does_no_harm(site: Site, new_run: Callable[..., Run]) -> None:
    """It is as guarded as a page, and what is wrong with it goes to the log."""
    with Site() as sink:
        site.add("/robots.txt", f"Sitemap: {site.url}/bomb.gz\nSitemap: {sink.url}/s.xml")
        site.add("/bomb.gz", gzip.compress(bytes(50_000_000)))
        site.html("/", "Home")
        run = new_run()
        assert run.crawl(site.url)["pages"] == 1
        assert sink.connections == 0
    assert sink.host in run.said("log")[0]["message"]


# What pages are made of.


@pytest.mark.parametrize(
    ("header", "html"),
    [
        ("text/html; charset=iso-8859-1", "<title>Grüße</title>".encode("latin-1")),
        ("text/html; charset=UTF-8", "<title>Grüße</title>".encode()),
        ("text/html", b'<meta charset="windows-1252">' + "<title>Grüße</title>".encode("cp1252")),
        ("text/html", "<title>Grüße</title>".encode()),
        ("text/html", "<title>Grüße</title>".encode("cp1252")),
        ("text/html; charset=nonsense", "<title>Grüße</title>".encode()),
        ("text/html", "\ufeff<title>Grüße</title>".encode("utf-16")),
        ("application/xhtml+xml", '<?xml version="1.0" encoding="iso-8859-15"?><title>Grüße</title>'.encode("latin-1")),
        ("TEXT/HTML;charset=koi8-r", "<title>Привет</title>".encode("koi8-r")),
    ],
)  # fmt: skip
def test_pages_are_read_in_their_encoding(site: Site, new_run: Callable[..., Run], header: str, html: bytes) -> None:
    """As the header says, or the page, or what browsers guess."""
    site.add("/", html, content_type=header)
    run = new_run()
    run.crawl(site.url)
    assert run.rows["/"]["title"] in ("Grüße", "Привет")


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_packed_pages_are_read(site: Site, new_run: Callable[..., Run], encoding: str) -> None:
    """And their size is that of the page."""
    page = b"<title>Packed</title>" + b"".join(b"<p>%d %x" % (number, number**9) for number in range(2000))
    site.packed("/", page, encoding)
    run = new_run()
    run.crawl(site.url)
    assert (run.rows["/"]["title"], run.rows["/"]["bytes"]) == ("Packed", len(page))


def test_only_html_is_read(site: Site, new_run: Callable[..., Run]) -> None:
    """Other types are rows with status, type and size, and their bodies are left."""
    site.html("/", "Home", ["/image.png", "/page.pdf", "/none"])
    site.add("/image.png", b"\x89PNG" * 10, content_type="image/png")
    site.endless("/page.pdf", b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n", b"%PDF" * 1000)
    site.add("/none", "<title>No type</title>")
    run = new_run()
    run.crawl(site.url)
    image = run.rows["/image.png"]
    assert (image["status"], image["type"], image["bytes"], image["title"]) == (200, "image/png", 40, None)
    pdf = run.rows["/page.pdf"]
    assert (pdf["status"], pdf["type"], pdf["bytes"], pdf["error"]) == (200, "application/pdf", None, None)
    assert run.rows["/none"]["title"] == "No type"


def read(html: str, url: str = "http://example.com/dir/page") -> tuple[Any, list[str]]:
    headers = {"content-type": "text/html; charset=utf-8"}
    page = read_tree(parse_page(html.encode(), headers), headers, url, Links())
    return page, [link.url for link in page.links]


def test_long_texts_are_cut() -> None:
    """A title of a megabyte does not travel on."""
    page, _ = read(f"<title>{'a ' * 500_000}</title><h1>{'b' * 1000}</h1>")
    assert len(page.title) == 300 and page.title.endswith("…") and len(page.h1) == 300


def test_links_are_found_wherever_they_stand() -> None:
    """In areas and refreshes, relative to base, whatever their spelling."""
    _, links = read(
        '<base href="/other/"><meta http-equiv="refresh" content="5; URL=\'r\'"><map><area href="m"></map>'
        '<a href=" a b ">x</a><a href="//cdn.example/x">x</a><a href="?q=ü">x</a><a href="\\back">x</a><a>x</a>'
        '<a href="ht\ntp://split.example/">x</a><a href="http://[bad/">x</a><a href="tel:1">x</a>'
    )
    assert links == [
        "http://example.com/other/r", "http://example.com/other/a%20b",
        "http://cdn.example/x", "http://example.com/other/?q=%C3%BC", "http://example.com/back", "http://split.example/",
        "http://example.com/other/m",
    ]  # fmt: skip


def test_the_fast_ways_of_joining_agree_with_the_slow_one() -> None:
    """What Base.join does without urljoin is what urljoin does."""
    from urllib.parse import urljoin

    for url in ("http://h/", "http://h/a", "http://h/a/b?c=/d/", "http://h/a/b/"):
        for href in ("/x", "/x/../y", "x", "x/y.html", "x/", "http://o/x", "https://o", "?q", "a..b", "x:y/z", "."):
            assert Base(url).join(href) == urljoin(url, href), (url, href)


def test_canonical_forms_of_plain_urls_agree_with_w3lib() -> None:
    """The pattern that spares w3lib most URLs only matches what w3lib would leave alone."""
    from w3lib.url import canonicalize_url

    for path in (
        "",
        "a",
        "a/b/",
        "a.html",
        "a-b_c~d/e.f",
        "%41",
        "a//b",
        "a/./b",
        "a/../b",
        ".well-known/x",
        "ä",
        "a b",
    ):
        link = link_to(f"http://example.com/{path}")
        assert link is not None and link.key == canonicalize_url(link.url), path


def test_svg_titles_are_none() -> None:
    """An icon's title is not the page's."""
    assert read("<body><svg><title>Icon</title></svg><title>Page</title>")[0].title == "Page"


def test_words_are_those_that_can_be_seen() -> None:
    """Not scripts, styles, templates or noscript; neighbours in different elements are two words."""
    html = "<p>one</p><p>two</p><script>x y</script><style>z</style><template>t</template><noscript>n</noscript>three"
    assert read(html)[0].words == 3


def test_a_million_links_do_not_fill_the_memory() -> None:
    """Links beyond a limit do not count, and the graph has a limit of its own."""
    page, links = read("".join(f'<a href="/{number}">' for number in range(100_000)))
    assert len(links) == 5000
    graph = LinkGraph()
    for number in range(20_000):
        link = link_to(f"http://example.com/{'x' * 1900}/{number}")
        assert link is not None
        graph.find(link, 0)
    assert graph.truncated and len(graph.targets) < 17_000


# Progress, and stopping.


def test_progress_is_honest(site: Site, new_run: Callable[..., Run]) -> None:
    """Steps are announced and named, the bar never goes back, and the numbers are pages fetched and known."""
    for number in range(60):
        site.html(f"/{number or ''}", f"Page {number}", [f"/{number + 1}", f"/{number + 2}"])
    run = new_run()
    run.crawl(site.url, pages=50)
    (plan,) = run.said("plan")
    updates = run.said("update")
    assert plan["steps"] == ["Opening the start page", "Reading sitemaps", "Fetching pages", "Writing the report"]
    steps = list(dict.fromkeys(update["step"] for update in updates if update["step"]))
    assert steps == plan["steps"]
    percents = [update["progress"] for update in updates]
    assert percents == sorted(percents) and percents[-1] < 100
    assert any(update["message"] == "50 of 50 pages" for update in updates) or percents[-1] > 90


def test_a_cancelled_crawl_stops_within_a_second(site: Site, new_run: Callable[..., Run]) -> None:
    """Though all its threads wait for a server that says nothing; they end, too."""
    site.html("/", "Home", [f"/stuck{number}" for number in range(20)])
    for number in range(20):
        site.stuck(f"/stuck{number}")
    run = new_run()
    before = threading.active_count()
    ended: list[float] = []

    def crawl_until_stopped() -> None:
        with pytest.raises(StopRun):
            run.crawl(site.url, sitemaps=False)
        ended.append(time.monotonic())

    thread = threading.Thread(target=crawl_until_stopped)
    thread.start()
    while sum(path.startswith("/stuck") for path in site.paths) < 8:
        time.sleep(0.001)
    stopped = time.monotonic()
    run.progress.stop(Cancelled)
    thread.join(5)
    assert ended and ended[0] - stopped < 1
    assert not [one for one in threading.enumerate() if one.name.startswith("crawl-")], before


def test_a_crawl_that_runs_out_of_time_still_reports(site: Site, new_run: Callable[..., Run]) -> None:
    """The last seconds of its time are kept for the report."""
    site.html("/", "Home", ["/a"])
    site.html("/a", "A")
    run = new_run(timeout_s=19)
    result = run.crawl(site.url)
    assert result["pages"] >= 1 and "nearly up" in run.said("log")[0]["message"]
