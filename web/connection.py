"""The client's socket behind a stream, where the server lets us at it: time limits, and noticing that it has gone.

Two limits, since neither finds both: TCP_USER_TIMEOUT ends a peer that no longer acknowledges (frozen, half-open); a
time-out on each write ends one that reads steadily but too slowly. A client that closes is noticed at once by a
greenlet that waits for its FIN; a silent generator would not notice until its next write.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from gevent import Greenlet, spawn
from gevent.socket import wait_read

DEAD_PEER_MS = 30_000
WRITE_TIMEOUT_S = 30.0
UNSENT_BYTES = 16 * 1024
"""TCP_NOTSENT_LOWAT: without it the kernel takes 2.7 MB for each slow reader before it pushes back."""
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
"""25 is Linux's number; CPython names it since 3.12."""


class Connection:
    """One client's socket while a stream uses it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        """Take the socket out of the WSGI environment; any server but gunicorn hides it, then nothing happens."""
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._watch: Greenlet[..., None] | None = None
        self.gone = False

    def begin(self, on_gone: Callable[[], None]) -> None:
        """Set the limits and watch; ``on_gone`` is called when the client has closed."""
        if self._socket is None or not hasattr(self._socket, "setsockopt"):
            return
        if self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._set(getattr(socket, "TCP_USER_TIMEOUT", None), DEAD_PEER_MS)
            self._set(_TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._socket.settimeout(WRITE_TIMEOUT_S)
        self._watch = spawn(self._wait_for_fin, on_gone)

    def end(self) -> None:
        """Watch no longer and leave the socket as it was: the next request may come on it."""
        if self._watch is not None:
            self._watch.kill(block=False)
            self._watch = None
        if self._socket is not None and hasattr(self._socket, "settimeout"):
            self._socket.settimeout(None)

    def _set(self, option: int | None, value: int) -> None:
        assert self._socket is not None
        if option is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:
                pass  # another system's TCP: the time-out on writes remains

    def _wait_for_fin(self, on_gone: Callable[[], None]) -> None:
        assert self._socket is not None
        try:
            wait_read(self._socket.fileno())
            self.gone = self._socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            self.gone = True
        if self.gone:
            on_gone()
