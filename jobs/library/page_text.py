"""What a page says to its reader: its main text without the frame around it, and what CSS selectors find in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

MAX_TEXT_CHARS = 30_000
"""The main text is cut to this: a spreadsheet's cell holds 32,767 characters."""
MAX_SELECTORS = 20
MAX_SELECTOR_CHARS, MAX_NAME_CHARS = 300, 60
MAX_FOUND, MAX_FOUND_CHARS = 50, 5000
"""Elements of a page that a selector may give, and characters of them all together."""
BETWEEN = " | "
"""Stands between what several elements say."""

_MAIN = ("main", "[role=main]")
_FRAME = (
    "nav, aside, form, dialog, button, select, iframe, svg, script, style, noscript, template, object, [hidden],"
    " [aria-hidden=true], [role=navigation], [role=complementary], [role=search], [role=dialog]"
)
"""What is no part of the text, wherever it stands."""
_PAGE_FRAME = ", ".join(
    f"{one}:not(article {one})" for one in ("header", "footer", "[role=banner]", "[role=contentinfo]")
)
"""What is the frame of a page, but may be a part of an article: its headline, its sources."""
_BLOCKS = (
    "address, article, blockquote, br, dd, div, dl, dt, figcaption, figure, footer, h1, h2, h3, h4, h5, h6, header, hr,"
    " li, main, ol, p, pre, section, table, td, th, tr, ul"
)
"""Elements that begin a line of their own; without this the last word of one and the first of the next were one."""
_NAMED = re.compile(r"(?P<name>[^\W\d][\w .-]*?)\s*=\s*(?P<css>.+)")
_ATTRIBUTE = re.compile(r"(?P<css>.+?)::attr\(\s*(?P<attribute>[\w:-]+)\s*\)")
_CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f]+")


class BadSelector(ValueError):
    """Raised when a line names no column and selector that could be used; says which, and why."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A column that is read off pages: its name, where to look, and which attribute (else the text) to take."""

    name: str
    css: str
    attribute: str | None = None

    def find(self, tree: LexborHTMLParser) -> str | None:
        """What it finds on a page; None where there is nothing of it. Several finds stand beside each other."""
        found: list[str] = []
        room = MAX_FOUND_CHARS
        for node in tree.css(self.css)[:MAX_FOUND]:
            text = self._value(node)
            if text and room > 0:
                found.append(text[:room])
                room -= len(text) + len(BETWEEN)
        return BETWEEN.join(found) if found else None

    def _value(self, node: LexborNode) -> str:
        if self.attribute is not None:
            return _one_line(node.attributes.get(self.attribute) or "")
        return _one_line(node.text(separator=" ") if node.child is not None else "")


def parse_selectors(lines: Iterable[str]) -> list[Selector]:
    """Selectors as users write them, ``name = css`` a line; a line without a name is its own name.

    ``::attr(href)`` at the end takes an attribute in place of the text. Raises BadSelector.
    """
    found = [_parse(line.strip()) for line in lines if line.strip()]
    if len(found) > MAX_SELECTORS:
        raise BadSelector(f"There are {len(found)} selectors, and {MAX_SELECTORS} are the most.")
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise BadSelector(f"Two selectors are named {name!r}. Give each a name of its own.")
    return found


def _parse(line: str) -> Selector:
    if len(line) > MAX_SELECTOR_CHARS:
        raise BadSelector(f"The selector {line[:40]!r}… is longer than {MAX_SELECTOR_CHARS} characters.")
    named = _NAMED.fullmatch(line)
    name, css = (named["name"], named["css"]) if named else (line, line)
    attribute = _ATTRIBUTE.fullmatch(css)
    selector = Selector(
        name[:MAX_NAME_CHARS], attribute["css"] if attribute else css, attribute and attribute["attribute"]
    )
    if selector.css.count(":has(") > 1:
        # On a page made for it, each :has inside another multiplies the time: two take a minute.
        raise BadSelector(f"The selector {css!r} has :has() more than once. Use it once at most.")
    try:
        LexborHTMLParser("<p>").css(selector.css)
    except SelectolaxError:
        raise BadSelector(f"{css!r} is no CSS selector. Write for example: price = .product .price") from None
    return selector


def main_text(tree: LexborHTMLParser) -> str:
    """The text that a page is about, line by line, cut to MAX_TEXT_CHARS; empty where there is none.

    That is what stands in main, or in the only article, or else in the body, without navigation, forms and the like.
    Takes apart the tree: read everything else before.
    """
    root = _root(tree)
    if root is None:
        return ""
    _remove(root.css(_FRAME), root)
    if root.tag == "body":
        _remove(root.css(_PAGE_FRAME), root)
    for node in root.css(_BLOCKS):
        node.insert_before("\n")
        node.insert_after("\n")
    return _lines(root.text())


def _root(tree: LexborHTMLParser) -> LexborNode | None:
    for selector in _MAIN:
        if (found := tree.css_first(selector)) is not None:
            return found
    articles = tree.css("article")
    return articles[0] if len(articles) == 1 else tree.body


def _remove(nodes: list[LexborNode], root: LexborNode) -> None:
    """Take nodes out of the tree. One inside another goes with it: to remove it again would free it twice."""
    inside, outside = {node.mem_id for node in nodes}, {root.mem_id}
    outermost = []
    for node in nodes:
        path, above = [], node.parent
        while above is not None and above.mem_id not in inside and above.mem_id not in outside:
            path.append(above.mem_id)
            above = above.parent
        if above is not None and above.mem_id in inside:
            inside.update(path)
        else:
            outside.update(path)
            outermost.append(node)
    for node in outermost:
        node.decompose()


def _lines(text: str) -> str:
    text = _CONTROL.sub(" ", text[: 20 * MAX_TEXT_CHARS])
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)[:MAX_TEXT_CHARS]


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text[: 20 * MAX_FOUND_CHARS]).split())
