"""The client's socket behind a stream, where the server lets us at it: time limits, and noticing that it has gone.

Two limits, since neither finds both: TCP_USER_TIMEOUT ends a peer that no longer acknowledges (frozen, half-open); a
time-out on each write ends one that reads steadily but too slowly. A client that closes is noticed at once, since the
loop watches for its FIN; a silent generator would not notice until its next write.

And the body of a request, which must not take all of the worker's time for itself.
"""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable
from typing import IO, Any

import gevent.socket
from flask import request
from gevent import get_hub, sleep

DEAD_PEER_MS = 30_000
WRITE_TIMEOUT_S = 30.0
UNSENT_BYTES = 16 * 1024
"""TCP_NOTSENT_LOWAT: without it the kernel takes 2.7 MB for each slow reader before it pushes back."""
TURN_S = 0.0002
"""Between two reads of a body. With 0 gevent would come back before it has looked at other sockets (gevent/hub.py)."""
READABLE = 1
"""gevent's name for it (loop.io)."""
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
"""25 is Linux's number; CPython names it since 3.12."""


def limit() -> None:
    """Set the time limits of the socket that a request came on. Registered as before_request: downloads freeze too."""
    client: socket.socket | None = request.environ.get("gunicorn.socket")
    if client is None:
        return
    request.environ["wsgi.input"] = TakingTurns(request.environ["wsgi.input"])
    client.settimeout(WRITE_TIMEOUT_S)
    if client.family in (socket.AF_INET, socket.AF_INET6):
        _set(client, getattr(socket, "TCP_USER_TIMEOUT", None), DEAD_PEER_MS)
        _set(client, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class TakingTurns:
    """A request's body that lets the worker's other greenlets run between two reads.

    One that comes as fast as it is read never has to wait: a file of 100 MB would hold up every stream for seconds.
    """

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Read after the others have had their turn."""
        sleep(TURN_S)
        return self._body.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def _set(client: socket.socket, option: int | None, value: int) -> None:
    if option is not None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError:
            pass  # another system's TCP: the time-out on writes remains


class Connection:
    """One client's socket while a stream uses it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        """Take the socket out of the WSGI environment; any server but gunicorn hides it, then nothing happens."""
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._chunked = _is_chunked(environ)
        self._watch: Any = None
        self._on_gone: Callable[[], None] | None = None
        self.gone = False

    def begin(self, on_gone: Callable[[], None]) -> None:
        """Watch; ``on_gone`` is called in the hub when the client has closed."""
        if self._socket is None:
            return
        self._on_gone = on_gone
        # An event of the loop itself: a greenlet that waits would cost each idle stream some kilobytes.
        self._watch = get_hub().loop.io(self._socket.fileno(), READABLE)
        self._watch.start(self._look)

    def end(self) -> None:
        """Watch no longer: the next request may come on this socket."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            watch.close()

    @property
    def lendable(self) -> _socket.socket | None:
        """The socket under gevent's, where others may write chunks to it, else None.

        It is plain TCP (or a unix socket), served by gunicorn, and the answer is chunked: HTTP/1.1 with a body. TLS has
        the socket encrypt, HTTP/2 and uwsgi frame in other ways, HTTP/1.0 not at all, and HEAD has nothing to write.
        """
        if not self._chunked or self._socket is None or self.gone:
            return None
        found: _socket.socket = self._socket._sock  # type: ignore[attr-defined]
        return found

    def write(self, rest: memoryview) -> None:
        """Write the rest of a chunk, within the time limit of a write."""
        assert self._socket is not None
        self._socket.sendall(rest)

    def _look(self) -> None:
        """The socket can be read: the client has closed, or begins another request, which can wait."""
        assert self._socket is not None
        self._watch.stop()
        try:
            self.gone = self._socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            self.gone = True
        if self.gone and self._on_gone is not None:
            self._on_gone()


def _is_chunked(environ: dict[str, Any]) -> bool:
    client = environ.get("gunicorn.socket")
    return (
        type(client) is gevent.socket.socket
        and environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
        and environ.get("REQUEST_METHOD") != "HEAD"
    )
