"""What a run has said so far, as its page shows it before any script runs: plan, log, output and rows."""

from __future__ import annotations

import json
from typing import Any

from jobs.store import Store
from web.frame import iso_time
from web.wording import columns

SHOWN_ITEMS = 500
"""Rows, and lines of the log, on the page: more would be slow to draw (``static/js/tail.js`` keeps as many)."""
SHOWN_OUTPUT_CHARS = 200_000
WINDOW_EVENTS = 3000
WINDOW_BYTES = 4_000_000
"""How far back a page looks; a plan is said early, so the first events are read as well."""
FIRST_EVENTS = 50


def story_of(store: Store, run: str, head: int) -> dict[str, Any]:
    """Plan, log, output and rows up to event number ``head``. A total is None where the run began before the window."""
    events = store.newest_events(run, head, WINDOW_EVENTS, WINDOW_BYTES)
    begin = events[0].seq - 1 if events else 0
    early = store.newest_events(run, min(begin, FIRST_EVENTS), FIRST_EVENTS, WINDOW_BYTES)
    said: dict[str, list[dict[str, Any]]] = {"plan": [], "log": [], "output": [], "row": [], "update": []}
    for event in early:
        if event.kind == "plan":
            said["plan"].append(json.loads(event.body))
    for event in events:
        said[event.kind].append(json.loads(event.body) | {"time": iso_time(event.time_ms)})
    output = "".join(one["text"] for one in said["output"])
    rows = [one["row"] for one in said["row"]]
    return {
        "plan": said["plan"][-1]["steps"] if said["plan"] else [],
        "log": said["log"][-SHOWN_ITEMS:],
        "log_total": None if begin else len(said["log"]),
        "output": output[-SHOWN_OUTPUT_CHARS:],
        "output_cut": begin > 0 or len(output) > SHOWN_OUTPUT_CHARS,
        "rows": rows[-SHOWN_ITEMS:],
        "rows_total": None if begin else len(rows),
        "columns": columns(rows),
    }
