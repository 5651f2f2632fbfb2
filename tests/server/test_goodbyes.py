"""Reloads, stops and deaths of web workers with many streams open: a word to each, and nothing is missed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx

from tests.harness import Server, wait_for
from tests.server.test_fast_lane import Client, Frame, all_finished, all_have, mix_jobs, parsed, pump, seqs_of, stored

RUNS = 6
EACH = 10


def a_crowd(server: Server, gate: Path, **more: str) -> list[Client]:
    """Sixty clients on six runs that talk until the gate opens; three that say nothing more are among these."""
    talking = [server.launch("mix", turns=600, rate=100, size=100) for _ in range(RUNS - 3)]
    silent = [server.launch("hold", gate=str(gate)) for _ in range(3)]
    clients = [
        Client(server, run, version="1.0" if number == 0 else "1.1", **more)  # type: ignore[arg-type]
        for run in talking + silent
        for number in range(EACH)
    ]
    pump(clients, all_have(clients, b'"status":"processing"'), what="all streams")
    return clients


def resumed(server: Server, clients: list[Client]) -> dict[Client, list[Frame]]:
    """Follow every client's run to its end as an EventSource would; gives all frames, of all its connections."""
    seen = {one: one.frames for one in clients}
    going = {one: Client(server, one.run, cursor=one.last_id) for one in clients}
    while going:
        pump(list(going.values()), all_finished(list(going.values())), 40, "the resumed streams to end")
        again: dict[Client, Client] = {}
        for first, now in going.items():
            seen[first] += now.frames
            if b" 204 " in now.head:  # it had the end already
                continue
            if now.frames and now.frames[-1].event == "bye" or not now.finished:
                again[first] = Client(server, first.run, cursor=now.last_id)
        going = again
    return seen


def assert_nothing_missed(server: Server, seen: dict[Client, list[Frame]]) -> None:
    """Each has had all events of its run, once, in order, and its end; and no reset."""
    numbers = {one.run: [row[0] for row in stored(server, one.run)] for one in seen}
    for one, frames in seen.items():
        assert seqs_of(frames) == numbers[one.run]
        assert '"status":"completed"' in frames[-1].data
        assert not any('"reset":true' in frame.data for frame in frames if frame.event == "hello")


def assert_said_goodbye(clients: list[Client], told_at: float) -> None:
    """Each had ``bye`` as its last frame and a clean end within 2 s, and not all at one moment."""
    ends = []
    for one in clients:
        last = one.frames[-1]
        assert (last.event, last.data, last.id) == ("bye", '{"reason":"restart"}', None)
        assert last.retry is not None and 1000 <= last.retry <= 3000
        if b"HTTP/1.1" in one.head:
            assert one.finished
        else:
            assert not one.open
        place = one.raw.rindex(b"event: bye")
        ends.append(next(at for at, size in one.arrivals if size > place) - told_at)
    ends.sort()
    print(f"goodbyes {ends[0]:.2f} to {ends[-1]:.2f} s after the signal")
    assert ends[-1] < 2.0
    assert ends[-1] - ends[0] > 0.7
    assert max(after - before for before, after in pairwise(ends)) < 0.8
    assert max(sum(at <= end < at + 0.1 for end in ends) for at in ends) < len(ends) / 2


def test_a_reload_says_goodbye_to_all_and_all_resume(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """SIGHUP in mid-broadcast, with streams that have much to say and others that have nothing."""
    server: Server = new_server(HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"))
    clients = a_crowd(server, tmp_path / "gate")
    old = server.worker_pids()
    told_at = time.monotonic()
    server.signal(signal.SIGHUP)
    pump(clients, all_finished(clients), 6, "all goodbyes")
    assert_said_goodbye(clients, told_at)
    following = {one: Client(server, one.run, cursor=one.last_id) for one in clients}
    (tmp_path / "gate").touch()
    pump(list(following.values()), all_finished(list(following.values())), 40, "the end of all")
    seen = {one: one.frames + later.frames for one, later in following.items()}
    assert_nothing_missed(server, seen)
    wait_for(lambda: not (server.worker_pids() & old), 15, "the old workers to leave")
    server.wait_ended(server.launch("emit", n=1))
    wait_for(lambda: not files_of_dead(server), 5, "the files of old workers to be removed")


def test_a_stop_says_goodbye_to_all(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """SIGTERM: the same, then exit 0; at the next start all streams resume and hear how their runs ended."""
    jobs = mix_jobs(tmp_path / "jobs")
    server: Server = new_server(HEADWAY_JOBS=jobs)
    clients = a_crowd(server, tmp_path / "gate")
    told_at = time.monotonic()
    server.signal(signal.SIGTERM)
    pump(clients, all_finished(clients), 6, "all goodbyes")
    assert_said_goodbye(clients, told_at)
    assert server._process is not None and server._process.wait(30) == 0
    again = Server(server.data, HEADWAY_JOBS=jobs).start()
    try:
        seen = {one: one.frames for one in clients}
        later = {one: Client(again, one.run, cursor=one.last_id) for one in clients}
        pump(list(later.values()), all_finished(list(later.values())))
        for one, now in later.items():
            assert seqs_of(seen[one] + now.frames) == [row[0] for row in stored(again, one.run)]
            assert '"code":"interrupted"' in now.frames[-1].data
        again.wait_ended(again.launch("emit", n=1))  # who has something to tell finds them dead
        wait_for(lambda: files_of_dead(again) == set(), 5, "the files of dead workers to be removed")
    finally:
        assert again.stop() == 0


def test_a_stop_waits_for_no_reader_that_is_frozen(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The goodbyes of the others come in time; the frozen are cut when the grace period is over."""
    server: Server = new_server(workers="1", HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"), HEADWAY_GRACEFUL="4")
    run = server.launch("mix", turns=2000, rate=200, size=500)
    frozen = [Client(server, run, buffer=2048, every_s=-1) for _ in range(10)]
    clients = [Client(server, run) for _ in range(30)]
    pump(clients, all_have(clients, b"log 150 "))
    told_at = time.monotonic()
    server.signal(signal.SIGTERM)
    pump(clients, all_finished(clients), 6, "all goodbyes")
    assert_said_goodbye(clients, told_at)
    assert server._process is not None and server._process.wait(20) == 0
    print(f"stopped {time.monotonic() - told_at:.2f} s after the signal, with frozen readers")
    for one in frozen:
        one.reset()


def test_the_death_of_workers_loses_nothing(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """kill -9 of every web worker in mid-broadcast, twice: all come back by their cursors and have missed nothing."""
    server: Server = new_server(HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"))
    clients = a_crowd(server, tmp_path / "gate")
    dead: set[int] = set()
    seen: dict[Client, list[Frame]] = {one: [] for one in clients}
    now = {one: one for one in clients}
    for _ in range(2):
        reading = list(now.values())
        pump(reading, all_have(reading, b"event: hello"), 10, "all streams")  # what waits in the backlog is not cut
        heard = {one: len(one.raw) for one in reading}
        pump(reading, lambda: sum(len(one.raw) > heard[one] + 3000 for one in reading) >= EACH)  # noqa: B023
        pids = server.worker_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        dead |= pids
        pump(reading, lambda: not any(one.open for one in reading), 5, "all to be cut")  # noqa: B023
        wait_for(lambda: ready(server, dead), 15, "new workers")  # noqa: B023
        for first, last in now.items():
            seen[first] += last.frames
            now[first] = Client(server, first.run, cursor=last.last_id)
    (tmp_path / "gate").touch()
    reading = list(now.values())
    pump(reading, all_finished(reading), 40, "the end of all")
    for first, last in now.items():
        seen[first] += last.frames
    assert_nothing_missed(server, seen)
    wait_for(lambda: not files_of_dead(server), 5, "the files of dead workers to be removed")


def files_of_dead(server: Server) -> set[str]:
    """What dead web workers have left on the bus."""
    alive = {f"web-{pid}" for pid in server.worker_pids()}
    return {path.name for path in (server.data / "bus").glob("web-*")} - {
        name + end for name in alive for end in (".sock", ".watched")
    }


def ready(server: Server, dead: set[int]) -> bool:
    """Whether new workers answer."""
    try:
        return len(server.worker_pids() - dead) == 2 and httpx.get(f"{server.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_goodbye_comes_once_and_between_whole_frames(new_server: Callable[..., Server], tmp_path: Path) -> None:
    """Two reloads in quick succession, under a burst: one bye each, and each a frame of its own."""
    server = new_server(HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"))
    run = server.launch("mix", turns=1500, rate=400, size=1000)
    clients = [Client(server, run, buffer=(None, 4096, 20_000)[number % 3]) for number in range(24)]
    pump(clients, all_have(clients, b"log 20 "))
    server.signal(signal.SIGHUP)
    time.sleep(0.2)  # the second comes while the first is being done
    server.signal(signal.SIGHUP)
    pump(clients, all_finished(clients), 10, "all goodbyes")
    for one in clients:
        frames = parsed(one.body)
        assert [frame.event for frame in frames].count("bye") == 1
        assert frames[-1].event == "bye"
    seen = resumed(server, clients)  # some meet a worker that leaves, too
    events = {row[0]: row[1] for row in stored(server, run)}
    for frames in seen.values():
        had = seqs_of(frames)
        assert had == sorted(set(had))
        assert {events[seq] for seq in events.keys() - set(had)} <= {"update"}
        assert frames[-1].id == f"{run}-{max(events)}"
