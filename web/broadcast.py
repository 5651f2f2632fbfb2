"""The fast lane: one loop that writes to the sockets of all streams of a run that have nothing to catch up on.

A generator for each client costs a switch of greenlets, a chunk of its own and two waits for every event. So a stream
that has said all there is lends its socket to the run's lane and sleeps; the lane writes the next frames, chunked once
(RFC 9112, section 7.1), to one socket after the other, without ever waiting. What a socket does not take at once, all
or a part of the chunk, is the stream's own again: the loan goes back with the rest of that chunk, the stream's greenlet
writes the rest in its own time, catches up from its cursor and lends again. So the bytes are the same either way.

A socket is lent between two writes of its generator, when gunicorn has sent everything that was yielded (``sendall``
has returned), and only where a chunk is what gunicorn itself would send: see ``Connection.lendable``.
"""

from __future__ import annotations

import _socket
import time
from collections.abc import Callable, Sequence
from itertools import repeat

from gevent import get_hub, sleep
from gevent.hub import Waiter

TURN = 500
"""Sockets written to before the worker's other greenlets have their turn: 2 to 3 ms."""

DEAD = -1
"""What a socket has taken whose client has closed or been reset."""
END = b"0\r\n\r\n"
"""The last chunk."""
_NOTHING = memoryview(b"")


send = _socket.socket.send
"""Of the socket that gevent keeps under its own, which never blocks (gevent/_socket3.py)."""


def sent(socks: Sequence[_socket.socket], chunk: bytes) -> list[int]:
    """Send a chunk to all of these; how much each took, DEAD where nobody is there any more.

    The loop is in C (map, extend), which is an eighth of the whole cost. An error leaves it, with what came before it
    in the list, and the same map goes on behind it.
    """
    taken: list[int] = []
    sending = map(send, socks, repeat(chunk))
    while True:
        try:
            taken.extend(sending)
        except BlockingIOError:
            taken.append(0)
        except OSError:
            taken.append(DEAD)
        else:
            return taken


class Loan:
    """A socket in a lane's hands, until it comes back."""

    __slots__ = ("_then", "back", "gone", "rest", "seq", "sock", "until")

    def __init__(self, sock: _socket.socket, until: float) -> None:
        self.sock = sock
        self.until = until
        """When its stream wants it back at the latest, in ``time.monotonic()``."""
        self.back = False
        self.seq = 0
        """Once it is back: the number of the last event that was written, or that :attr:`rest` ends."""
        self.rest = _NOTHING
        """Once it is back: what the socket did not take of the last chunk."""
        self.gone = False
        """Once it is back: the client has closed or is dead."""
        self._then: Callable[[], object] | None = None

    def then(self, call: Callable[[], object]) -> None:
        """Have ``call`` called when the loan comes back, in place of any other; it must not wait."""
        if self.back:
            call()
        else:
            self._then = call

    def wait(self) -> None:
        """Sleep until the loan is back."""
        if not self.back:
            waiter: Waiter[None] = Waiter()
            self.then(lambda: get_hub().loop.run_callback(waiter.switch, None))
            waiter.get()

    def give_back(self) -> None:
        """Wake the stream. Only the first call counts."""
        self.back = True
        then, self._then = self._then, None
        if then is not None:
            then()


class Lane:
    """The sockets lent by the streams of one run. All of them have had the events up to :attr:`seq`."""

    def __init__(self) -> None:
        self.seq = 0
        self._loans: dict[Loan, None] = {}
        self._listed: tuple[list[Loan], list[_socket.socket]] | None = None
        """The loans and their sockets, as long as none comes or goes."""
        self._written_at = time.monotonic()
        self._writing = False
        self._left = 0
        """How many loans have ended so far."""

    def __len__(self) -> int:
        return len(self._loans)

    def lend(self, sock: _socket.socket, until: float) -> Loan:
        """Lend a socket whose client has had everything up to :attr:`seq`."""
        loan = Loan(sock, until)
        self._loans[loan] = None
        self._listed = None
        return loan

    def end(self, loan: Loan) -> None:
        """End a loan, whatever has become of it: nothing is written to its socket from now on."""
        self._take_out(loan)
        loan.give_back()

    def write(self, chunk: bytes, seq: int) -> None:
        """Write a chunk that ends with event ``seq`` to all sockets. One call at a time."""
        self.seq = seq
        self._written_at = time.monotonic()
        self._writing = True
        if self._listed is None:
            self._listed = list(self._loans), [loan.sock for loan in self._loans]
        loans, socks = self._listed
        left, size, whole = self._left, len(chunk), memoryview(chunk)
        try:
            for first in range(0, len(loans), TURN):
                if first:
                    sleep(0)
                turn, turn_socks = loans[first : first + TURN], socks[first : first + TURN]
                if self._left != left:  # some were taken back while others had their turn
                    turn = [loan for loan in turn if loan in self._loans]
                    turn_socks = [loan.sock for loan in turn]
                all_taken = sent(turn_socks, chunk)
                if all_taken.count(size) == len(turn):  # as nearly always
                    continue
                for loan, taken in zip(turn, all_taken, strict=True):
                    if taken != size:
                        loan.gone = taken == DEAD
                        self._give_back(loan, seq, whole[max(taken, 0) :])
        finally:
            self._writing = False

    def give_back_all(self) -> None:
        """Give all loans back: the run has ended."""
        for loan in list(self._loans):
            self._give_back(loan, self.seq)

    def give_back_due(self, now: float) -> None:
        """Give back what is due. Not while a chunk is being written: who has had it already could not be told."""
        if not self._writing:
            for loan in [loan for loan in self._loans if loan.until <= now]:
                self._give_back(loan, self.seq)

    def limit(self, until: Callable[[], float]) -> None:
        """Have every loan back by a time that is asked for each."""
        for loan in self._loans:
            loan.until = min(loan.until, until())

    def is_silent(self, now: float, for_s: float) -> bool:
        """Whether somebody here has had nothing for so long."""
        return bool(self._loans) and not self._writing and now - self._written_at >= for_s

    def _give_back(self, loan: Loan, seq: int, rest: memoryview = _NOTHING) -> None:
        if self._take_out(loan):
            loan.seq, loan.rest = seq, rest
            loan.give_back()

    def _take_out(self, loan: Loan) -> bool:
        """Have a loan no longer; False where it was not here."""
        if loan not in self._loans:
            return False
        del self._loans[loan]
        self._left += 1
        self._listed = None
        return True


def chunked(said: bytes) -> bytes:
    """``said`` as one chunk of HTTP/1.1, the very bytes that gunicorn makes of it."""
    return b"%X\r\n%b\r\n" % (len(said), said)
