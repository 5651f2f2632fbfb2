"""The pages that a crawl knows and the links among them, in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from jobs.library.page import Page
from jobs.library.urls import Scope, WebLink, link_to

MAX_URL_TEXT = 32_000_000
"""Characters of all URLs together. Together with the next: about 100 MB where a site does its worst."""
MAX_EDGES = 4_000_000


class Edge(IntEnum):
    """How one URL leads to another."""

    LINK = 0
    NOFOLLOW = 1
    REDIRECT = 2


@dataclass(slots=True, eq=False)
class Target:
    """A URL that something leads to; with what came of fetching it, if it was fetched."""

    number: int
    url: str
    depth: int
    in_scope: bool
    admitted: bool = False
    """Whether it is to be fetched, or has been: decided once."""
    hops: int = 0
    """Redirects that led here since the last link."""
    links_in: int = 0
    links_out: int = 0
    status: int | None = None
    error: str | None = None
    redirect: Target | None = None
    content_type: str = ""
    page: Page | None = None
    elapsed_ms: int = 0
    size: int | None = None

    @property
    def fetched(self) -> bool:
        """Whether there is a row for it."""
        return self.status is not None or self.error is not None

    @property
    def broken(self) -> bool:
        """Whether a link to it leads to nothing."""
        return self.error is not None or (self.status is not None and self.status >= 400)


class LinkGraph:
    """All URLs by canonical form, and who leads to whom. Used by one thread."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.targets: list[Target] = []
        self.truncated = False
        self._by_key: dict[str, Target] = {}
        self._text_left = MAX_URL_TEXT
        self._sources: list[tuple[Target, int]] = []
        """Who leads somewhere, and to how many; whereto stands in the next two, one after the other."""
        self._to, self._kinds = array("I"), bytearray()

    def find_url(self, url: str | None, depth: int) -> Target | None:
        """The target of an absolute URL; None where it is no web page's, or memory is used up."""
        link = link_to(url) if url else None
        return self.find(link, depth) if link is not None else None

    def find(self, link: WebLink, depth: int) -> Target | None:
        """The target of a link, a new one if need be; None once memory is used up. The smallest depth counts."""
        target = self._by_key.get(link.key)
        if target is not None:
            if depth < target.depth:
                target.depth = depth
            return target
        if self._text_left < len(link.url):
            self.truncated = True
            return None
        self._text_left -= len(link.url)
        in_scope = self.scope is None or link.url in self.scope
        target = self._by_key[link.key] = Target(len(self.targets), link.url, depth, in_scope)
        self.targets.append(target)
        return target

    def link(self, source: Target, links: Mapping[WebLink, bool], depth: int) -> list[tuple[Target, bool]]:
        """Remember what ``source`` links to, and whether the links say nofollow; gives the targets in scope.

        This runs for every link of every page, so it is one loop without calls where a target is known.
        """
        numbers: list[int] = []
        kinds = bytearray()
        inside: list[tuple[Target, bool]] = []
        by_key = self._by_key
        for link, nofollow in links.items():
            target = by_key.get(link.key) or self.find(link, depth)
            if target is None or target is source:
                continue
            if depth < target.depth:
                target.depth = depth
            target.links_in += 1
            numbers.append(target.number)
            kinds.append(nofollow)
            if target.in_scope:
                inside.append((target, nofollow))
        source.links_out = len(numbers)
        self._connect(source, numbers, kinds)
        return inside

    def redirect(self, source: Target, target: Target) -> None:
        """Remember that ``source`` redirects to ``target``."""
        source.redirect = target
        self._connect(source, [target.number], bytearray([Edge.REDIRECT]))

    def _connect(self, source: Target, numbers: list[int], kinds: bytearray) -> None:
        if len(self._to) + len(numbers) > MAX_EDGES:
            self.truncated = True
            return
        self._sources.append((source, len(numbers)))
        self._to.extend(numbers)
        self._kinds += kinds

    @property
    def edge_count(self) -> int:
        """How many links and redirects are remembered."""
        return len(self._to)

    def edges(self) -> Iterator[tuple[Target, array[int], bytearray]]:
        """Who leads somewhere, with the numbers of the targets and, as long, the values of Edge; in the order found."""
        start = 0
        for source, count in self._sources:
            end = start + count
            yield source, self._to[start:end], self._kinds[start:end]
            start = end

    def rescope(self, scope: Scope) -> None:
        """Judge all again by this scope."""
        self.scope = scope
        for target in self.targets:
            target.in_scope = target.url in scope
