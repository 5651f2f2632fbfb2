"""The sample's site: what newcomers try the jobs with, without a network."""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs import JobError, Progress
from jobs.library.crawl import crawl
from jobs.library.sample_site import FOLDER, MOVED, SampleSite, is_sample

MISSING = "/soups/leek.html"
PAGES = sorted(path for path in FOLDER.rglob("*.html"))


@pytest.fixture
def sample() -> Iterator[SampleSite]:
    site = SampleSite()
    yield site
    site.close()


def test_its_pages_are_served_and_nothing_else(sample: SampleSite) -> None:
    """No path leads out of the folder; HEAD has the same head and no body."""
    for page in PAGES:
        path = f"/{page.relative_to(FOLDER).as_posix()}"
        answer, head = httpx.get(sample.url + path), httpx.head(sample.url + path)
        assert answer.status_code == head.status_code == 200
        assert answer.headers["content-type"].startswith("text/html") and not head.content
        assert int(head.headers["content-length"]) == len(answer.content)
    assert httpx.get(f"{sample.url}/").content == httpx.get(f"{sample.url}/index.html").content
    for path in (MISSING, "/soups/", "/nope", "/../sample_site.py", "/%2e%2e/urls.csv", "//etc/passwd", "/soups"):
        assert httpx.get(sample.url + path).status_code == 404, path
    assert httpx.get(f"{sample.url}/bread").headers["location"] == MOVED["/bread"]
    assert httpx.post(f"{sample.url}/").status_code == 501


def test_the_pages_name_the_address_at_which_they_are_served(sample: SampleSite) -> None:
    """Canonical links, sitemap and robots.txt."""
    for path in ("/", "/sitemap.xml", "/robots.txt"):
        text = httpx.get(sample.url + path).text
        assert sample.url in text and "cookbook.example" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_links_lead_somewhere_but_the_one_that_is_meant_not_to(page: Path) -> None:
    """And each recipe has a length that clustering can work with."""
    html = page.read_text()
    for link in re.findall(r'href="(/[^"]*)"', html):
        known = (FOLDER / link.lstrip("/")).is_file() or link in {"/", MISSING, "/drafts/brioche.html", *MOVED}
        assert known, link
    words = re.sub("<[^>]+>", " ", html.partition("<main>")[2].partition("</main>")[0]).split()
    assert 80 <= len(words) <= 200


def test_a_table_names_its_pages() -> None:
    """urls.csv leads to every page and to the one that is missing."""
    with (FOLDER.parent / "urls.csv").open(newline="") as file:
        cells = {row["url"] for row in csv.DictReader(file)}
    paths = {f"/{page.relative_to(FOLDER).as_posix()}" for page in PAGES} - {"/index.html"} | {"/", MISSING, "/bread"}
    assert cells == {f"sample:site{path}" for path in paths}


def test_a_crawl_of_it_shows_what_a_crawl_finds(tmp_path: Path) -> None:
    """Offline: a broken link, a redirect, a duplicate title, a page that only the sitemap names, a disallowed one."""
    drafts: list[object] = []
    progress = Progress("r1", 1, drafts.append, folder=tmp_path, settings={"CRAWL_ALLOW": ""})
    result = crawl(progress, "sample:site")
    assert result["statuses"] == {"200": len(PAGES), "301": 1, "404": 1}
    (broken,), (moved,) = result["broken_links"], result["redirects"]
    assert broken["url"].endswith(MISSING) and moved["urls"][0].endswith("/bread")
    assert [(one["title"], one["pages_total"]) for one in result["duplicate_titles"]] == [("Soup of the day", 2)]
    assert result["links"]["disallowed_by_robots"] == 1 and result["complete"]
    urls = [json.loads(draft.body)["row"]["url"] for draft in drafts if draft.kind == "row"]  # type: ignore[attr-defined]
    assert any(url.endswith("/ices/chocolate.html") for url in urls)
    assert not [one for one in threading.enumerate() if one.name == "sample-site"]


def test_only_its_name_stands_for_it(tmp_path: Path) -> None:
    """No other text starts it, and its address is no leave to fetch from this machine."""
    assert is_sample(" sample:site ") and is_sample("sample:site/soups/leek.html")
    assert not any(map(is_sample, ("sample:sites", "sample:", "sample:site2/x", "http://x/sample:site", "")))
    progress = Progress("r1", 1, lambda draft: None, folder=tmp_path, settings={"CRAWL_ALLOW": ""})
    with pytest.raises(JobError, match="cannot be crawled|is not a web address"):
        crawl(progress, "sample:other")
