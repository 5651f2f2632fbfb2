"""A run's rows as a file: all of them, whatever their keys, in little memory."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import Conflict

from jobs.events import Draft, Kind, now_ms, to_json
from jobs.runs import Claim, Run
from jobs.store import Store
from tests.jobs.workbench import OWNER, claimed
from web.rowfile import MAX_COLUMNS, row_file

ROWS = st.lists(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=20), max_size=4),
    max_size=20,
)


def run_that_said(store: Store, rows: list[dict[str, Any]]) -> Run:
    """A run with these rows, and other events between them."""
    claim = claimed(store)
    store.append([said(claim, "log", {"level": "info", "message": "begun"})])
    for start in range(0, len(rows), 10_000):
        store.append([said(claim, "row", {"row": row}) for row in rows[start : start + 10_000]])
    store.append([said(claim, "output", {"text": '{"row":{}}'})])
    return store.run(claim.run, OWNER)


def said(claim: Claim, kind: Kind, body: dict[str, Any]) -> Draft:
    """Something that the run says."""
    return Draft(claim.run, claim.attempt, kind, to_json(body), now_ms())


def text_of(store: Store, run: Run, form: str) -> str:
    """The whole file."""
    return b"".join(row_file(store, run, form)).decode()


@given(rows=ROWS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_rows_come_back_in_order(store: Store, rows: list[dict[str, Any]]) -> None:
    """Read by the standard library's parsers."""
    run = run_that_said(store, rows)
    assert json.loads(text_of(store, run, "json")) == rows
    assert [json.loads(line) for line in text_of(store, run, "jsonl").splitlines()] == rows
    found = list(csv.reader(io.StringIO(text_of(store, run, "csv"), newline="")))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    assert len(found) == (len(rows) + 1 if columns else 0)
    assert all(len(line) == len(columns) for line in found)


def test_columns_stand_in_the_order_in_which_they_were_first_seen(store: Store) -> None:
    run = run_that_said(store, [{"b": 1}, {"a": 2, "b": None}, {"c": [1, {"d": 2}], "a": "=1+1"}])
    found = list(csv.reader(io.StringIO(text_of(store, run, "csv"))))
    assert found == [["b", "a", "c"], ["1", "", ""], ["", "2", ""], ["", "'=1+1", '[1,{"d":2}]']]


def test_a_column_that_comes_late_is_there_as_well(store: Store) -> None:
    """The first pages of the store do not know it."""
    rows = [{"n": number} for number in range(20_000)] + [{"n": 1, "late": "yes"}]
    found = text_of(store, run_that_said(store, rows), "csv").splitlines()
    assert (found[0], found[1], found[-1]) == ('"n","late"', '0,""', '1,"yes"')
    assert len(found) == 1 + len(rows)


def test_a_run_without_rows_gives_an_empty_file(store: Store) -> None:
    run = run_that_said(store, [])
    assert [text_of(store, run, form) for form in ("csv", "json", "jsonl")] == ["", "[]\n", ""]


def test_the_file_ends_where_the_run_was_when_it_was_asked_for(store: Store) -> None:
    """What a run says meanwhile may have columns that the head of the file does not."""
    claim = claimed(store)
    store.append([said(claim, "row", {"row": {"a": 1}})])
    run = store.run(claim.run, OWNER)
    pieces = row_file(store, run, "csv")
    store.append([said(claim, "row", {"row": {"b": 2}})])
    assert b"".join(pieces) == b'"a"\r\n1\r\n'


def test_more_columns_than_a_spreadsheet_has_are_refused_in_words(store: Store) -> None:
    run = run_that_said(store, [{f"column {number}": 1} for number in range(MAX_COLUMNS + 1)])
    with pytest.raises(Conflict, match="jsonl"):
        row_file(store, run, "csv")
    assert len(json.loads(text_of(store, run, "json"))) == MAX_COLUMNS + 1


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_many_rows_take_no_more_memory_than_few(store: Store, form: str) -> None:
    """Pieces of some 64 kB each, whatever there is."""
    run = run_that_said(store, [{"number": number, "text": f"row number {number}"} for number in range(60_000)])
    tracemalloc.start()
    try:
        sizes = [len(piece) for piece in row_file(store, run, form)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) > 1_500_000
    assert max(sizes) < 128 * 1024
    assert peak < 2_000_000
