"""The crawl: from a start URL through a site, page by page, to a report on it.

One thread, the run's own, knows everything: what was found (:mod:`~jobs.library.linkgraph`), what comes next
(:mod:`~jobs.library.frontier`), what is told. A crew of threads only fetches (:mod:`~jobs.library.fetch`). So there are
no locks, and the run stops where its own thread is told to. Pages are read (:mod:`~jobs.library.page`) in that one
thread, too: in the crew's, taking turns with the network, the same work took half as long again.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, assert_never

from marshmallow.validate import Length, Range

from jobs import JobError, Param, Progress, job
from jobs.library.crawl_report import findings, row, write_links, write_pages
from jobs.library.crew import Crew
from jobs.library.exchange import Body
from jobs.library.fetch import Fetcher, Response, parse_allow
from jobs.library.fetch_errors import BadURL, FetchError, Unreachable
from jobs.library.frontier import UNKNOWN_DEPTH, Frontier
from jobs.library.linkgraph import LinkGraph, Target
from jobs.library.page import PAGES, Page, TooDeep, parse_page, read_tree
from jobs.library.page_text import main_text
from jobs.library.robots import Robots, read_robots
from jobs.library.sample_site import SAMPLE, reachable
from jobs.library.sitemaps import read_sitemaps
from jobs.library.urls import Links, Scope, ScopeKind, host_of, root_of

MAX_HOPS = 5
TICK_S = 0.2
"""Longest wait before the run looks whether it was cancelled."""
REPORT_S = 20.0
"""Kept of the run's time for the report: a crawl that runs out of time still says what it found."""

MAX_MAPPED = 100_000
"""Pages of sitemaps that are taken notice of."""
MAX_TYPE_CHARS = 100

START, SITEMAPS, FETCH, REPORT = "Opening the start page", "Reading sitemaps", "Fetching pages", "Writing the report"


@job(title="Crawl a site", timeout="2h", settings=["CRAWL_ALLOW"])
def crawl(
    progress: Progress,
    url: Annotated[
        str,
        Param(
            "Start URL",
            help="Where the crawl begins.",
            placeholder="https://example.com/",
            sample=SAMPLE,
        ),
        Length(min=1, max=2000),
    ],
    pages: Annotated[int, Param("Pages", help="Fetch at most this many."), Range(1, 10_000)] = 100,
    scope: Annotated[
        ScopeKind,
        Param("Scope", help="Stay on this host, below the start URL's path, or also visit the host's subdomains."),
    ] = "host",
    depth: Annotated[
        int, Param("Depth", help="Go at most this many links away from the start page."), Range(0, 100)
    ] = 20,
    concurrency: Annotated[int, Param("Concurrency", help="Pages fetched at the same time."), Range(1, 32)] = 8,
    delay: Annotated[
        float,
        Param("Delay", help="Seconds between two requests to a host. A longer crawl-delay in robots.txt counts."),
        Range(0, 60),
    ] = 0.0,
    robots: Annotated[
        bool, Param("Obey robots.txt", help="Leave out what the site asks crawlers to leave out.")
    ] = True,
    sitemaps: Annotated[
        bool, Param("Read sitemaps", help="Also fetch pages that only a sitemap names, after those that links lead to.")
    ] = True,
    follow_nofollow: Annotated[
        bool, Param("Follow nofollow links", help="Also follow links that say rel=nofollow.")
    ] = False,
) -> dict[str, Any]:
    """Fetch a site page by page, as a search engine would, and report what is wrong with it.

    Each page becomes a row: status, title, description, heading, canonical URL, words, links, size and time. The result
    counts the statuses and names broken links with the pages that hold them, redirect chains, duplicate titles and
    descriptions, and the slowest pages. `pages.csv` and `links.csv` hold everything. Links to other sites are counted
    but not visited, and addresses that are not on the public internet are refused. The sample is a small site that is
    served from this machine while the run goes on.
    """
    options = Options(pages, scope, depth, concurrency, delay, robots, sitemaps, follow_nofollow)
    with reachable(url, crawl_allow(progress)) as (start, allowed), Fetcher(allowed) as fetcher:
        return Crawl(progress, fetcher, options).run(start)


def crawl_allow(progress: Progress) -> frozenset[tuple[str, int]]:
    """The setting CRAWL_ALLOW, which the job has to name. Raises JobError where it is wrong."""
    try:
        return parse_allow(progress.setting("CRAWL_ALLOW"))
    except ValueError as error:
        raise JobError(f"The server's settings are wrong: {error}.") from error


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose; :func:`crawl` says what each means."""

    pages: int = 100
    scope: ScopeKind = "host"
    depth: int = 20
    concurrency: int = 8
    delay_s: float = 0.0
    robots: bool = True
    sitemaps: bool = True
    follow_nofollow: bool = False
    text_chars: int = 0
    """Kept of each page's main text, for whoever asks for :attr:`Crawl.fetched` afterwards."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of fetching a page: an answer, or an error. ``refused``: the URL is one that is never fetched."""

    target: Target
    response: Response | None = None
    error: str | None = None
    refused: bool = False
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What came of reading the robots.txt of an origin."""

    root: str
    robots: Robots


class Crawl:
    """One crawl. All but :meth:`_work` and what it calls runs in the thread that called :meth:`run`."""

    def __init__(self, progress: Progress, fetcher: Fetcher, options: Options) -> None:
        self._progress = progress
        self._fetcher = fetcher
        self._options = options
        self._links = Links()
        self._graph = LinkGraph()
        self._frontier = Frontier(options.pages, options.delay_s)
        self._robots: dict[str, Robots] = {}
        self._waiting: dict[str, list[Target]] = {}
        self._fetched: list[Target] = []
        self._disallowed = 0
        self._crew: Crew[Target | str, Visit | Rules]

    def run(self, url: str) -> dict[str, Any]:
        """Crawl from ``url`` and give the result. Raises JobError where nothing can be fetched from there."""
        started = time.monotonic()
        progress = self._progress
        reads_sitemaps = self._options.sitemaps and self._options.depth > 0 and self._options.pages > 1
        progress.plan(START, *([SITEMAPS] if reads_sitemaps else []), FETCH, REPORT)
        self._crew = Crew(self._options.concurrency, self._work, "crawl")
        try:
            with progress.step(START, weight=2):
                start = self._open_start(url)
            if reads_sitemaps:
                with progress.step(SITEMAPS, weight=3):
                    self._read_sitemaps(root_of(start.url))
            with progress.step(FETCH, weight=90):
                self._fetch_all()
        finally:
            self._fetcher.close()  # first, so that no thread of the crew waits for the network
            self._crew.close()
        with progress.step(REPORT):
            return self._report(url, time.monotonic() - started)

    @property
    def fetched(self) -> Sequence[Target]:
        """The pages that were fetched so far, in the order in which they came."""
        return self._fetched

    # The start page decides the scope: http://example.com often means https://www.example.com.

    def _open_start(self, url: str) -> Target:
        url = url.strip()
        target = self._graph.find_url(url if "://" in url else f"http://{url}", 0)
        if target is None:
            raise JobError(f"{url} is not a web address; one looks like https://example.com/page.")
        visits: list[Visit] = []
        while target is not None and not target.admitted and len(visits) <= MAX_HOPS:
            self._progress.update(message=target.url)
            target.admitted = True
            visits.append(self._visit_start(target, first=not visits))
            response = visits[-1].response
            target = self._graph.find_url(response.location, 0) if response is not None else None
        last = visits[-1].target
        self._graph.rescope(Scope(last.url, self._options.scope))
        if len(visits) > 1 and not visits[0].target.in_scope:
            self._progress.log(f"The start URL leads to {last.url}, so that is what is crawled.")
        for visit in visits:
            self._frontier.begin()
            self._record(visit)
        return last

    def _visit_start(self, target: Target, first: bool) -> Visit:
        robots = self._learn_rules(Rules(root := root_of(target.url), self._read_robots(root)))
        if robots.problem is None and not robots.allow(target.url):
            reason = "robots.txt does not let crawlers fetch it; if the site is yours, turn off “Obey robots.txt”"
            visit = Visit(target, error=reason, refused=True)
        else:
            visit = self._visit(target)
        if first and visit.refused:
            raise JobError(f"{target.url} cannot be crawled: {visit.error}.")
        return visit

    def _read_sitemaps(self, root: str) -> None:
        """Queue what the site's sitemaps name: those of robots.txt, or else the usual one."""
        robots = self._robots[root]
        if robots.problem is not None:
            return
        urls = robots.sitemaps or [f"{root}/sitemap.xml"]
        found = 0
        for text in read_sitemaps(self._fetcher, urls, lambda message: self._progress.log(message, "warning")):
            target = self._graph.find_url(text, UNKNOWN_DEPTH)
            if target is not None and target.in_scope:
                found += 1
                self._admit(target, mapped=True)
            if self._frontier.known > MAX_MAPPED:
                break
            self._progress.update(message=f"{found} pages named")

    def _fetch_all(self) -> None:
        """Hand out and record until nothing is left to fetch, or no time to fetch it."""
        while True:
            self._hand_out()
            wait_s = self._frontier.wait_s(time.monotonic())
            if not self._crew.busy and wait_s is None:
                break
            for result in self._crew.results(TICK_S if wait_s is None else min(TICK_S, wait_s or TICK_S)):
                self._take(result)
            self._tell()
            left_s = self._progress.seconds_left
            if left_s is not None and left_s < REPORT_S:
                self._progress.log("The time is nearly up: no more pages are fetched.", "warning")
                break

    def _hand_out(self) -> None:
        # One task each in store saves the crew from waiting for this thread; but none where a delay counts from now.
        most = self._options.concurrency * (1 if self._frontier.delayed else 2)
        while self._crew.busy < most and (target := self._frontier.take(time.monotonic())) is not None:
            self._crew.give(target)

    def _take(self, result: Visit | Rules) -> None:
        match result:
            case Visit():
                self._record(result)
            case Rules():
                self._learn_rules(result)
            case _:
                assert_never(result)

    def _tell(self) -> None:
        fetched, known = len(self._fetched), min(self._options.pages, self._frontier.known)
        self._progress.update(100 * fetched / max(known, fetched, 1), f"{fetched} of {known} pages")

    # What came back.

    def _record(self, visit: Visit) -> None:
        """Make a row of a visit, and find out where it leads."""
        target, response = visit.target, visit.response
        target.error = visit.error
        target.elapsed_ms = round(1000 * visit.elapsed_s)
        if response is not None:
            target.status, target.content_type = response.status, response.content_type[:MAX_TYPE_CHARS]
            target.size = _size(response)
            if response.location is not None:
                self._redirect(target, response.location)
            elif response.body is not None:
                self._read(target, response, response.body)
        self._fetched.append(target)
        self._progress.row(row(target))

    def _read(self, target: Target, response: Response, body: Body) -> None:
        """Read a page. One that cannot be read is its own error, and no other's."""
        try:
            tree = parse_page(body.kept, response.headers)
            target.page = read_tree(tree, response.headers, response.url, self._links)
            if self._options.text_chars:
                target.page.text = main_text(tree)[: self._options.text_chars]
        except TooDeep as error:
            target.error = str(error)
        except Exception as error:
            target.error = f"could not be read ({type(error).__name__})"
            self._progress.log(f"{target.url}\n{traceback.format_exc()}", "error")
        else:
            self._follow(target, target.page)

    def _redirect(self, source: Target, location: str) -> None:
        target = self._graph.find_url(location, source.depth)
        if target is None:
            source.error = "redirects to what is no web address"
            return
        self._graph.redirect(source, target)
        if _in_circle(source):
            source.error = "redirects in a circle"
        elif not target.admitted and source.hops >= MAX_HOPS:
            source.error = f"redirects more than {MAX_HOPS} times"
        elif target.in_scope:
            target.hops = source.hops + 1
            self._admit(target)

    def _follow(self, source: Target, page: Page) -> None:
        """Remember the links of a page, and queue those that may be followed."""
        depth = source.depth + 1
        inside = self._graph.link(source, page.links, depth)
        if depth <= self._options.depth and not page.nofollow:
            mapped, nofollow_too = self._frontier.mapped, self._options.follow_nofollow
            for target, nofollow in inside:
                if (mapped or not target.admitted) and (nofollow_too or not nofollow):
                    self._admit(target)
        page.links.clear()  # they are in the graph now

    def _admit(self, target: Target, mapped: bool = False) -> None:
        """Have a page fetched some time, once its site's rules are known and allow it."""
        if target.admitted:
            self._frontier.promote(target)
            return
        target.admitted = True
        root = root_of(target.url)
        robots = self._robots.get(root)
        if robots is not None:
            self._queue(target, robots, mapped)
        elif root in self._waiting:
            self._waiting[root].append(target)
        else:
            self._waiting[root] = [target]
            self._crew.give(root)

    def _queue(self, target: Target, robots: Robots, mapped: bool = False) -> None:
        if robots.problem is None and not robots.allow(target.url):
            self._disallowed += 1
        elif mapped:
            self._frontier.add_mapped(target, host_of(target.url))
        else:
            self._frontier.add(target, host_of(target.url))

    def _learn_rules(self, rules: Rules) -> Robots:
        """Go by a robots.txt from now on; queue what has waited for it."""
        robots = self._robots[rules.root] = rules.robots
        self._frontier.slow_down(host_of(rules.root + "/"), robots.delay_s)
        if robots.delay_s > self._options.delay_s:
            self._progress.log(f"{rules.root}/robots.txt asks for {robots.delay_s:g} s between two requests.")
        for target in self._waiting.pop(rules.root, []):
            self._queue(target, robots)
        return robots

    # In the threads of the crew.

    def _work(self, task: Target | str) -> Visit | Rules:
        if isinstance(task, str):
            return Rules(task, self._read_robots(task))
        return self._visit(task)

    def _read_robots(self, root: str) -> Robots:
        return read_robots(self._fetcher, root) if self._options.robots else Robots()

    def _visit(self, target: Target) -> Visit:
        """Fetch a page. Whatever goes wrong is that page's error, and no other's."""
        robots = self._robots[root_of(target.url)]
        if robots.problem is not None:
            return Visit(target, error=robots.problem, refused=robots.refused)
        started = time.perf_counter()
        try:
            response = self._fetcher.get(target.url, follow=False, body=PAGES)
        except FetchError as error:
            refused = isinstance(error, BadURL | Unreachable)
            return Visit(target, None, str(error), refused, time.perf_counter() - started)
        return Visit(target, response, elapsed_s=response.elapsed_s)

    # The end.

    def _report(self, url: str, seconds: float) -> dict[str, Any]:
        progress, graph, fetched = self._progress, self._graph, self._fetched
        progress.update(message="pages.csv")
        write_pages(progress.file("pages.csv"), fetched)
        progress.update(50, "links.csv")
        write_links(progress.file("links.csv"), graph, progress.check)
        if graph.truncated:
            progress.log("The site has more links than can be kept: not all are counted.", "warning")
        return {
            "start": url,
            "pages": len(fetched),
            "known_pages": self._frontier.known,
            "seconds": round(seconds, 3),
            **findings(graph, fetched),
            "links": {
                "total": graph.edge_count,
                "urls": len(graph.targets),
                "out_of_scope": sum(not target.in_scope for target in graph.targets),
                "disallowed_by_robots": self._disallowed,
            },
            "complete": not graph.truncated and len(fetched) == self._frontier.known,
        }


def _size(response: Response) -> int | None:
    """Bytes of the unpacked body, or what the server says where it was not read."""
    if response.body is not None:
        return response.body.size
    length = response.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _in_circle(source: Target) -> bool:
    target, steps = source.redirect, 0
    while target is not None and target is not source and steps <= MAX_HOPS:
        target, steps = target.redirect, steps + 1
    return target is source
