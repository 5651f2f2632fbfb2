"""The report on a site: crawl, groups, names and the file that holds it all, each part stopped where it is told to."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Cancelled, JobError, StopRun
from jobs.events import Draft
from jobs.library.crawl import crawl
from jobs.library.site_report import CRAWL, GROUP, NAME, WRITE, site_report
from jobs.progress import Progress
from tests.library.chat_server import ChatServer, asking
from tests.library.site import Site

TOPICS = {
    "bread": "dough flour yeast oven crust knead loaf sourdough rise bake",
    "ships": "harbour anchor sail mast captain deck keel voyage port tide",
    "stars": "telescope galaxy orbit planet comet nebula eclipse moon lens sky",
}


class Run:
    """A run of the job in this process, with what it said."""

    def __init__(self, folder: Path, on_said: Callable[[Run, Draft], None] | None = None, **settings: str) -> None:
        names = ("CRAWL_ALLOW", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_EMBEDDING_MODEL")
        self.drafts: list[Draft] = []
        self._on_said = on_said
        self.folder = folder / "files"
        self.progress = Progress(
            "r", 1, self._say, folder=self.folder, settings={name: settings.get(name, "") for name in names}
        )

    def _say(self, draft: Draft) -> None:
        self.drafts.append(draft)
        if self._on_said is not None:
            self._on_said(self, draft)

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(draft.body) for draft in self.drafts if draft.kind == kind]

    @property
    def steps(self) -> list[str]:
        """The outermost steps, in the order in which they came."""
        named = [update["step"].split(" › ")[0] for update in self.said("update") if update["step"]]
        return list(dict.fromkeys(named))

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def report(self) -> str:
        return (self.folder / "report.html").read_text()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of three topics, nine pages each, whose pages name each other."""
    with Site() as site:
        paths = [f"/{topic}/{number}" for topic in TOPICS for number in range(9)]
        for path in paths:
            topic, number = path[1:].split("/")
            words = TOPICS[topic].split()
            text = " ".join(words[int(number) % 5 :] + words[: int(number)]) + f" {words[int(number)]} page"
            site.html(path, f"{topic} {number}", links=["/", "/gone"], text=f"<main><p>{text}</p></main>")
        site.html("/", "Home", links=paths)
        yield site


def on(site: Site, **more: str) -> dict[str, str]:
    """The settings that let a run reach the site."""
    return {"CRAWL_ALLOW": site.host, **more}


class Text(HTMLParser):
    """The elements and the text of a page, by the standard library's parser."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_sample_is_reported_without_a_network(tmp_path: Path) -> None:
    """Its three kinds of recipes are its groups; what is wrong with it is found."""
    run = Run(tmp_path)
    result = site_report(run.progress, "sample:site")
    run.progress.finish()
    assert run.said("plan") == [{"steps": [CRAWL, GROUP, WRITE]}] and run.steps == [CRAWL, GROUP, WRITE]
    groups = {row["url"].split("/")[3]: row["group"] for row in run.rows("groups.csv") if row["url"].count("/") == 4}
    assert len(set(groups.values())) == len(groups) == 3
    for row in run.rows("groups.csv"):
        if row["url"].count("/") == 4:
            assert row["group"] == groups[row["url"].split("/")[3]], "each recipe is with its kind"
    assert result["pages"] == len(run.rows("pages.csv")) == 13
    assert len(result["broken_links"]) == 1 and len(result["redirects"]) == 1 and len(result["duplicate_titles"]) == 1
    assert [group["group"] for group in result["groups"]] == [1, 2, 3]
    assert {name for name, value in result.items() if isinstance(value, dict) and value.get("$headway") == "chart"} == {
        "map", "sizes", "statuses", "times",
    }  # fmt: skip


def test_the_same_site_gives_the_same_groups(site: Site, tmp_path: Path) -> None:
    tables = []
    for number in range(2):
        run = Run(tmp_path / str(number), **on(site))
        site_report(run.progress, f"{site.url}/", concurrency=1 + 7 * number)
        tables.append(run.rows("groups.csv"))
    assert tables[0] == tables[1]


def test_the_parts_are_those_of_the_single_jobs(site: Site, tmp_path: Path) -> None:
    """Its pages.csv and links.csv are what the crawl writes, but for the times."""

    def timeless(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return sorted(({**row, "ms": ""} for row in rows), key=lambda row: row.get("url") or row["from"] + row["to"])

    alone, inside = Run(tmp_path / "alone", **on(site)), Run(tmp_path / "inside", **on(site))
    crawl(alone.progress, f"{site.url}/", pages=200)
    site_report(inside.progress, f"{site.url}/")
    for name in ("pages.csv", "links.csv"):
        assert timeless(alone.rows(name)) == timeless(inside.rows(name))
    assert len(alone.said("row")) == len(inside.said("row")) == 29


def test_groups_are_what_the_pages_are_about(site: Site, tmp_path: Path) -> None:
    run = Run(tmp_path, **on(site))
    result = site_report(run.progress, f"{site.url}/", groups=3)
    found = {row["group"]: set() for row in run.rows("groups.csv")}  # type: dict[str, set[str]]
    for row in run.rows("groups.csv"):
        if row["title"] != "Home":
            found[row["group"]].add(row["title"].split()[0])
    assert sorted(map(sorted, found.values())) == [["bread"], ["ships"], ["stars"]]
    assert sum(group["pages"] for group in result["groups"]) == 28
    for group in result["groups"]:
        (topic,) = found[str(group["group"])]
        assert set(group["terms"].split(", ")) <= {*TOPICS[topic].split(), topic, "page"}


def test_progress_moves_through_the_steps_and_never_goes_back(site: Site, tmp_path: Path) -> None:
    run = Run(tmp_path, **on(site))
    site_report(run.progress, f"{site.url}/")
    percents = [update["progress"] for update in run.said("update")]
    assert percents == sorted(percents) and percents[-1] < 100
    begun = {update["step"]: update["progress"] for update in reversed(run.said("update"))}
    assert begun[GROUP] == pytest.approx(100 * 60 / 90, abs=0.1) and begun[WRITE] == pytest.approx(100 * 85 / 90, abs=1)


def test_where_an_endpoint_is_set_up_its_model_names_the_groups(site: Site, tmp_path: Path) -> None:
    with ChatServer() as model:
        run = Run(tmp_path, **on(site, OPENAI_BASE_URL=model.url, OPENAI_MODEL="any"))
        result = site_report(run.progress, f"{site.url}/", groups=3)
    assert run.said("plan") == [{"steps": [CRAWL, GROUP, NAME, WRITE]}] and run.steps == [CRAWL, GROUP, NAME, WRITE]
    assert len(model.asked) == 3
    name = "The quick brown fox jumps over the dog."
    assert [group["name"] for group in result["groups"]] == [name, f"{name} (2)", f"{name} (3)"]
    assert [len(one["points"]) for one in result["map"]["series"]] == [group["pages"] for group in result["groups"]]
    assert Text(run.report).text.count("The quick brown fox jumps over the dog.") >= 3


def test_name_and_summary_are_the_first_line_and_the_rest(site: Site, tmp_path: Path) -> None:
    """What pages say goes into the question, so a page can make the test's model answer as the test wants."""
    wish = asking(pieces=["**Night", " sky**\n\n", "All about stars. ", "And moons.\n"]).replace('"', "&quot;")
    with ChatServer() as model:
        site.html("/", wish, links=[], text="<main>telescope galaxy orbit</main>")
        run = Run(tmp_path, **on(site, OPENAI_BASE_URL=model.url, OPENAI_MODEL="any"))
        result = site_report(run.progress, f"{site.url}/")
    (group,) = result["groups"]
    assert (group["name"], group["summary"]) == ("Night sky", "All about stars. And moons.")
    assert "All about stars. And moons." in Text(run.report).text
    assert run.rows("groups.csv")[0]["summary"] == "All about stars. And moons."


@pytest.mark.parametrize("wish", [{"always": 401}, {"pieces": [" \n "]}, {"raw": "nonsense", "type": "text/html"}])
def test_a_model_that_fails_costs_the_names_and_nothing_else(site: Site, tmp_path: Path, wish: dict[str, Any]) -> None:
    with ChatServer() as model:
        site.html("/", asking(**wish).replace('"', "&quot;"), links=[], text="<main>telescope galaxy</main>")
        run = Run(tmp_path, **on(site, OPENAI_BASE_URL=model.url, OPENAI_MODEL="any"))
        result = site_report(run.progress, f"{site.url}/")
    (group,) = result["groups"]
    assert group["name"] and group["summary"] == ""
    assert any("keeps its terms as a name" in line["message"] for line in run.said("log"))
    assert (run.folder / "report.html").exists()


@pytest.mark.parametrize("texts", [[], ["one"], ["one", "two"], ["the same"] * 5])
def test_small_and_dull_sites_have_a_report_too(tmp_path: Path, texts: list[str]) -> None:
    with Site() as site:
        paths = [f"/{number}" for number in range(len(texts))]
        site.html("/", "Home", links=paths, text="<main></main>")
        for path, text in zip(paths, texts, strict=True):
            site.html(path, "", text=f"<main>{text}</main>")
        run = Run(tmp_path, **on(site))
        result = site_report(run.progress, f"{site.url}/")
    assert result["pages"] == 1 + len(texts)
    assert sum(group["pages"] for group in result["groups"]) <= 1 + len(texts)
    assert "Report on" in Text(run.report).text


def test_what_cannot_be_crawled_is_said_as_the_crawl_says_it(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be crawled"):
        site_report(Run(tmp_path).progress, "http://127.0.0.1:9/")


@pytest.mark.parametrize("step", [CRAWL, GROUP, NAME, WRITE])
def test_it_stops_in_every_step(site: Site, tmp_path: Path, step: str) -> None:
    """Cancelled as soon as it names the step; nothing of a later one is said or written."""

    def cancel(run: Run, draft: Draft) -> None:
        if draft.kind == "update" and (json.loads(draft.body)["step"] or "").startswith(step):
            run.progress.stop(Cancelled)

    with ChatServer() as model:
        run = Run(tmp_path, cancel, **on(site, OPENAI_BASE_URL=model.url, OPENAI_MODEL="any"))
        with pytest.raises(StopRun):
            site_report(run.progress, f"{site.url}/")
    assert run.steps[-1] == step
    assert not (run.folder / "report.html").exists()


HOSTILE = ["</title><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "=1+1"]


def test_nothing_that_a_site_or_a_model_says_becomes_markup(tmp_path: Path) -> None:
    """Titles, headings, texts and addresses stand in it as text; no script, image or handler is made of them."""
    with Site() as site, ChatServer() as model:
        paths = [f"/{number}?%3Cb%3E" for number in range(len(HOSTILE))]
        for path, text in zip(paths, HOSTILE, strict=True):
            escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
            answer = asking(pieces=[text + "\n" + text]).replace("<", "&lt;").replace('"', "&quot;")
            more = f'<meta name="description" content="{escaped}">'
            site.html(path, escaped, head=more, text=f"<main>{escaped} {answer}</main>", links=["/gone<b>"])
        site.html("/", "Home", links=paths)
        run = Run(tmp_path, **on(site, OPENAI_BASE_URL=model.url, OPENAI_MODEL="any"))
        site_report(run.progress, f"{site.url}/")
    page = Text(run.report)
    for text in HOSTILE:
        assert text in page.text
    allowed = set(
        "html head meta title style body main h1 h2 h3 p nav a section dl div dt dd figure svg desc rect g text line"
        " circle path polygon polyline title table thead tbody tr th td ul li br".split()
    )
    assert {tag for tag, _ in page.tags} <= allowed
    attributes = {name for _, found in page.tags for name in found}
    assert not {name for name in attributes if name.startswith("on")}
    links = {found["href"] for tag, found in page.tags if tag == "a"}
    assert all(link is not None and link.startswith(("#", "http://127.0.0.1:")) for link in links)
    policy = next(found for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    for row in run.rows("groups.csv"):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())
