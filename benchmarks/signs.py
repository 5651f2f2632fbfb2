"""Runs that begin to speak at a sign: everybody who is to hear them can be there before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.watching import allow_many_files
from benchmarks.wire import ROOT, Client, server
from jobs.runs import new_run_id, run_url
from tests.harness import JOBS, Server

FOLDER = ROOT / "benchmarks" / "job_files"


@contextmanager
def sign_server(**settings: str) -> Iterator[Server]:
    """A server that has these jobs, those of the tests too, and takes more watchers than any benchmark has."""
    allow_many_files()
    limits = {"HEADWAY_STREAMS": "10000", "HEADWAY_STREAMS_PER_OWNER": "10000"}
    with server(HEADWAY_JOBS=f"{JOBS}:{FOLDER}", **limits, **settings) as running:
        yield running


class Waiting:
    """Runs that wait for their sign."""

    def __init__(self, running: Server, job: str, count: int, **parameters: float) -> None:
        """Launch so many of a job."""
        self._sign: Path = running.data.parent / new_run_id()
        connection = Client(running)
        self.runs = [connection.launch(job, {"sign": str(self._sign), **parameters})["id"] for _ in range(count)]
        connection.close()
        self.headers = [f"Authorization: Bearer {running.key}"]

    def paths(self, watchers: int) -> Sequence[str]:
        """What so many watchers of each run ask for."""
        return [f"{run_url(run)}/events" for run in self.runs for _ in range(watchers)]

    def give_sign(self) -> None:
        """Let them speak."""
        self._sign.touch()
