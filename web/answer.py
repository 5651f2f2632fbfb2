"""The response of a stream, made small: what it holds it holds for a quarter of an hour, eight thousand times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Response
from werkzeug.datastructures import Headers

from web.takeover import Body

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Answer(Response):
    """A response whose body is a generator of bytes. When it is served it lets go of all that only made it."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, past the server where the connection can be taken over."""
        body: Any = self.response
        if not isinstance(body, Body):
            return super().__call__(environ, start_response)
        start_response(self.status, [])  # for the server's log
        body.begin(self._head(), self.close)
        self._let_go(environ)
        self.response = ()  # else the two would hold each other, and wait for the garbage collection
        return body

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """The body for the server, as Werkzeug asks for it last, when the headers are copied."""
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().get_app_iter(environ)
        self._let_go(environ)
        body: Any = self.response
        return _Plain(body, self.close)

    def _head(self) -> bytes:
        """Status line and headers, as gunicorn writes them; this connection is not kept (RFC 9112, section 9.6)."""
        given = [f"{name}: {value}\r\n" for name, value in self.headers]
        return (
            f"HTTP/1.1 {self.status}\r\nServer: gunicorn\r\nDate: {_date(int(time.time()))}\r\n"
            f"Connection: close\r\nTransfer-Encoding: chunked\r\n{''.join(given)}\r\n"
        ).encode("latin-1")

    def _let_go(self, environ: WSGIEnvironment) -> None:
        self.headers = Headers()
        environ.pop("werkzeug.request", None)


class _Plain:
    """Gives the server the generator itself to loop over: each iterator around it would cost a kilobyte of stack."""

    __slots__ = ("_body", "close")

    def __init__(self, body: Iterator[bytes], close: Callable[[], None]) -> None:
        self._body = body
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._body


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
