"""Who asks, and where to go after a login: keys, signed tokens, safe targets, hosts, other sites."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app import create_app
from jobs.locks import try_lock
from jobs.settings import Settings
from jobs.store import Store
from tests.harness import KEY, wait_for
from web.auth import ONE_TIME_LOGIN_S, Gate, login_address, read_key, safe_next


@pytest.fixture
def gate(store: Store) -> Gate:
    """A gate with the key of the tests."""
    return Gate(KEY, store)


# Where to go after the login.


@pytest.mark.parametrize(
    "query",
    [
        "", "next=", "next=//h", "next=/\\h", "next=/%5Ch", "next=https:///a%40b", "next=http:h",
        "next=javascript:alert(1)",
        "next=/%09/h", "next=/%0a/h", "next=%09//h", "next=//h@own", "next=///h", "next=/%2Fh", "next=%2F%2Fh",
        "next=\\h",
        "next=/a%0d%0aSet-Cookie:x", "next=/a%00", "next=/a%7f", "next=/a b", "next=h", "next=?a", "next=/a\\b", "next=http://h/",
        "next=/%5C%5Ch", "next=%5C/h", "next=/ /h", "next=data:text/html,x", "next=//", "next=/\t//h",
    ],
)  # fmt: skip
def test_a_target_that_may_leave_this_server_becomes_the_start_page(query: str) -> None:
    given_ = parse_qs(query, keep_blank_values=True).get("next", [None])[0]
    assert safe_next(given_) == "/"


@pytest.mark.parametrize(
    "target", ["/", "/runs", "/runs/01jd2m?after=3&x=%2F", "/jobs/crawl?next=//h", "/a/../b", "/ü", "/a#b"]
)
def test_a_path_of_this_server_is_kept(target: str) -> None:
    assert safe_next(target) == target


@given(st.text() | st.text(st.sampled_from("/\\:@.h\t\n\r\0?#% ")))
def test_no_target_leaves_this_server(text: str) -> None:
    """Judged by the standard library, after what browsers do to a Location: strip controls, take \\ for /."""
    target = safe_next(text)
    seen = "".join(sign for sign in target if sign not in "\t\n\r").strip("\0 ").replace("\\", "/")
    found = urlsplit(urljoin("http://own.example/login", seen))
    assert (found.scheme, found.netloc) == ("http", "own.example")


# The key.


def test_only_the_key_is_the_key(gate: Gate) -> None:
    assert gate.is_key(KEY)
    for wrong in ("", KEY[:-1], KEY + "x", KEY.upper(), f" {KEY}", "ü"):
        assert not gate.is_key(wrong)


@given(st.text())
def test_no_other_text_is_the_key(text: str) -> None:
    assert Gate(KEY, None).is_key(text) is (text == KEY)  # type: ignore[arg-type]  # the store is for logins only


def test_a_key_is_made_once_readable_by_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings.from_environment({"HEADWAY_DATA": str(tmp_path)})
    key = read_key(settings)
    path = tmp_path / "key"
    assert len(key) >= 43 and read_key(settings) == key == path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    read_key(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_of_the_environment_comes_first_and_is_written_nowhere(tmp_path: Path) -> None:
    assert read_key(Settings.from_environment({"HEADWAY_DATA": str(tmp_path), "HEADWAY_KEY": KEY})) == KEY
    assert list(tmp_path.iterdir()) == []


# What is signed.


def test_what_was_signed_is_read_back(gate: Gate) -> None:
    token = gate.sign("stream", owner="alice", run="01jd2m")
    assert gate.read("stream", token, 300) == {"owner": "alice", "run": "01jd2m"}
    assert urlsplit(f"/?token={token}").query == f"token={token}", "it needs no escaping in an address"


def test_a_token_is_good_for_its_purpose_alone(gate: Gate) -> None:
    for purpose in ("stream", "session", "login"):
        token = gate.sign(purpose, owner="alice")
        for other in {"stream", "session", "login", ""} - {purpose}:
            assert gate.read(other, token, 300) is None


def test_a_token_of_another_key_is_not_ours(gate: Gate, store: Store) -> None:
    assert gate.read("stream", Gate(KEY + "2", store).sign("stream", owner="alice"), 300) is None


def test_no_altered_token_is_read(gate: Gate) -> None:
    """Each character, one by one, in payload, time and signature."""
    token = gate.sign("stream", owner="alice")
    same = 0
    for index, sign in enumerate(token):
        for other in ("A", "b", "0", "-", "."):
            found = gate.read("stream", token[:index] + other + token[index + 1 :], 300) if other != sign else None
            same += found is not None
            assert found in (None, {"owner": "alice"})
    assert same <= 5, "but the last character's unused bits, which change nothing"
    for cut in range(len(token)):
        assert gate.read("stream", token[:cut], 300) is None


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "null", "ü", "x" * 100_000, KEY])
def test_nothing_else_is_a_token(gate: Gate, text: str) -> None:
    assert gate.read("stream", text, 300) is None


def test_a_token_without_signature_is_refused(gate: Gate) -> None:
    """As JWT's ``alg: none``, and signed with the bare key instead of what is derived from it."""
    payload = base64.urlsafe_b64encode(json.dumps({"owner": "alice"}).encode()).decode().rstrip("=")
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    mac = base64.urlsafe_b64encode(hmac.digest(KEY.encode(), payload.encode(), hashlib.sha256)).decode().rstrip("=")
    for token in (payload, f"{header}.{payload}.", f"{payload}.aaaaaa.", f"{payload}.aaaaaa.{mac}"):
        assert gate.read("stream", token, 300) is None


def test_a_token_expires(gate: Gate) -> None:
    token = gate.sign("stream", owner="alice")
    assert gate.read("stream", token, 300)
    wait_for(lambda: gate.read("stream", token, 0) is None, 3)


def test_a_one_time_login_is_used_up(gate: Gate, store: Store) -> None:
    token = gate.one_time_login()
    other = Gate(KEY, store)  # another worker's
    assert gate.spend_login(token) and not gate.spend_login(token) and not other.spend_login(token)
    assert gate.spend_login(gate.one_time_login())
    assert not gate.spend_login(gate.sign("session", n="x")) and not gate.spend_login("")
    assert ONE_TIME_LOGIN_S <= 3600


@pytest.mark.parametrize(
    ("bind", "start"),
    [("127.0.0.1:8000", "http://127.0.0.1:8000/login?once="), ("[::1]:8000", "http://[::1]:8000/login?once=")],
)
def test_the_printed_address_is_where_the_server_listens(tmp_path: Path, gate: Gate, bind: str, start: str) -> None:
    settings = Settings.from_environment({"HEADWAY_DATA": str(tmp_path)})
    assert login_address(settings, gate, bind).startswith(start)
    assert KEY not in login_address(settings, gate, bind)


def test_the_printed_address_of_a_server_for_everybody_names_an_allowed_host(tmp_path: Path, gate: Gate) -> None:
    settings = Settings.from_environment({"HEADWAY_DATA": str(tmp_path), "HEADWAY_ALLOWED_HOSTS": "jobs.example"})
    assert login_address(settings, gate, "0.0.0.0:80").startswith("http://jobs.example:80/")


# Requests, through the whole application (without a runner).


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application of one process; somebody else has the right to run runs."""
    data = tmp_path_factory.mktemp("app") / "data"
    lock = try_lock(data / "runner.lock")
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("HEADWAY_")]:
            environment.delenv(name)
        environment.setenv("HEADWAY_DATA", str(data))
        environment.setenv("HEADWAY_KEY", KEY)
        environment.setenv("HEADWAY_ALLOWED_HOSTS", "jobs.example")
        made = create_app()
    yield made
    headway = made.extensions["headway"]
    headway.close()
    headway.store.close()
    headway.launcher._bus.close()
    for held in (lock, headway.serving):
        assert held is not None
        held.release()


BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8000",
        "LOCALHOST:80",
        "jobs.example:443",
    ],
)
def test_the_server_answers_for_its_own_names(app: Flask, host: str) -> None:
    assert app.test_client().get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil", "127.0.0.1.nip.io", "evil.example:8000", "localhost@evil.example",
        "127.0.0.2",
        "xlocalhost", "localhost:8000:80", "0.0.0.0", "[::2]", "jobs.example.evil", "localhost:999999", "localhost ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/healthz", "/login", "/api/v1/jobs", "/nothing", "/static/css/base.css"])
def test_a_foreign_host_is_refused_on_every_route(app: Flask, host: str, path: str) -> None:
    answer = app.test_client().get(path, headers={"Host": host, **BEARER})
    assert answer.status_code in (400, 403, 421) or host == "localhost " and answer.status_code in (200, 404)


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
        ({"Sec-Fetch-Site": ""}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost.evil"}, False),
        ({"Origin": "https://localhost"}, False),
        ({"Origin": "http://localhost:81"}, False),
        ({}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_with_a_cookie_only_pages_of_this_server_may_change_something(
    app: Flask, headers: dict[str, str], good: bool, method: str
) -> None:
    client = app.test_client()
    client.set_cookie("headway_session", app.extensions["headway"].gate.sign("session", owner="default"))
    path = "/api/v1/runs/nobody" + ("/cancellation" if method == "POST" else "")
    assert client.open(path, method=method, headers=headers).status_code == (404 if good else 403)
    assert client.get("/api/v1/runs", headers=headers).status_code == 200
    assert app.test_client().open(path, method=method, headers={**headers, **BEARER}).status_code == 404, (
        "Bearer is exempt"
    )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_is_taken_as_bearer(app: Flask, scheme: str) -> None:
    assert app.test_client().get("/api/v1/runs", headers={"Authorization": f"{scheme} {KEY}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
    ],
    ids=str,
)
def test_everything_else_is_401_in_the_api(app: Flask, headers: dict[str, str]) -> None:
    answer = app.test_client().get("/api/v1/runs", headers=headers)
    assert answer.status_code == 401 and answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "junk", ["\xff", "\xc3\xbc", "a\x7fb", "=" * 5000, ";;;", "headway_session=\xff\xfe", '"'], ids=ascii
)
def test_junk_in_credentials_is_401_and_no_fault(app: Flask, junk: str) -> None:
    for headers in (
        {"Cookie": junk},
        {"Cookie": f"headway_session={junk}"},
        {"Authorization": f"Bearer {junk}"},
        {"Authorization": junk},
    ):
        assert app.test_client().get("/api/v1/runs", headers=headers).status_code == 401
    assert app.test_client().get("/api/v1/runs/r/events?token=%FF%ED%A0%80").status_code == 401
    assert (
        app.test_client()
        .post("/login", data=b"key=%ff%ed%a0%80", content_type="application/x-www-form-urlencoded")
        .status_code
        == 401
    )
    assert app.test_client().get("/login?once=%ff%00").status_code == 200


def test_a_wrong_key_is_not_mended_by_a_good_cookie(app: Flask) -> None:
    client = app.test_client()
    client.set_cookie("headway_session", app.extensions["headway"].gate.sign("session", owner="default"))
    assert client.get("/api/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_the_key_in_the_query_opens_nothing(app: Flask) -> None:
    for path in ("/api/v1/runs", "/api/v1/runs/x/events", "/"):
        for name in ("token", "key", "access_token"):
            answer = app.test_client().get(f"{path}?{name}={KEY}")
            assert answer.status_code in (401, 302) and KEY not in answer.text


def test_a_stream_token_opens_streams_alone(app: Flask) -> None:
    gate = app.extensions["headway"].gate
    token = gate.sign("stream", owner="default", run="r1")
    client = app.test_client()
    assert client.get(f"/api/v1/runs?token={token}").status_code == 401
    assert client.get(f"/api/v1/runs/r1?token={token}").status_code == 401
    assert client.post(f"/api/v1/runs/r1/cancellation?token={token}").status_code == 401
    sse = {"Accept": "text/event-stream"}
    assert client.get(f"/api/v1/runs/r2/events?token={token}", headers=sse).status_code == 403
    assert client.get(f"/api/v1/runs/r1/events?token={token}", headers=sse).status_code == 404, "open; no such run"
    assert client.get(f"/api/v1/runs/r1/events?token={gate.sign('session', owner='default')}").status_code == 401


def test_a_token_for_a_run_that_nobody_can_have_is_a_4xx(app: Flask) -> None:
    """Lone surrogates are JSON, and no text for a database."""
    for run in ("\ud800", "nobody", "", "\0", "x" * 65, 5, None, ["r"]):
        answer = app.test_client().post("/api/v1/token", json={"run": run}, headers=BEARER)
        assert 400 <= answer.status_code < 500, (run, answer.status_code)


def test_lone_surrogates_in_parameters_do_no_harm_to_pages(app: Flask) -> None:
    """One such run must not make the history unreadable."""
    answer = app.test_client().post(
        "/api/v1/jobs/crawl/runs", json={"url": "https://example.org/\ud800"}, headers=BEARER
    )
    assert answer.status_code in (202, 400, 422)
    for path in (
        "/runs",
        "/",
        "/api/v1/runs",
        *([answer.json["url"], f"/runs/{answer.json['id']}"] * (answer.status_code == 202)),
    ):
        assert app.test_client().get(path, headers=BEARER).status_code == 200, path


def test_login_sets_a_cookie_that_scripts_cannot_read_and_logout_takes_it(app: Flask) -> None:
    client = app.test_client()
    assert client.post("/login", data={"key": "wrong"}).status_code == 401
    answer = client.post("/login", data={"key": KEY, "next": "//evil.example"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and KEY not in cookie
    assert client.get("/api/v1/runs").status_code == 200
    client.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
    assert client.get("/api/v1/runs").status_code == 401


def test_the_printed_address_logs_in_once(app: Flask) -> None:
    token = app.extensions["headway"].gate.one_time_login()
    client = app.test_client()
    assert client.get(f"/login?once={token}&next=/runs").headers["Location"] == "/runs"
    assert client.get("/api/v1/runs").status_code == 200
    again = app.test_client()
    assert again.get(f"/login?once={token}").status_code == 200 and again.get("/api/v1/runs").status_code == 401
