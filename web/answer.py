"""The response of a stream, made small: what it holds it holds for a quarter of an hour, eight thousand times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Response
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Answer(Response):
    """A response whose body is a generator of bytes. When it is served it lets go of all that only made it."""

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """The body for the server, as Werkzeug asks for it last, when the headers are copied."""
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().get_app_iter(environ)
        self.headers = Headers()
        environ.pop("werkzeug.request", None)
        body: Any = self.response
        return _Body(body, self.close)


class _Body:
    """Gives the server the generator itself to loop over: each iterator around it would cost a kilobyte of stack."""

    __slots__ = ("_body", "close")

    def __init__(self, body: Iterator[bytes], close: Callable[[], None]) -> None:
        self._body = body
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._body
