"""Slow, frozen and rude readers, and too many of them: they harm nobody, and nothing of them is left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.harness import KEY, Server, wait_for
from tests.server.test_fast_lane import Client, all_finished, all_have, mix_jobs, pump, stored, told

SOAK_S = 15.0


def assert_complete(server: Server, client: Client) -> int:
    """Whether a reader has all but overtaken updates, in order, and the end; gives how many of these it was spared."""
    kinds = {row[0]: row[1] for row in stored(server, client.run)}
    seqs = client.seqs
    assert seqs == sorted(set(seqs))
    spared = kinds.keys() - set(seqs)
    assert {kinds[seq] for seq in spared} <= {"update"}
    assert client.frames[-1].id == f"{client.run}-{max(kinds)}"
    assert '"status":"completed"' in client.frames[-1].data
    return len(spared)


def streams_of(server: Server) -> int:
    """How many connections the workers have open."""
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == server.port
        for pid in server.worker_pids()
        for one in psutil.Process(pid).net_connections("tcp")
    )


def other_files(worker: psutil.Process) -> int:
    """Sockets, pipes and the like of a worker: the threads that read the database have it open once more each."""
    return worker.num_fds() - len(worker.open_files())


def free_slots(server: Server, run: str, limit: int, limit_s: float = 3) -> None:
    """Assert that exactly ``limit`` streams can be open: as many are opened, and one more is told busy."""
    deadline = time.monotonic() + limit_s
    while True:
        clients = [Client(server, run) for _ in range(limit + 1)]
        pump(clients, all_have(clients, b"retry: "))
        greetings = [one.frames[0].event for one in clients]
        for one in clients:
            one.close()
        if greetings.count("hello") == limit or time.monotonic() > deadline:
            break
    assert sorted(greetings) == ["busy"] + ["hello"] * limit


def test_slow_readers_lose_no_line_and_slow_nobody(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Readers in dribbles beside fast ones, on the lane and on HTTP/1.0; a frozen one and some that reset."""
    server: Server = new_server(workers="1", HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"))
    run = server.launch("mix", turns=500, rate=200, size=600)
    fast = [Client(server, run, version=version) for version in ("1.1", "1.1", "1.1", "1.0")]
    slow = [
        Client(server, run, version=version, buffer=buffer, most=most, every_s=0.01)
        for version in ("1.1", "1.0")
        for buffer, most in ((16_384, 1000), (16_384, 2500), (16_384, 3000))
    ]
    frozen = [Client(server, run, buffer=2048, every_s=-1) for _ in range(3)]
    rude = [Client(server, run, buffer=4096) for _ in range(8)]
    clients = fast + slow + frozen + rude
    for number, one in enumerate(rude):
        pump(clients, all_have(fast, f"log {50 * number} ".encode()))
        one.reset()
    pump(clients, all_finished(fast), 15, "the fast ones")
    ended = server.wait_ended(run)
    assert ended["status"] == "completed"
    at = [one.arrivals[-1][0] for one in fast]
    assert max(at) - min(at) < 0.5
    assert len({told(one.body) for one in fast}) == 1
    assert all(assert_complete(server, one) == 0 for one in fast)
    for one in slow:  # faster now, or the test takes minutes
        one.every_s, one.most = 0.001, 20_000
    pump(slow, all_finished(slow), 60, "the slow ones")
    spared = [assert_complete(server, one) for one in slow]
    print(f"spared updates of the slow: {spared}")
    assert max(spared) > 0
    for one in frozen:
        one.reset()
    wait_for(lambda: streams_of(server) == 0, 5, "no connection to be left")


@pytest.mark.timeout(180)
def test_frozen_readers_are_cut_and_steady_ones_are_not(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """After 30 s of nothing a reader is cut and its slot is back; who reads slowly but steadily has it all."""
    server: Server = new_server(workers="1", HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"))
    begin, gate = tmp_path / "begin", tmp_path / "gate"
    run = server.launch("mix", turns=150, rate=0, size=800, begin=str(begin), gate=str(gate))
    frozen = [Client(server, run, version=version, buffer=2048, every_s=-1) for version in ("1.1", "1.1", "1.0")]
    steady = [
        Client(server, run, version=version, buffer=16_384, segment=1400, most=1024, every_s=0.13)
        for version in ("1.1", "1.1", "1.0")
    ]
    pump(steady, all_have(steady, b"Ready"))
    began = time.monotonic()
    begin.touch()
    pump(steady, lambda: streams_of(server) <= len(steady), 45, "the frozen to be cut")
    print(f"frozen readers were cut after {time.monotonic() - began:.1f} s")
    assert 25 < time.monotonic() - began
    pump(steady, all_have(steady, b"log 149 "), 60, "the steady to have the last turn")
    gate.touch()
    pump(steady, all_finished(steady))
    for one in steady:
        assert_complete(server, one)
    for one in frozen:
        one.close()


def greeted(server: Server, run: str) -> Client | None:
    """A new client's stream; None where the server was busy yet."""
    client = Client(server, run)
    pump([client], all_have([client], b"retry: "))
    if client.frames[0].event == "hello":
        return client
    client.close()
    return None


@pytest.mark.parametrize("most", ["HEADWAY_STREAMS", "HEADWAY_STREAMS_PER_OWNER"])
def test_beyond_a_limit_one_is_told_busy(new_server: Callable[..., Server], most: str) -> None:
    """200, one busy frame with a long retry, the end; all else goes on; a slot is free again at once, however its
    stream ended."""
    server = new_server(workers="1", **{most: "5"})
    run = server.launch("hold")
    clients = [Client(server, run) for _ in range(5)]
    pump(clients, all_have(clients, b"event: hello"))
    for version in ("1.1", "1.0", "1.1"):
        refused = Client(server, run, version=version)
        pump([refused], all_finished([refused]) if version == "1.1" else lambda: not refused.open)  # noqa: B023
        assert b" 200 OK" in refused.head
        (frame,) = refused.frames
        assert (frame.event, frame.id) == ("busy", None)
        assert frame.retry is not None and 15_000 <= frame.retry <= 30_000
    assert server.http.get("/healthz").status_code == 200
    assert server.wait_ended(server.launch("emit", n=3))["status"] == "completed"
    assert httpx.post(f"{server.url}/login", data={"key": server.key}).status_code == 303
    for leave in (Client.close, Client.reset, Client.close):
        leave(clients.pop())
        clients.append(wait_for(lambda: greeted(server, run), 2, "the slot to be free"))
    for one in clients:
        one.close()
    free_slots(server, run, 5)


def test_key_session_and_token_are_counted_apart(new_server: Callable[..., Server]) -> None:
    """Scripts that use up the key's streams take none of the pages'."""
    server = new_server(workers="1", HEADWAY_STREAMS_PER_OWNER="2")
    run = server.launch("hold")
    token = server.http.post("/api/v1/token", json={}).json()["token"]
    answer = httpx.post(f"{server.url}/login", data={"key": KEY})
    ways = {
        "key": {},
        "session": {"credentials": f"Cookie: headway_session={answer.cookies['headway_session']}"},
        "token": {"credentials": "", "query": f"?token={token}"},
    }
    kept = []
    for way in ways.values():
        clients = [Client(server, run, **way) for _ in range(3)]  # type: ignore[arg-type]
        pump(clients, all_have(clients, b"retry: "))
        assert sorted(one.frames[0].event for one in clients) == ["busy", "hello", "hello"]
        kept += clients


def test_a_soak_of_rude_clients_leaves_nothing(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Clients come and go at random moments in every way while runs end; then all slots, files and marks are back."""
    server: Server = new_server(workers="1", HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"), HEADWAY_STREAMS="200")
    dice = random.Random(4)
    held = server.launch("hold")
    (worker,) = (psutil.Process(pid) for pid in server.worker_pids())
    files, memory, opened = other_files(worker), 0, 0
    free_slots(server, held, 200)
    began = time.monotonic()
    clients: list[Client] = []
    runs: list[str] = []
    while (now := time.monotonic() - began) < SOAK_S:
        if not memory and now > SOAK_S / 3:
            memory = worker.memory_info().rss
        if len(runs) < 1 + now * 3:
            runs.append(server.launch("mix", turns=dice.randrange(1, 100), rate=100, size=dice.choice([10, 3000])))
        for _ in range(dice.randrange(8)):
            run = dice.choice([held, *runs[-4:]])
            one = Client(
                server,
                run,
                version=dice.choice(["1.1", "1.1", "1.1", "1.0"]),
                method=dice.choice(["GET"] * 9 + ["HEAD"]),
                cursor=dice.choice([None, f"{run}-{dice.randrange(200)}"]),
                buffer=dice.choice([None, None, 2048]),
                every_s=dice.choice([0, 0, 0.05, -1]),
            )
            opened += 1
            if dice.random() < 0.2:  # before the first byte
                dice.choice([one.close, one.reset])()
            else:
                clients.append(one)
        until = time.monotonic() + dice.random() * 0.06
        pump(clients, lambda: time.monotonic() > until)  # noqa: B023
        dice.shuffle(clients)
        clients = [one for one in clients if one.open]
        while len(clients) > 60:
            one = clients.pop()
            dice.choice([one.close, one.reset])()
    for one in clients:
        dice.choice([one.close, one.reset])()
    for run in runs:
        server.wait_ended(run)
    wait_for(lambda: streams_of(server) == 0, 5, "all connections to be closed")
    table = server.data / "bus" / f"web-{worker.pid}.watched"
    wait_for(lambda: not any(table.read_bytes()), 5, "no run to be watched")
    free_slots(server, held, 200)
    wait_for(lambda: streams_of(server) == 0, 5, "all connections to be closed")
    wait_for(lambda: other_files(worker) <= files + 10, 10, "all sockets to be closed")
    grown = worker.memory_info().rss - memory
    print(f"{opened} clients, {len(runs)} runs; grown by {grown / 1e6:.1f} MB, files {files} -> {other_files(worker)}")
    assert grown < 30e6
    web = {path.name for path in (server.data / "bus").glob("web-*")}
    assert web == {f"web-{worker.pid}.sock", f"web-{worker.pid}.watched"}
