"""The runner inside this process: it claims in order, buries the dead, and leaves nothing without an end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite3  # two copies of SQLite in one process lose each other's locks
import pytest

from jobs.bus import Bus, Ear
from jobs.errors import RunEnded
from jobs.launch import Launcher
from jobs.locks import is_held, is_shared, try_lock
from jobs.registry import Registry
from jobs.runner import Runner, runner_lock_path, runner_pids
from jobs.runs import Run
from jobs.settings import Settings
from jobs.store import Store
from tests.harness import JOBS, wait_for
from tests.jobs.workbench import OWNER, accepted, claimed, line

JOB_FILE = """
import threading, time
from pathlib import Path
from jobs import JobError, Progress, Secret, job

def deep(levels):
    x = []
    for _ in range(levels): x = [x]
    return x

@job
def deep_in_thread(progress: Progress):
    return deep(975)

@job(isolated=True)
def deep_in_child(progress: Progress):
    return deep(987)

@job
def poison(progress: Progress):
    from decimal import Decimal
    progress.update(1)
    try:
        progress.update(Decimal(5))
    except (TypeError, ValueError):
        pass
    progress.log("said")
    while True: progress.check()

@job(timeout=0.2)
def brief(progress: Progress):
    while True: progress.check()

@job
def noted(progress: Progress, journal: str, name: str):
    with open(journal, "a") as file: file.write(name + "\\n")

@job(isolated=True)
def shout_and_die(progress: Progress):
    import os, signal
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    while True: progress.row({"text": "x" * 50_000})
"""


class Machine:
    """A data folder with a launcher and, once started, a runner in a thread."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        (data / "more").mkdir(parents=True)
        (data / "more" / "runner_jobs.py").write_text(JOB_FILE)
        environment = {"HEADWAY_DATA": str(data), "HEADWAY_THREADS": "2", "HEADWAY_PROCESSES": "1"}
        environment |= {f"HEADWAY_{name.upper()}": value for name, value in settings.items()}
        self.environment = environment
        self.settings = Settings.from_environment(environment)
        self.registry = Registry([JOBS, data / "more"])
        self.store = Store(self.settings.database_path, checkpoints=True)
        self.bus = Bus(data / "bus")
        self.launcher = Launcher(self.registry, self.store, self.bus, data, 1000)
        self.runners: list[tuple[Runner, threading.Thread]] = []

    def start(self) -> Runner:
        """Start a runner."""
        lock = try_lock(self.data / "runner.lock")
        assert lock is not None
        runner = Runner(self.settings, self.store, self.bus, self.registry, lock, self.environment)
        thread = threading.Thread(target=runner.run)
        thread.start()
        self.runners.append((runner, thread))
        return runner

    def stop(self) -> None:
        """Stop all runners in order."""
        for runner, _ in self.runners:
            runner.stop()
        self.bus.nudge()
        for _, thread in self.runners:
            thread.join(20)
            assert not thread.is_alive()

    def close(self) -> None:
        """Stop and let go of everything."""
        self.stop()
        self.store.close()
        self.bus.close()

    def launch(self, job: str, **parameters: Any) -> str:
        """Launch a run; gives its id."""
        return self.launcher.launch(job, parameters, OWNER).id

    def run(self, run: str) -> Run:
        """A run as it is."""
        return self.store.run(run, OWNER)

    def until(self, run: str, status: str, limit_s: float = 10) -> Run:
        """Wait until a run has that status."""
        wait_for(lambda: self.run(run).status == status, limit_s, f"run {run} to be {status}")
        return self.run(run)


@pytest.fixture
def new_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """A maker of machines, closed after the test."""
    made: list[Machine] = []

    def make(**settings: str) -> Machine:
        made.append(Machine(tmp_path / f"data{len(made)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def machine(new_machine: Callable[..., Machine]) -> Machine:
    """A machine whose runner goes."""
    made = new_machine()
    made.start()
    return made


def events(machine: Machine, run: str) -> list[dict[str, Any]]:
    """The bodies of a run's events; the numbers have to be 1..n."""
    page = machine.store.events_after(run, 0)
    found = list(page.events)
    while found[-1].seq < page.head:
        found += machine.store.events_after(run, found[-1].seq).events
    assert [event.seq for event in found[: page.head]] == list(range(1, page.head + 1))
    return [json.loads(event.body) for event in found]


def test_a_run_goes_from_queued_over_processing_to_its_result(machine: Machine) -> None:
    run = machine.until(machine.launch("emit", n=3), "completed")
    assert (run.result, run.progress, run.attempt) == ('{"n":3}', 100, 1)
    said = events(machine, run.id)
    assert [body["status"] for body in said if "status" in body][:2] == ["queued", "processing"]
    assert said[-1]["status"] == "completed" and said[-1]["data"] == {"n": 3}
    assert [body["row"]["i"] for body in said if "row" in body] == [0, 1, 2]


def test_a_run_of_a_computing_job_works_in_a_child(machine: Machine) -> None:
    run = machine.until(machine.launch("spin", seconds=0.2), "completed")
    assert run.result == '{"seconds":0.2}'
    crashed = machine.until(machine.launch("die", how="exit", number=3), "error")
    assert crashed.error is not None and crashed.error["code"] == "crashed"


def test_runs_begin_in_the_order_of_their_launch(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine(threads="1")
    journal = machine.data / "journal"
    runs = []
    for number in range(12):
        runs.append(machine.launch("noted", journal=str(journal), name=f"{number}"))
        created = machine.run(runs[-1]).created_ms
        wait_for(lambda then=created: machine.store.run(runs[-1], OWNER) and _now_ms() > then)  # the order is to the ms
    machine.start()
    machine.until(runs[-1], "completed")
    assert journal.read_text().split() == [f"{number}" for number in range(12)]


def _now_ms() -> int:
    from jobs.events import now_ms

    return now_ms()


def test_when_all_threads_are_busy_runs_wait_with_their_position(machine: Machine) -> None:
    gate = machine.data / "gate"
    busy = [machine.launch("hold", gate=str(gate)) for _ in range(2)]
    for run in busy:
        machine.until(run, "processing")
    waiting = [machine.launch("hold", gate=str(gate)) for _ in range(2)]
    assert sorted(machine.run(run).queue_position or 0 for run in waiting) == [1, 2]
    gate.touch()
    for run in busy + waiting:
        machine.until(run, "completed")


def test_busy_threads_do_not_hold_up_children_nor_children_threads(machine: Machine) -> None:
    gate = machine.data / "gate"
    threads = [machine.launch("hold", gate=str(gate)) for _ in range(3)]
    child = machine.launch("hold_in_child", gate=str(gate))
    machine.until(child, "processing")
    assert sorted(machine.run(run).status for run in threads) == ["processing", "processing", "queued"]
    second = machine.launch("hold_in_child", gate=str(gate))
    assert machine.run(second).queue_position == 1
    gate.touch()
    for run in [*threads, child, second]:
        machine.until(run, "completed")


def test_a_run_is_cancelled_wherever_it_is(machine: Machine) -> None:
    held, child = machine.launch("hold"), machine.launch("hold_in_child")
    behind = machine.launch("hold_in_child")
    for run in (held, child):
        machine.until(run, "processing")
        wait_for(lambda it=run: machine.run(it).progress == 30)
    for run in (behind, held, child):
        machine.launcher.cancel(run, OWNER)
        ended = machine.until(run, "error", 5)
        assert ended.error is not None and ended.error["code"] == "cancelled" and ended.cancelling is False
    assert machine.run(held).progress == 30
    assert machine.until(machine.launch("emit", n=1), "completed")


def test_every_way_to_fail_is_an_end_and_the_threads_are_free_again(machine: Machine) -> None:
    for how in ("raise", "job_error", "set", "nan", "exit") * 2:
        run = machine.until(machine.launch("fail", how=how), "error")
        assert run.error is not None and run.error["code"] == "failed" and run.progress == 40
    late = machine.until(machine.launch("overtime"), "error")
    assert late.error is not None and late.error["code"] == "timeout"
    machine.until(machine.launch("emit", n=1), "completed")


def test_a_race_of_cancels_and_ends_leaves_one_last_event_each(machine: Machine) -> None:
    """Cancelled before, in and after its work: each run has one end, and it is last."""
    runs = []
    for _ in range(40):
        run = machine.launch("emit", n=50)
        runs.append(run)
        try:
            machine.launcher.cancel(run, OWNER)
        except RunEnded:
            pass
    for run in runs:
        wait_for(lambda it=run: machine.run(it).ended)
        ends = [body["status"] in ("completed", "error") for body in events(machine, run) if "status" in body]
        assert ends == [False] * (len(ends) - 1) + [True]


def test_the_bus_tells_of_every_event(machine: Machine) -> None:
    ear = Ear(machine.data / "bus", "web-1")
    run = machine.launch("emit", n=5)
    heads = [0]
    while max(heads) < machine.until(run, "completed").head:
        news = ear.hear(5)
        assert news is not None
        heads += [event.seq for event in news.events if event.run == run]
        heads.append(news.heads.get(run, 0))
    ear.close()


# What jobs do to their runner.


@pytest.mark.parametrize("job", ["deep_in_thread", "deep_in_child"])
def test_a_result_nested_deeply_does_no_harm(machine: Machine, job: str) -> None:
    """Whoever reads it later has less stack left than who wrote it."""
    run = machine.launch(job)
    assert machine.until(machine.launch("emit", n=1), "completed")
    wait_for(lambda: machine.store.heads([run])[run] >= 3)
    wait_for(lambda: machine.run(run).ended, 5)


def test_a_child_that_dies_in_the_middle_of_a_row_does_no_harm(machine: Machine) -> None:
    runs = [machine.launch("shout_and_die") for _ in range(3)]
    for run in runs:
        machine.until(run, "error", 20)
        assert all(len(body["row"]["text"]) == 50_000 for body in events(machine, run) if "row" in body)


def test_a_careless_job_does_not_take_the_time_limits_of_others_away(machine: Machine) -> None:
    careless = machine.launch("poison")
    wait_for(lambda: any("level" in body for body in events(machine, careless)))
    brief = machine.until(machine.launch("brief"), "error", 5)
    assert brief.error is not None and brief.error["code"] == "timeout"
    machine.launcher.cancel(careless, OWNER)
    machine.until(careless, "error", 5)


def test_a_job_that_is_gone_since_its_launch_fails_its_run(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    unknown = accepted(machine.store, job="gone")
    broken = accepted(machine.store, job="broken")
    machine.start()
    for run, word in ((unknown, "no job named 'gone'"), (broken, "no_such_module")):
        ended = machine.until(run, "error")
        assert ended.error is not None and ended.error["code"] == "failed" and word in ended.error["message"]


def test_a_job_gets_its_settings_and_not_the_server_s_key(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine(crawl_allow="127.0.0.1:8000", key="a-key-for-the-tests-only")
    machine.start()
    run = machine.until(machine.launch("kinds", text="x"), "completed")
    assert json.loads(run.result or "")["setting"] == "127.0.0.1:8000"


# Runners that come and go.


def test_the_runs_of_a_dead_runner_are_ended(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    dead, again = claimed(machine.store, runner="dead"), claimed(machine.store, runner="dead", retries=1, job="emit")
    path = runner_lock_path(machine.data, "dead")
    path.parent.mkdir()
    path.touch()
    machine.start()
    ended = machine.until(dead.run, "error")
    assert ended.error is not None and ended.error["code"] == "interrupted"
    assert machine.until(again.run, "completed").attempt == 2
    wait_for(lambda: not path.exists())


def test_the_runs_of_a_runner_that_lives_are_left_alone(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    theirs = claimed(machine.store, runner="alive")
    lock = try_lock(runner_lock_path(machine.data, "alive"))
    assert lock is not None
    machine.start()
    dead = claimed(machine.store, runner="dead", lane="other")
    machine.until(dead.run, "error")  # so it has looked
    assert machine.run(theirs.run).status == "processing"
    assert len(machine.store.append([line(theirs)])) == 1
    lock.release()
    machine.until(theirs.run, "error")


def test_a_stop_ends_every_run_and_keeps_those_that_wait(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.start()
    going = [machine.launch("hold"), machine.launch("hold"), machine.launch("hold_in_child")]
    for run in going:
        machine.until(run, "processing")
    waiting = machine.launch("emit", n=1)
    machine.stop()
    for run in going:
        ended = machine.run(run)
        assert ended.status == "error" and ended.error is not None and ended.error["code"] == "interrupted"
        events(machine, run)
    assert machine.run(waiting).status == "queued"
    assert not is_held(machine.data / "runner.lock") and list((machine.data / "runners").iterdir()) == []
    assert list((machine.data / "bus").glob("runner-*")) == []
    machine.start()
    machine.until(waiting, "completed")


def test_a_stop_lets_a_run_that_may_be_retried_wait_for_the_next_runner(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.start()
    journal = machine.data / "journal"
    run = machine.launch("again", journal=str(journal))
    wait_for(lambda: machine.run(run).progress == 50)
    machine.stop()
    assert machine.run(run).status == "queued"
    machine.start()
    assert machine.until(run, "completed").result == "2" and machine.run(run).attempt == 2


def test_a_runner_that_retires_finishes_what_it_has_while_the_next_one_claims(machine: Machine) -> None:
    gate = machine.data / "gate"
    old = machine.launch("hold", gate=str(gate))
    machine.until(old, "processing")
    first, thread = machine.runners[0]
    first.retire()
    assert not is_held(machine.data / "runner.lock")
    second = machine.start()
    new = machine.launch("emit", n=1)
    machine.until(new, "completed")
    assert machine.run(old).status == "processing" and machine.store.runners() == {first.id}
    assert second.id != first.id
    gate.touch()
    assert machine.until(old, "completed").attempt == 1
    thread.join(10)
    assert not thread.is_alive() and not runner_lock_path(machine.data, first.id).exists()


def test_a_runner_shows_its_process_id(machine: Machine) -> None:
    wait_for(lambda: runner_pids(machine.data) == {os.getpid()})


def test_a_runner_whose_server_is_gone_is_told_by_the_lock_alone(new_machine: Callable[..., Machine]) -> None:
    """web.lock held shared by anybody means that a server lives."""
    machine = new_machine()
    lock = try_lock(machine.data / "web.lock", shared=True)
    assert lock is not None and is_shared(machine.data / "web.lock")
    lock.release()
    assert not is_shared(machine.data / "web.lock")


def test_secrets_are_neither_in_the_database_nor_in_its_wal_after_the_end(new_machine: Callable[..., Machine]) -> None:
    """Searched as an attacker would: in the bytes of the files, when everything is closed."""
    canary = "sk-canary-in-the-database"
    machine = new_machine()
    machine.start()
    runs = [machine.launch("kinds", text="x" * 500, secret=canary) for _ in range(20)]
    for run in runs:
        assert json.loads(machine.until(run, "completed").result or "")["secret"] == "***"
    machine.stop()
    machine.store.close()
    outside = sqlite3.connect(machine.settings.database_path)
    assert outside.execute("SELECT count(*) FROM runs WHERE secrets IS NOT NULL").fetchone() == (0,)
    found = outside.execute("SELECT (SELECT count(*) FROM events WHERE body LIKE ?)", (f"%{canary}%",)).fetchone()
    assert found == (0,)
    outside.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outside.close()
    holding = [path.name for path in machine.data.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert holding == []
