"""Closed by default: who gets in, and what is said to those who do not."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.harness import ROOT, Server, free_port

OPEN_PATHS = {"/healthz", "/readyz", "/login", "/logout"}


def anonymous(server: Server, method: str, path: str, **more: object) -> httpx.Response:
    """A request without credentials."""
    return httpx.request(method, server.url + path, follow_redirects=False, **more)  # type: ignore[arg-type]


def test_every_route_of_the_api_asks_for_the_key(server: Server) -> None:
    """401 for every call and method but health, whatever the spelling of the path."""
    run = server.launch("emit", n=1)
    paths = server.http.get("/api/openapi.json").json()["paths"]
    for path, methods in paths.items():
        if path in OPEN_PATHS:
            continue
        real = path.replace("{name}", "emit").replace("{run_id}", run)
        for method in {*(method.upper() for method in methods if method != "parameters"), "HEAD", "OPTIONS"}:
            assert anonymous(server, method, real).status_code == 401, (method, real)
    for path in ("/api/openapi.json", "//api/v1/runs", "/API/v1/runs", "/api/v1/%72uns", "/api/v1/runs/", "/api/v1/x"):
        assert anonymous(server, "GET", path).status_code in (401, 302, 308), path


@pytest.mark.parametrize("path", ["/", "/jobs/emit", "/runs", "/runs/none"])
def test_pages_lead_to_the_login(server: Server, path: str) -> None:
    """Who is not logged in comes back to the page after it."""
    answer = anonymous(server, "GET", path)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login")


def test_the_key_opens_as_bearer_and_never_in_the_query(server: Server) -> None:
    """A query ends up in logs."""
    assert server.http.get("/api/v1/runs").status_code == 200
    assert anonymous(server, "GET", f"/api/v1/runs?key={server.key}").status_code == 401
    assert anonymous(server, "GET", f"/api/v1/runs?token={server.key}").status_code == 401
    assert anonymous(server, "GET", "/api/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_stream_token_opens_streams_only(server: Server) -> None:
    """A signed token in ?token= reads events; elsewhere, altered, or for another run it opens nothing."""
    run, other = server.launch("emit", n=1), server.launch("emit", n=1)
    answer = server.http.post("/api/v1/token", json={})
    assert answer.json()["expires_in"] == 300
    token = answer.json()["token"]
    assert anonymous(server, "GET", f"/api/v1/runs/{run}/events?token={token}").status_code == 200
    assert anonymous(server, "GET", f"/api/v1/runs/{run}?token={token}").status_code == 401
    assert anonymous(server, "GET", f"/?token={token}").status_code == 401
    assert anonymous(server, "GET", f"/api/v1/runs/{run}/events?token={token[:-2]}AA").status_code == 401
    narrow = server.http.post("/api/v1/token", json={"run": run}).json()["token"]
    assert anonymous(server, "GET", f"/api/v1/runs/{run}/events?token={narrow}").status_code == 200
    assert anonymous(server, "GET", f"/api/v1/runs/{other}/events?token={narrow}").status_code == 403
    assert server.http.post("/api/v1/token", json={"run": "none"}).status_code == 404
    assert server.http.post("/api/v1/token", json={"rum": run}).status_code == 422


def test_a_token_launches_one_run_by_get(server: Server) -> None:
    """The same address opened again, or a reconnect, joins the run; other parameters are refused, cookies too."""
    token = server.http.post("/api/v1/token", json={"job": "emit"}).json()["token"]
    address = f"/api/v1/jobs/emit/stream?n=3&token={token}"
    first = anonymous(server, "GET", address)
    again = anonymous(server, "GET", address)
    run = first.headers["Content-Location"].rpartition("/")[2]
    assert again.headers["Content-Location"] == first.headers["Content-Location"]
    assert first.text.split("\n\n", 1)[1] == again.text.split("\n\n", 1)[1]
    assert server.run(run)["result"] == {"n": 3}
    head = server.run(run)["cursor"]
    assert anonymous(server, "GET", address, headers={"Last-Event-ID": f"{run}-{head}"}).status_code == 204
    assert anonymous(server, "GET", address.replace("n=3", "n=4")).status_code == 409
    assert anonymous(server, "GET", f"/api/v1/jobs/tell/stream?token={token}").status_code == 403
    assert server.http.get("/api/v1/jobs/emit/stream?n=3").status_code == 401
    with logged_in(server) as browser:
        assert browser.get("/api/v1/jobs/emit/stream?n=3").status_code == 401
    bad = server.http.post("/api/v1/token", json={"job": "emit"}).json()["token"]
    assert anonymous(server, "GET", f"/api/v1/jobs/emit/stream?n=x&token={bad}").status_code == 422


def test_the_printed_address_logs_in_once(new_server) -> None:  # type: ignore[no-untyped-def]
    """The second time it leads to the login page; the cookie is HttpOnly and SameSite."""
    server = new_server(workers="1")
    address = re.search(r"http://\S+/login\?once=\S+", server.log())
    assert address is not None
    first, second = (httpx.get(address[0]) for _ in range(2))
    assert (first.status_code, first.headers["Location"]) == (303, "/")
    assert "HttpOnly" in first.headers["Set-Cookie"]
    assert "SameSite=Lax" in first.headers["Set-Cookie"]
    assert second.status_code == 200
    assert "Set-Cookie" not in second.headers
    with httpx.Client(base_url=server.url, cookies=first.cookies) as browser:
        assert browser.get("/").status_code == 200
    assert address[0].partition("once=")[2] not in server.log().replace(address[0], "")


@contextmanager
def logged_in(server: Server) -> Iterator[httpx.Client]:
    """A browser's session, by the login page."""
    with httpx.Client(base_url=server.url) as browser:
        answer = browser.post("/login", data={"key": server.key, "next": "/runs"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/runs")
        yield browser


def test_logging_in_with_the_key_and_out_again(server: Server) -> None:
    """A wrong key is refused on the page."""
    wrong = anonymous(server, "POST", "/login", data={"key": "wrong"})
    assert wrong.status_code == 401
    assert "not the key" in wrong.text
    with logged_in(server) as browser:
        assert browser.get("/runs").status_code == 200
        assert browser.get("/api/v1/runs").status_code == 200
        browser.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
        assert browser.get("/runs").status_code == 302


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "{own}"}, 202),
        ({"Origin": "{own}.evil.example"}, 403),
        ({}, 403),
    ],
)
def test_another_site_cannot_act_with_the_cookie(server: Server, headers: dict[str, str], status: int) -> None:
    """Only requests of our own pages change anything."""
    with logged_in(server) as browser:
        own = {name: value.replace("{own}", server.url) for name, value in headers.items()}
        assert browser.post("/api/v1/jobs/emit/runs", json={"n": 1}, headers=own).status_code == status


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil", "127.0.0.1.nip.io", "", "localhost@evil", "[::1].x"]
)
def test_a_foreign_host_is_refused_everywhere(server: Server, host: str) -> None:
    """DNS rebinding ends at the Host header, before anything is told."""
    for path in ("/healthz", "/login", "/api/v1/jobs", "/static/favicon.svg"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert int(client.makefile("rb").readline().split()[1]) in (400, 403, 421), path


def test_hosts_can_be_allowed(new_server) -> None:  # type: ignore[no-untyped-def]
    """HEADWAY_ALLOWED_HOSTS names them."""
    server = new_server(HEADWAY_ALLOWED_HOSTS="progress.example", workers="1")
    assert anonymous(server, "GET", "/healthz", headers={"Host": "progress.example"}).status_code == 200
    assert anonymous(server, "GET", "/healthz", headers={"Host": "other.example"}).status_code == 400


def test_every_answer_has_the_security_headers(server: Server) -> None:
    """A strict CSP, nosniff, no framing, no referrer; no CORS for anybody."""
    for path in ("/login", "/api/v1/jobs", "/static/favicon.svg", "/healthz"):
        answer = server.http.get(path, headers={"Origin": "http://evil.example"})
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers


def start(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """gunicorn by hand, expected to refuse."""
    environment = {
        "PATH": "/usr/bin:/bin", "HEADWAY_DATA": str(tmp_path / "data"), "HEADWAY_BIND": f"127.0.0.1:{free_port()}",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=ROOT,
        env=environment | settings,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"HEADWAY_BIND": "0.0.0.0:0"}, "HEADWAY_KEY"),
        ({"HEADWAY_BIND": "[::]:0"}, "HEADWAY_KEY"),
        ({"HEADWAY_KEY": "short"}, "16 characters"),
        ({"HEADWAY_THREADS": "many"}, "HEADWAY_THREADS"),
        ({"HEADWAY_JOBS": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_what_would_be_unsafe_does_not_start(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    """One line that says what to do, and an exit code that is not 0."""
    ended = start(tmp_path, **settings)
    assert ended.returncode != 0
    line = next(line for line in ended.stderr.splitlines() if "Headway does not start" in line)
    assert said in line
    assert "Traceback" not in ended.stderr


def test_a_damaged_database_is_not_served(tmp_path: Path) -> None:
    """One line, and how to set it aside; nothing is deleted."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "headway.db").write_bytes(b"this is no database" * 500)
    ended = start(tmp_path)
    assert ended.returncode != 0
    assert "make recover" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_key_is_made_once_and_for_its_owner_alone(new_server) -> None:  # type: ignore[no-untyped-def]
    """DATA/key has mode 0600; it opens, and no process shows it."""
    server = new_server(HEADWAY_KEY="", workers="1")
    path = server.data / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_text().strip()
    assert httpx.get(f"{server.url}/api/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert key not in server.log()


def test_no_log_line_has_a_secret(server: Server) -> None:
    """Key, tokens and queries stay out of the log, also when they are wrong or in the wrong place."""
    canary = "canary-3f9b"
    token = server.http.post("/api/v1/token", json={}).json()["token"]
    for path in (f"/api/v1/runs?token={canary}", f"/login?once={canary}", f"/x?secret={canary}&a=b"):
        anonymous(server, "GET", path, headers={"Referer": f"http://a/?token={canary}", "Cookie": f"a={canary}"})
    anonymous(server, "GET", "/api/v1/runs", headers={"Authorization": f"Bearer {canary}"})
    anonymous(server, "POST", "/login", data={"key": canary})
    for secret in (canary, token, server.key):
        assert secret not in server.log()


def test_jobs_see_no_key_in_their_environment(server: Server) -> None:
    """The runner was started without it."""
    environment = Path(f"/proc/{server.runner_pid()}/environ").read_bytes()
    assert server.key.encode() not in environment
