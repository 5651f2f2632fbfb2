"""The short way of a request for a run's stream: what Flask would do with it, without looking up what to do.

When a worker comes back, all its clients do at once, and each asks for the same. A quarter of what such a request costs
is spent on finding the view and making contexts that it does not need. So it is asked here first whether a request is
one of these, and it is answered by the very functions that the view and the hooks around it are made of. Whatever is
unusual about it (an error, a login, no gunicorn) goes the long way, which answers as it always does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response

from web import accesslog, auth, connection, securityheaders, stream

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ENDPOINT = "runs.events"
_PATH = re.compile(r"/api/v1/runs/([0-9a-z]{1,40})/events")


class Shortcut:
    """The WSGI application in front of Flask's."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._headway = app.extensions["headway"]
        self._long_way = app.wsgi_app
        (self._rule,) = app.url_map.iter_rules(ENDPOINT)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        answer = self._answer(environ) if self._headway.feed.lends else None
        return (answer or self._long_way)(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response | None:
        """The response of a usual request for a stream, None for any other."""
        found = _PATH.fullmatch(environ["PATH_INFO"])
        if (
            found is None
            or environ["REQUEST_METHOD"] != "GET"
            or environ.get("SCRIPT_NAME")
            or "HTTP_UPGRADE" in environ
        ):
            return None
        connection.limit_writes(environ)
        request_id, started, run = accesslog.new_request_id(), time.monotonic(), found[1]
        request = self._app.request_class(environ)
        request.url_rule, request.view_args = self._rule, {"run_id": run}
        try:
            principal = auth.admitted(request, self._headway)
            if principal is None:
                return None
            if stream.form_of(request, stream.ALL_FORMS) != stream.EVENTS:
                return None
            cursor = stream.cursor_of(request, run)
            response = stream.stream_response(self._headway, principal, run, cursor, request)
        except Exception:  # the long way comes upon it again, and says what it is
            return None
        accesslog.log_at_close(response, request, request_id, started)
        return securityheaders.add(response)
