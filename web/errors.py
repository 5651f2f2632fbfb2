"""Every error in one shape: problem+json (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException, TooManyRequests

from jobs import errors
from jobs.events import to_json
from web.stream import EVENTS, busy_response, wanted_form

log = logging.getLogger(__name__)

STATUS_OF: dict[type[errors.HeadwayError], int] = {
    errors.UnknownJob: 404,
    errors.UnknownRun: 404,
    errors.BrokenJob: 409,
    errors.NotSetUp: 409,
    errors.RunEnded: 409,
    errors.RunNotEnded: 409,
    errors.SecretsForgotten: 409,
    errors.UploadGone: 409,
    errors.KeyReused: 409,
    errors.BadParameters: 422,
    errors.QueueFull: 429,
    errors.StoreBusy: 503,
    errors.StoreError: 503,
}
RETRY_AFTER_S = 5


def init_app(app: Flask) -> None:
    """Answer every error of this application through :func:`problem`."""
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(errors.HeadwayError, answer_headway)
    app.register_error_handler(Exception, answer_unexpected)


def answer_http(error: HTTPException) -> Response:
    """An error that Flask, Werkzeug or a view raised by its status."""
    if error.response is not None:
        assert isinstance(error.response, Response)
        return error.response
    data: Mapping[str, Any] = getattr(error, "data", None) or {}
    found = data.get("messages") or data.get("errors")
    response = problem(
        error.code or 500,
        data.get("message") or ("Some parameters are not right." if found else error.description or ""),
        errors=_by_field(found) if found else None,
    )
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Headway"'
    if isinstance(error, TooManyRequests):
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return response


def _by_field(messages: Mapping[str, Any]) -> dict[str, list[str]]:
    """webargs' messages without their first level, the location (``{"query": {"limit": [..]}}``)."""
    fields: dict[str, list[str]] = {}
    for found in messages.values():
        fields |= dict(errors.flat_messages(found if isinstance(found, Mapping) else {"_schema": found}))
    return fields


def answer_headway(error: errors.HeadwayError) -> Response:
    """An error that Headway raised on purpose."""
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)
    if status >= 500:
        log.error("request %s: %s", g.get("request_id"), error)
    detail = str(error)
    if isinstance(error, errors.StoreError) and not isinstance(error, errors.StoreBusy):
        detail = "The database cannot be used. The server's log has the reason."
    if status in (429, 503) and wanted_form(request) == EVENTS:
        return busy_response(detail)
    response = problem(status, detail, errors=getattr(error, "errors", None))
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def answer_unexpected(error: Exception) -> Response:
    """A fault of ours: the traceback goes to the log, the answer has the request's id to find it by."""
    if type(error).__module__.startswith("gunicorn.http"):  # the body turned out to be no HTTP, when it was read
        return problem(400, "The body of the request is not valid HTTP.")
    if isinstance(error, TimeoutError):
        return problem(408, "The body of the request did not come in time.")
    log.exception("request %s failed", g.get("request_id"))
    return problem(500, "This is a fault of the server. Its log has the reason under this request's id.")


def problem(status: int, detail: str, *, errors: Mapping[str, list[str]] | None = None) -> Response:
    """The answer for an error: JSON under ``/api`` or where the client prefers it, else a page."""
    title = HTTPStatus(status).phrase
    if not request.path.startswith("/api") and request.accept_mimetypes.accept_html:
        page = render_template("error.html", status=status, title=title, detail=detail)
        return Response(page, status, content_type="text/html; charset=utf-8")
    found: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        found["errors"] = errors
    found["request"] = g.get("request_id") or secrets.token_hex(8)
    return Response(to_json(found) + "\n", status, content_type="application/problem+json")
