"""Sitemaps: the pages that a site says it has (sitemaps.org), as XML, as text, in indexes, packed or not."""

from __future__ import annotations

import html
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from urllib3.response import GzipDecoder

from jobs.library.exchange import BodyPolicy, unpacked
from jobs.library.fetch import Fetcher
from jobs.library.fetch_errors import FetchError

MAX_SITEMAPS = 50
"""Files that are read, indexes included."""
MAX_BYTES = 10_000_000
"""Read of one file, after unpacking; what is cut off only costs pages that links may still lead to."""
MAX_RATIO = 100
_BODY = BodyPolicy(want=lambda status, _: status == 200, max_bytes=MAX_BYTES, cut=True)

_ROOT = re.compile(r"<(?:([\w.-]+):)?(sitemapindex|urlset)\b")


def read_sitemaps(fetcher: Fetcher, urls: Iterable[str], complain: Callable[[str], None]) -> Iterator[str]:
    """The pages named by these sitemaps and by those that they name, as written.

    ``complain`` is told what cannot be read; that there is none (4xx) is no news, so the usual places may be tried.
    """
    waiting = deque(dict.fromkeys(urls))
    seen = set(waiting)
    while waiting and len(seen) - len(waiting) < MAX_SITEMAPS:
        url = waiting.popleft()
        try:
            response = fetcher.get(url, body=_BODY)
            if response.status >= 500:
                complain(f"Sitemap {url} answered {response.status}")
            text = _text(response.body.kept if response.body else b"")
        except FetchError as error:
            complain(f"Sitemap {url}: {error}")
            continue
        is_index, locations = read_sitemap(text)
        if is_index:
            new = [one for one in dict.fromkeys(locations) if one not in seen][:MAX_SITEMAPS]
            waiting += new
            seen.update(new)
        else:
            yield from locations


def read_sitemap(text: str) -> tuple[bool, Iterator[str]]:
    """Whether this is an index, and the URLs that it lists.

    Searched rather than parsed: many sitemaps are not well-formed, and an XML parser would bring entities along.
    """
    root = _ROOT.search(text, 0, 10_000)
    if root is None:
        return False, (line.strip() for line in text.splitlines() if line.startswith(("http://", "https://")))
    prefix = re.escape(f"{root[1]}:") if root[1] else ""
    location = re.compile(rf"<{prefix}loc\s*>\s*(?:<!\[CDATA\[)?\s*([^<\]]+?)\s*(?:\]\]>)?\s*</{prefix}loc\s*>")
    return root[2] == "sitemapindex", (html.unescape(found[1]) for found in location.finditer(text))


def _text(body: bytes) -> str:
    """The text of a sitemap, unpacked where it is a .gz file. Raises FetchError."""
    if body[:2] == b"\x1f\x8b":
        plain = bytearray()
        for piece in unpacked(GzipDecoder(), body):
            plain += piece
            if len(plain) > min(MAX_BYTES, max(1 << 16, MAX_RATIO * len(body))):
                break
        body = bytes(plain)
    return body.decode("utf-8-sig", "replace")
