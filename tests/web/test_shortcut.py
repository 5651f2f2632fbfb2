"""The short way of a stream's request answers as the long way does, or leaves it to that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from app import create_app
from jobs.locks import try_lock
from jobs.runs import new_run_id
from jobs.store import NewRun
from tests.harness import KEY
from web.auth import OWNER
from web.shortcut import Shortcut

BEARER = {"Authorization": f"Bearer {KEY}"}
CHANGING = {"X-Request-ID", "Date"}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An application whose streams may be lent, and whose runs nobody runs."""
    monkeypatch.setenv("HEADWAY_DATA", str(tmp_path))
    monkeypatch.setenv("HEADWAY_KEY", KEY)
    monkeypatch.setenv("HEADWAY_STREAMS_PER_OWNER", "1")
    held = try_lock(tmp_path / "runner.lock")
    made = create_app()
    made.extensions["headway"].feed.lends = True
    yield made
    made.extensions["headway"].close()
    made.extensions["headway"].launcher._bus.close()
    assert held is not None
    held.release()


@pytest.fixture
def run(app: Flask) -> str:
    """A run that waits."""
    run = new_run_id()
    app.extensions["headway"].store.accept(NewRun(run, "hold", OWNER, "test", {}, {}))
    return run


def answered(application: Any, path: str, method: str = "GET", **headers: str) -> tuple[str, dict[str, str], bytes]:
    """Status, headers and the first piece of the body, without what is another each time."""
    builder = EnvironBuilder(path=path, method=method, headers={"Host": "localhost"} | headers)
    said: list[tuple[str, list[tuple[str, str]]]] = []
    body = application(builder.get_environ(), lambda status, given, error=None: said.append((status, given)))
    first = next(iter(body), b"")
    body.close()
    builder.close()
    status, given = said[-1]
    assert len(given) == len(dict(given)), "no header comes twice"
    rest = {name: value for name, value in given if name not in CHANGING}
    return status, rest, re.sub(rb"retry: \d+|\"retry_ms\":\d+|\"request\":\s*\"\w+\"", b"", first)


def both(app: Flask, path: str, method: str = "GET", **headers: str) -> tuple[bool, tuple[str, dict[str, str], bytes]]:
    """Whether a request is answered by the short way, and the answer, which is that of the long way."""
    shortcut = app.wsgi_app
    assert isinstance(shortcut, Shortcut)
    asked: list[str] = []

    def long_way(environ: Any, start_response: Any) -> Any:
        asked.append(environ["PATH_INFO"])
        return original(environ, start_response)

    original, shortcut._long_way = shortcut._long_way, long_way
    try:
        short = answered(shortcut, path, method, **headers)
    finally:
        shortcut._long_way = original
    assert short == answered(original, path, method, **headers)
    return not asked, short


@pytest.mark.parametrize("query", ["", "?after=0", "?after=1", "?after=99", "?after=x", "?last_event_id=", "?x=y"])
def test_a_stream_is_answered_by_the_short_way(app: Flask, run: str, query: str) -> None:
    was_short, (status, headers, first) = both(app, f"/api/v1/runs/{run}/events{query}", **BEARER)
    assert was_short and status == "200 OK" and headers["Content-Type"].startswith("text/event-stream")
    assert b"event: hello" in first


def test_tokens_cursors_and_sessions_are_read_the_same(app: Flask, run: str) -> None:
    path = f"/api/v1/runs/{run}/events"
    gate = app.extensions["headway"].gate
    token = gate.sign("stream", owner=OWNER, n="1", run=run)
    cookie = gate.sign("session", owner=OWNER, n="1")
    for headers in (
        BEARER | {"Last-Event-ID": f"{run}-1"},
        BEARER | {"Last-Event-ID": "nonsense"},
        BEARER | {"Accept": "text/event-stream"},
        {"Cookie": f"headway_session={cookie}"},
        {"Cookie": f"headway_session={cookie}", "Sec-Fetch-Site": "cross-site"},
    ):
        was_short, (status, _, first) = both(app, path, **headers)
        assert was_short and status == "200 OK" and b"event: hello" in first
    assert both(app, f"{path}?token={token}")[0]


def test_whatever_is_unusual_goes_the_long_way(app: Flask, run: str) -> None:
    path = f"/api/v1/runs/{run}/events"
    other = app.extensions["headway"].gate.sign("stream", owner=OWNER, n="1", run=new_run_id())
    for status, where, headers in (
        ("401 UNAUTHORIZED", path, {}),
        ("401 UNAUTHORIZED", path, {"Authorization": "Bearer wrong"}),
        ("401 UNAUTHORIZED", f"{path}?token=wrong", BEARER),
        ("403 FORBIDDEN", f"{path}?token={other}", {}),
        ("400 BAD REQUEST", path, BEARER | {"Host": "evil.example"}),
        ("404 NOT FOUND", f"/api/v1/runs/{new_run_id()}/events", BEARER),
        ("404 NOT FOUND", f"{path}/", BEARER),
        ("406 NOT ACCEPTABLE", path, BEARER | {"Accept": "text/html"}),
    ):
        was_short, (answer, said, _) = both(app, where, **headers)
        assert not was_short and answer == status and said["Content-Type"] == "application/problem+json"
    assert not both(app, path, "HEAD", **BEARER)[0]
    assert not both(app, path, **BEARER, Connection="Upgrade", Upgrade="websocket")[0]
    for accept in ("application/json", "application/x-ndjson", "text/plain"):
        assert not both(app, path, **BEARER, Accept=accept)[0]
    assert both(app, path, "POST", **BEARER)[1][0] == "405 METHOD NOT ALLOWED"


def test_the_end_and_busy_are_answered_by_the_short_way(app: Flask, run: str) -> None:
    headway = app.extensions["headway"]
    path = f"/api/v1/runs/{run}/events"
    headway.slots.take("key default")
    was_short, (status, headers, first) = both(app, path, **BEARER)
    assert was_short and status == "200 OK" and first.startswith(b"event: busy\n")
    assert headers["Content-Security-Policy"]
    headway.slots.give_back("key default")
    headway.launcher.cancel(run, OWNER)
    head = headway.store.events_after(run, 0).head
    was_short, (status, _, first) = both(app, path, **BEARER, **{"Last-Event-ID": f"{run}-{head}"})
    assert was_short and status == "204 NO CONTENT" and first == b""
    assert headway.slots.taken == 0


def test_all_goes_the_long_way_where_no_socket_can_be_lent(app: Flask, run: str) -> None:
    app.extensions["headway"].feed.lends = False
    assert not both(app, f"/api/v1/runs/{run}/events", **BEARER)[0]
