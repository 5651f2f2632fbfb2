"""A report as one HTML file that needs nothing else: no scripts, no addresses that are loaded, light and dark.

All text in it comes from a crawled site or a model, so none of it is trusted: markupsafe escapes whatever is formatted
into a piece of HTML, links lead to http and https only, and the page's own policy forbids everything but its style.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

MAX_ROWS = 500
"""Of a table: the files beside the report have all."""

STYLE = """
:root { color-scheme: light dark; --page: light-dark(#f7f7f8, #0d0e11); --surface: light-dark(#fff, #15171b);
  --line: light-dark(#e4e4e9, #272a31); --text: light-dark(#17181c, #ecedf1); --muted: light-dark(#5e606b, #a0a3af);
  --accent: light-dark(#2f5bea, #86a5ff); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.55 -apple-system, BlinkMacSystemFont, "Segoe UI", Inter, Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-inline-size: 58rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 0.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.75rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: 0.4rem 0; overflow-wrap: anywhere; }
a { color: var(--accent); }
.muted, th { color: var(--muted); }
.muted { font-size: 0.875rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 8.5rem), 1fr)); gap: 0.75rem;
  margin: 1.5rem 0 0; }
.card, figure, .group, .scroll { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 0.75rem 1rem; }
.card dt { font-size: 0.8125rem; color: var(--muted); }
.card dd { margin: 0; font-size: 1.375rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 0.75rem 0; padding: 0.5rem; overflow-x: auto; }
figure svg { display: block; margin: 0 auto; inline-size: 100%; max-inline-size: 50rem; min-inline-size: 34rem;
  block-size: auto; }
.group { padding: 0.9rem 1.1rem; margin-block-end: 0.75rem; }
.group ul { margin: 0.4rem 0 0; padding-inline-start: 1.1rem; font-size: 0.875rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; inline-size: 100%; font-size: 0.8125rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.75rem; text-align: start; vertical-align: top; border-block-end: 1px solid var(--line); }
td { max-inline-size: 24rem; overflow-wrap: anywhere; }
td:not(.number) { min-inline-size: 7rem; }
th { font-weight: 600; white-space: nowrap; }
tr:last-child td { border-block-end: 0; }
.number { text-align: end; }
nav { margin: 1rem 0 0; font-size: 0.875rem; display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; }
@media print { body { background: none; } .card, figure, .group { break-inside: avoid; } nav { display: none; } }
"""

_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="muted">{subtitle}</p>
<nav aria-label="Sections">{contents}</nav>
{sections}
</main>
</body>
</html>
""")


_NUMBER = Markup(' class="number"')


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report with a heading, which the contents on top link to."""

    id: str
    title: str
    body: Markup


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole file's text."""
    contents = [Markup('<a href="#{}">{}</a>').format(one.id, one.title) for one in sections]
    bodies = [
        Markup('<section aria-labelledby="{}"><h2 id="{}">{}</h2>\n{}</section>\n').format(
            one.id, one.id, one.title, one.body
        )
        for one in sections
    ]
    return str(
        _PAGE.format(
            title=title,
            subtitle=subtitle,
            style=Markup(STYLE),
            contents=Markup("").join(contents),
            sections=Markup("").join(bodies),
        )
    )


def cards(figures: Mapping[str, str]) -> Markup:
    """A row of large figures with what each is."""
    items = [
        Markup('<div class="card"><dt>{}</dt><dd>{}</dd></div>').format(name, value) for name, value in figures.items()
    ]
    return Markup('<dl class="cards">{}</dl>').format(Markup("").join(items))


def figures(drawings: Iterable[str]) -> Markup:
    """Charts as SVG, which is trusted as it stands."""
    return Markup("").join(Markup('<figure tabindex="0">{}</figure>').format(Markup(svg)) for svg in drawings)


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Markup:
    """A table of some of the rows' fields; ``columns`` are their names with their headings."""
    if not rows:
        return Markup('<p class="muted">None.</p>')
    heads = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(_NUMBER if _is_number(rows[0].get(name)) else "", heading)
        for name, heading in columns.items()
    )
    lines = [
        Markup("<tr>{}</tr>").format(Markup("").join(_cell(row.get(name)) for name in columns))
        for row in rows[:MAX_ROWS]
    ]
    rest = Markup("")
    if len(rows) > MAX_ROWS:
        rest = Markup('<p class="muted">{} of {:,} rows; the CSV files have all.</p>').format(MAX_ROWS, len(rows))
    return Markup(
        '<div class="scroll" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}'
    ).format(heads, Markup("\n").join(lines), rest)


def listing(items: Iterable[Markup]) -> Markup:
    """A plain list."""
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(item) for item in items))


def link(url: str, text: str | None = None) -> Markup:
    """A link, or the bare text where the address is not one of the web."""
    if not url.lower().startswith(("http://", "https://")):
        return Markup("{}").format(text or url)
    return Markup('<a href="{}" rel="noreferrer noopener">{}</a>').format(url, text or url)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> Markup:
    if value is None:
        return Markup("<td></td>")
    if _is_number(value):
        return Markup("<td{}>{}</td>").format(_NUMBER, value)
    if isinstance(value, list | tuple):
        return Markup("<td>{}</td>").format(Markup("<br>").join(link(str(one)) for one in value))
    return Markup("<td>{}</td>").format(link(str(value)))
