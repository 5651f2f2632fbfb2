"""Markdown that a job returned, as HTML that can do no harm: a stranger's text, perhaps a model's.

CommonMark and tables. HTML in it is text; links lead to http, https and mailto or to files of the run; of pictures only
the run's own are loaded, others are links, since loading one would tell its server who looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

MAX_CHARS = 100_000
"""Of a text that is rendered: the worst of that length takes a second or two, in a thread beside the streams."""
MAX_URL_CHARS = 2000
HEADINGS_DOWN = 2
"""A page has its own headings of the first two levels."""
LINK_REL = "noreferrer noopener"

_WEB = re.compile(r"(?i)(https?://|mailto:)")
_FILE = re.compile(r"[A-Za-z0-9_%][^/\\:?#]*")
_IMAGE_FILE = re.compile(r"(?i).+\.(png|jpe?g|gif|webp|svg)")

Files = Mapping[str, str]
"""The run's files: where each is to be had."""


class _Markdown(MarkdownIt):
    """markdown-it that refuses what is neither of the web nor named like a file of the run."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
        return len(url) <= MAX_URL_CHARS and bool(_WEB.match(url) or _FILE.fullmatch(url))


_markdown = _Markdown("commonmark", {"html": False}).enable(["table", "strikethrough"])


def rendered(text: str, files: Files) -> Markup:
    """The text as HTML. What is longer than MAX_CHARS is cut, and says so."""
    shown = text[:MAX_CHARS]
    tokens = [_tamed(token, files) for token in _markdown.parse(shown)]
    html = str(_markdown.renderer.render(tokens, _markdown.options, {}))
    if len(text) > len(shown):
        html += f'<p class="hint">The first {MAX_CHARS:,} of {len(text):,} characters; the JSON has all.</p>'
    return Markup(html)  # noqa: S704 - made by markdown-it, with html off, and tamed


def _tamed(token: Token, files: Files) -> Token:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1]) + HEADINGS_DOWN)}"
    elif token.type in ("th_open", "td_open"):
        _align_by_class(token)
    elif token.type == "table_open":
        token.attrs = {"class": "is-wide"}
    if token.children is not None:
        token.children = list(_inline(token.children, files))
    return token


def _align_by_class(cell: Token) -> None:
    """The page's CSP forbids the inline style by which markdown-it aligns."""
    style = str(cell.attrs.pop("style", ""))
    if style in ("text-align:right", "text-align:center"):
        cell.attrs["class"] = f"is-{style.partition(':')[2]}"


def _inline(tokens: Sequence[Token], files: Files) -> Iterator[Token]:
    inside_link = False
    for token in tokens:
        if token.type == "link_open":
            inside_link = True
            token.attrs = _link(str(token.attrs.get("href", "")), files)
        elif token.type == "link_close":
            inside_link = False
        if token.type == "image":
            yield from _picture(token, files, inside_link=inside_link)
        else:
            yield token


def _link(url: str, files: Files) -> dict[str, Any]:
    if _WEB.match(url):
        return {"href": url, "rel": LINK_REL}
    found = files.get(unquote(url))
    return {} if found is None else {"href": found, "download": ""}


def _picture(image: Token, files: Files, *, inside_link: bool) -> Iterator[Token]:
    """A file of the run as a picture; any other as a link with its description; inside a link only that."""
    source, name = str(image.attrs.get("src", "")), unquote(str(image.attrs.get("src", "")))
    if name in files and _IMAGE_FILE.fullmatch(name):
        image.attrs = {"src": files[name], "alt": "", "loading": "lazy"}
        yield image
        return
    words = Token("text", "", 0, content=image.content or source)
    if inside_link:
        yield words
    else:
        yield from (Token("link_open", "a", 1, attrs=_link(source, files)), words, Token("link_close", "a", -1))
