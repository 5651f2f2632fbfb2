"""Rows and parts of results as files, over HTTP, read back by parsers that are not ours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from tests.harness import ROOT, Server

MANY = 60_000


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one web worker and the jobs that return figures."""
    folder = tmp_path_factory.mktemp("figures") / "data"
    started = Server(folder, workers=1, HEADWAY_JOBS=str(ROOT / "tests" / "browser" / "jobs")).start()
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture(scope="module")
def run(figures: Server) -> str:
    """A run with one of everything in its result, and rows."""
    launched = figures.launch("figures", rows=300)
    assert figures.wait_ended(launched)["status"] == "completed"
    return launched


def table(answer: httpx.Response) -> list[list[str]]:
    """A CSV answer as the standard library reads it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.text, newline="")))


def saved_as(answer: httpx.Response) -> str:
    """The name under which a browser saves the answer."""
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=")
    return str(disposition.partition("filename=")[2].strip('"'))


def test_rows_are_had_as_csv_json_and_json_lines(figures: Server, run: str) -> None:
    """The same rows in each form, under names that tell what they are."""
    url = f"/api/v1/runs/{run}/rows"
    found = figures.http.get(url, params={"format": "json"})
    assert found.headers["Content-Type"] == "application/json"
    rows = found.json()
    assert (len(rows), rows[1]) == (300, {"keyword": "coffee machines 1", "searches": 37, "note": None})
    lines = figures.http.get(url, params={"format": "jsonl"})
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    cells = figures.http.get(url, params={"format": "csv"})
    assert table(cells)[:3] == [
        ["keyword", "searches", "note"],
        ["running shoes 0", "0", ""],
        ["coffee machines 1", "37", ""],
    ]
    assert len(table(cells)) == 301
    assert [saved_as(one) for one in (found, lines, cells)] == [
        f"figures-{run[-6:]}-rows.{form}" for form in ("json", "jsonl", "csv")
    ]


def test_json_is_what_comes_when_nothing_is_said(figures: Server, run: str) -> None:
    assert len(figures.http.get(f"/api/v1/runs/{run}/rows").json()) == 300


def test_parts_of_the_result_are_had_as_files(figures: Server, run: str) -> None:
    url = f"/api/v1/runs/{run}/result"
    whole = figures.http.get(url).json()
    clusters = figures.http.get(url, params={"part": "/clusters", "format": "csv"})
    assert saved_as(clusters) == f"figures-{run[-6:]}-clusters.csv"
    head, first = table(clusters)[:2]
    assert head == ["label", "size", "cohesion", "page", "terms"]
    assert first[0] == "running shoes" and json.loads(first[4]) == ["running", "shoes"]
    drawing = figures.http.get(url, params={"part": "/map", "format": "svg"})
    assert (drawing.headers["Content-Type"], saved_as(drawing)) == (
        "image/svg+xml",
        f"figures-{run[-6:]}-map.svg",
    )
    assert ElementTree.fromstring(drawing.text).attrib["aria-label"].startswith("Map of the texts. Scatter plot")
    points = table(figures.http.get(url, params={"part": "/map", "format": "csv"}))
    assert points[0] == ["series", "x", "y", "label"] and len(points) == 601
    part = figures.http.get(url, params={"part": "/clusters/3/terms"})
    assert part.json() == whole["clusters"][3]["terms"]
    assert saved_as(part) == f"figures-{run[-6:]}-clusters-3-terms.json"
    assert figures.http.get(url, params={"part": ""}).json() == whole


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("result?part=/nothing", 404),
        ("result?part=/clusters/99", 404),
        ("result?part=clusters", 400),
        ("result?part=/texts&format=csv", 400),
        ("result?part=/clusters&format=svg", 400),
        ("result?format=csv", 400),
        ("result?format=xml", 422),
        ("rows?format=xml", 422),
        ("rows?format=", 422),
    ],
)
def test_what_cannot_be_had_is_a_problem(figures: Server, run: str, what: str, status: int) -> None:
    answer = figures.http.get(f"/api/v1/runs/{run}/{what}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert "Content-Disposition" not in answer.headers


@pytest.mark.parametrize("what", ["rows", "rows?format=csv", "result?part=/map&format=svg"])
def test_only_the_owner_has_them(figures: Server, what: str) -> None:
    assert figures.http.get(f"/api/v1/runs/{'0' * 26}/{what}").status_code == 404
    with httpx.Client(base_url=figures.url) as stranger:
        assert stranger.get(f"/api/v1/runs/{'0' * 26}/{what}").status_code == 401


def test_a_result_can_be_a_table_itself(figures: Server) -> None:
    rows: list[dict[str, Any]] = [{"a": number, "b": "=1+1"} for number in range(3)]
    launched = figures.launch("give", value=json.dumps(rows))
    figures.wait_ended(launched)
    answer = figures.http.get(f"/api/v1/runs/{launched}/result", params={"format": "csv"})
    assert table(answer) == [["a", "b"], ["0", "'=1+1"], ["1", "'=1+1"], ["2", "'=1+1"]]
    assert saved_as(answer) == f"give-{launched[-6:]}-result.csv"


def test_a_malformed_chart_of_a_job_is_no_fault_of_the_server(figures: Server) -> None:
    launched = figures.launch(
        "give", value=json.dumps({"$headway": "chart", "kind": "bar", "series": [{"points": [5]}]})
    )
    figures.wait_ended(launched)
    for form in ("csv", "svg"):
        assert figures.http.get(f"/api/v1/runs/{launched}/result", params={"format": form}).status_code == 400
    assert figures.http.get(f"/runs/{launched}").status_code == 200


def test_a_run_that_goes_on_gives_its_rows_so_far(figures: Server) -> None:
    launched = figures.launch("walk", start="https://example.org/", steps=5000, pause=0.01)
    with figures.stream(launched) as events:
        next(event for event in events if event.event == "row")
        assert table(figures.http.get(f"/api/v1/runs/{launched}/rows", params={"format": "csv"}))[0] == ["step", "url"]
        refused = figures.http.get(f"/api/v1/runs/{launched}/result", params={"part": "/steps"})
        assert refused.status_code == 409
    figures.cancel(launched)
    figures.wait_ended(launched)


def test_a_download_that_nobody_reads_holds_nobody_up(figures: Server) -> None:
    """One worker: it serves others while a reader takes its time, and goes on where that one left off."""
    launched = figures.launch("figures", points=0, rows=MANY)
    figures.wait_ended(launched, 60)
    with figures.http.stream("GET", f"/api/v1/runs/{launched}/rows", params={"format": "csv"}) as slow:
        pieces = slow.iter_lines()
        assert next(pieces) == '"keyword","searches","note"'
        for _ in range(20):
            assert httpx.get(f"{figures.url}/healthz").status_code == 200
        assert sum(1 for _ in pieces) == MANY


def test_a_reader_that_leaves_is_forgotten(figures: Server) -> None:
    """Without a trace in the log: the fixture looks."""
    launched = figures.launch("figures", points=0, rows=MANY)
    figures.wait_ended(launched, 60)
    with figures.http.stream("GET", f"/api/v1/runs/{launched}/rows") as leaving:
        next(leaving.iter_bytes())
    assert httpx.get(f"{figures.url}/healthz").status_code == 200


def test_the_calls_are_described(figures: Server) -> None:
    """With the forms that each has."""
    paths = figures.http.get("/api/openapi.json").json()["paths"]
    for path, forms in (
        ("/api/v1/runs/{run_id}/rows", ["text/csv; charset=utf-8", "application/json", "application/x-ndjson"]),
        ("/api/v1/runs/{run_id}/result", ["application/json", "text/csv; charset=utf-8", "image/svg+xml"]),
    ):
        described = paths[path]["get"]
        assert list(described["responses"]["200"]["content"]) == forms
        assert "format" in {one["name"] for one in described["parameters"]}
