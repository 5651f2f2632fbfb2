"""The database of runs and events: numbers, order, fences, and what it says when it cannot be used."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite3  # two copies of SQLite in one process lose each other's locks
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import HeadwayError, KeyReused, QueueFull, RunEnded, RunNotEnded, StoreError, UnknownRun
from jobs.events import Draft, Ending, ErrorCode, Event, last_update, now_ms, to_json
from jobs.runs import RUN_ID_LENGTH, Claim, new_run_id
from jobs.store import MAX_RUNS_LISTED, SCHEMA_VERSION, Store
from tests.harness import ROOT
from tests.jobs.workbench import (
    FRAME_ROOM_BYTES,
    OWNER,
    RUNNER,
    accepted,
    claimed,
    completed,
    in_threads,
    line,
    new_run,
    update,
)

FAST = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def numbers(store: Store, run: str) -> list[int]:
    """The numbers of a run's events."""
    return [event.seq for event in store.events_after(run, 0, 10_000).events]


# A run's way.


def test_an_accepted_run_waits_with_its_first_event(store: Store) -> None:
    run, (event,) = store.accept(new_run(params={"n": 5}))
    assert (run.status, run.attempt, run.head, run.params, run.progress) == ("queued", 0, 1, {"n": 5}, 0)
    assert (event.seq, event.kind, event.last) == (1, "update", False)
    assert json.loads(event.body)["status"] == "queued"
    assert store.events_after(run.id, 0).events == (event,)


def test_numbers_are_dense_from_1_whatever_is_said_in_whichever_batches(store: Store) -> None:
    first, second = claimed(store), claimed(store)
    store.append([update(first), line(second), line(first), update(second)])
    store.append([line(first)])
    store.append([])
    store.append([line(second), completed(second), line(first), completed(first)])
    assert numbers(store, first.run) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(store, second.run) == [1, 2, 3, 4, 5, 6]


def test_what_comes_back_is_what_is_read_back(store: Store) -> None:
    claim = claimed(store)
    said = store.append([update(claim), line(claim, "ü\ud800"), completed(claim, '{"n":1}')])
    assert store.events_after(claim.run, 2).events == tuple(said)
    assert [event.last for event in said] == [False, False, True]


def test_an_end_is_the_end(store: Store) -> None:
    """Nothing after it is written: not in the same batch, not later, not a second end."""
    claim = claimed(store)
    said = store.append([update(claim, 40), completed(claim), line(claim), completed(claim)])
    assert [event.last for event in said] == [False, True]
    assert store.append([line(claim), update(claim), completed(claim)]) == []
    run = store.run(claim.run, OWNER)
    assert (run.status, run.progress, run.ended, run.head) == ("completed", 100, True, 4)
    assert run.ended_ms is not None and run.started_ms is not None and run.created_ms <= run.started_ms <= run.ended_ms


def test_a_failed_run_keeps_the_percent_and_step_that_it_reached(store: Store) -> None:
    claim = claimed(store)
    store.append([update(claim, 42.5)])
    ending = Ending(claim.run, 1, "error", now_ms(), "It broke.", "failed", files=({"name": "a.csv", "bytes": 3},))
    store.append([ending])
    run = store.run(claim.run, OWNER)
    assert (run.status, run.progress, run.error) == ("error", 42.5, {"code": "failed", "message": "It broke."})
    assert run.files == ({"name": "a.csv", "bytes": 3},)


def test_a_stale_attempt_is_refused(store: Store) -> None:
    old = claimed(store, retries=1)
    store.interrupt(RUNNER, "The runner died.")
    ((new, _),) = store.claim("runner-b", "thread", 1)
    assert (new.run, new.attempt) == (old.run, 2)
    before = store.run(old.run, OWNER)
    assert store.append([update(old), line(old), completed(old)]) == []
    assert store.run(old.run, OWNER) == before
    assert len(store.append([line(new), completed(new)])) == 2


def test_a_run_that_waits_or_is_unknown_takes_no_events(store: Store) -> None:
    waiting = accepted(store)
    for run in (waiting, "nobody"):
        assert store.append([Draft(run, attempt, "log", "{}", 0) for attempt in (0, 1)]) == []
    assert numbers(store, waiting) == [1]


def test_runs_are_claimed_in_the_order_of_their_launch_each_lane_for_itself(store: Store) -> None:
    lanes = ["thread", "process", "thread", "thread", "process"]
    runs = [(lane, accepted(store, lane=lane)) for lane in lanes]
    for lane in ("thread", "process"):
        expected = [run for its, run in runs if its == lane]
        first = store.claim(RUNNER, lane, 2)
        assert [claim.run for claim, _ in first] == expected[:2]
        assert [claim.run for claim, _ in store.claim("runner-b", lane, 10)] == expected[2:]
        assert store.claim(RUNNER, lane, 10) == []


def test_a_claim_carries_what_the_job_needs(store: Store) -> None:
    claim = claimed(store, job="crawl", params={"url": "x", "key": "***"}, secrets={"key": "canary"})
    assert claim == Claim(claim.run, "crawl", OWNER, 1, {"url": "x", "key": "***"}, {"key": "canary"})
    assert store.run(claim.run, OWNER).status == "processing"
    assert store.runners() == {RUNNER}


def test_a_waiting_run_knows_its_place_in_its_lane(store: Store) -> None:
    first, second, other = accepted(store), accepted(store), accepted(store, lane="process")
    places = {run: store.run(run, OWNER).queue_position for run in (first, second, other)}
    assert places == {first: 1, second: 2, other: 1}
    assert {run.id: run.queue_position for run in store.runs(OWNER)} == places
    store.claim(RUNNER, "thread", 1)
    assert store.run(second, OWNER).queue_position == 1
    assert store.run(first, OWNER).queue_position is None


def test_a_launch_is_refused_when_too_many_wait(store: Store) -> None:
    for _ in range(3):
        accepted(store)
    with pytest.raises(QueueFull, match="3 runs"):
        store.accept(new_run(), max_queue=3)
    store.claim(RUNNER, "thread", 1)
    store.accept(new_run(), max_queue=3)
    assert len(store.runs(OWNER)) == 4


# Idempotency.


def test_the_same_key_and_parameters_give_the_same_run(store: Store) -> None:
    first, events = store.accept(new_run(idempotency_key="k", idempotency_hash="h"))
    again, none = store.accept(new_run(idempotency_key="k", idempotency_hash="h"))
    assert (again.id, len(events), none) == (first.id, 1, ())
    with pytest.raises(KeyReused):
        store.accept(new_run(idempotency_key="k", idempotency_hash="other"))
    assert len(store.runs(OWNER)) == 1


def test_a_known_key_is_answered_also_when_the_queue_is_full(store: Store) -> None:
    first, _ = store.accept(new_run(idempotency_key="k", idempotency_hash="h"), max_queue=1)
    assert store.accept(new_run(idempotency_key="k", idempotency_hash="h"), max_queue=1)[0].id == first.id


def test_a_key_belongs_to_its_owner_and_runs_without_one_are_all_different(store: Store) -> None:
    runs = [
        store.accept(new_run(owner=owner, idempotency_key=key, idempotency_hash="h"))[0].id
        for owner, key in (("alice", "k"), ("bob", "k"), ("alice", None), ("alice", None))
    ]
    assert len(set(runs)) == 4


def test_fifty_launches_at_once_with_one_key_are_one_run(store: Store) -> None:
    given: list[str] = []
    in_threads(50, lambda _: given.append(store.accept(new_run(idempotency_key="k", idempotency_hash="h"))[0].id))
    assert len(given) == 50 and len(set(given)) == 1 and len(store.runs(OWNER)) == 1


# Cancelling and interrupting.


def test_cancelling_a_run_that_waits_ends_it(store: Store) -> None:
    run = accepted(store)
    found, (event,) = store.cancel(run, OWNER)
    assert (found.status, found.error) == ("error", {"code": "cancelled", "message": "Cancelled before it started."})
    assert (event.seq, event.last, numbers(store, run)) == (2, True, [1, 2])
    assert store.claim(RUNNER, "thread", 10) == []


def test_cancelling_a_run_that_goes_on_marks_it_for_its_runner(store: Store) -> None:
    claim, other = claimed(store), claimed(store, runner="runner-b")
    for _ in range(2):
        found, events = store.cancel(claim.run, OWNER)
        assert (found.status, found.cancelling, events) == ("processing", True, ())
    assert store.cancelling(RUNNER) == {claim.run} and store.cancelling("runner-b") == set()
    store.append([completed(claim), completed(other)])
    assert store.cancelling(RUNNER) == set() and store.run(claim.run, OWNER).cancelling is False


def test_cancelling_a_run_that_has_ended_is_refused(store: Store) -> None:
    claim = claimed(store)
    store.append([completed(claim)])
    with pytest.raises(RunEnded):
        store.cancel(claim.run, OWNER)
    assert numbers(store, claim.run) == [1, 2, 3]


def test_the_runs_of_a_dead_runner_end_as_interrupted_and_no_others(store: Store) -> None:
    claim, other, waiting = claimed(store), claimed(store, runner="runner-b"), accepted(store)
    store.append([update(claim, 33)])
    (event,) = store.interrupt(RUNNER, "The runner died.")
    run = store.run(claim.run, OWNER)
    assert (run.status, run.progress) == ("error", 33)
    assert run.error == {"code": "interrupted", "message": "The runner died."}
    assert event.last and event.seq == 4 == run.head
    assert store.run(other.run, OWNER).status == "processing" and store.run(waiting, OWNER).status == "queued"
    assert store.interrupt(RUNNER, "again") == []


def test_an_interrupted_run_is_begun_again_as_often_as_its_job_allows(store: Store) -> None:
    run = accepted(store, retries=2, secrets={"key": "canary"}, params={"n": 1})
    for attempt in (1, 2, 3):
        ((claim, _),) = store.claim(RUNNER, "thread", 1)
        assert (claim.attempt, claim.secrets) == (attempt, {"key": "canary"})
        (event,) = store.interrupt(RUNNER, "The runner died.")
        assert event.last is (attempt == 3)
        assert store.run(run, OWNER).status == ("error" if attempt == 3 else "queued")
    assert numbers(store, run) == list(range(1, 8))


def test_an_interrupted_run_that_was_to_be_cancelled_is_not_begun_again(store: Store) -> None:
    claim = claimed(store, retries=5)
    store.cancel(claim.run, OWNER)
    store.interrupt(RUNNER, "The runner died.")
    run = store.run(claim.run, OWNER)
    assert run.status == "error" and run.error is not None and run.error["code"] == "cancelled"


def test_a_run_that_a_stop_interrupted_is_begun_again_too(store: Store) -> None:
    """Its own attempt says so, in order; nothing that the attempt says after it counts."""
    claim = claimed(store, retries=1, secrets={"key": "canary"})
    stop = Ending(claim.run, 1, "error", now_ms(), "The server stopped.", "interrupted")
    events = store.append([update(claim, 33), stop, line(claim), completed(claim)])
    assert [json.loads(event.body)["status"] for event in events] == ["processing", "queued"]
    run = store.run(claim.run, OWNER)
    assert (run.status, run.progress, run.head) == ("queued", 0, events[-1].seq)
    assert run.message == "The server stopped. It will be begun again."
    ((again, _),) = store.claim("runner-b", "thread", 1)
    assert (again.attempt, again.secrets) == (2, {"key": "canary"})
    (last,) = store.append([replace(stop, attempt=2)])
    assert last.last and store.run(claim.run, OWNER).error == {"code": "interrupted", "message": "The server stopped."}


@pytest.mark.parametrize("code", ["failed", "timeout", "crashed", "cancelled"])
def test_only_what_was_interrupted_is_begun_again(store: Store, code: ErrorCode) -> None:
    claim = claimed(store, retries=3)
    store.append([Ending(claim.run, 1, "error", now_ms(), "No.", code)])
    assert store.run(claim.run, OWNER).status == "error"


def test_rows_come_page_by_page_and_nothing_else(store: Store) -> None:
    claim, other = claimed(store), claimed(store)
    rows = [Draft(claim.run, 1, "row", to_json({"row": {"n": n, "text": "x" * 1000}}), 0) for n in range(40)]
    store.append([one for row in rows for one in (line(claim), row, update(claim))])
    store.append([Draft(other.run, 1, "row", to_json({"row": {"n": -1}}), 0)])
    found: list[Event] = []
    pages = 0
    while page := store.rows_of(claim.run, found[-1].seq if found else 0, max_bytes=5000):
        found += page
        pages += 1
    assert [json.loads(event.body)["row"]["n"] for event in found] == list(range(40))
    assert pages == 8
    assert store.rows_of("nobody") == ()


def test_secrets_are_gone_when_the_run_has_ended_however_it_ended(store: Store) -> None:
    ended, interrupted = (claimed(store, secrets={"key": "canary"}) for _ in range(2))
    cancelled = accepted(store, secrets={"key": "canary"})
    store.append([completed(ended)])
    store.interrupt(RUNNER, "died")
    store.cancel(cancelled, OWNER)
    with sqlite3.connect(store.path) as outside:
        assert outside.execute("SELECT DISTINCT secrets FROM runs").fetchall() == [(None,)]
    outside.close()


# Deleting.


def test_a_deleted_run_is_gone_with_its_events_and_its_idempotency_key(store: Store) -> None:
    first, _ = store.accept(new_run(idempotency_key="k", idempotency_hash="h"))
    with pytest.raises(RunNotEnded):
        store.delete(first.id, OWNER)
    store.cancel(first.id, OWNER)
    store.delete(first.id, OWNER)
    for look in (
        lambda: store.run(first.id, OWNER),
        lambda: store.events_after(first.id, 0),
        lambda: store.delete(first.id, OWNER),
    ):
        with pytest.raises(UnknownRun):
            look()
    assert store.heads([first.id]) == {}
    assert store.accept(new_run(idempotency_key="k", idempotency_hash="other"))[0].id != first.id


# Owners.


@pytest.mark.parametrize("call", ["run", "result", "cancel", "delete"])
def test_another_owner_s_run_is_as_unknown_as_one_that_never_was(store: Store, call: str) -> None:
    run = accepted(store)
    said = set()
    for foreign, owner in ((run, "bob"), (new_run_id(), OWNER), ("' OR 1=1 --", OWNER), ("%", OWNER)):
        with pytest.raises(UnknownRun) as unknown:
            getattr(store, call)(foreign, owner)
        said.add(str(unknown.value))
    assert len(said) == 1
    assert store.runs("bob") == [] and store.run(run, OWNER).status == "queued"


# The list.


def test_runs_are_listed_newest_first_and_paged(store: Store) -> None:
    ids = [new_run_id() for _ in range(7)]
    ids = sorted(ids)
    for run in ids:
        accepted(store, id=run)
    seen: list[str] = []
    before = None
    while page := store.runs(OWNER, before=before, limit=3):
        seen += [run.id for run in page]
        before = page[-1].id
    assert seen == ids[::-1]


def test_a_list_is_bounded(store: Store) -> None:
    for _ in range(MAX_RUNS_LISTED + 5):
        accepted(store)
    assert len(store.runs(OWNER, limit=10**9)) == MAX_RUNS_LISTED


def test_runs_are_filtered_by_job_and_status(store: Store) -> None:
    crawl, emit = accepted(store, job="crawl"), accepted(store, job="emit")
    store.claim(RUNNER, "thread", 1)
    assert [run.id for run in store.runs(OWNER, job="crawl")] == [crawl]
    assert [run.id for run in store.runs(OWNER, status="queued")] == [emit]
    assert store.runs(OWNER, job="crawl", status="queued") == []


@pytest.mark.parametrize("text", ["100%", "a_b", "/", "\\", "'", '"', "Zürich", "日本", "50% off_now/", "😀", "a\tb"])
def test_a_text_is_found_literally(store: Store, text: str) -> None:
    """% and _ are no wildcards, and what JSON escapes is found as it was typed."""
    wanted = accepted(store, params={"q": f"before {text} after"})
    for other in ("100x", "axb", "plain", "Zurich"):
        accepted(store, params={"q": other})
    assert [run.id for run in store.runs(OWNER, text=text)] == [wanted]


def test_a_text_is_looked_for_in_id_job_and_parameters(store: Store) -> None:
    run = accepted(store, job="count-words", params={"url": "https://example.org/"})
    accepted(store, job="other")
    for text in (run, "count-w", "example.org", ""):
        assert run in [one.id for one in store.runs(OWNER, text=text)]
    assert [one.id for one in store.runs(OWNER, text="count-w")] == [run]
    assert store.runs("bob", text="count") == []


@given(needle=st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), hay=st.text(max_size=12))
@FAST
def test_any_text_that_a_parameter_holds_finds_its_run(store: Store, needle: str, hay: str) -> None:
    run = accepted(store, params={"x": hay + needle + hay})
    assert run in [one.id for one in store.runs(OWNER, text=needle, limit=200)]
    store.cancel(run, OWNER)
    store.delete(run, OWNER)


# Events and results.


@given(after=st.integers(0, 60), limit=st.integers(1, 60))
@FAST
def test_events_after_a_number_are_a_slice(tmp_path: Path, after: int, limit: int) -> None:
    path = tmp_path / "sliced.db"
    fresh = not path.exists()
    store = Store(path)
    if fresh:
        claim = claimed(store)
        store.append([line(claim, str(number)) for number in range(47)] + [completed(claim)])
    (run,) = store.runs(OWNER)
    page = store.events_after(run.id, after, limit)
    assert [event.seq for event in page.events] == list(range(1, 51))[after : after + limit]
    assert (page.head, page.ended) == (50, True)
    assert [event.seq for event in page.events if event.last] == ([50] if after < 50 <= after + limit else [])
    store.close()


def test_a_cursor_beyond_everything_gives_nothing(store: Store) -> None:
    run = accepted(store)
    assert store.events_after(run, 10**18).events == ()


def test_a_long_result_is_given_only_by_itself(store: Store) -> None:
    short, long = claimed(store), claimed(store)
    text = json.dumps("x" * 200_000)
    store.append([completed(short, '{"n":1}'), completed(long, text)])
    assert store.run(short.run, OWNER).result == '{"n":1}'
    assert store.run(long.run, OWNER).result is None and store.result(long.run, OWNER) == text
    assert store.result(accepted(store), OWNER) is None


@pytest.mark.parametrize("size", [10, 50_000, 61_000, 70_000, 5_000_000])
def test_a_result_too_large_for_a_frame_is_named_by_its_url(store: Store, size: int) -> None:
    claim = claimed(store)
    result = json.dumps("x" * size)
    (event,) = store.append([completed(claim, result)])
    body = json.loads(event.body)
    assert len(event.body) <= FRAME_ROOM_BYTES
    if size <= 50_000:
        assert body["data"] == json.loads(result) and "result_url" not in body
    if size > 61_000:
        assert body["data"] is None and body["result_url"] == f"/api/v1/runs/{claim.run}/result"
    assert store.result(claim.run, OWNER) == result


@pytest.mark.parametrize("status", ["completed", "error"])
def test_a_last_update_fits_a_frame_however_many_files_and_however_long_the_message(status: Any) -> None:
    files = tuple({"name": f"page {number} " + "x" * 100, "bytes": 10**9} for number in range(2000))
    message = "\U0001f600" * 2000
    code = None if status == "completed" else "failed"
    body = last_update(
        Ending("r", 1, status, 0, message, code, '"x"' if code is None else None, files),
        '{"status":"processing","progress":1,"message":null,"step":null}',
        "/api/v1/runs/r",
    )
    assert len(body) <= FRAME_ROOM_BYTES


def test_heads_tells_the_newest_numbers_of_the_runs_that_exist(store: Store) -> None:
    claim, waiting = claimed(store), accepted(store)
    store.append([line(claim), line(claim)])
    assert store.heads([claim.run, waiting, "nobody"]) == {claim.run: 4, waiting: 1}
    assert store.heads([]) == {}


def test_a_token_is_spent_once_whoever_comes(store: Store) -> None:
    spent: list[bool] = []
    in_threads(20, lambda _: spent.append(store.spend("token", now_ms() + 60_000)))
    assert sorted(spent) == [False] * 19 + [True]
    assert store.spend("other", now_ms() + 60_000)


def test_ids_are_26_signs_of_crockford_s_alphabet_and_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert all(len(run) == RUN_ID_LENGTH and re.fullmatch("[0-9a-hjkmnp-tv-z]+", run) for run in ids)
    assert [run[:10] for run in ids] == sorted(run[:10] for run in ids)
    decoded = 0
    for sign in ids[-1][:10]:
        decoded = decoded * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(sign)
    assert abs(decoded - now_ms()) < 60_000


# The file.


def test_two_stores_on_one_file_see_each_other_at_once(tmp_path: Path, store: Store) -> None:
    other = Store(tmp_path / "headway.db")
    run = accepted(store)
    assert other.run(run, OWNER).id == run
    other.cancel(run, OWNER)
    assert store.run(run, OWNER).status == "error"
    other.close()


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "new folder" / "headway.db")
    claim = claimed(store)
    store.append([update(claim), completed(claim, "7")])
    before = store.run(claim.run, OWNER), store.events_after(claim.run, 0)
    store.close()
    store = Store(tmp_path / "new folder" / "headway.db")
    store.check()
    store.ping()
    assert (store.run(claim.run, OWNER), store.events_after(claim.run, 0)) == before
    store.close()


WRITER = """
import sys
from pathlib import Path
from jobs.store import Store
from tests.jobs.workbench import accepted, completed, line
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    accepted(store, lane=sys.argv[2])
    ((claim, _),) = store.claim(sys.argv[2], sys.argv[2], 1)
    for batch in range(3):
        store.append([line(claim, str(one)) for one in range(5)])
    store.append([completed(claim)])
"""


def test_two_processes_write_at_the_same_time_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "headway.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), lane],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for lane in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    store = Store(path)
    runs = store.runs(OWNER, limit=200)
    assert len(runs) == 120 and {run.status for run in runs} == {"completed"}
    assert all(numbers(store, run.id) == list(range(1, 19)) for run in runs)
    store.check()
    store.close()


SYNCS = """
import os, sys
from pathlib import Path
from jobs.store import Store
from tests.jobs.workbench import accepted, completed, line, update
store = Store(Path(sys.argv[1]))
def mark(word):
    os.write(2, f"mark {word}\\n".encode())
accepted(store)
((claim, _),) = store.claim("r", "thread", 1)
store.append([line(claim)])
for round in range(5):
    mark("accept"); run = accepted(store, lane="other"); mark("cancel"); store.cancel(run, "alice")
    mark("progress"); store.append([update(claim, round), line(claim)]); mark("none")
mark("end"); store.append([completed(claim)]); mark("none")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_accepting_and_ending_are_synced_and_progress_is_not(tmp_path: Path) -> None:
    """Seen from outside: the system calls between two marks on stderr."""
    trace = tmp_path / "trace"
    command = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=fdatasync,fsync,write",
        "-o",
        str(trace),
        sys.executable,
        "-c",
        SYNCS,
    ]
    done = subprocess.run(
        [*command, str(tmp_path / "headway.db")], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    if "ptrace" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    synced: dict[str, list[int]] = {}
    word = ""
    for call in trace.read_text().splitlines():
        if found := re.search(r'write\(2, "mark (\w+)', call):
            word = found[1]
            synced.setdefault(word, []).append(0)
        elif word and re.search(r"fd?a?t?a?sync\(", call):
            synced[word][-1] += 1
    assert len(synced["accept"]) == 5 and all(synced["accept"]) and all(synced["cancel"]) and all(synced["end"])
    assert synced["progress"] == [0] * 5


def test_each_connection_promises_what_it_is_for(store: Store) -> None:
    """FULL is 2, NORMAL is 1 (sqlite.org/pragma.html#pragma_synchronous); reading cannot write."""
    for engine, synchronous in ((store._durable, 2), (store._quick, 1), (store._reads, 1)):
        with engine.connect() as connection:
            ask = lambda pragma, on=connection: on.exec_driver_sql(f"PRAGMA {pragma}").scalar()  # noqa: E731
            assert (ask("synchronous"), ask("journal_mode")) == (synchronous, "wal")
            assert ask("query_only") == (1 if engine is store._reads else 0)
            assert tuple(map(int, ask_version(connection).split("."))) >= (3, 51, 3)


def ask_version(connection: Any) -> str:
    """The version of SQLite that is really used."""
    version: str = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
    return version


# What cannot be used.


def filled(path: Path) -> None:
    """A database of some 100 pages, closed, all of it in one file."""
    store = Store(path)
    claim = claimed(store)
    store.append([line(claim, f"{number} " + "x" * 400) for number in range(1000)])
    store.close()
    with sqlite3.connect(path) as outside:
        outside.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outside.close()
    assert path.stat().st_size > 100 * 4096


def random_pages(path: Path) -> None:
    """20 pages of noise, the first among them never: that is another case."""
    noise = random.Random(4711)
    with path.open("r+b") as file:
        for page in noise.sample(range(1, path.stat().st_size // 4096), 20):
            file.seek(page * 4096)
            file.write(noise.randbytes(4096))


def bad_header(path: Path) -> None:
    """The first 100 bytes."""
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)


def cut_in_half(path: Path) -> None:
    """The second half is gone."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def foreign_file(path: Path) -> None:
    """No database at all."""
    path.write_text("Dear diary, " * 1000)


def foreign_database(path: Path) -> None:
    """A database of another program."""
    path.unlink()
    with sqlite3.connect(path) as outside:
        outside.execute("CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url TEXT)")
    outside.close()


def future_version(path: Path) -> None:
    """A database of a later Headway."""
    with sqlite3.connect(path) as outside:
        outside.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION + 1),))
    outside.close()


def unreadable_version(path: Path) -> None:
    """A version that is no number."""
    with sqlite3.connect(path) as outside:
        outside.execute("UPDATE meta SET value = 'two' WHERE name = 'schema'")
    outside.close()


def missing_column(path: Path) -> None:
    """Tables of the right names with other columns."""
    path.unlink()
    with sqlite3.connect(path) as outside:
        outside.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, distance_km REAL)")
    outside.close()


def a_folder(path: Path) -> None:
    """Something that no file can be."""
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [
    random_pages, bad_header, cut_in_half, foreign_file, foreign_database, future_version, unreadable_version,
    missing_column, a_folder,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_database_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "headway.db"
    filled(path)
    damage(path)
    before = path.read_bytes() if path.is_file() else b""
    opened = None
    with pytest.raises(StoreError) as refused:
        opened = Store(path)
        opened.check()
    if opened is not None:
        opened.close()
    said = str(refused.value)
    assert str(path) in said and "\n" not in said and said.endswith(".")
    assert "sqlalche.me" not in said and "Traceback" not in said
    assert not path.is_file() or path.read_bytes()[100:] == before[100:], "what is refused is left as it is"


def test_damage_while_it_is_used_is_told_as_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "headway.db"
    filled(path)
    store = Store(path)
    (run,) = store.runs(OWNER)
    random_pages(path)
    with pytest.raises(StoreError):
        for page in range(1000):
            store.events_after(run.id, page)
        store.check()
    store.close()


# A model: the same in plain Python.


class Model:
    """What the store is to be, with dicts and lists."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.runs: dict[str, dict[str, Any]] = {}

    def accept(self, run: str, lane: str, retries: int) -> None:
        self.runs[run] = {
            "status": "queued", "attempt": 0, "head": 1, "lane": lane, "retries": retries, "runner": None,
            "cancelling": False, "code": None,
        }  # fmt: skip

    def claim(self, runner: str, lane: str, most: int) -> list[str]:
        taken = [run for run, it in self.runs.items() if it["status"] == "queued" and it["lane"] == lane][:most]
        for run in taken:
            it = self.runs[run]
            it |= {"status": "processing", "runner": runner, "attempt": it["attempt"] + 1, "head": it["head"] + 1}
        return taken

    def append(self, said: list[tuple[str, int, bool]]) -> list[tuple[str, int]]:
        events = []
        for run, attempt, end in said:
            it = self.runs.get(run)
            if it is not None and it["status"] == "processing" and it["attempt"] == attempt:
                it["head"] += 1
                events.append((run, it["head"]))
                if end:
                    it |= {"status": "completed", "cancelling": False}
        return events

    def cancel(self, run: str) -> None:
        it = self.runs[run]
        if it["status"] == "queued":
            it |= {"status": "error", "code": "cancelled", "head": it["head"] + 1}
        elif it["status"] == "processing":
            it["cancelling"] = True
        else:
            raise RunEnded

    def interrupt(self, runner: str) -> None:
        for it in self.runs.values():
            if it["status"] == "processing" and it["runner"] == runner:
                it["head"] += 1
                if it["attempt"] > it["retries"] or it["cancelling"]:
                    code = "cancelled" if it["cancelling"] else "interrupted"
                    it |= {"status": "error", "code": code, "cancelling": False}
                else:
                    it |= {"status": "queued", "runner": None}

    def delete(self, run: str) -> None:
        if self.runs[run]["status"] in ("queued", "processing"):
            raise RunNotEnded
        del self.runs[run]


WHICH = st.integers(0, 5)
MOVES = st.one_of(
    st.tuples(st.just("accept"), st.sampled_from(["thread", "process"]), st.integers(0, 2)),
    st.tuples(st.just("claim"), st.sampled_from(["a", "b"]), st.sampled_from(["thread", "process"]), st.integers(1, 3)),
    st.tuples(st.just("append"), st.lists(st.tuples(WHICH, st.integers(0, 3), st.booleans()), max_size=6)),
    st.tuples(st.just("cancel"), WHICH),
    st.tuples(st.just("interrupt"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("delete"), WHICH),
)


@given(moves=st.lists(MOVES, max_size=25))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_calls_does_what_the_model_does(store: Store, moves: list[Any]) -> None:
    """Numbers, states, attempts, codes and refusals agree after every call; every run's log is 1..head."""
    model, ids = Model(owner=new_run_id()), []  # each example has an owner, lanes and runners of its own
    for move in moves:
        _play(move, store, model, ids)
        _compare(store, model)


def _play(move: Any, store: Store, model: Model, ids: list[str]) -> None:
    def known(which: int) -> str:
        return ids[which % len(ids)] if ids else "nobody"

    verb, *rest = move
    if verb == "accept":
        lane, retries = rest
        ids.append(f"{len(ids):04}{model.owner}")
        store.accept(new_run(id=ids[-1], owner=model.owner, lane=model.owner + lane, retries=retries))
        model.accept(ids[-1], lane, retries)
    elif verb == "claim":
        runner, lane, most = rest
        found = [claim.run for claim, _ in store.claim(model.owner + runner, model.owner + lane, most)]
        assert found == model.claim(runner, lane, most)
    elif verb == "append":
        said = [(known(which), attempt, end) for which, attempt, end in rest[0]]
        drafts: list[Draft | Ending] = [
            Ending(run, attempt, "completed", now_ms(), result="1")
            if end
            else Draft(
                run, attempt, "update", '{"status":"processing","progress":5,"message":null,"step":null}', now_ms()
            )
            for run, attempt, end in said
        ]
        assert [(event.run, event.seq) for event in store.append(drafts)] == model.append(said)
    elif verb == "interrupt":
        store.interrupt(model.owner + rest[0], "The runner died.")
        model.interrupt(rest[0])
    else:
        _both_or_neither(
            lambda: getattr(store, verb)(known(rest[0]), model.owner), lambda: getattr(model, verb)(known(rest[0]))
        )


def _both_or_neither(real: Callable[[], object], model: Callable[[], object]) -> None:
    refused: list[type[BaseException] | None] = []
    for call in (real, model):
        try:
            call()
            refused.append(None)
        except KeyError:
            refused.append(UnknownRun)
        except HeadwayError as error:
            refused.append(type(error))
    assert refused[0] == refused[1]


def _compare(store: Store, model: Model) -> None:
    found = {run.id: run for run in store.runs(model.owner, limit=200)}
    assert found.keys() == model.runs.keys()
    for run, it in model.runs.items():
        real = found[run]
        assert (real.status, real.attempt, real.head, real.cancelling) == (
            it["status"], it["attempt"], it["head"], it["cancelling"],
        )  # fmt: skip
        assert (real.error or {}).get("code") == it["code"]
        events = store.events_after(run, 0, 1000).events
        assert [event.seq for event in events] == list(range(1, it["head"] + 1))
        assert [event.last for event in events] == [False] * (len(events) - 1) + [real.ended]
    assert store.heads(found) == {run: it["head"] for run, it in model.runs.items()}
