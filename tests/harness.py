"""What the tests share: a real server in processes of its own, a reader of streams, waiting for conditions."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from httpx_sse import ServerSentEvent, connect_sse

ROOT = Path(__file__).resolve().parent.parent
JOBS = ROOT / "tests" / "job_files"
KEY = "a-key-for-the-tests-only"
T = TypeVar("T")


def wait_for(condition: Callable[[], T], limit_s: float = 15.0, what: str = "") -> T:
    """Wait until ``condition`` is true and give its value; fail after ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s} s in vain for {what or condition}")
        time.sleep(0.01)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and was not collected yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Server:
    """A real gunicorn with its runner, on a free port and in a data folder of its own."""

    def __init__(self, data: Path, *, workers: int = 2, **settings: str) -> None:
        self.data = data
        self.key = KEY
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = data.parent / f"{data.name}.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")},
            "HEADWAY_BIND": f"127.0.0.1:{self.port}",
            "HEADWAY_DATA": str(data),
            "HEADWAY_JOBS": str(JOBS),
            "HEADWAY_KEY": self.key,
            "HEADWAY_WEB_WORKERS": str(workers),
            **settings,
        }
        self.workers = workers
        self.http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: tuple[str, ...] = ("-m", "gunicorn", "wsgi:app")) -> Server:
        """Start it and wait until it is ready, every worker of it."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._ready, 30, f"the server to be ready; see {self.log_path}")
        wait_for(lambda: len(self.worker_pids()) == self.workers, 10, "all workers")
        return self

    @property
    def pid(self) -> int:
        """The process id of gunicorn's master."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> set[int]:
        """The web workers that serve: each has a socket on the bus."""
        return {
            int(found[1])
            for path in (self.data / "bus").glob("web-*.sock")
            if (found := re.fullmatch(r"web-(\d+)\.sock", path.name)) and alive(int(found[1]))
        }

    def runner_pid(self) -> int:
        """The process id of the runner that claims."""
        return wait_for(self._runner_pid, 10, "a runner")

    def log(self) -> str:
        """All that the server has logged."""
        return self.log_path.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def stop(self, limit_s: float = 30) -> int:
        """Stop it in order (SIGTERM); gives its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(limit_s)
        self.http.close()
        return code

    def kill_all(self) -> None:
        """kill -9 of the master, all workers and the runner."""
        assert self._process is not None
        for pid in {self.pid, *self.worker_pids(), self._runner_pid()} - {0}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait(10)

    # Calls.

    def launch(self, job: str, headers: Mapping[str, str] | None = None, **parameters: Any) -> str:
        """Launch a run; gives its id."""
        answer = self.http.post(f"/api/v1/jobs/{job}/runs", json=parameters, headers=headers)
        assert answer.status_code == 202, answer.text
        run: str = answer.json()["id"]
        return run

    def run(self, run: str) -> dict[str, Any]:
        """A run as the API shows it."""
        answer = self.http.get(f"/api/v1/runs/{run}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def cancel(self, run: str) -> httpx.Response:
        """Ask for a run's end."""
        return self.http.post(f"/api/v1/runs/{run}/cancellation")

    def wait_ended(self, run: str, limit_s: float = 20) -> dict[str, Any]:
        """The run, once it has ended."""
        return wait_for(
            lambda: found if (found := self.run(run))["status"] in ("completed", "error") else None,
            limit_s,
            f"the end of run {run}",
        )

    @contextmanager
    def stream(
        self, run: str, *, after: int | None = None, last_event_id: str | None = None
    ) -> Iterator[Iterator[ServerSentEvent]]:
        """The run's events, read by somebody else's SSE client."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        parameters = {} if after is None else {"after": str(after)}
        with httpx.Client(base_url=self.url, timeout=httpx.Timeout(10, read=40)) as http:
            headers["Authorization"] = f"Bearer {self.key}"
            url = f"/api/v1/runs/{run}/events"
            with connect_sse(http, "GET", url, params=parameters, headers=headers) as source:
                yield source.iter_sse()

    def events(self, run: str, **where: Any) -> list[ServerSentEvent]:
        """All events of a run, until the server closes."""
        with self.stream(run, **where) as events:
            return list(events)

    def follow(self, run: str, **where: Any) -> list[ServerSentEvent]:
        """All events of a run, resuming after every goodbye, as a client does."""
        seen = self.events(run, **where)
        while updates(seen)[-1:] == [] or updates(seen)[-1]["status"] not in ("completed", "error"):
            seen += self.events(run, last_event_id=next(event.id for event in reversed(seen) if event.id))
        return seen

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended:\n{self.log()}"
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _runner_pid(self) -> int:
        text = (self.data / "runner.lock").read_text() if (self.data / "runner.lock").exists() else ""
        return int(text) if text and alive(int(text)) else 0


def data_of(event: ServerSentEvent) -> dict[str, Any]:
    """An event's data."""
    found: dict[str, Any] = json.loads(event.data)
    return found


def numbered(events: list[ServerSentEvent]) -> list[dict[str, Any]]:
    """The data of the events that stand in the run's log (no hello, heartbeat, bye)."""
    found = [data_of(event) for event in events]
    return [data for data in found if "seq" in data]


def updates(events: list[ServerSentEvent]) -> list[dict[str, Any]]:
    """The data of the updates: what EventSource gives to onmessage."""
    return [data_of(event) for event in events if event.event == "message"]
