"""What is read off a page: its title and the like, how it wants to be treated by robots, and its links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, islice

from selectolax.lexbor import LexborHTMLParser, LexborNode
from w3lib.encoding import html_to_unicode

from jobs.library.exchange import BodyPolicy
from jobs.library.urls import Base, Links, WebLink

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
MAX_TEXT_CHARS = 300
"""Title, description and first heading are cut to this."""
MAX_HTML_BYTES = 2_000_000
"""HTML beyond this is not looked at: the tree takes up to twenty times as much memory."""
MAX_LINKS = 5000
"""Distinct links of one page that count."""
DEEP_FROM_CHARS = 100_000
MAX_DEPTH = 10_000
"""The HTML parsing algorithm looks through all open elements at many tags, so deep nesting takes quadratic time: 10,000
deep 0.1 s, 50,000 deep 4.5 s. No honest page comes near it, and a small one cannot."""

_UNSEEN = ("script", "style", "noscript", "template")
_WHITE = bytes(0x20 if chr(byte).isspace() else 0x78 for byte in range(128)) + b"x" * 128
"""Makes blanks of blanks and an x of every other byte."""
_REFRESH = re.compile(r"\s*[\d.]*\s*[;,]\s*(?:url\s*=\s*)?['\"]?([^'\"]+)", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)
_FLAT = frozenset("area base br col embed hr img input link meta source track wbr a p li dt dd tr td th option".split())
"""Elements that need no end tag: outside of SVG and MathML they do not nest in themselves."""


class TooDeep(Exception):
    """Raised when a page's elements are nested so deeply that reading it would take minutes."""


@dataclass(slots=True)
class Page:
    """What a page says about itself. Texts are of one line and cut; ``canonical`` is absolute."""

    title: str | None = None
    description: str | None = None
    h1: str | None = None
    canonical: str | None = None
    words: int = 0
    text: str = ""
    """Its main text, where the crawl keeps texts."""
    noindex: bool = False
    nofollow: bool = False
    links: dict[WebLink, bool] = field(default_factory=dict)
    """Where it leads, with whether all its links to there say rel=nofollow."""


def is_page(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer is worth reading: HTML, and no error; unnamed types are looked at as well."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return 200 <= status < 300 and (not content_type or content_type in HTML_TYPES)


PAGES = BodyPolicy(want=is_page, keep_bytes=MAX_HTML_BYTES)
"""Of answers, only pages are read, and of these no more than is looked at."""


def parse_page(body: bytes, headers: Mapping[str, str]) -> LexborHTMLParser:
    """The tree of an HTML page, whatever its encoding. Raises TooDeep."""
    _, html = html_to_unicode(headers.get("content-type"), body[:MAX_HTML_BYTES], auto_detect_fun=_guess)
    _check_depth(html)
    return LexborHTMLParser(html)


def read_tree(tree: LexborHTMLParser, headers: Mapping[str, str], url: str, links: Links) -> Page:
    """Read the tree of a page. Takes out of the tree what is no text: scripts, styles and the like."""
    page = Page()
    _obey(page, headers.get("x-robots-tag", ""))
    base, refresh = _read_head(page, tree, Base(url), links)
    page.links = _read_links(tree, base, refresh, links)
    page.words = _count_words(tree)
    return page


def _guess(body: bytes) -> str:
    """The encoding of a page that names none: UTF-8 where it fits, else what browsers take for the western web."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(body) - 3:  # a character cut at the end is no sign
            return "cp1252"
    return "utf-8"


def _check_depth(html: str) -> None:
    """Estimate how deep elements are nested. An end tag counts only where such an element is open, as for parsers."""
    if len(html) < DEEP_FROM_CHARS:
        return
    foreign = "<svg" in html or "<math" in html
    depth, opened = 0, Counter[str]()
    for slash, name in _TAG.findall(html):
        if not foreign and name in _FLAT:
            continue
        if not slash:
            opened[name] += 1
            depth += 1
            if depth > MAX_DEPTH:
                raise TooDeep(f"its elements are nested more than {MAX_DEPTH:,} deep")
        elif opened[name]:
            opened[name] -= 1
            depth -= 1


# Elements are looked up by tag rather than by CSS selector, which takes a third of the time.


def _read_head(page: Page, tree: LexborHTMLParser, base: Base, links: Links) -> tuple[Base, WebLink | None]:
    """Read all but links and text; gives what links are relative to, and where a refresh leads."""
    canonical: WebLink | None = None
    refresh: str | None = None
    for node in tree.tags("base"):
        if (href := node.attributes.get("href")) and links.resolve(base, href):
            base = Base(base.join(href))
            break
    for node in tree.tags("meta"):
        refresh = refresh or _read_meta(page, node.attributes)
    for node in tree.tags("link"):
        attributes = node.attributes
        if canonical is None and "canonical" in (attributes.get("rel") or "").lower().split():
            canonical = links.resolve(base, attributes.get("href") or "")
    page.canonical = canonical.url if canonical is not None else None
    page.title = next((_line(node.text()) for node in tree.tags("title") if not _in_svg(node)), None)
    page.h1 = next((_line(node.text(separator=" ")) for node in tree.tags("h1")), None)
    return base, links.resolve(base, refresh) if refresh else None


def _read_meta(page: Page, attributes: Mapping[str, str | None]) -> str | None:
    """Read a meta element; gives where it refreshes to, if it does."""
    content = attributes.get("content") or ""
    name = (attributes.get("name") or "").lower()
    if name == "description" and page.description is None:
        page.description = _line(content)
    elif name in ("robots", "headway"):
        _obey(page, content)
    elif (attributes.get("http-equiv") or "").lower() == "refresh" and (found := _REFRESH.match(content)):
        return found[1]
    return None


def _obey(page: Page, directives: str) -> None:
    if directives:
        words = set(re.split(r"[\s,:;]+", directives.lower()))
        page.noindex = page.noindex or not words.isdisjoint(("noindex", "none"))
        page.nofollow = page.nofollow or not words.isdisjoint(("nofollow", "none"))


def _read_links(tree: LexborHTMLParser, base: Base, refresh: WebLink | None, links: Links) -> dict[WebLink, bool]:
    """Where a page leads. The loop runs for every link of a site, so it asks only for what is new."""
    found = {} if refresh is None else {refresh: False}
    known = links.known(base)
    for node in chain(tree.tags("a"), tree.tags("area")):
        attributes = node.attributes
        href = attributes.get("href") or "#"
        link = known.get(href)
        if link is None and href[0] != "#":
            link = links.resolve(base, href)
        if link is None:
            continue
        if "rel" in attributes and "nofollow" in (attributes["rel"] or "").lower():
            found.setdefault(link, True)
        else:
            found[link] = False
    return found if len(found) <= MAX_LINKS else dict(islice(found.items(), MAX_LINKS))


def _count_words(tree: LexborHTMLParser) -> int:
    """Words of the text that can be seen, between blanks; counted without making a list of them, which may be long."""
    for tag in _UNSEEN:
        for node in tree.tags(tag):
            node.decompose()
    if tree.body is None:
        return 0
    text = tree.body.text(separator=" ")
    if not text.isascii():
        text = text.replace("\u00a0", " ").replace("\u3000", " ")
    marks = text.encode("utf-8", "replace").translate(_WHITE)
    return marks.count(b" x") + marks.startswith(b"x")


def _in_svg(node: LexborNode) -> bool:
    return node.parent is not None and node.parent.tag == "svg"


def _line(text: str) -> str:
    """Text as one line, cut."""
    line = " ".join(text[: 20 * MAX_TEXT_CHARS].split())
    return line if len(line) <= MAX_TEXT_CHARS else line[: MAX_TEXT_CHARS - 1] + "…"
