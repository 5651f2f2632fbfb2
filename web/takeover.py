"""A stream needs no greenlet while it rests: its connection is taken over from gunicorn before its answer begins.

gunicorn keeps a greenlet for every response, and with it the request, its environment and a stack: 15 kB that nobody
needs again. So the socket is taken out of its hands, its greenlet ends as if the client had closed, and the stream's
generator is driven from here: by a greenlet that begins when the socket's loan comes back, and ends when it is lent
again. What is written is what gunicorn would write, but that the first two writes (headers, greeting) are one, and that
the connection closes at the stream's end.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator

import gevent

from web.broadcast import END, chunked
from web.connection import Connection

log = logging.getLogger(__name__)


class TakenOver(BrokenPipeError):
    """Makes gunicorn's greenlet leave without a word: so it does where a client has closed (base_async.py)."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "the answer is written without gunicorn")


class Body:
    """The body of a streaming answer, for gunicorn to ask for once."""

    __slots__ = ("_close", "_connection", "_frames", "_head", "_taken_over")

    def __init__(self, frames: Iterator[bytes], connection: Connection) -> None:
        """``connection`` is one that can be taken over. Where ``frames`` yields nothing (``b""``) while the socket is
        lent, it is not asked on before that is back."""
        self._frames = frames
        self._connection = connection
        self._head = b""
        self._close: Callable[[], object] = lambda: None
        self._taken_over = False

    def begin(self, head: bytes, close: Callable[[], object]) -> None:
        """Begin the answer with these lines, and call ``close`` when it has ended."""
        self._head = head
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Write the greeting, and whatever the client lacks. Raises TakenOver, always."""
        self._connection.take_over()
        self._taken_over = True
        self._go_on()
        raise TakenOver

    def close(self) -> None:
        """gunicorn has done its part."""
        if not self._taken_over:
            self._close()

    def _go_on(self) -> None:
        """Write what the stream says until its socket is lent, or to the end."""
        resting = False
        try:
            for said in self._frames:
                if said:
                    head, self._head = self._head, b""
                    self._connection.write(head + chunked(said))
                elif (loan := self._connection.loan) is not None:
                    loan.then(self._wake)
                    resting = True
                    return
            if not self._connection.gone:
                self._connection.write(END)
        except TimeoutError:
            log.warning("a client that took nothing in time was cut")
        except OSError:
            pass  # the client has closed
        except Exception:
            log.exception("a stream broke off")
        finally:
            if not resting:
                self._close()

    def _wake(self) -> None:
        gevent.spawn(self._go_on)
