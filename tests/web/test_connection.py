"""What a request's connection owes to the others of its worker."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent.socket
import gevent.ssl
import pytest
from gevent import sleep, spawn

from web.connection import Connection, TakingTurns


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


Pair = tuple[gevent.socket.socket, gevent.socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The server's and the client's end of a TCP connection."""
    with gevent.socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = gevent.socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    yield theirs, ours
    theirs.close()
    ours.close()


def connection_of(client: object, **environ: str) -> Connection:
    """The connection of a request over HTTP/1.1."""
    return Connection({"gunicorn.socket": client, "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET", **environ})


def close(ours: Any) -> None:
    """With a FIN."""
    ours.close()


def reset(ours: Any) -> None:
    """With a RST."""
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.close()


@pytest.mark.parametrize("go", [close, reset])
def test_a_client_that_goes_is_noticed_at_once(pair: Pair, go: Callable[[Any], None]) -> None:
    theirs, ours = pair
    told: list[bool] = []
    connection = connection_of(theirs)
    connection.begin(lambda: told.append(connection.gone))
    sleep(0.02)
    assert told == [] and connection.lendable is theirs._sock
    go(ours)
    sleep(0.02)
    assert told == [True] and connection.lendable is None
    connection.end()


def test_a_client_that_says_more_has_not_gone_and_keeps_what_it_said(pair: Pair) -> None:
    """Another request on the same connection: it waits its turn."""
    theirs, ours = pair
    told: list[bool] = []
    connection = connection_of(theirs)
    connection.begin(lambda: told.append(True))
    ours.sendall(b"GET /")
    sleep(0.02)
    assert told == [] and connection.gone is False
    connection.end()
    assert theirs.recv(100) == b"GET /"


def test_nobody_is_told_once_the_watch_has_ended(pair: Pair) -> None:
    theirs, ours = pair
    told: list[bool] = []
    connection = connection_of(theirs)
    connection.begin(lambda: told.append(True))
    ours.close()
    connection.end()
    connection.end()
    sleep(0.02)
    assert told == []


def test_a_client_that_had_gone_before_is_noticed_too(pair: Pair) -> None:
    theirs, ours = pair
    ours.close()
    connection = connection_of(theirs)
    connection.begin(lambda: None)
    sleep(0.02)
    assert connection.gone
    connection.end()


@pytest.mark.parametrize(
    ("environ", "lendable"),
    [
        ({}, True),
        ({"REQUEST_METHOD": "POST"}, True),
        ({"REQUEST_METHOD": "HEAD"}, False),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, False),
        ({"SERVER_PROTOCOL": "HTTP/2"}, False),
        ({"SERVER_PROTOCOL": "HTTP/2.0"}, False),
        ({"SERVER_PROTOCOL": ""}, False),
    ],
)
def test_only_a_socket_with_plain_chunks_is_lent(pair: Pair, environ: dict[str, str], lendable: bool) -> None:
    theirs, _ = pair
    assert connection_of(theirs, **environ).lendable is (theirs._sock if lendable else None)


def test_what_is_lent_never_blocks(pair: Pair) -> None:
    """gunicorn makes its sockets blocking, which is gevent's matter alone; and a time limit is no matter of theirs."""
    theirs, _ = pair
    theirs.setblocking(True)
    theirs.settimeout(30)
    lent = connection_of(theirs).lendable
    assert lent is not None and lent.gettimeout() == 0.0
    with pytest.raises(BlockingIOError):
        while True:
            lent.send(b"x" * 100_000)


def test_a_unix_socket_is_lent_and_tls_and_other_servers_are_not(pair: Pair) -> None:
    theirs, ours = gevent.socket.socketpair()
    with theirs, ours:
        assert connection_of(theirs).lendable is theirs._sock
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    wrapped = context.wrap_socket(pair[0], do_handshake_on_connect=False, server_hostname="localhost")
    assert connection_of(wrapped).lendable is None
    wrapped.close()
    with socket.socket() as plain:
        assert connection_of(plain).lendable is None, "a socket that blocks would stop the whole worker"
    absent = Connection({"SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET"})
    absent.begin(lambda: None)
    absent.end()
    assert absent.lendable is None


def test_the_rest_of_a_chunk_is_written_while_others_run_and_within_the_time_limit(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = pair
    connection, rest, got = connection_of(theirs), b"x" * 10_000_000, bytearray()

    def read() -> None:
        while len(got) < len(rest):
            got.extend(ours.recv(1 << 16))

    reading = spawn(read)
    connection.write(memoryview(rest))
    reading.join(5)
    assert got == rest
    monkeypatch.setattr("web.connection.WRITE_TIMEOUT_S", 0.1)
    with pytest.raises(TimeoutError):
        connection.write(memoryview(rest * 10))  # more than the kernel takes for a socket
