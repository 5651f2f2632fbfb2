"""The text of a page, and what selectors find in it."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser

from jobs.library.page import parse_page
from jobs.library.page_text import (
    MAX_FOUND,
    MAX_FOUND_CHARS,
    MAX_SELECTORS,
    MAX_TEXT_CHARS,
    BadSelector,
    main_text,
    parse_selectors,
)
from jobs.library.sample_site import FOLDER

FRAME = "<header>Logo</header><nav>Menu</nav><aside>Ads</aside><footer>Imprint</footer>"


def text_of(html: str) -> str:
    return main_text(LexborHTMLParser(html))


def found(selector: str, html: str) -> str | None:
    (one,) = parse_selectors([selector])
    return one.find(LexborHTMLParser(html))


@pytest.mark.parametrize(
    "html",
    [
        f"<body>{FRAME}<main>Text</main></body>",
        f"<body>{FRAME}<div role=main>Text</div></body>",
        f"<body>{FRAME}<article>Text</article></body>",
        f"<body>{FRAME}<div>Text</div></body>",
        f"<body>{FRAME}<div role=banner>B</div><div role=navigation>N</div><div role=contentinfo>C</div>Text</body>",
        "<body><main><nav>M</nav><form>F<input></form><script>s</script><style>x</style>Text<svg><title>i</title></svg>"
        "<button>B</button><p hidden>H</p><p aria-hidden=true>A</p><noscript>J</noscript></main></body>",
        "<body><nav>a<nav>b</nav><aside><form>c</form></aside></nav><p>Text",
    ],
)
def test_the_text_is_what_the_page_is_about(html: str) -> None:
    """Not the frame around it, wherever that stands and however it is nested."""
    assert text_of(html) == "Text"


def test_an_article_keeps_its_own_header_and_footer() -> None:
    """A headline and its sources are part of what is told; the page's are not."""
    html = "<article><header>Headline</header>Text<footer>Sources</footer></article>"
    assert text_of(f"{FRAME}{html}") == "Headline\nText\nSources"
    assert text_of(f"{FRAME}{html}{html}") == "Headline\nText\nSources\nHeadline\nText\nSources"


def test_blocks_are_lines_and_words_stay_whole() -> None:
    """Neighbouring blocks do not run together, and an element inside a word does not part it."""
    html = (
        "<main><h1>Big  <b>wo</b>rd</h1><p>one</p><p>two<br>three</p><ul><li>a<li>b</ul><table><tr><td>c<td>d</table>"
    )
    assert text_of(html) == "Big word\none\ntwo\nthree\na\nb\nc\nd"


@pytest.mark.parametrize("html", ["", "<html>", "<frameset><frame src=x></frameset>", "<main hidden></main>", "\0"])
def test_a_page_without_text_has_none(html: str) -> None:
    """And is no error."""
    assert text_of(html) == ""


def test_the_samples_pages_are_read() -> None:
    """Heading and paragraphs; neither menu nor footer."""
    text = main_text(parse_page((FOLDER / "soups" / "lentil.html").read_bytes(), {}))
    assert text.startswith("Lentil soup\nTakes 40 minutes, serves 6.\nChop an onion")
    assert "All recipes" not in text and "sample" not in text


@pytest.mark.parametrize(
    "html",
    [
        "<p>x</p>" * 250_000,
        "<nav>" * 9000 + "x" * 1000,
        "<article>" * 5000 + "<header>h</header>" * 5000,
        "<div>" * 9000 + "<aside>a</aside>" * 20_000,
        "word " * 400_000,
    ],
    ids=["paragraphs", "navs", "headers", "deep", "words"],
)
def test_hostile_pages_are_read_and_cut(html: str) -> None:
    """Two megabytes of whatever, nested as deeply as pages may be, come to an end."""
    assert len(text_of(html)) <= MAX_TEXT_CHARS


# Selectors.

SHOP = (
    '<div class="product"><h2>Blue <i>shoe</i></h2><span class="price">9.90</span><a href="/shoe">More</a></div>'
    '<div class="product"><h2>Red hat</h2><span class="price"> 5 </span><img alt="A hat"></div>'
    '<meta property="og:image" content="/hat.png">'
)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("price = .product .price", "price", "9.90 | 5"),
        ("name=.product h2", "name", "Blue shoe | Red hat"),
        ("h2", "h2", "Blue shoe | Red hat"),
        ("link = .product a::attr(href)", "link", "/shoe"),
        ("image = meta[property='og:image']::attr(content)", "image", "/hat.png"),
        ("meta[property='og:image']::attr(content)", "meta[property='og:image']::attr(content)", "/hat.png"),
        ("alt = img::attr(alt)", "alt", "A hat"),
        ("first price = .product:first-child .price", "first price", "9.90"),
        ("nothing = .missing", "nothing", None),
        ("no attribute = h2::attr(href)", "no attribute", None),
        ("prix élevé = .price", "prix élevé", "9.90 | 5"),
    ],
)
def test_a_selector_gives_text_or_an_attribute(line: str, name: str, value: str | None) -> None:
    """Of every element that it finds; without a name it is its own."""
    (selector,) = parse_selectors([line])
    assert (selector.name, selector.find(LexborHTMLParser(SHOP))) == (name, value)


@pytest.mark.parametrize(
    "line",
    ["x = p >", "..", "x = ", "= p", "x = p::text", "x = p:nope", "x = :nth-child(2n+", "a = p,,b", "x = ::attr(href)"],
)
def test_what_is_no_selector_is_named(line: str) -> None:
    """Before anything is fetched; the sentence holds what was written."""
    with pytest.raises(BadSelector) as caught:
        parse_selectors(["fine = p", line])
    assert line.partition("= ")[2] in str(caught.value) and "selector" in str(caught.value)


def test_selectors_are_limited() -> None:
    """Their number, their length, two of the same name, and what takes minutes on a page made for it."""
    assert parse_selectors(["", "  "]) == []
    for lines in (
        [f"s{number} = p" for number in range(MAX_SELECTORS + 1)],
        ["x = " + "p " * 200],
        ["a = p", "a = h1"],
        ["x = div:has(div:has(p))"],
    ):
        with pytest.raises(BadSelector):
            parse_selectors(lines)


def test_what_a_selector_finds_is_limited() -> None:
    """A page cannot fill the file: so many elements, so many characters."""
    values = (found("x = p", "<p>a</p>" * 1000) or "").split(" | ")
    assert len(values) == MAX_FOUND
    assert len(found("x = p", f"<p>{'b' * 3000}</p>" * 5) or "") <= MAX_FOUND_CHARS + 10
