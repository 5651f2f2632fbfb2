"""Who asks, and whether the request may be answered at all: Host, key, session, stream token, cross-site requests.

Closed by default: every route needs a principal unless it is in OPEN. Scripts send the key as Bearer, browsers have a
session cookie, and ``?token=`` takes only signed stream tokens, on streams only, since a query ends up in logs.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import Blueprint, Request, Response, current_app, g, redirect, render_template, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import Forbidden, SecurityError, Unauthorized

from jobs.events import now_ms
from jobs.settings import Settings
from jobs.store import Store
from web.offhub import off_hub, write_off_hub

OWNER = "default"
"""The owner of all that is done with the server's one key."""
COOKIE = "headway_session"
SESSION_S = 30 * 86_400
STREAM_TOKEN_S = 300
JOIN_S = 86_400
"""How long a token that has launched a run may still join it (an EventSource reconnects with the same address)."""
ONE_TIME_LOGIN_S = 3600
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN = frozenset({"auth.login", "auth.log_in", "auth.logout", "api.healthz", "api.readyz", "static"})
"""The endpoints that need no principal."""
STREAMS = frozenset({"runs.events", "jobs.launch_stream", "api.all_events"})
"""The endpoints that a stream token opens."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

bp = Blueprint("auth", __name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``by`` is how they showed it: key, session or token.

    ``launch_key`` is what a token's launch is known by: one token launches one run.
    """

    owner: str
    by: str
    launch_key: str | None = None

    @property
    def slot(self) -> str:
        """Whose streams are counted together: scripts with the key must not take those of the pages."""
        return f"{self.by} {self.owner}"


class Gate:
    """Knows the key; makes and reads everything that is signed with it."""

    def __init__(self, key: str, store: Store) -> None:
        self._key = key.encode()
        self._hashed_key = hashlib.sha256(self._key).digest()
        self._store = store
        # Signatures are made with a secret derived from the key: a new key ends all sessions and tokens.
        self._signing = hashlib.sha256(b"headway signatures\0" + self._key).digest()

    def is_key(self, given: str) -> bool:
        """Whether this is the key; takes the same time whatever is given."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._hashed_key)

    def sign(self, purpose: str, **fields: Any) -> str:
        """A signed, URL-safe text that holds ``fields``, good for ``purpose`` alone."""
        return self._signer(purpose).dumps(fields)

    def read(self, purpose: str, text: str, max_age_s: int) -> dict[str, Any] | None:
        """The fields of what :meth:`sign` made, None where it is not ours, altered or too old."""
        try:
            found: dict[str, Any] = self._signer(purpose).loads(text, max_age=max_age_s)
        except BadData:
            return None
        return found

    def one_time_login(self) -> str:
        """A token that logs in once, within an hour."""
        return self.sign("login", n=secrets.token_urlsafe(12))

    def spend_login(self, token: str) -> bool:
        """Use a one-time login up; False when it is not good, or no longer. Blocks on the store."""
        found = self.read("login", token, ONE_TIME_LOGIN_S)
        return found is not None and self._store.spend(found["n"], now_ms() + ONE_TIME_LOGIN_S * 1000)

    def launched(self, owner: str, launch_key: str) -> bool:
        """Whether that key has launched a run that still goes on. Blocks on the store."""
        run = self._store.launched(owner, launch_key)
        return run is not None and not run.ended

    def _signer(self, purpose: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._signing, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256})


def read_key(settings: Settings) -> str:
    """The server's key: HEADWAY_KEY, else the one in ``DATA/key``, which is made at the first start (mode 0600)."""
    if settings.key:
        return settings.key
    path = settings.data_path / "key"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _existing_key(path)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return path.read_text().strip()


def _existing_key(path: Path) -> str:
    os.chmod(path, 0o600)
    return path.read_text().strip()


def login_address(settings: Settings, gate: Gate, bind: str) -> str:
    """The address to print at start: opening it logs in, once."""
    host, _, port = bind.rpartition(":")
    if host in ("", "0.0.0.0", "[::]"):  # noqa: S104 - a comparison
        host = next(iter(sorted(settings.hosts)), "127.0.0.1")
    return f"http://{host}:{port}/login?once={gate.one_time_login()}"


# Before every request.


def check_request() -> Response | None:
    """Refuse what may not be answered; put the principal into ``g``. Registered as the first before_request."""
    principal = g.principal = admitted(request, current_app.extensions["headway"])
    if principal is not None or request.endpoint in OPEN:
        return None
    target = request.full_path.rstrip("?") if request.path != "/" else None
    found = redirect(url_for("auth.login", next=target))
    assert isinstance(found, Response)
    return found


def admitted(request: Request, headway: Any) -> Principal | None:
    """Who is let in with a request; None where nobody need be known, or has to log in on a page.

    Raises SecurityError, Unauthorized or Forbidden for a request that may not be answered.
    """
    check_host(request, headway.settings.hosts)
    if request.endpoint in OPEN:
        check_cross_site(request)
        return None
    principal = principal_of(request, headway.gate)
    if principal is None:
        if request.path.startswith("/api/") or request.method not in SAFE_METHODS:
            raise Unauthorized("Log in, or send 'Authorization: Bearer <key>'. The key is in the data folder.")
        return None
    if request.endpoint == "jobs.launch_stream" and principal.by != "token":
        raise Unauthorized("A launch by GET needs a token, never a cookie: POST /api/v1/token gives one.")
    if principal.by == "session":
        check_cross_site(request)
    return principal


def check_host(request: Request, hosts: frozenset[str]) -> None:
    """Refuse a foreign Host (DNS rebinding). Raises SecurityError (400)."""
    target = request.environ.get("RAW_URI", "/")
    if not target.startswith("/") and target != "*":
        raise SecurityError("Ask for a path, not for a whole address.")
    host = request.headers.get("Host", "").lower()
    name = re.sub(r":\d{1,5}$", "", host)
    if name not in LOCAL_HOSTS and name not in hosts:
        raise SecurityError("This server does not answer for that host. HEADWAY_ALLOWED_HOSTS names those it does.")


def check_cross_site(request: Request) -> None:
    """Refuse a request of another site that would change something (CSRF). Raises Forbidden.

    Browsers say where a request comes from in Sec-Fetch-Site; those that do not yet, in Origin.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        good = site in ("same-origin", "none")
    else:
        good = origin is None and request.endpoint == "auth.log_in" or origin == f"{request.scheme}://{request.host}"
    if not good:
        raise Forbidden("This request comes from another site.")


def principal_of(request: Request, gate: Gate) -> Principal | None:
    """Who asks, None when nobody is known. Raises Unauthorized for credentials that are wrong."""
    if "token" in request.args:
        return _token_principal(request, gate, request.args["token"])
    authorization = request.headers.get("Authorization", "")
    if authorization:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and gate.is_key(given.strip()):
            return Principal(OWNER, "key")
        raise Unauthorized("The key is not right.")
    session = gate.read("session", request.cookies.get(COOKIE, ""), SESSION_S)
    return Principal(session["owner"], "session") if session is not None else None


def _token_principal(request: Request, gate: Gate, token: str) -> Principal:
    if request.endpoint not in STREAMS:
        raise Unauthorized("A token in the query opens streams only.")
    launches = request.endpoint == "jobs.launch_stream"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", token):  # base64 readers pass over other characters
        raise Unauthorized("The token is not valid.")
    found = gate.read("stream", token, STREAM_TOKEN_S)
    if found is None and launches:  # a reconnect joins the run that the token launched, also when it has grown old
        found = gate.read("stream", token, JOIN_S)
        if found is not None and not off_hub(gate.launched, found["owner"], _launch_key(found)):
            found = None
    if found is None:
        raise Unauthorized("The token is not valid, or no longer. Get a new one: POST /api/v1/token.")
    asked = request.view_args or {}
    if ("run" in found and found["run"] != asked.get("run_id")) or (
        "job" in found and found["job"] != asked.get("name")
    ):
        raise Forbidden("This token is for something else.")
    return Principal(found["owner"], "token", _launch_key(found))


def _launch_key(token: Mapping[str, Any]) -> str:
    """What the launch of a token is known by: its number, however the token was spelled."""
    return f"token {token.get('n')}"


# Logging in and out.


@bp.get("/login")
def login() -> str | Response:
    """The login page; with the one-time token of the printed address, the login itself."""
    gate: Gate = current_app.extensions["headway"].gate
    target = safe_next(request.args.get("next"))
    once = request.args.get("once")
    if once is None:
        return render_template("login.html", next=target, error=None)
    if request.method != "HEAD" and write_off_hub(gate.spend_login, once):  # a HEAD is some link's preview
        return _logged_in(gate, target)
    error = "This address has been used, or is too old. Log in with the key, or run 'make address' for a new one."
    return render_template("login.html", next=target, error=error)


@bp.post("/login")
def log_in() -> tuple[str, int] | Response:
    """Log in with the key."""
    gate: Gate = current_app.extensions["headway"].gate
    target = safe_next(request.form.get("next"))
    if gate.is_key(request.form.get("key", "").strip()):
        return _logged_in(gate, target)
    return render_template("login.html", next=target, error="That is not the key."), 401


@bp.post("/logout")
def logout() -> Response:
    """Forget this browser."""
    response = redirect(url_for("auth.login"))
    response.delete_cookie(COOKIE)
    assert isinstance(response, Response)
    return response


def _logged_in(gate: Gate, target: str) -> Response:
    response = redirect(target, 303)
    response.set_cookie(
        COOKIE,
        gate.sign("session", owner=OWNER, n=secrets.token_urlsafe(8)),
        max_age=SESSION_S,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )
    assert isinstance(response, Response)
    return response


def safe_next(target: str | None) -> str:
    """Where to go after the login: a path of this server, else ``/``; no ``//host``, backslash, control character."""
    if not target or urlsplit(target).netloc:
        return "/"
    good = all(re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f]*", text) for text in (target, unquote(target)))
    return target if good else "/"
