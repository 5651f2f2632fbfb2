"""From one queue to the store and the bus, in order, by one thread that does not die."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3  # two copies of SQLite in one process lose each other's locks
import pytest

from jobs.bus import Bus, Ear, News
from jobs.events import Draft, Ending, now_ms
from jobs.recorder import BATCH, MAX_PAUSE_S, Recorder, Rest
from jobs.store import Store
from tests.harness import wait_for
from tests.jobs.workbench import OWNER, claimed, completed, in_threads, line, update


@pytest.fixture
def ended() -> list[Ending]:
    """The endings that the recorder has called back."""
    return []


@pytest.fixture
def recorder(store: Store, bus: Bus, ended: list[Ending]) -> Iterator[Recorder]:
    """A running recorder."""
    running = Recorder(store, bus, ended.append)
    yield running
    running.close()


def is_ended(store: Store, run: str) -> Callable[[], bool]:
    """A condition to wait for."""
    return lambda: store.run(run, OWNER).ended


def test_what_is_put_is_written_in_order(store: Store, recorder: Recorder) -> None:
    claim = claimed(store)
    for number in range(3 * BATCH + 7):
        recorder.queue.put(line(claim, str(number)))
    recorder.queue.put(completed(claim))
    wait_for(is_ended(store, claim.run))
    events = store.events_after(claim.run, 2, 10_000).events
    assert [json.loads(event.body)["message"] for event in events[:-1]] == [str(one) for one in range(3 * BATCH + 7)]
    assert [event.seq for event in events] == list(range(3, len(events) + 3))


def test_many_threads_may_put_and_each_keeps_its_order(store: Store, recorder: Recorder) -> None:
    claims = [claimed(store) for _ in range(8)]

    def work(thread: int) -> None:
        for number in range(400):
            recorder.queue.put(line(claims[thread], str(number)))
        recorder.queue.put(completed(claims[thread]))

    in_threads(8, work)
    for claim in claims:
        wait_for(is_ended(store, claim.run))
        messages = [json.loads(event.body)["message"] for event in store.events_after(claim.run, 2, 1000).events[:-1]]
        assert messages == [str(number) for number in range(400)]


def test_an_ending_is_called_back_when_it_is_on_the_disk_also_when_it_was_refused(
    store: Store, recorder: Recorder, ended: list[Ending]
) -> None:
    claim = claimed(store)
    good, late = completed(claim), completed(claim)
    recorder.queue.put(good)
    wait_for(lambda: ended)
    assert store.run(claim.run, OWNER).ended
    recorder.queue.put(late)
    wait_for(lambda: len(ended) == 2)
    assert ended == [good, late]


def test_closing_writes_what_is_in_the_queue(store: Store, bus: Bus, ended: list[Ending]) -> None:
    claim = claimed(store)
    recorder = Recorder(store, bus, ended.append)
    for _ in range(5000):
        recorder.queue.put(line(claim))
    recorder.close()
    assert store.heads([claim.run]) == {claim.run: 5002}


def test_the_bus_hears_of_all_that_is_written(store: Store, bus: Bus, tmp_path: Path, ended: list[Ending]) -> None:
    """Nobody listens while 200 batches are told; what the socket had no room for comes afterwards."""
    ear = Ear(tmp_path / "bus", "web-1")
    claim = claimed(store)
    recorder = Recorder(store, bus, ended.append)
    for number in range(200):
        recorder.queue.put(line(claim))
        wait_for(lambda head=number + 3: store.heads([claim.run])[claim.run] == head)
    heads = [0]

    def caught_up() -> bool:
        news = ear.hear(1) or News()
        heads.extend([*(event.seq for event in news.events), *news.heads.values()])
        return max(heads) == 202

    wait_for(caught_up)
    recorder.close()
    ear.close()


def test_a_database_that_is_locked_for_a_while_loses_nothing(store: Store, recorder: Recorder) -> None:
    claim = claimed(store)
    outside = sqlite3.connect(store.path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    for _ in range(10):
        recorder.queue.put(line(claim))
    recorder.queue.put(completed(claim))
    wait_for(lambda: recorder.queue.empty())
    assert store.heads([claim.run]) == {claim.run: 2}
    outside.execute("COMMIT")
    outside.close()
    wait_for(is_ended(store, claim.run))
    assert store.heads([claim.run]) == {claim.run: 13}


def nested(depth: int) -> str:
    """JSON of lists in lists."""
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "poison",
    [
        lambda claim: Draft(claim.run, claim.attempt, "update", '{"status":"processing","progr', now_ms()),
        lambda claim: Draft(claim.run, claim.attempt, "update", "{}", now_ms()),
        lambda claim: completed(claim, nested(100_000)),
        lambda claim: completed(claim, '{"cut": '),
    ],
    ids=["half an update", "empty update", "deep result", "half a result"],
)
def test_nothing_that_one_run_says_stops_the_recording_of_the_others(
    store: Store, recorder: Recorder, poison: Callable[[object], Draft | Ending]
) -> None:
    """One thread records for the whole runner: it has to survive everything, and the run still gets an end."""
    bad, good = claimed(store), claimed(store)
    recorder.queue.put(poison(bad))
    recorder.queue.put(completed(bad))
    recorder.queue.put(completed(good))
    wait_for(is_ended(store, good.run), 3, "the recorder to be alive")
    wait_for(is_ended(store, bad.run), 3, "the end of the run")


def test_random_batches_are_dense(store: Store, recorder: Recorder) -> None:
    dice = random.Random(7)
    claims = [claimed(store) for _ in range(20)]
    for _ in range(3000):
        claim = dice.choice(claims)
        recorder.queue.put(update(claim, dice.randrange(100)) if dice.random() < 0.5 else line(claim))
    for claim in claims:
        recorder.queue.put(completed(claim))
    for claim in claims:
        wait_for(is_ended(store, claim.run))
        numbers = [event.seq for event in store.events_after(claim.run, 0, 10_000).events]
        assert numbers == list(range(1, len(numbers) + 1))


def test_hundreds_of_drafts_a_second_are_written_without_a_rest() -> None:
    rest = Rest()
    assert {rest.after(1, 100 + second / 500) for second in range(1000)} == {0.0}


def test_thousands_a_second_make_it_rest_after_each_batch() -> None:
    rest, now = Rest(), 100.0
    rests = []
    for _ in range(100):
        rests.append(rest.after(20, now))
        now += 0.001 + rests[-1]
    assert rests[0] == 0.0 and rests[-1] == pytest.approx(MAX_PAUSE_S)
    assert rest.after(1, now + 10) == 0.0, "what it owed is paid"
