"""Clients that come all at once, as after a restart: each is taken in at once, and served a few at a time.

The kernel keeps ``net.core.somaxconn`` clients (4096) waiting for a server that does not accept them; whoever finds no
room tries again a second later, then three, then seven. gevent's server accepts no faster than it serves, and one that
accepted all would begin with all: thousands of greenlets that wait for each other's turn, each in memory that has gone
cold. So here a client that waits is a number, until it is its turn.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from gevent import get_hub, getcurrent, sleep
from gevent.server import StreamServer
from gevent.socket import socket

from web.connection import Connection

BEGUN_AT_ONCE = 10
"""After so many a worker looks at its sockets again, the one that it listens on included: every 3 ms."""
ACCEPTED_AT_ONCE = 8192
SHARE = 4
"""Of several workers each accepts so many at once, fewer than it begins with: what it does not take another one may."""
FULL_S = 0.01
"""How soon is looked again for room, where the worker has as many connections as it may."""


class Acceptor(StreamServer):  # type: ignore[misc]
    """gevent's server, as gunicorn's worker makes it, that lets nobody wait outside."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting: deque[tuple[int, Any]] = deque()
        super().__init__(*args, **kwargs)
        self._turn: Any = None

    def do_read(self) -> None:
        """Accept those who wait, as far as there is room. None is given to gevent: it is their turn later."""
        accept, waiting = self.socket._accept, self._waiting
        try:
            for _ in range(min(SHARE if self.max_accept == 1 else ACCEPTED_AT_ONCE, self._room)):  # see ggevent.py
                waiting.append(accept())
        except BlockingIOError:
            pass
        finally:
            if self._room <= 0:
                self.stop_accepting()  # they wait in the kernel's queue
            if self._turn is None and (waiting or self._room <= 0):
                self._begin_in(0.0 if waiting else FULL_S)

    @property
    def _room(self) -> int:
        """How many more connections this process may have. Streams that were taken over are not in gunicorn's pool."""
        free: int = self.pool.free_count()
        return free - len(self._waiting) - Connection.taken_over

    def close(self) -> None:
        """Accept no more, and begin with all who have been accepted."""
        if not self.closed:
            self._stop_event.set()  # as the parent does; then nothing starts accepting again
            self.stop_accepting()
            while self._waiting and not self.full():
                self._begin_one()
            if get_hub() is not getcurrent():
                sleep(0)  # gunicorn asks for the listener's name first of all
        for fd, _ in self._waiting:
            os.close(fd)
        self._waiting.clear()
        if self._turn is not None:
            self._turn.close()
            self._turn = None
        super().close()

    def _begin_in(self, seconds: float) -> None:
        """Begin after a time; after none the loop looks at its sockets first, which it would not for a callback."""
        self._turn = self.loop.timer(seconds)  # libev forgets the time of one that has fired
        self._turn.start(self._begin)

    def _begin(self) -> None:
        self._turn.close()
        self._turn = None
        try:
            for _ in range(BEGUN_AT_ONCE):
                if not self._waiting or self.full():
                    break
                self._begin_one()
        finally:
            if self._waiting or self._room <= 0:
                self._begin_in(FULL_S if self.full() or not self._waiting else 0.0)
            else:
                self._start_accepting_if_started()

    def _begin_one(self) -> None:
        fd, address = self._waiting.popleft()
        listener = self.socket
        self.do_handle(socket(listener.family, listener.type, listener.proto, fileno=fd), address)
