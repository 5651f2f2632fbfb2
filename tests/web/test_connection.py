"""What a request's connection owes to the others of its worker."""

from __future__ import annotations

import io

from gevent import sleep, spawn

from web.connection import TakingTurns


def test_others_have_a_turn_between_two_reads_of_a_body() -> None:
    """However fast it comes: gevent alone lets nobody in while there is something to read."""
    turns: list[int] = []
    body = TakingTurns(io.BytesIO(b"x" * 1000))

    def another() -> None:
        while True:
            turns.append(body.tell())
            sleep()

    other = spawn(another)
    assert b"".join(iter(lambda: body.read(100), b"")) == b"x" * 1000
    other.kill()
    assert set(turns) >= set(range(0, 1000, 100))
