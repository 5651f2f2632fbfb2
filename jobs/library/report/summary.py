"""What is known of a site at the end, as charts, as the result and as the report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup

from jobs import chart, draw_chart, markdown
from jobs.library.clusters.clustering import Clustering
from jobs.library.clusters.labels import cut_label
from jobs.library.clusters.report import MAX_COLOURED, map_chart
from jobs.library.frontier import UNKNOWN_DEPTH
from jobs.library.linkgraph import Target
from jobs.library.report.groups import Group
from jobs.library.report.page import Section, cards, figures, link, listing, page, table

REPORT = "report.html"
OTHERS = "Other groups"
MOST_BARS = 20
TIMES_MS = (50, 100, 200, 500, 1000, 2000, 5000)
"""Where the bars of response times end; the last bar is for what took longer."""
SHOWN_PAGES = 8
"""Of each group in the report."""


@dataclass(frozen=True, slots=True)
class Site:
    """A site that was crawled and grouped. ``found`` is the crawl's result; ``documents`` are the pages with text."""

    found: Mapping[str, Any]
    fetched: Sequence[Target]
    documents: Sequence[Target]
    clustering: Clustering
    groups: Sequence[Group]

    @property
    def host(self) -> str:
        """Of the start page, with its port where that is not the usual one."""
        return urlsplit(self.fetched[0].url).netloc


def charts(site: Site) -> dict[str, dict[str, Any]]:
    """The charts by the names that they have in the result."""
    drawn = {
        "statuses": chart(
            "bar", "Answers by status", {"Pages": list(site.found["statuses"].items())}, x="Status", y="Pages"
        ),
        "times": chart("bar", "Pages by response time", {"Pages": _times(site)}, x="Response time", y="Pages"),
        "depths": chart("bar", "Pages by depth", {"Pages": _depths(site)}, x="Links from the start page", y="Pages"),
    }
    if site.groups:
        sizes = [(cut_label(group.name), len(group.pages)) for group in site.groups[:MOST_BARS]]
        drawn["sizes"] = chart("bar", "Pages by group", {"Pages": sizes}, x="Group", y="Pages")
        drawn["map"] = _map(site)
    return drawn


def result(site: Site, drawn: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The run's result: the groups first, then what the crawl found."""
    found = dict(site.found)
    return {
        "report": markdown(f"[{REPORT}]({REPORT}) has all of this in one file, to be passed on."),
        "start": found.pop("start"),
        "pages": found.pop("pages"),
        "groups": [group.shown() for group in site.groups],
        **{name: drawn[name] for name in ("map", "sizes") if name in drawn},
        "statuses": drawn["statuses"],
        "times": drawn["times"],
        **{name: value for name, value in found.items() if name != "statuses"},
    }


def report_html(site: Site, drawn: Mapping[str, Mapping[str, Any]]) -> str:
    """The report as one file."""
    now = datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC")
    return page(
        f"Report on {site.host}",
        f"{now} · {site.found['pages']:,} pages from {site.found['start']} in {site.found['seconds']:.0f} s",
        [
            Section("overview", "Overview", _overview(site, drawn)),
            *([Section("groups", "Groups", _groups(site, drawn))] if site.groups else []),
            Section("problems", "Problems", _problems(site)),
            Section("pages", "Pages", _pages(site)),
        ],
    )


def _overview(site: Site, drawn: Mapping[str, Mapping[str, Any]]) -> Markup:
    times = [target.elapsed_ms for target in site.fetched if target.status is not None]
    words = sum(target.page.words for target in site.documents if target.page is not None)
    shown = {
        "Pages": f"{site.found['pages']:,}",
        "Groups": f"{len(site.groups):,}",
        "Broken links": f"{len(site.found['broken_links']):,}",
        "Redirects": f"{len(site.found['redirects']):,}",
        "Median time": f"{statistics.median(times):,.0f} ms" if times else "–",
        "Words": f"{words:,}",
    }
    return cards(shown) + _drawings(drawn, "statuses", "times", "depths")


def _groups(site: Site, drawn: Mapping[str, Mapping[str, Any]]) -> Markup:
    told = Markup("").join(_group(group) for group in site.groups)
    return _drawings(drawn, "map", "sizes") + told


def _group(group: Group) -> Markup:
    pages = [link(target.url, _title(target)) for target in group.pages[:SHOWN_PAGES]]
    if len(group.pages) > SHOWN_PAGES:
        pages.append(Markup("and {:,} more in groups.csv").format(len(group.pages) - SHOWN_PAGES))
    summary = Markup("<p>{}</p>").format(group.summary) if group.summary else Markup("")
    return Markup(
        '<div class="group"><h3>{}</h3><p class="muted">{:,} pages · cohesion {:.2f} · {}</p>{}{}</div>\n'
    ).format(group.name, len(group.pages), group.cohesion, ", ".join(group.terms), summary, listing(pages))


def _problems(site: Site) -> Markup:
    found = site.found
    told = (
        (
            "Broken links",
            found["broken_links"],
            {"url": "URL", "status": "Status", "error": "Error", "pages": "On", "pages_total": "Links"},
        ),
        ("Redirects", found["redirects"], {"urls": "From, via, to", "status": "Status", "error": "Error"}),
        (
            "Titles that several pages share",
            found["duplicate_titles"],
            {"title": "Title", "pages": "Pages", "pages_total": "In all"},
        ),
        (
            "Descriptions that several pages share",
            found["duplicate_descriptions"],
            {"description": "Description", "pages": "Pages", "pages_total": "In all"},
        ),
        ("Slowest pages", found["slowest"], {"url": "URL", "ms": "ms"}),
    )
    return Markup("").join(
        Markup("<h3>{}</h3><p></p>{}<p>&nbsp;</p>").format(title, table(rows, columns)) for title, rows, columns in told
    )


def _pages(site: Site) -> Markup:
    groups = {target.number: group.name for group in site.groups for target in group.pages}
    rows = [
        {
            "url": target.url,
            "status": target.status if target.error is None else target.error,
            "title": target.page.title if target.page is not None else None,
            "group": groups.get(target.number),
            "words": target.page.words if target.page is not None else None,
            "ms": target.elapsed_ms,
        }
        for target in site.fetched
    ]
    named = {"url": "URL", "status": "Status", "title": "Title", "group": "Group", "words": "Words", "ms": "ms"}
    return table(rows, named)


def _drawings(drawn: Mapping[str, Mapping[str, Any]], *names: str) -> Markup:
    return figures(draw_chart(drawn[name], standalone=True) for name in names)


def _map(site: Site) -> dict[str, Any]:
    """The pages by nearness of their texts, each group in its colour."""
    names = {group.number: cut_label(group.name) for group in site.groups[:MAX_COLOURED]}
    titles = [_title(target) for target in site.documents]
    return map_chart("Map of the pages: near is what reads alike", site.clustering, names, titles, OTHERS)


def _times(site: Site) -> list[tuple[str, int]]:
    """How many pages took how long, up to the slowest."""
    names = [f"up to {end:,} ms" for end in TIMES_MS] + [f"over {TIMES_MS[-1]:,} ms"]
    ends = [*TIMES_MS, float("inf")]
    counts = Counter(
        next(place for place, end in enumerate(ends) if target.elapsed_ms <= end)
        for target in site.fetched
        if target.status is not None
    )
    return [(name, counts[place]) for place, name in enumerate(names) if place <= max(counts, default=0)]


def _depths(site: Site) -> list[tuple[str, int]]:
    counts = Counter(target.depth for target in site.fetched)
    names = {UNKNOWN_DEPTH: "only in a sitemap"}
    return [(names.get(depth, str(depth)), counts[depth]) for depth in sorted(counts)][:MOST_BARS]


def _title(target: Target) -> str:
    return (target.page.title if target.page is not None else None) or target.url
