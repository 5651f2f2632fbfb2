"""Markdown of strangers as HTML that can do no harm."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.markdown import MAX_CHARS, rendered

FILES = {"picture.png": "/api/v1/runs/r1/files/picture.png", "my pages.csv": "/api/v1/runs/r1/files/my pages.csv"}
TAGS = {
    "p", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "a", "img", "ul", "ol", "li", "blockquote", "hr",
    "br", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"href", "rel", "src", "alt", "title", "class", "start", "loading", "download"}


class Seen(HTMLParser):
    """What a browser would find in a text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def seen(text: str) -> Seen:
    """What is seen of this markdown, checked to be harmless."""
    found = Seen(str(rendered(text, FILES)))
    for tag, attributes in found.tags:
        assert tag in TAGS, tag
        assert set(attributes) <= ATTRIBUTES, attributes
        for address in (attributes.get("href"), attributes.get("src")):
            assert address is None or address.startswith(("http://", "https://", "mailto:", "/api/v1/runs/r1/files/"))
    assert all((image["src"] or "").startswith("/api/") for image in found.all("img"))
    return found


def test_common_markdown_is_rendered() -> None:
    text = "# One\n\n###### Six\n\n**b** *i* ~~s~~ `c`\n\n- x\n\n1. y\n\n> q\n\n---\n\n```py\n<code>\n```\n"
    found = seen(text)
    assert [tag for tag, _ in found.tags] == [
        "h3", "h6", "p", "strong", "em", "s", "code", "ul", "li", "ol", "li", "blockquote", "p", "hr", "pre", "code",
    ]  # fmt: skip
    assert "<code>" in found.words


def test_tables_are_rendered_and_aligned_without_inline_style() -> None:
    found = seen("| a | b | c |\n|---|--:|:-:|\n| 1 | 2 | 3 |\n")
    assert [cell.get("class") for cell in found.all("td")] == [None, "is-right", "is-center"]


def test_links_to_the_web_give_nothing_away() -> None:
    found = seen("[a](https://example.org/?x=1&y=2) <http://example.org/> [m](mailto:a@example.org)")
    assert [link["href"] for link in found.all("a")] == [
        "https://example.org/?x=1&y=2",
        "http://example.org/",
        "mailto:a@example.org",
    ]
    assert {link["rel"] for link in found.all("a")} == {"noreferrer noopener"}


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x](<javascript:alert(1)>)",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "[x](file:///etc/passwd)",
        "[x](//evil.example/)",
        "[x](/logout)",
        "[x](\\\\evil.example)",
        "[x](?a=b)",
        "[x](#a)",
        "[x](../runs)",
        "[x][y]\n\n[y]: javascript:alert(1)",
        "<javascript:alert(1)>",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href=javascript:alert(1)>x</a>",
        "![x](javascript:alert(1))",
        "![x](data:image/png;base64,AAAA)",
        "![x](//evil.example/x.png)",
        "![x](missing.png)",
        "[x](missing.csv)",
        "```<img src=x onerror=alert(1)>\nx\n```",
        '[x](https://example.org/ "onmouseover=alert(1)")',
        "https://example.org/\"><script>alert(1)</script>",
        "a\0b",
    ],
)  # fmt: skip
def test_hostile_markdown_leads_nowhere(text: str) -> None:
    found = seen(text)
    assert not found.all("script") and not found.all("img")
    assert {link.get("href") for link in found.all("a")} <= {None, "https://example.org/"}


def test_pictures_from_elsewhere_are_links() -> None:
    """Loading one would tell its server who looks; in a link there is only its description."""
    found = seen("![A cat](https://example.org/cat.png) [![badge](https://example.org/b.svg)](https://example.org/)")
    assert [link["href"] for link in found.all("a")] == ["https://example.org/cat.png", "https://example.org/"]
    assert found.words.split() == ["A", "cat", "badge"]
    assert found.all("img") == []


def test_files_of_the_run_are_shown_and_linked() -> None:
    found = seen("![A cat](picture.png) [all](my%20pages.csv)")
    assert found.all("img") == [{"src": FILES["picture.png"], "alt": "A cat", "loading": "lazy"}]
    assert found.all("a") == [{"href": FILES["my pages.csv"], "download": ""}]


def test_a_long_text_is_cut_and_says_so() -> None:
    found = seen("word " * (MAX_CHARS // 5 + 10))
    assert found.words.endswith("The first 100,000 of 100,050 characters; the JSON has all.")


@pytest.mark.parametrize("piece", ["[", "![", "*a ", "_a", "> ", "- ", "`", "|a", "<", "[a](", "**a *b ", "\\", "&"])
def test_no_text_takes_for_ever(piece: str) -> None:
    """The test's own limit of time ends one that does."""
    seen(piece * (MAX_CHARS // len(piece)))


PIECES = [*"[]()!<>*_`#|-~\\ \n\t&;:/.\"'=a", "http://x.y", "javascript:", "picture.png", "<a href="]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
@settings(deadline=None, max_examples=300)
def test_any_text_is_harmless(text: str) -> None:
    seen(text)
