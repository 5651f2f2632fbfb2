"""The API at its edge: what comes in is checked, what is refused is refused in words."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.harness import Server, wait_for


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    """The body of an error, checked to be problem+json without a trace of our insides."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    found: dict[str, object] = answer.json()
    assert found["status"] == status
    assert found["detail"]
    assert not any(word in answer.text for word in ("Traceback", "sqlite", "site-packages", ".py"))
    return found


def test_jobs_are_listed_with_their_parameters(server: Server) -> None:
    """Each has title, help, JSON schema and limits; a broken file has its traceback and harms nobody."""
    jobs = {job["name"]: job for job in server.http.get("/api/v1/jobs").json()["jobs"]}
    assert jobs["emit"]["title"] == "Emit"
    assert jobs["emit"]["help"].startswith("Emit n rows")
    assert jobs["emit"]["timeout_s"] == 300
    assert jobs["emit"]["parameters"]["properties"]["n"] == {
        "type": "integer",
        "default": 10,
        "minimum": 0,
        "maximum": 1_000_000,
        "title": "How many",
        "description": "Rows to emit.",
    }
    assert jobs["broken"]["available"] is False
    assert "no_such_module" in jobs["broken"]["problem"]["traceback"]
    assert server.http.get("/api/v1/jobs/emit").json() == jobs["emit"]
    assert "crawl" in jobs


def test_a_broken_job_cannot_be_launched(server: Server) -> None:
    """The answer says why."""
    assert "no_such_module" in str(problem_of_broken(server))


def problem_of_broken(server: Server) -> object:
    """The detail of a launch of the broken job; its message may name the file."""
    answer = server.http.post("/api/v1/jobs/broken/runs", json={})
    assert answer.status_code == 409
    return answer.json()["detail"]


@pytest.mark.parametrize(
    ("job", "parameters", "field"),
    [
        ("emit", {"n": "many"}, "n"),
        ("emit", {"n": 5.5}, "n"),
        ("emit", {"n": True}, "n"),
        ("emit", {"n": 10**30}, "n"),
        ("emit", {"n": -1}, "n"),
        ("emit", {"n": None}, "n"),
        ("emit", {"n": [1]}, "n"),
        ("emit", {"nn": 1}, "nn"),
        ("emit", {"rate": "nan"}, "rate"),
        ("kinds", {}, "text"),
        ("kinds", {"text": 5}, "text"),
        ("kinds", {"text": "x", "day": "2026-02-30"}, "day"),
        ("kinds", {"text": "x", "order": "size"}, "order"),
        ("kinds", {"text": "x", "colour": "blue"}, "colour"),
        ("kinds", {"text": "x", "lines": ["a", 1]}, "lines.1"),
        ("kinds", {"text": "x", "upload": 7}, "upload"),
    ],
)
def test_a_wrong_parameter_is_named_and_starts_nothing(
    server: Server, job: str, parameters: dict[str, object], field: str
) -> None:
    """422 with the field's name; no run is made."""
    before = server.http.get("/api/v1/runs").json()["runs"][:1]
    found = problem(server.http.post(f"/api/v1/jobs/{job}/runs", json=parameters), 422)
    assert list(found["errors"]) == [field]  # type: ignore[call-overload]
    assert server.http.get("/api/v1/runs").json()["runs"][:1] == before


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"n": NaN}', "application/json", 400),
        (b'{"n": 1e999}', "application/json", 422),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"n": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b"n=5", "text/plain", 415),
        (b"<n/>", "application/xml", 415),
        (b"junk", "multipart/form-data; boundary=x", 202),
        (b"n=" + b"1" * 600_000, "application/x-www-form-urlencoded", 422),
        (b'"\\ud800"', "application/json", 400),
    ],
)
def test_a_bad_body_is_refused_with_a_sentence(server: Server, body: bytes, content_type: str, status: int) -> None:
    """4xx that says what is wrong."""
    answer = server.http.post("/api/v1/jobs/emit/runs", content=body, headers={"Content-Type": content_type})
    if status == 202:  # an empty multipart body is a launch without parameters
        assert answer.status_code in (202, 400)
    else:
        problem(answer, status)


def test_a_body_over_the_limit_is_refused(new_server) -> None:  # type: ignore[no-untyped-def]
    """413 at MAX_UPLOAD."""
    server = new_server(HEADWAY_MAX_UPLOAD="1", workers="1")
    problem(server.http.post("/api/v1/jobs/kinds/runs", files={"upload": b"x" * 1_000_001}, data={"text": "x"}), 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/jobs/none", 404),
        ("POST", "/api/v1/jobs/none/runs", 404),
        ("GET", "/api/v1/runs/none", 404),
        ("GET", "/api/v1/runs/none/events", 404),
        ("GET", "/api/v1/runs/none/result", 404),
        ("POST", "/api/v1/runs/none/cancellation", 404),
        ("POST", "/api/v1/runs/none/retry", 404),
        ("DELETE", "/api/v1/runs/none", 404),
        ("GET", "/api/v1/none", 404),
        ("PUT", "/api/v1/jobs", 405),
        ("GET", "/api/v1/runs?limit=0", 422),
        ("GET", "/api/v1/runs?limit=201", 422),
        ("GET", "/api/v1/runs?limit=99999999999999999999", 422),
        ("GET", "/api/v1/runs?status=done", 422),
        ("GET", "/api/v1/runs?before=%27%3B--", 422),
    ],
)
def test_what_is_not_there_is_a_problem(server: Server, method: str, path: str, status: int) -> None:
    """Every error has the one shape."""
    problem(server.http.request(method, path), status)


def test_parameters_come_by_json_by_form_and_by_multipart(server: Server) -> None:
    """The job gets the same values, with their types."""
    plain = {"text": "hello", "whole": 7, "flag": False, "day": "2026-11-22", "order": "alphabet", "lines": ["a", "b"]}
    form = {**plain, "whole": "7", "flag": "false", "lines": "a\nb\n", "number": ""}
    launches = [
        server.http.post("/api/v1/jobs/kinds/runs", json=plain),
        server.http.post("/api/v1/jobs/kinds/runs", data=form),
        server.http.post("/api/v1/jobs/kinds/runs", data=form, files={"upload": ("../../x.txt", b"content")}),
    ]
    results = [server.wait_ended(answer.json()["id"])["result"] for answer in launches]
    assert results[0] == results[1] == results[2] | {"upload": None}
    assert results[0] == plain | {
        "number": 1.5, "colour": "red", "secret": "", "upload": None, "setting": None,
    }  # fmt: skip
    assert results[2]["upload"][1:] == [7, "content"]


def test_files_of_a_run_are_downloads(server: Server) -> None:
    """What the job wrote is listed and served as an attachment; nothing else of the folder is."""
    run = server.wait_ended(server.launch("kinds", text="x"))
    assert [(file["name"], file["bytes"]) for file in run["files"]] == [("note.txt", 6)]
    answer = server.http.get(run["files"][0]["url"])
    assert answer.content == b"a note"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("never-written.txt", "..%2f..%2f..%2fkey", "%2e%2e/inputs/0", "note.txt%00"):
        assert server.http.get(f"{run['url']}/files/{name}").status_code == 404


def test_a_secret_is_masked_wherever_it_surfaces(server: Server) -> None:
    """API, events, result and database show ***; the job gets the real value."""
    canary = "canary-7d1c0a"
    run = server.wait_ended(server.launch("kinds", text="x", secret=canary))
    assert run["params"]["secret"] == "***"
    assert run["result"]["secret"] == "***"
    assert canary not in "".join(event.data for event in server.events(run["id"]))
    assert server.http.post(f"{run['url']}/retry").status_code == 409
    assert canary not in server.log()


def test_the_history_is_filtered_and_paged(server: Server) -> None:
    """Newest first; job, status, text and before narrow it."""
    runs = [server.launch("tell", message=f"page {number} 100%") for number in range(5)]
    for run in runs:
        server.wait_ended(run)
    first = server.http.get("/api/v1/runs", params={"job": "tell", "limit": 2, "q": "100%"}).json()
    second = server.http.get(
        "/api/v1/runs", params={"job": "tell", "limit": 3, "q": "100%", "before": first["next"]}
    ).json()
    assert [run["id"] for run in first["runs"] + second["runs"]] == runs[::-1]
    assert server.http.get("/api/v1/runs", params={"q": "page%100"}).json()["runs"] == []
    assert all(run["status"] == "error" for run in server.http.get("/api/v1/runs?status=error").json()["runs"])


def test_repeating_a_launch_is_safe(server: Server) -> None:
    """50 parallel POSTs with one Idempotency-Key make one run; other parameters under it are refused."""
    headers = {"Idempotency-Key": "once-only", "Authorization": f"Bearer {server.key}"}

    def post(_: int) -> str:
        answer = httpx.post(f"{server.url}/api/v1/jobs/emit/runs", json={"n": 1}, headers=headers, timeout=30)
        assert answer.status_code == 202
        run: str = answer.json()["id"]
        return run

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(post, range(50)))) == 1
    problem(server.http.post("/api/v1/jobs/emit/runs", json={"n": 2}, headers=headers), 409)


def test_more_than_the_queue_takes_is_refused(new_server) -> None:  # type: ignore[no-untyped-def]
    """429 with Retry-After."""
    server = new_server(HEADWAY_THREADS="1", HEADWAY_MAX_QUEUE="3", workers="1")
    first = server.launch("hold")
    wait_for(lambda: server.run(first)["status"] == "processing", what="the one thread to be taken")
    answers = [server.http.post("/api/v1/jobs/hold/runs", json={}) for _ in range(4)]
    assert answers[-1].headers["Retry-After"]
    problem(answers[-1], 429)
    busy = server.http.post("/api/v1/jobs/hold/runs", json={}, headers={"Accept": "text/event-stream"})
    assert busy.status_code == 200
    assert busy.text.startswith("event: busy\nretry: ")


def test_the_api_describes_itself(server: Server) -> None:
    """OpenAPI 3.1 with every call."""
    paths = server.http.get("/api/openapi.json").json()["paths"]
    assert {
        "/api/v1/jobs",
        "/api/v1/jobs/{name}",
        "/api/v1/jobs/{name}/runs",
        "/api/v1/jobs/{name}/stream",
        "/api/v1/runs",
        "/api/v1/runs/{run_id}",
        "/api/v1/runs/{run_id}/events",
        "/api/v1/runs/{run_id}/cancellation",
        "/api/v1/runs/{run_id}/retry",
        "/api/v1/runs/{run_id}/rows",
        "/api/v1/runs/{run_id}/result",
        "/api/v1/runs/{run_id}/files/{name}",
        "/api/v1/events",
        "/api/v1/token",
        "/healthz",
        "/readyz",
    } == set(paths)


def test_json_that_browsers_and_scripts_send_is_the_same(server: Server) -> None:
    """A launch without a body takes the defaults."""
    answer = server.http.post("/api/v1/jobs/emit/runs")
    assert answer.status_code == 202
    assert json.loads(answer.text)["params"] == {"n": 10, "rate": 0.0, "size": 10}
