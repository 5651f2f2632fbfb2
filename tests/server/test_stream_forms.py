"""The same events and numbers in every form of a stream, from a real server."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.harness import Server, wait_for
from tests.server.test_fast_lane import stored

NDJSON = {"Accept": "application/x-ndjson"}
TEXT = {"Accept": "text/plain"}
JSON = {"Accept": "application/json"}


def events_path(run: str) -> str:
    """Where its events are."""
    return f"/api/v1/runs/{run}/events"


def test_lines_of_json_have_the_events_of_the_log(server: Server) -> None:
    run = server.launch("emit", n=30)
    with server.http.stream("GET", events_path(run), headers=NDJSON) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store, no-transform"
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert lines[0]["event"] == "hello" and lines[-1]["status"] == "completed"
    assert [(one["seq"], one["event"]) for one in lines if "seq" in one] == [row[:2] for row in stored(server, run)]
    head = lines[-1]["seq"]
    resumed = server.http.get(events_path(run), headers=NDJSON | {"Last-Event-ID": f"{run}-{head - 2}"})
    assert [json.loads(line).get("seq") for line in resumed.text.splitlines()] == [None, head - 1, head]
    assert server.http.get(f"{events_path(run)}?after={head}", headers=NDJSON).status_code == 204


def test_a_launch_can_stream_in_every_form(server: Server) -> None:
    for accept in (NDJSON, TEXT):
        with server.http.stream("POST", "/api/v1/jobs/emit/runs", json={"n": 3}, headers=accept) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-location"].startswith("/api/v1/runs/")
            answer.read()
        assert "Done" in answer.text.splitlines()[-1]


def test_text_is_for_people(server: Server) -> None:
    run = server.launch("emit", n=3)
    server.wait_ended(run)
    plain = server.http.get(events_path(run), headers=TEXT)
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.text.endswith("100 %  Done\n") and "\r" not in plain.text and "\x1b" not in plain.text
    barred = server.http.get(f"{events_path(run)}?bar=20", headers=TEXT)
    assert "\r\x1b[K" in barred.text and barred.text.endswith("100 %  Done\n")


@pytest.mark.parametrize("query", ["bar=x", "bar=-1", "bar=201", "bar=\u0664"])
def test_a_bar_that_cannot_be_is_refused_before_anything_is_launched(server: Server, query: str) -> None:
    before = server.http.get("/api/v1/runs?limit=1").json()["runs"]
    answer = server.http.post(f"/api/v1/jobs/emit/runs?{query}", json={"n": 3}, headers=TEXT)
    assert answer.status_code == 422 and list(answer.json()["errors"]) == ["bar"]
    assert server.http.get("/api/v1/runs?limit=1").json()["runs"] == before


def test_json_gives_what_there_is_and_waits_for_what_comes(server: Server) -> None:
    run = server.launch("hold")
    wait_for(lambda: server.run(run)["status"] == "processing")
    first = server.http.get(events_path(run), headers=JSON).json()
    assert first["run"] == run and first["from"] == 0 and not first["reset"] and not first["ended"]
    assert [one["seq"] for one in first["events"]] == list(range(1, first["after"] + 1))
    last = wait_for(lambda: _settled(server, run))
    began = time.monotonic()
    nothing = server.http.get(f"{events_path(run)}?after={last}&wait=1", headers=JSON).json()
    assert nothing["events"] == [] and nothing["after"] == last and 0.9 < time.monotonic() - began < 5
    threading.Timer(0.3, server.cancel, [run]).start()
    seqs: list[int] = []
    while True:
        more = server.http.get(f"{events_path(run)}?after={last}&wait=20", headers=JSON, timeout=25).json()
        seqs += [one["seq"] for one in more["events"]]
        last = more["after"]
        if more["ended"]:
            break
    assert time.monotonic() - began < 15 and seqs == list(range(seqs[0], last + 1))
    assert more["events"][-1]["error"]["code"] == "cancelled"
    again = server.http.get(f"{events_path(run)}?after={last}&wait=20", headers=JSON).json()
    assert again["events"] == [] and again["ended"]
    assert server.http.get(f"{events_path(run)}?after=9999", headers=JSON).json()["reset"]


def _settled(server: Server, run: str) -> int | None:
    """The number of the last event, once nothing new came for a moment."""
    last: int = server.http.get(events_path(run), headers=JSON).json()["after"]
    found = server.http.get(f"{events_path(run)}?after={last}&wait=1", headers=JSON).json()
    return last if not found["events"] else None


@pytest.mark.parametrize("wait", ["x", "-1", "61", "1.5"])
def test_a_wait_that_cannot_be_is_refused(server: Server, wait: str) -> None:
    run = server.launch("emit", n=1)
    answer = server.http.get(f"{events_path(run)}?wait={wait}", headers=JSON)
    assert answer.status_code == 422 and list(answer.json()["errors"]) == ["wait"]


def test_a_long_log_comes_in_parts(server: Server) -> None:
    run = server.launch("emit", n=1200)
    server.wait_ended(run)
    seqs: list[int] = []
    while True:
        part = server.http.get(f"{events_path(run)}?after={seqs[-1] if seqs else 0}", headers=JSON).json()
        seqs += [one["seq"] for one in part["events"]]
        if part["ended"]:
            break
        assert part["after"] == seqs[-1] < part["head"]
    assert seqs == [row[0] for row in stored(server, run)]


def test_forms_that_know_no_busy_are_told_so_by_a_status(new_server) -> None:  # type: ignore[no-untyped-def]
    server: Server = new_server(workers="1", HEADWAY_STREAMS_PER_OWNER="1")
    run = server.launch("hold")
    with server.http.stream("GET", events_path(run), headers=NDJSON) as held:
        lines = held.iter_lines()
        next(lines)
        for accept in (NDJSON, TEXT, JSON):
            refused = server.http.get(events_path(run), headers=accept)
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
            assert refused.headers["content-type"] == "application/problem+json"
        for accept in (NDJSON, TEXT):  # a launch has happened, and says so: a 429 would be repeated
            launched = server.http.post("/api/v1/jobs/emit/runs", json={"n": 1}, headers=accept)
            assert launched.status_code == 202
            assert server.http.get(launched.headers["location"]).json()["id"] == launched.json()["id"]
    wait_for(lambda: server.http.get(events_path(run), headers=JSON).status_code == 200, 5, "the slot to be free")
    server.cancel(run)
