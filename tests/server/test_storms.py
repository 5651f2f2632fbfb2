"""All clients of a restarted worker come at once: none waits outside, and others are served meanwhile."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.harness import Server
from tests.server.test_fast_lane import Client, all_finished, all_have, pump

CLIENTS = 600


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_storm_is_greeted_while_others_are_served(new_server, workers: str) -> None:  # type: ignore[no-untyped-def]
    server: Server = new_server(workers=workers)
    run = server.launch("hold")
    clients = [Client(server, run) for _ in range(CLIENTS)]
    asked_at = time.monotonic()
    assert server.http.get("/healthz").status_code == 200
    answered_s = time.monotonic() - asked_at
    pump(clients, all_have(clients, b"event: hello"))
    print(f"healthz took {answered_s * 1000:.0f} ms in the storm")
    counts = [
        sum(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp"))
        for pid in server.worker_pids()
    ]
    print(f"streams of each worker: {counts}")
    assert sum(counts) >= CLIENTS and min(counts) > 0, "each worker has a share"
    server.cancel(run)
    pump(clients, all_finished(clients))
    assert all(one.seqs == clients[0].seqs for one in clients)


def test_more_clients_than_a_worker_may_have_wait_for_room(new_server) -> None:  # type: ignore[no-untyped-def]
    """Connections that ask for nothing fill it up; who comes then is answered when they have gone."""
    server: Server = new_server(workers="1", HEADWAY_STREAMS="1")
    room = 1 * 5 // 4 + 100
    (worker,) = (psutil.Process(pid) for pid in server.worker_pids())
    with ExitStack() as held:
        idle = [held.enter_context(_connected(server)) for _ in range(room + 20)]
        waiting = held.enter_context(_connected(server))
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        used_s = worker.cpu_times().user
        waiting.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        assert worker.cpu_times().user - used_s < 0.3, "it does not spin while it waits"
        for one in idle:
            one.close()
        waiting.settimeout(10)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_server_stops_in_order_though_clients_wait_for_room(new_server) -> None:  # type: ignore[no-untyped-def]
    server: Server = new_server(workers="1", HEADWAY_STREAMS="1", HEADWAY_GRACEFUL="3")
    with ExitStack() as held:
        idle = [held.enter_context(_connected(server)) for _ in range(1 * 5 // 4 + 100 + 20)]
        assert server.stop() == 0
        for one in idle:
            one.settimeout(5)
            with suppress(ConnectionResetError):
                assert one.recv(1) == b""


def test_who_was_accepted_is_answered_though_the_server_stops(new_server) -> None:  # type: ignore[no-untyped-def]
    server: Server = new_server(workers="1")
    with ExitStack() as held:
        clients = [held.enter_context(_connected(server)) for _ in range(CLIENTS)]
        for one in clients:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert server.stop() == 0
        answered = 0
        for one in clients:
            one.settimeout(5)
            with suppress(ConnectionResetError):  # the kernel's queue was never the worker's
                answered += one.recv(100).startswith(b"HTTP/1.1 200 ")
    print(f"{answered} of {CLIENTS} answered")
    assert answered > 0 and "Socket error" not in server.log()


def _connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port))
