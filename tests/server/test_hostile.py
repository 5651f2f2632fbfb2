"""What careless jobs and hostile clients do, and what must not come of it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from tests.harness import Server, numbered, updates, wait_for


def raw(server: Server, request: bytes) -> int:
    """Send bytes as they are; gives the status."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        return int(client.makefile("rb").readline().split()[1])


def test_a_locked_database_freezes_nothing(new_server: Callable[..., Server]) -> None:
    """While another process holds SQLite's write lock for 6 s, health and reads answer, and the runner lives on."""
    server = new_server(workers="1")
    run = server.launch("emit", n=2000, rate=300)
    wait_for(lambda: server.run(run)["progress"] > 5)
    runner = server.runner_pid()
    slowest = 0.0
    with closing(sqlite3.connect(server.data / "headway.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        until = time.monotonic() + 6
        while time.monotonic() < until:
            asked = time.monotonic()
            assert server.http.get("/healthz").status_code == 200
            assert server.http.get(f"/api/v1/runs/{run}").status_code == 200
            slowest = max(slowest, time.monotonic() - asked)
        other.execute("ROLLBACK")
    print(f"slowest pair of requests beside a locked database: {slowest * 1000:.0f} ms")
    assert slowest < 1
    assert server.wait_ended(run, 30)["status"] == "completed"
    assert [data["row"]["i"] for data in numbered(server.events(run)) if "row" in data] == list(range(2000))
    assert server.runner_pid() == runner


def test_a_process_that_a_job_forked_does_not_keep_a_dead_runner_alive(new_server: Callable[..., Server]) -> None:
    """After kill -9 of the runner its locks are free at once, although the fork lives on."""
    server = new_server(workers="1")
    run = server.launch("fork_in_thread")
    wait_for(lambda: server.run(run)["message"] == "Forked")
    killed = time.monotonic()
    os.kill(server.runner_pid(), signal.SIGKILL)
    assert server.wait_ended(run, 15)["error"]["code"] == "interrupted"
    print(f"interrupted {time.monotonic() - killed:.2f} s after the kill")


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("close_stdout", "completed", None),
        ("fork_and_die", "error", "exit code 9"),
        ("symlink", "completed", None),
        ("interrupted", "error", "interrupted"),
        ("bytes", "completed", None),
        ("garbage", "error", "could not be executed"),
    ],
)
def test_an_odd_job_has_an_honest_end(server: Server, how: str, status: str, said: str | None) -> None:
    """Whatever it did to itself, the run ends in seconds, says so, and the next one works."""
    run = server.wait_ended(server.launch("odd", how=how), 10)
    assert run["status"] == status, run
    assert run["files"] == []
    if said is not None:
        assert said in run["error"]["message"]


def test_one_token_launches_one_run_however_it_is_spelled(server: Server) -> None:
    """Base64 readers pass over much; a token altered in its last character or padded opens nothing new."""
    token = server.http.post("/api/v1/token", json={}).json()["token"]
    before = len(server.http.get("/api/v1/runs?job=emit&limit=200").json()["runs"])
    del server.http.headers["Authorization"]
    try:
        path = "/api/v1/jobs/emit/stream"
        assert server.http.head(path, params={"token": token, "n": 1}).status_code == 405
        assert server.http.get(path, params={"token": token, "n": 1}).status_code == 200
        for spelled in (token + "=", token + "!!", token[:-5] + "*" + token[-5:]):
            assert server.http.get(path, params={"token": spelled, "n": 1}).status_code == 401
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            assert server.http.get(path, params={"token": token[:-1] + last, "n": 1}).status_code in (200, 401)
    finally:
        server.http.headers["Authorization"] = f"Bearer {server.key}"
    assert len(server.http.get("/api/v1/runs?job=emit&limit=200").json()["runs"]) == before + 1


def test_malformed_requests_are_refused_and_nothing_breaks(server: Server) -> None:
    """Absolute targets, broken chunks, deep and huge JSON, wrong types: 4xx each, same processes."""
    workers = server.worker_pids()
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\nContent-Type: application/json\r\n".encode()
    assert raw(server, b"GET http://evil.example/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == 400
    chunked = b"POST /api/v1/jobs/emit/runs HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n"
    assert raw(server, chunked + b"ZZ\r\n{}\r\n0\r\n\r\n") == 400
    assert (
        raw(server, b"POST /api/v1/token HTTP/1.1\r\n" + head + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000)
        == 400
    )
    json_type = {"Content-Type": "application/json"}
    digits = b'{"run": ' + b"9" * 5000 + b"}"
    assert server.http.post("/api/v1/token", content=digits, headers=json_type).status_code == 400
    assert server.http.post("/api/v1/token", data={"run": "x"}).status_code == 415
    surrogate = b'{"run": "\\ud800"}'
    assert server.http.post("/api/v1/token", content=surrogate, headers=json_type).status_code == 422
    large = b'{"message": "' + b"x" * 1_000_001 + b'"}'
    assert server.http.post("/api/v1/jobs/tell/runs", content=large, headers=json_type).status_code == 413
    assert server.worker_pids() == workers


def test_clients_that_reset_leave_nothing_behind(new_server: Callable[..., Server]) -> None:
    """500 resets before the first byte and 500 after it: as many sockets as before, in ten seconds."""
    server = new_server(workers="1")
    run = server.launch("hold")
    (worker,) = server.worker_pids()

    def sockets() -> int:
        links = (os.readlink(entry) for entry in Path(f"/proc/{worker}/fd").iterdir() if entry.is_symlink())
        return sum(link.startswith("socket:") for link in links)

    before = sockets()
    head = f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.key}\r\n\r\n"
    for number in range(1000):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.sendall(head.encode())
        if number % 2:
            client.recv(1)
        client.close()
    wait_for(lambda: sockets() <= before, 10, "the sockets to be closed")
    with server.stream(run) as events:
        assert next(events).event == "hello"
        server.cancel(run)
        assert updates(list(events))[-1]["error"]["code"] == "cancelled"
