"""One JSON line for each answered request, without anything that could be a secret: no query, no Referer, no body."""

from __future__ import annotations

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

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
    app.after_request(_log_at_close)
    for name in ("werkzeug", "gunicorn.error"):
        logging.getLogger(name).addFilter(MaskedQueries())
    logging.getLogger("gunicorn.error").addFilter(SlowReaders())


def _begin() -> None:
    g.request_id = secrets.token_hex(8)
    g.started = time.monotonic()


def _log_at_close(response: Response) -> Response:
    fields = {
        "time": iso_time(now_ms()),
        "request": g.get("request_id"),
        "method": request.method,
        "path": request.path[:MAX_PATH_CHARS],
        "status": response.status_code,
    }
    started = g.get("started", time.monotonic())
    response.headers["X-Request-ID"] = str(g.get("request_id"))
    response.call_on_close(lambda: log.info(to_json({**fields, "ms": round((time.monotonic() - started) * 1000, 1)})))
    return response
