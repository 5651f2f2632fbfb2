"""The real parts of ``jobs/`` set up small, for tests to work on: drafts to listen to, runs to accept, jobs to load."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

from jobs.events import Draft, Ending, ProgressUpdate, now_ms
from jobs.progress import Progress
from jobs.registry import Job, load_job
from jobs.runs import Claim, new_run_id
from jobs.store import NewRun, Store
from tests.harness import JOBS

OWNER = "alice"
RUNNER = "runner-a"
FRAME_ROOM_BYTES = 64 * 1024 - 300
"""The longest body that leaves room in a frame of 64 KiB for run, number, time, name and id."""


class Listener:
    """Keeps what a progress says, in order."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    def __call__(self, draft: Draft) -> None:
        self.drafts.append(draft)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of one kind."""
        return [json.loads(draft.body) for draft in self.drafts if draft.kind == kind]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The bodies of all updates."""
        return self.all("update")

    @property
    def percents(self) -> list[float]:
        """The percent of each update."""
        return [update["progress"] for update in self.updates]

    @property
    def last(self) -> dict[str, Any]:
        """The newest update."""
        return self.updates[-1]


def progress_with(listener: Listener, folder: Path, **options: Any) -> Progress:
    """A progress whose drafts a listener keeps."""
    return Progress("r1", 1, listener, folder=folder, **options)


def knob(name: str) -> Job:
    """A job of tests/job_files/knobs.py."""
    return load_job(str(JOBS / "knobs.py"), name)


def written_job(folder: Path, source: str, name: str = "made") -> Job:
    """A job whose file is written here; ``source`` defines a function ``made`` decorated with @job."""
    path = folder / f"file_{new_run_id()}.py"
    path.write_text("from jobs import *\nfrom jobs import File, JobError, Param, Progress, Secret, job\n" + source)
    return load_job(str(path), name)


_numbers = itertools.count()


def new_run(**changes: Any) -> NewRun:
    """A run to accept; ids sort in the order in which they were made, also within a millisecond."""
    fields: dict[str, Any] = {
        "id": f"{next(_numbers):06}{new_run_id()[6:]}",
        "job": "emit",
        "owner": OWNER,
        "lane": "thread",
    }
    return NewRun(**{**fields, "params": {}, "secrets": {}, **changes})


def accepted(store: Store, **changes: Any) -> str:
    """The id of a run that waits."""
    return store.accept(new_run(**changes))[0].id


def claimed(store: Store, *, runner: str = RUNNER, **changes: Any) -> Claim:
    """A run that a runner has taken; no other may wait in its lane."""
    run = accepted(store, **changes)
    ((claim, _),) = store.claim(runner, changes.get("lane", "thread"), 1)
    assert claim.run == run
    return claim


def claim_of(job: Job, params: dict[str, Any] | None = None, secrets: dict[str, str] | None = None) -> Claim:
    """A claim for a job, as if a runner had taken it."""
    return Claim(new_run_id(), job.name, OWNER, 1, params or {}, secrets or {})


def update(claim: Claim, progress: float = 10, message: str = "working") -> Draft:
    """An update that a claimed run says."""
    body = ProgressUpdate("processing", progress, message).body()
    return Draft(claim.run, claim.attempt, "update", body, now_ms())


def line(claim: Claim, text: str = "a line") -> Draft:
    """A log line that a claimed run says."""
    return Draft(claim.run, claim.attempt, "log", json.dumps({"level": "info", "message": text}), now_ms())


def completed(claim: Claim, result: str = "null") -> Ending:
    """A good end."""
    return Ending(claim.run, claim.attempt, "completed", now_ms(), result=result)


def in_threads(count: int, work: Any) -> None:
    """Do ``work(number)`` in so many threads at once, and wait for all; the first exception is raised here."""
    failures: list[BaseException] = []
    together = threading.Barrier(count)

    def begin(number: int) -> None:
        together.wait(10)
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - it is raised again by who waits
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]
