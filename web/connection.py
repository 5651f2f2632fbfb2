"""The client's socket behind a stream, where the server lets us at it: time limits, and noticing that it has gone.

Two limits, since neither finds both: TCP_USER_TIMEOUT ends a peer that no longer acknowledges (frozen, half-open); a
time-out on each write ends one that reads steadily but too slowly. A client that closes is noticed at once, since the
loop watches for its FIN; a silent generator would not notice until its next write.

And the body of a request, which must not take all of the worker's time for itself.
"""

from __future__ import annotations

import _socket
import socket
import time
from collections.abc import Callable
from typing import IO, Any

import gevent.socket
from flask import request
from gevent import get_hub, sleep, ssl
from gevent.socket import wait_write

from web.broadcast import Loan

DEAD_PEER_MS = 30_000
WRITE_TIMEOUT_S = 30.0
UNSENT_BYTES = 16 * 1024
"""TCP_NOTSENT_LOWAT: without it the kernel takes 2.7 MB for each slow reader before it pushes back."""
TURN_S = 0.0002
"""Between two reads of a body. With 0 gevent would come back before it has looked at other sockets (gevent/hub.py)."""
UNREAD_BYTES = 64 * 1024
"""Most that is read of what a client says to a stream, at the stream's end."""
UNASKED_BYTES = 256 * 1024
"""Most that a client may say to a stream, which has no use for it, before it is cut."""
READABLE = 1
"""gevent's name for it (loop.io)."""
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
"""25 is Linux's number; CPython names it since 3.12."""


def limit_accepted(listener: socket.socket) -> None:
    """Set the limits of all sockets that this one accepts from now on: they inherit its options."""
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        _set(listener, getattr(socket, "TCP_USER_TIMEOUT", None), DEAD_PEER_MS)
        _set(listener, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def limit_request() -> None:
    """Set the time limit of writes to the socket that a request came on, and make its body take turns. Registered as
    before_request: downloads freeze too."""
    limit_writes(request.environ)
    if "gunicorn.socket" in request.environ:
        request.environ["wsgi.input"] = TakingTurns(request.environ["wsgi.input"])


def limit_writes(environ: dict[str, Any]) -> None:
    """Set the time limit of writes to the socket of a request."""
    client: socket.socket | None = environ.get("gunicorn.socket")
    if client is not None:
        client.settimeout(WRITE_TIMEOUT_S)


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


def _set(listener: socket.socket, option: int | None, value: int) -> None:
    if option is not None:
        try:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError:
            pass  # another system's TCP: the time-out on writes remains


class Connection:
    """One client's socket while a stream uses it."""

    taken_over = 0
    """How many sockets of this process are not gunicorn's any more: its pool does not count them."""

    __slots__ = ("_chunked", "_on_gone", "_raw", "_socket", "_unasked", "_watch", "gone", "loan")

    def __init__(self, environ: dict[str, Any]) -> None:
        """Take the socket out of the WSGI environment; any server but gunicorn hides it, then nothing happens."""
        self._socket: gevent.socket.socket | None = environ.get("gunicorn.socket")
        self._raw: _socket.socket | None = None
        """The socket that is ours alone, once it has been taken over."""
        self._chunked = _is_chunked(environ)
        self._watch: Any = None
        self._on_gone: Callable[[], None] | None = None
        self.loan: Loan | None = None
        """While the socket is lent."""
        self.gone = False
        self._unasked = 0

    def begin(self, on_gone: Callable[[], None]) -> None:
        """Watch; ``on_gone`` is called in the hub when the client has closed."""
        sock = self._raw or self._socket
        if sock is None:
            return
        self._on_gone = on_gone
        # An event of the loop itself: a greenlet that waits would cost each idle stream some kilobytes.
        self._watch = get_hub().loop.io(sock.fileno(), READABLE)
        self._watch.start(self._look)

    def end(self) -> None:
        """Watch no longer: the next request may come on this socket. One that was taken over is closed."""
        self._on_gone = None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
            watch.close()
        raw, self._raw = self._raw, None
        if raw is not None:
            Connection.taken_over -= 1
            _close(raw)

    @property
    def lendable(self) -> _socket.socket | None:
        """The socket under gevent's, where others may write chunks to it, else None.

        It is plain TCP (or a unix socket), served by gunicorn, and the answer is chunked: HTTP/1.1 with a body. TLS has
        the socket encrypt, HTTP/2 and uwsgi frame in other ways, HTTP/1.0 not at all, and HEAD has nothing to write.
        """
        if not self._chunked or self.gone:
            return None
        if self._raw is None and self._socket is not None:
            found: _socket.socket = self._socket._sock
            return found
        return self._raw

    def take_over(self) -> None:
        """Take a socket that is lendable from gunicorn for good. :meth:`end` closes it then."""
        client, self._socket = self._socket, None
        assert client is not None
        raw: _socket.socket = client._sock
        family, kind, protocol = raw.family, raw.type, raw.proto
        self._raw = _socket.socket(family, kind, protocol, client.detach())
        Connection.taken_over += 1

    def write(self, said: bytes | memoryview) -> None:
        """Write a chunk, or the rest of one, within the time limit of a write. Raises OSError."""
        sock = self.lendable
        if sock is None:
            raise BrokenPipeError("the client has closed")
        rest, until = memoryview(said), time.monotonic() + WRITE_TIMEOUT_S
        while True:
            try:
                rest = rest[sock.send(rest) :]
            except BlockingIOError:
                pass
            if not rest:
                return
            wait_write(sock.fileno(), max(0.0, until - time.monotonic()))

    def _look(self) -> None:
        """The socket can be read: the client has closed, or says something. A stream has no use for that; where the
        socket is gunicorn's, it may be another request, which can wait."""
        try:
            if self._raw is not None:
                said = len(self._raw.recv(UNREAD_BYTES))
                self._unasked += said
                self.gone = said == 0 or self._unasked > UNASKED_BYTES
            else:
                assert self._socket is not None
                self._watch.stop()
                # What TLS says cannot be read here; a client that closes says so, and else it has nothing to say.
                tls = isinstance(self._socket, ssl.SSLSocket)
                self.gone = tls or self._socket._sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
        if self.gone:
            self._watch.stop()
            if self._on_gone is not None:
                self._on_gone()


def _close(sock: _socket.socket) -> None:
    """Close so that the client gets what was written: bytes of its own that nobody has read would make it a reset."""
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.recv(UNREAD_BYTES)
    except OSError:
        pass  # it has closed before, or there is nothing to read
    sock.close()


def _is_chunked(environ: dict[str, Any]) -> bool:
    client = environ.get("gunicorn.socket")
    return (
        type(client) is gevent.socket.socket
        and environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
        and environ.get("REQUEST_METHOD") != "HEAD"
    )
