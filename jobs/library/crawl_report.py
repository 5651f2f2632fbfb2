"""What a crawl found, as its result and its two files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jobs import TableWriter, cell
from jobs.library.linkgraph import Edge, LinkGraph, Target

MAX_LISTED = 100
"""Broken links, chains and groups of duplicates in the result; links.csv and pages.csv have all."""
MAX_HOLDERS = 10
"""Pages that are named for each of them."""
SLOWEST = 10
COLUMNS = (
    "url", "status", "title", "description", "h1", "canonical", "words", "links_in", "links_out", "depth", "ms",
    "bytes", "error", "type", "redirects_to", "robots",
)  # fmt: skip
KINDS = {Edge.LINK: "link", Edge.NOFOLLOW: "nofollow", Edge.REDIRECT: "redirect"}


def row(target: Target) -> dict[str, Any]:
    """A fetched page as a row."""
    page = target.page
    return {
        "url": target.url,
        "status": target.status,
        "title": page and page.title,
        "description": page and page.description,
        "h1": page and page.h1,
        "canonical": page and page.canonical,
        "words": page and page.words,
        "links_in": target.links_in,
        "links_out": target.links_out,
        "depth": target.depth,
        "ms": target.elapsed_ms,
        "bytes": target.size,
        "error": target.error,
        "type": target.content_type,
        "redirects_to": target.redirect and target.redirect.url,
        "robots": page and _directives(page.noindex, page.nofollow),
    }


def _directives(noindex: bool, nofollow: bool) -> str:
    return ", ".join(name for name, said in (("noindex", noindex), ("nofollow", nofollow)) if said)


def write_pages(path: Path, pages: Iterable[Target]) -> None:
    """pages.csv: a row for each URL that was fetched, with the final number of links in."""
    with TableWriter(path, COLUMNS) as table:
        for target in pages:
            table.row(row(target).values())


def write_links(path: Path, graph: LinkGraph, check: Callable[[], None]) -> None:
    """links.csv: a row for each page and URL that it leads to, with what is known of that URL."""
    # Most of a row is made once for each URL, since there are far more links.
    kinds = [cell(KINDS[kind]) for kind in Edge]
    urls = [cell(target.url) for target in graph.targets]
    ends = [
        f"{url},{cell(one.in_scope)},{cell(one.status)},{cell(one.error)}"
        for one, url in zip(graph.targets, urls, strict=True)
    ]
    with TableWriter(path, ("from", "to", "in_scope", "status", "error", "kind")) as table:
        for source, numbers, edges in graph.edges():
            check()
            start = urls[source.number]
            table.lines([f"{start},{ends[number]},{kinds[edge]}" for number, edge in zip(numbers, edges, strict=True)])


def findings(graph: LinkGraph, pages: list[Target]) -> dict[str, Any]:
    """What is worth a look: the part of the result that is about the site."""
    documents = [one for one in pages if one.status == 200 and one.page is not None and _indexed(one)]
    return {
        "statuses": dict(sorted(Counter("error" if one.error else str(one.status) for one in pages).items())),
        "broken_links": _broken_links(graph),
        "redirects": _redirect_chains(pages),
        "duplicate_titles": _duplicates(documents, "title"),
        "duplicate_descriptions": _duplicates(documents, "description"),
        "slowest": [{"url": one.url, "ms": one.elapsed_ms} for one in _slowest(pages)],
    }


def _indexed(target: Target) -> bool:
    """Whether it wants to be found under its own URL: noindex and a foreign canonical make no duplicate."""
    page = target.page
    return page is not None and not page.noindex and page.canonical in (None, target.url)


def _broken_links(graph: LinkGraph) -> list[dict[str, Any]]:
    broken = {target.number for target in graph.targets if target.broken}
    holders: dict[int, list[str]] = defaultdict(list)
    counts: Counter[int] = Counter()
    for source, numbers, _ in graph.edges():
        for number in broken.intersection(numbers):
            counts[number] += 1
            if len(holders[number]) < MAX_HOLDERS:
                holders[number].append(source.url)
    return [
        _broken_link(graph.targets[number], sorted(holders[number]), total)
        for number, total in counts.most_common(MAX_LISTED)
    ]


def _broken_link(target: Target, pages: list[str], total: int) -> dict[str, Any]:
    return {"url": target.url, "status": target.status, "error": target.error, "pages": pages, "pages_total": total}


def _redirect_chains(pages: list[Target]) -> list[dict[str, Any]]:
    """Chains from their first URL on; a circle begins where the crawl met it."""
    inner = {one.redirect for one in pages if one.redirect is not None and one.error is None}
    chains = [_chain(one) for one in pages if one.redirect is not None and one not in inner]
    return sorted(chains, key=lambda chain: -len(chain["urls"]))[:MAX_LISTED]


def _chain(first: Target) -> dict[str, Any]:
    urls, target, seen = [first.url], first, {first}
    while target.redirect is not None:
        target = target.redirect
        urls.append(target.url)
        if target in seen:
            return {"urls": urls, "status": None, "error": "redirects in a circle"}
        seen.add(target)
    return {"urls": urls, "status": target.status, "error": target.error}


def _duplicates(documents: list[Target], name: str) -> list[dict[str, Any]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for one in documents:
        text = getattr(one.page, name)
        if text:
            groups[text].append(one.url)
    several = sorted((group for group in groups.items() if len(group[1]) > 1), key=lambda group: -len(group[1]))
    return [
        {name: text, "pages": sorted(urls)[:MAX_HOLDERS], "pages_total": len(urls)}
        for text, urls in several[:MAX_LISTED]
    ]


def _slowest(pages: list[Target]) -> list[Target]:
    return sorted((one for one in pages if one.status is not None), key=lambda one: -one.elapsed_ms)[:SLOWEST]
