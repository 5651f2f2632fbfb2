"""Links as pages write them, made into URLs that can be compared and fetched; and which of them a crawl may follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin, urlsplit

from w3lib.url import canonicalize_url, safe_url_string

from jobs.library.fetch import origin_of, parse
from jobs.library.fetch_errors import BadURL

ScopeKind = Literal["host", "path", "subdomains"]

MAX_URL_CHARS = 2000
"""Longer ones are not followed: they come from spider traps, and memory is counted on it."""
MAX_CACHED, MAX_CACHED_CHARS = 50_000, 300
"""Links that are remembered, and their length: 50 MB at worst."""
_PLAIN = re.compile(
    r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::(?!80/|443/)[1-9]\d*)?/(?:[\w~-][\w.~-]*/)*(?:[\w~-][\w.~-]*)?", re.ASCII
)
"""URLs that are already in their canonical form: most are, and need no work."""
_SIMPLE_RELATIVE = re.compile(r"[\w~-][\w.~-]*(?:/[\w~-][\w.~-]*)*/?", re.ASCII)
_BLANKS = re.compile(r"[\t\r\n]+")


@dataclass(frozen=True, slots=True, eq=False)
class WebLink:
    """A URL as it is fetched, and the canonical form under which it is known.

    :class:`Links` makes one object for each canonical form, so that links are compared by identity, which is fast.
    """

    key: str
    url: str


class Links:
    """Resolves links, remembering what it has resolved: a site's pages mostly link to the same ones.

    For one thread.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, WebLink | None]] = {}
        self._by_key: dict[str, WebLink] = {}
        self._count = 0

    def known(self, base: Base) -> dict[str, WebLink | None]:
        """What has been resolved of the links that mean the same on all pages of an origin: to be looked at only."""
        return self._known.setdefault(base.root, {})

    def resolve(self, base: Base, href: str) -> WebLink | None:
        """The page that ``href`` on a page at ``base`` leads to; None where that is no web page (mailto:, nonsense)."""
        absolute = base.join(href)
        known = self.known(base)
        try:
            link = known[absolute]
        except KeyError:
            link = link_to(absolute)
            if len(absolute) > MAX_CACHED_CHARS:
                return link
            if link is not None:
                link = self._by_key.setdefault(link.key, link)
            self._remember(known, absolute, link)
        if href[:1] == "/":
            self._remember(known, href, link)
        return link

    def _remember(self, known: dict[str, WebLink | None], text: str, link: WebLink | None) -> None:
        self._count += 1
        if self._count > MAX_CACHED:
            self._count = 0
            self._known.clear()
            self._by_key.clear()
        known[text] = link


class Base:
    """What the relative links of one page are relative to, taken apart once."""

    __slots__ = ("_folder", "root", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        path_at = url.find("/", 8)
        self.root = url[:path_at] if path_at > 0 else url
        self._folder = url[: url.partition("?")[0].rfind("/") + 1] if path_at > 0 else url + "/"

    def join(self, href: str) -> str:
        """``href`` as an absolute URL; the usual forms without the cost of urljoin."""
        if href[:1] == "/" and href[1:2] not in ("/", "\\") and "/." not in href:
            return self.root + href
        if href[:7] == "http://" or href[:8] == "https://":
            return href
        if _SIMPLE_RELATIVE.fullmatch(href):
            return self._folder + href
        try:
            # As browsers read it (WHATWG URL, 4.4): line breaks are dropped, backslashes before the query are slashes.
            path, mark, query = _BLANKS.sub("", href.strip()).partition("?")
            return urljoin(self.url, path.replace("\\", "/") + mark + query)
        except ValueError:
            return ""


def link_to(url: str) -> WebLink | None:
    """The link to an absolute URL; None where it is no web page's."""
    if _PLAIN.fullmatch(url) and len(url) <= MAX_URL_CHARS:
        return WebLink(url, url)
    if len(url) > MAX_URL_CHARS or url[:4].lower() != "http":
        return None
    try:
        cleaned = safe_url_string(_BLANKS.sub("", url.strip()))
        return WebLink(_normal(canonicalize_url(cleaned)), _normal(cleaned))
    except (BadURL, ValueError):
        return None


def _normal(url: str) -> str:
    """With the host in its normal form, no dot segments, no usual port, no fragment. Raises BadURL."""
    origin, target = parse(url)
    root = f"{origin.scheme}://{origin.netloc}"
    return urljoin(root, target) if "/." in target else root + target


def root_of(url: str) -> str:
    """Scheme, host and port of a normal URL: ``https://example.com`` of ``https://example.com/page``."""
    return url[: url.index("/", 8)]


def host_of(url: str) -> str:
    """Host and port of a normal URL: those whose server shares the load."""
    return url[url.index("/") + 2 : url.index("/", 8)]


class Scope:
    """The part of the web that a crawl stays in, seen from its start.

    ``host``: this host (http or https). ``path``: also below the start's folder. ``subdomains``: the hosts below this
    one too, and for ``www.example.com`` those below ``example.com``.
    """

    def __init__(self, start: str, kind: ScopeKind) -> None:
        parts = urlsplit(start)
        origin = origin_of(parts.scheme, parts.hostname or "", str(parts.port) if parts.port else None)
        host, path = re.escape(origin.netloc), ""
        if kind == "subdomains":
            host = r"(?:[^/]+\.)?" + re.escape(origin.netloc.removeprefix("www."))
        elif kind == "path":
            path = re.escape(parts.path[: parts.path.rfind("/") + 1])
        self._match = re.compile(f"https?://{host}{path or '/'}").match

    def __contains__(self, url: str) -> bool:
        return self._match(url) is not None
