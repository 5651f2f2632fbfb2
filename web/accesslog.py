"""One JSON line for each answered request, without anything that could be a secret: no query, no Referer, no body."""

from __future__ import annotations

import logging
import random
import re
import time

from flask import Flask, Request, Response, g, request

from jobs.events import now_ms, to_json
from web.frame import iso_time

log = logging.getLogger("headway.access")

MAX_PATH_CHARS = 300
_SECRET_QUERY = re.compile(r"(?i)([?&][^=&\s]*(?:token|auth|key|code|state|secret|password|once)[^=&\s]*=)[^&\s\"']+")


class MaskedQueries(logging.Filter):
    """Masks secrets in the targets that other loggers write: Werkzeug's development server logs whole request lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message by its masked form; every record passes."""
        record.msg, record.args = _SECRET_QUERY.sub(r"\1***", record.getMessage()), ()
        return True


class SlowReaders(logging.Filter):
    """Says in a line that a client was cut since it took nothing in time; gunicorn logs that as a fault of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the traceback from such a record; every record passes."""
        if record.exc_info and isinstance(record.exc_info[1], TimeoutError):
            record.msg, record.args = "a client that took nothing in time was cut", ()
            record.exc_info = record.exc_text = None
        return True


def init_app(app: Flask) -> None:
    """Give every request an id and a start; log it when its response is closed: for a stream that is its end."""
    app.before_request(_begin)
    app.after_request(_finish)
    for name in ("werkzeug", "gunicorn.error"):
        logging.getLogger(name).addFilter(MaskedQueries())
    logging.getLogger("gunicorn.error").addFilter(SlowReaders())


def _begin() -> None:
    g.request_id = new_request_id()
    g.started = time.monotonic()


def _finish(response: Response) -> Response:
    log_at_close(response, request, g.get("request_id"), g.get("started", time.monotonic()))
    return response


def new_request_id() -> str:
    """What a request is known by, in the log and to who asked."""
    return f"{random.getrandbits(64):016x}"  # noqa: S311 - a name, no secret


def log_at_close(response: Response, request: Request, request_id: str | None, started: float) -> None:
    """Log a request when its response is closed, and tell who asked its id."""
    method, path, status, answered_ms = request.method, request.path, response.status_code, now_ms()

    def write_line() -> None:
        fields = {
            "time": iso_time(answered_ms),
            "request": request_id,
            "method": method,
            "path": path[:MAX_PATH_CHARS],
            "status": status,
            "ms": round((time.monotonic() - started) * 1000, 1),
        }
        log.info(to_json(fields))

    response.headers["X-Request-ID"] = str(request_id)
    response.call_on_close(write_line)
