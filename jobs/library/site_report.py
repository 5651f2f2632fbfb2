"""The report on a site: crawl it, group its pages by their text, have the groups named, write it all down.

Each part is the code of the single job, run inside a step of this one: :class:`~jobs.library.crawl.Crawl`,
:func:`~jobs.library.clusters.clustering.cluster_texts`, :class:`~jobs.library.endpoint.Endpoint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from marshmallow.validate import Length, Range

from jobs import Param, Progress, job
from jobs.library.clusters.clustering import ClusterOptions, cluster_texts
from jobs.library.crawl import Crawl, Options, crawl_allow
from jobs.library.endpoint.client import SETTINGS, Endpoint
from jobs.library.fetch import Fetcher
from jobs.library.linkgraph import Target
from jobs.library.report.groups import gathered, write_groups
from jobs.library.report.names import named
from jobs.library.report.summary import REPORT, Site, charts, report_html, result
from jobs.library.sample_site import SAMPLE, reachable

CRAWL, GROUP, NAME, WRITE = "Crawling the site", "Grouping its pages", "Naming the groups", "Writing the report"
COSTS = {CRAWL: 60, GROUP: 25, NAME: 10, WRITE: 5}
"""Shares of the bar; where nothing is named, the others take more."""
TEXT_CHARS = 3000
"""Of each page's main text: what a page is about shows in its beginning, and all of them are kept in memory."""
FEW = 3
"""Fewer pages than this make no groups."""


@job(title="Report on a site", timeout="3h", cpu_bound=True, settings=["CRAWL_ALLOW", *SETTINGS])
def site_report(
    progress: Progress,
    url: Annotated[
        str,
        Param(
            "Start URL",
            help="Where the crawl begins; it stays on this host.",
            placeholder="https://example.com/",
            sample=SAMPLE,
        ),
        Length(min=1, max=2000),
    ],
    pages: Annotated[int, Param("Pages", help="Crawl at most this many."), Range(1, 10_000)] = 200,
    groups: Annotated[
        int | None,
        Param("Groups", help="Sort the pages into so many groups; empty: as many as fit best."),
        Range(1, 100),
    ] = None,
    concurrency: Annotated[int, Param("Concurrency", help="Pages fetched at the same time."), Range(1, 32)] = 8,
    delay: Annotated[float, Param("Delay", help="Seconds between two requests to a host."), Range(0, 60)] = 0.0,
) -> dict[str, Any]:
    """Crawl a site, group its pages by what they are about, and write a report that can be passed on.

    `report.html` is one file with all charts and tables in it, which needs no network and no server. Where an
    OpenAI-compatible endpoint is set up, its model names and summarises each group; without one, the groups are called
    by the words that tell them from the others. `pages.csv`, `links.csv` and `groups.csv` hold the tables.
    """
    endpoint = Endpoint.from_settings(progress)
    if endpoint is not None and not endpoint.model:
        endpoint = None
    costs = {name: cost for name, cost in COSTS.items() if name != NAME or endpoint is not None}
    weights = {name: 100 * cost / sum(costs.values()) for name, cost in costs.items()}
    progress.plan(*costs)
    options = Options(pages=pages, concurrency=concurrency, delay_s=delay, text_chars=TEXT_CHARS)
    with progress.step(CRAWL, weight=weights[CRAWL]):
        fetched, found = _crawl(progress, url, options)
    # In the order of their addresses, not of their arrival: the same site gives the same groups.
    documents = sorted((one for one in fetched if one.page is not None and one.page.text), key=lambda one: one.url)
    with progress.step(GROUP, weight=weights[GROUP]):
        clustering = cluster_texts(progress, list(map(_words, documents)), ClusterOptions(k=_groups(groups, documents)))
    found_groups = gathered(clustering, documents)
    if endpoint is not None:
        with progress.step(NAME, weight=weights[NAME]):
            found_groups = named(progress, endpoint, found_groups)
    with progress.step(WRITE):
        return _write(progress, Site(found, fetched, documents, clustering, found_groups))


def _crawl(progress: Progress, url: str, options: Options) -> tuple[Sequence[Target], dict[str, Any]]:
    """The pages, and the crawl's own result; it writes its tables."""
    with reachable(url, crawl_allow(progress)) as (start, allowed), Fetcher(allowed) as fetcher:
        crawl = Crawl(progress, fetcher, options)
        found = crawl.run(start)
        return crawl.fetched, found


def _words(target: Target) -> str:
    """What a page is grouped by: its title and heading count like a part of its text."""
    assert target.page is not None
    return "\n".join(filter(None, (target.page.title, target.page.h1, target.page.text)))


def _groups(wanted: int | None, documents: Sequence[Target]) -> int | None:
    return 1 if len(documents) < FEW else wanted


def _write(progress: Progress, site: Site) -> dict[str, Any]:
    write_groups(progress.file("groups.csv"), site.groups)
    drawn = charts(site)
    progress.update(50, REPORT)
    progress.file(REPORT).write_text(report_html(site, drawn), encoding="utf-8", errors="replace")
    return result(site, drawn)
