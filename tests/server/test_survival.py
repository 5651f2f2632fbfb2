"""What happens when processes die, reload and stop: nothing is lost, and every run ends honestly."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.harness import Server, alive, data_of, numbered, updates, wait_for


def test_kill_of_the_runner_ends_its_run_as_interrupted(new_server) -> None:  # type: ignore[no-untyped-def]
    """Who watches sees the end; within a second or two a new runner is there, and the next run works."""
    server = new_server()
    run = server.launch("hold")
    wait_for(lambda: server.run(run)["status"] == "processing")
    runner = server.runner_pid()
    with server.stream(run) as events:
        assert next(events).event == "hello"
        killed = time.monotonic()
        os.kill(runner, signal.SIGKILL)
        last = updates(list(events))[-1]
    print(f"the stream saw the end {time.monotonic() - killed:.2f} s after the kill")
    assert last["error"]["code"] == "interrupted"
    assert server.runner_pid() != runner
    assert server.wait_ended(server.launch("emit", n=1))["status"] == "completed"


def test_runs_that_wait_survive_the_runner(new_server) -> None:  # type: ignore[no-untyped-def]
    """Of 1 processing and 20 queued runs, the one is interrupted and all others are executed."""
    server = new_server(HEADWAY_THREADS="1")
    first = server.launch("hold")
    wait_for(lambda: server.run(first)["status"] == "processing")
    waiting = [server.launch("emit", n=1) for _ in range(20)]
    os.kill(server.runner_pid(), signal.SIGKILL)
    assert server.wait_ended(first)["error"]["code"] == "interrupted"
    assert {server.wait_ended(run)["status"] for run in waiting} == {"completed"}


def test_a_job_that_allows_it_is_begun_again(new_server) -> None:  # type: ignore[no-untyped-def]
    """retries=1: after the runner's death the run has a second attempt, and its events go on in number."""
    server = new_server()
    journal = server.data.parent / "journal"
    run = server.launch("again", journal=str(journal))
    wait_for(lambda: journal.exists() and server.run(run)["progress"] == 50)
    os.kill(server.runner_pid(), signal.SIGKILL)
    found = server.wait_ended(run)
    assert (found["status"], found["attempt"], found["result"]) == ("completed", 2, 2)
    numbers = [data["seq"] for data in numbered(server.events(run))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_child_process_does_not_outlive_its_runner(new_server) -> None:  # type: ignore[no-untyped-def]
    """Its stdin ends, and it leaves."""
    server = new_server()
    run = server.launch("hold_in_child")
    wait_for(lambda: server.run(run)["message"] == "Holding")
    runner = server.runner_pid()
    children = subprocess.run(["pgrep", "-P", str(runner)], capture_output=True, text=True, check=True).stdout.split()
    assert len(children) == 1
    os.kill(runner, signal.SIGKILL)
    wait_for(lambda: not alive(int(children[0])), 15, "the child to leave")


def test_reload_loses_nothing(new_server) -> None:  # type: ignore[no-untyped-def]
    """SIGHUP in mid-run: streams get bye and resume elsewhere without gap or repeat; the run is not touched."""
    server = new_server()
    run = server.launch("emit", n=400, rate=100)
    old = server.worker_pids()
    runner = server.runner_pid()
    seen = []
    with server.stream(run) as events:
        for event in events:
            seen.append(event)
            if len(numbered(seen)) == 50:
                server.signal(signal.SIGHUP)
    assert data_of(seen[-1]) == {"reason": "restart"}
    assert seen[-1].retry is not None
    rest = server.follow(run, last_event_id=next(event.id for event in reversed(seen) if event.id))
    numbers = [data["seq"] for data in numbered(seen) + numbered(rest)]
    assert numbers == list(range(1, server.run(run)["cursor"] + 1))
    assert updates(rest)[-1]["status"] == "completed"
    assert server.run(run)["attempt"] == 1
    wait_for(lambda: not (server.worker_pids() & old), 15, "the old workers to leave")
    wait_for(lambda: not alive(runner), 15, "the old runner to leave after its last run")
    assert server.runner_pid() != runner


def test_reload_brings_new_job_code(new_server, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The next run after SIGHUP is of the new code."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    code = "from jobs import job\n@job\ndef version() -> int:\n    return {}\n"
    (jobs / "version.py").write_text(code.format(1))
    server = new_server(HEADWAY_JOBS=str(jobs))
    assert server.wait_ended(server.launch("version"))["result"] == 1
    (jobs / "version.py").write_text(code.format(2222))
    runner = server.runner_pid()
    server.signal(signal.SIGHUP)
    wait_for(lambda: server.runner_pid() != runner, 15, "a new runner")
    wait_for(lambda: server.wait_ended(server.launch("version"))["result"] == 2222, 15, "the new code")


def test_an_orderly_stop_records_every_run(new_server) -> None:  # type: ignore[no-untyped-def]
    """SIGTERM: exit 0, streams get bye, runs that go on are interrupted, and the data is whole at the next start."""
    server = new_server()
    runs = [server.launch("hold"), server.launch("hold_in_child"), server.launch("emit", n=100_000, rate=50)]
    for run in runs:
        wait_for(lambda run=run: server.run(run)["status"] == "processing")  # type: ignore[misc]
    runner = server.runner_pid()
    with server.stream(runs[0]) as events:
        assert next(events).event == "hello"
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert data_of(list(events)[-1]) == {"reason": "restart"}
        print(f"bye {time.monotonic() - began:.2f} s after SIGTERM")
    server.http.close()
    assert server._process is not None and server._process.wait(30) == 0
    print(f"stopped {time.monotonic() - began:.2f} s after SIGTERM")
    assert not alive(runner)
    again = Server(server.data).start()
    assert {again.run(run)["error"]["code"] for run in runs} == {"interrupted"}
    assert again.stop() == 0


def test_kill_of_a_web_worker_touches_no_run(new_server) -> None:  # type: ignore[no-untyped-def]
    """The run goes on; its stream can be resumed at the worker that is left, or the new one."""
    server = new_server()
    run = server.launch("emit", n=300, rate=150)
    seen = []
    with pytest.raises(httpx.RemoteProtocolError), server.stream(run) as events:
        for event in events:
            seen.append(event)
            if len(numbered(seen)) == 30:
                for pid in server.worker_pids():
                    os.kill(pid, signal.SIGKILL)
    cursor = next(event.id for event in reversed(seen) if event.id)
    wait_for(server._ready, 10, "a new worker")
    rest = server.follow(run, last_event_id=cursor)
    numbers = [data["seq"] for data in numbered(seen) + numbered(rest)]
    assert numbers == list(range(1, server.run(run)["cursor"] + 1))
    assert server.run(run)["status"] == "completed"


def test_what_was_accepted_survives_the_death_of_everything(new_server) -> None:  # type: ignore[no-untyped-def]
    """kill -9 of all processes among launches: every 202 is a run afterwards, and each of them ends."""
    server = new_server(HEADWAY_THREADS="2")
    runs = [server.launch("emit", n=20, rate=100) for _ in range(30)]
    server.kill_all()
    again = Server(server.data).start()
    ends = [again.wait_ended(run, 30) for run in runs]
    assert {end["status"] for end in ends} <= {"completed", "error"}
    assert sum(end["status"] == "completed" for end in ends) >= 20
    for end in ends:
        numbers = [data["seq"] for data in numbered(again.events(end["id"]))]
        assert numbers == list(range(1, end["cursor"] + 1))
    assert again.stop() == 0


def test_a_busy_worker_does_not_keep_others_from_launching(new_server) -> None:  # type: ignore[no-untyped-def]
    """With one web worker stopped (SIGSTOP), launches through the other succeed and run."""
    server = new_server()
    busy = min(server.worker_pids())
    os.kill(busy, signal.SIGSTOP)
    try:
        done = 0
        for _ in range(40):  # the kernel gives some of the connections to the stopped worker
            try:
                answer = httpx.post(
                    f"{server.url}/api/v1/jobs/emit/runs",
                    json={"n": 1},
                    headers={"Authorization": f"Bearer {server.key}"},
                    timeout=1,
                )
            except httpx.TimeoutException:
                continue
            done += answer.status_code == 202
            if done == 3:
                break
        assert done == 3
    finally:
        os.kill(busy, signal.SIGCONT)


def test_a_stopped_runner_cannot_write_after_it_was_replaced(new_server) -> None:  # type: ignore[no-untyped-def]
    """SIGSTOP of the runner: after 30 s without a beat it is killed, its run ends once, a new runner takes over."""
    server = new_server(workers="1")
    run = server.launch("hold")
    wait_for(lambda: server.run(run)["status"] == "processing")
    runner = server.runner_pid()
    os.kill(runner, signal.SIGSTOP)
    found = server.wait_ended(run, 60)
    assert found["error"]["code"] == "interrupted"
    assert server.runner_pid() != runner
    assert server.wait_ended(server.launch("emit", n=1))["status"] == "completed"
    assert server.run(run)["cursor"] == found["cursor"]


def test_a_client_that_leaves_frees_its_stream_at_once(new_server) -> None:  # type: ignore[no-untyped-def]
    """The stream is logged as closed when the client closes, not at the next heartbeat."""
    server = new_server(workers="1")
    run = server.launch("hold")
    with server.stream(run) as events:
        assert next(events).event == "hello"
    wait_for(lambda: f'/runs/{run}/events","status":200' in server.log(), 5, "the stream to be closed")


def test_flask_run_serves_with_the_runner_inside(tmp_path: Path) -> None:
    """The development server, without gunicorn and gevent: the same API, streams and runs."""
    server = Server(tmp_path / "data", workers=1)
    server.start(("-m", "flask", "--app", "app", "run", "--port", str(server.port)))
    token = server.http.post("/api/v1/token", json={}).json()["token"]
    run = server.launch("emit", n=20, rate=100)
    events = server.events(run)
    assert updates(events)[-1]["status"] == "completed"
    child = server.launch("spin", seconds=0.2)
    assert updates(server.events(child))[-1]["status"] == "completed"
    assert httpx.get(f"{server.url}/api/v1/runs/{run}/events?token={token}").status_code == 200
    assert token not in server.log()
    held = server.launch("hold")
    wait_for(lambda: server.run(held)["status"] == "processing")
    server.signal(signal.SIGINT)
    wait_for(lambda: not alive(server.pid), 15, "the server to leave")
    server.stop()
    again = Server(server.data).start()
    assert again.run(held)["error"]["message"].startswith("The server stopped")  # recorded then, not found dead now
    again.stop()
