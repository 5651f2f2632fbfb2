"""The crawl as a user has it: launched over HTTP, crawling a real site on loopback."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Server, numbered, updates
from tests.library.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of 40 pages in a chain of tens, with a broken link, a redirect and a page without end."""
    with Site() as site:
        for number in range(40):
            links = [f"/p{number * 3 + step}" for step in (1, 2, 3) if number * 3 + step < 40]
            site.html(f"/p{number}", f"=Page {number}", links=["/gone", *links])
        site.html("/", "Home", links=["/p0", "/moved"])
        site.add("/moved", status=301, Location="/p39")
        yield site


def test_a_site_is_crawled_page_by_page(new_server: Callable[..., Server], site: Site) -> None:
    """Each page is a row as it comes; progress is fetched of known and never goes back; files hold everything."""
    server = new_server(HEADWAY_CRAWL_ALLOW=site.host, workers="1")
    run = server.launch("crawl", url=f"{site.url}/", pages=100)
    events = server.events(run)
    rows = [data["row"] for data in numbered(events) if "row" in data]
    assert {row["url"] for row in rows} == {f"{site.url}{path}" for path in ("/", "/gone", "/moved")} | {
        f"{site.url}/p{number}" for number in range(40)
    }
    percents = [update["progress"] for update in updates(events)]
    assert percents == sorted(percents)
    steps = list(dict.fromkeys(update["step"] for update in updates(events) if update["step"]))
    assert steps == ["Opening the start page", "Reading sitemaps", "Fetching pages", "Writing the report"]
    result = updates(events)[-1]["data"]
    assert result["statuses"] == {"200": 41, "301": 1, "404": 1}
    (broken,) = result["broken_links"]
    assert broken["url"] == f"{site.url}/gone"
    assert broken["pages_total"] == 40
    files = {file["name"]: server.http.get(file["url"]).text for file in updates(events)[-1]["files"]}
    pages = list(csv.DictReader(io.StringIO(files["pages.csv"].lstrip("\ufeff"))))
    assert len(pages) == 43
    assert {page["title"] for page in pages if "Page 7" in page["title"]} == {"'=Page 7"}  # no formula
    assert "/gone" in files["links.csv"]


def test_private_addresses_are_refused_unless_they_are_allowed(server: Server, site: Site) -> None:
    """Not one connection is made; the sentence says what is wrong."""
    for url in (site.url, f"http://localhost:{site.port}/", "http://169.254.169.254/", "http://[::1]/", "http://0/"):
        end = server.wait_ended(server.launch("crawl", url=url))
        assert end["error"]["code"] == "failed", url
        assert "cannot be crawled" in end["error"]["message"]
    assert site.connections == 0


def test_a_crawl_that_is_cancelled_stops_fetching(new_server: Callable[..., Server], site: Site) -> None:
    """It ends within seconds, also while every fetch hangs."""
    server = new_server(HEADWAY_CRAWL_ALLOW=site.host, workers="1")
    for number in range(40):
        site.stuck(f"/p{number}")
    run = server.launch("crawl", url=f"{site.url}/")
    with server.stream(run) as events:
        next(event for event in events if event.event == "row")
        server.cancel(run)
        assert updates(list(events))[-1]["error"]["code"] == "cancelled"
