"""How runs, times and sizes read on the pages: the words of the templates' filters and tests.

``static/js/words.js`` says the same things live; whoever changes one changes the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from jobs.figures import MARK

STEP_SEPARATOR = " › "
"""Between the names of nested steps (``jobs/progress.py``)."""
SUMMARY_CHARS = 90
"""Of a run's parameters in a list; the rest of the line belongs to the bar."""
SHOWN_COLUMNS = 60
"""A table with more cannot be read, and costs the browser dearly (``static/js/run_rows.js`` shows as many)."""
MOST_LISTED = 30
"""Values of a list that stand side by side in a cell of a table."""
ERROR_WORDS = {
    "failed": "Failed",
    "cancelled": "Cancelled",
    "timeout": "Timed out",
    "interrupted": "Interrupted",
    "crashed": "Crashed",
}
STATUS_WORDS = {"queued": "Queued", "processing": "Running", "completed": "Completed", "error": "Failed"}

Run = Mapping[str, Any]


def status_word(run: Run) -> str:
    """Running, Completed, Timed out: one word or two for what a run is doing or how it ended."""
    if run["error"]:
        return ERROR_WORDS.get(run["error"]["code"], "Failed")
    return "Cancelling" if run["cancelling"] else STATUS_WORDS[run["status"]]


def tone(run: Run) -> str:
    """The colour of a run's status: active, good, bad or still."""
    if run["error"]:
        return "still" if run["error"]["code"] == "cancelled" else "bad"
    return {"processing": "active", "completed": "good", "error": "bad"}.get(run["status"], "still")


def headline(run: Run) -> str:
    """What stands largest beside the percent: the step, or the status where there is none."""
    return run["step"] if run["status"] == "processing" and run["step"] else status_word(run)


def subline(run: Run) -> str:
    """The line below: the job's message, or the place in the queue."""
    if run["status"] == "queued" and run["queue_position"]:
        return f"Number {run['queue_position']} in the queue"
    return "" if run["error"] else run["message"] or ""  # an error's message has a box of its own


def value_text(run: Run) -> str:
    """What a screen reader says for the bar."""
    how_far = "working" if run["indeterminate"] else f"{percent(run['progress'])} %"
    return f"{how_far}, {headline(run)}"


def percent(progress: float) -> str:
    """Whole percent, rounded down: 100 stands only for what is complete."""
    return str(int(progress))


def step_state(plan: Sequence[str], index: int, run: Run) -> str:
    """``done``, ``current`` or ``ahead`` for one step of the plan."""
    if run["status"] == "completed":
        return "done"
    here = (run["step"] or "").split(STEP_SEPARATOR)[0]
    at = plan.index(here) if here in plan else -1
    return "done" if index < at else "current" if index == at else "ahead"


def summary(run: Run) -> str:
    """A run's parameters in half a line: the first as it is, the others by their names; of a file what it is called."""
    named = {
        name: value["name"] if isinstance(value, Mapping) and "stored" in value else value
        for name, value in run["params"].items()
    }
    shown = [(name, value) for name, value in named.items() if type(value) in (str, int) and value != ""]
    text = " · ".join(f"{name} {value}" if at else str(value) for at, (name, value) in enumerate(shown))
    return text if len(text) <= SUMMARY_CHARS else text[:SUMMARY_CHARS] + "…"


def took(run: Run) -> str:
    """How long a run has been working, or worked."""
    return duration(worked_s(run)) if run["started_at"] else ""


def worked_s(run: Run) -> float:
    """Seconds from a run's start to its end, or until now."""
    end = _time(run["ended_at"]) if run["ended_at"] else datetime.now(UTC)
    return (end - _time(run["started_at"])).total_seconds()


def duration(seconds: float) -> str:
    """42 s, 3 min 05 s, 2 h 10 min."""
    whole = max(0, int(seconds))
    minutes, left = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02} min" if minutes_left else f"{hours} h"
    if minutes:
        return f"{minutes} min {left:02} s" if left else f"{minutes} min"
    return f"{whole} s"


def ago(iso: str) -> str:
    """just now, 20 s ago, 5 min ago, 3 h ago, 2 d ago."""
    seconds = int((datetime.now(UTC) - _time(iso)).total_seconds())
    if seconds < 5:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def clock(iso: str) -> str:
    """22 Nov 2026, 10:00:03 UTC."""
    return _time(iso).strftime("%-d %b %Y, %H:%M:%S UTC")


def filesize(size: int) -> str:
    """812 B, 3.4 kB, 12 MB."""
    scaled = float(size)
    for unit in ("B", "kB", "MB"):
        if scaled < 1000:
            return f"{scaled:.1f} {unit}" if unit != "B" and scaled < 10 else f"{scaled:.0f} {unit}"
        scaled /= 1000
    return f"{scaled:.1f} GB"


def counted(count: int, noun: str) -> str:
    """1 row, 2 rows, 1,200 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown_of(shown: int, total: int | None, noun: str) -> str:
    """How much of a long list is on the page."""
    if total is None:
        return f"the newest {counted(shown, noun)}"
    return counted(total, noun) if shown >= total else f"the newest {shown:,} of {counted(total, noun)}"


def plain(number: float) -> str:
    """A number without needless zeros: 42.5, 100."""
    return str(int(number)) if float(number).is_integer() else f"{number:.10g}"


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring. A line break inside one only wraps it, unless an item of a list follows."""
    found = re.split(r"\n\s*\n", text.strip())
    return [re.sub(r"\s*\n(?!\s*[-*] )\s*", " ", one) for one in found if one]


def first_paragraph(text: str) -> str:
    """What a docstring begins with: what the job does, in a sentence."""
    return next(iter(paragraphs(text)), "")


def with_code(text: str) -> Markup:
    """Text in which `this` stands as code; all else is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(one) if at % 2 else one for at, one in enumerate(parts))


def as_json(value: Any) -> str:
    """Compact JSON, as text to be escaped like any other."""
    return json.dumps(value, ensure_ascii=False)


def label(key: str) -> str:
    """A key of a result as a label: broken_links reads Broken links; what is no plain name stays as it is."""
    return key.replace("_", " ").capitalize() if re.fullmatch(r"[a-z][a-z0-9_]*", key) else key


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All keys of the rows, in the order in which they were first seen."""
    return list(dict.fromkeys(key for row in rows for key in row))[:SHOWN_COLUMNS]


def web_address(value: Any) -> bool:
    """Whether a value may become a link: http and https only."""
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s\x00-\x1f]+", value) is not None


def grid_like(value: Sequence[Any]) -> bool:
    """Whether a list reads best as a table without a head: lists of plain values, as ``Counter.most_common`` gives."""
    return bool(value) and all(isinstance(one, list) and one and not any(map(_nested, one)) for one in value)


def grid_headings(rows: Sequence[Sequence[Any]]) -> list[str]:
    """What stands above the columns of such a list: their numbers."""
    return [f"Column {number}" for number in range(1, min(SHOWN_COLUMNS, max(map(len, rows))) + 1)]


def table_like(value: Sequence[Any]) -> bool:
    """Whether a list reads best as a table: at least one object, nothing else, and no chart or picture in it."""
    return bool(value) and all(isinstance(one, Mapping) and not _holds_figures(one) for one in value)


def _holds_figures(value: Mapping[str, Any]) -> bool:
    return MARK in value or any(isinstance(one, Mapping) and MARK in one for one in value.values())


def list_like(value: Any) -> bool:
    """Whether a cell of a table can name what it holds one after the other: a few plain values."""
    return isinstance(value, list) and 0 < len(value) <= MOST_LISTED and not any(map(_nested, value))


def as_text(value: Any) -> str:
    """A plain value among others in a cell."""
    return value if isinstance(value, str) else as_json(value)


def _nested(value: Any) -> bool:
    return isinstance(value, list | Mapping)


def _time(iso: str) -> datetime:
    return datetime.fromisoformat(iso)


FILTERS = [
    ago, as_json, as_text, clock, columns, counted, duration, filesize, first_paragraph, grid_headings, headline,
    label, paragraphs, percent, plain, shown_of, status_word, step_state, subline, summary, tone, took, value_text,
    with_code, worked_s,
]  # fmt: skip
TESTS = [grid_like, list_like, table_like, web_address]
