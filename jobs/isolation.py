"""A run in a child process of its own: for jobs that hold the GIL, or that may crash the interpreter.

A fresh interpreter, not a fork: forked children inherit threads' locks and the runner's file locks. The two sides
speak lines. On its stdin the child gets its assignment, one JSON object, and later ``stop <code>``; when stdin ends
its runner is dead and it leaves. On a pipe it says ``<kind> <time_ms> <body>``, and at last ``end <ending>``. What it
(or a library, in C even) prints goes to the run's log.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from jobs import capture
from jobs.capture.printout import Line
from jobs.errors import STOP_REASONS, Cancelled, Interrupted, StopRun, TimedOut
from jobs.events import Draft, Ending, ErrorCode, now_ms, to_json
from jobs.execution import execute, run_folder
from jobs.masking import Mask, secrets_of
from jobs.progress import MAX_LINE_CHARS, Pace, Progress, cut
from jobs.registry import Job, load_job
from jobs.runs import Claim
from jobs.settings import without_secrets

NICENESS = 10
"""Where there is no SCHED_IDLE."""
KILL_AFTER_S = 5.0
"""From the wish that a run stops to SIGKILL: time for the job to clean up."""
PIPE_BYTES = 65_536
READ_BYTES = 16_384
MANY_LINES, REST_S = 20, 0.004
"""A child with much to say is heard in small portions, ten thousand lines a second: in the recorder's queue, what other
runs say stands behind one portion at most."""
LOOK_MS = 200
"""How often a silent child is looked after, in case a process that it forked holds its pipe."""
PRINTS_S = 2.0
"""How long the rest of what it printed is waited for."""

_ROOT = Path(__file__).resolve().parent.parent


class Child:
    """The runner's end of a run in a child process."""

    def __init__(self, job: Job, claim: Claim, data: Path, settings: Mapping[str, str]) -> None:
        """Start the process. ``settings`` are those that the job may read."""
        self._claim = claim
        self._mask = Mask([*claim.secrets.values(), *secrets_of(settings)])
        self._reason: type[StopRun] | None = None
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs.isolation", str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            env={**without_secrets(os.environ), "PYTHONPATH": os.pathsep.join(_python_path())},
            process_group=0,  # and the server's session: see _step_back
        )
        os.close(writing)
        self._said = reading
        self._order(to_json({"source": job.source, "claim": asdict(claim), "data": str(data), "settings": settings}))
        if job.timeout_s is not None:
            self._after(job.timeout_s + KILL_AFTER_S, lambda: self._kill(TimedOut))

    def follow(self, say: Callable[[Draft], None]) -> Ending:
        """Pass on what the child says until it is gone; gives the run's end: its own, or what its death tells."""
        printing = threading.Thread(target=self._log_prints, args=(say,), name="prints", daemon=True)
        printing.start()
        try:
            ending = self._listen(say)
            status = self._process.wait()
        finally:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what the job left running goes with it
            for timer in self._timers:
                timer.cancel()
            os.close(self._said)
        printing.join(PRINTS_S)
        assert self._process.stdin is not None and self._process.stdout is not None
        if not printing.is_alive():  # else something that left the process group still holds the pipe
            self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return ending or self._died(status)

    def stop(self, reason: type[StopRun]) -> None:
        """Ask the job to stop, and kill it if it does not."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
                self._order(f"stop {reason.code}")
                self._after(KILL_AFTER_S, lambda: self._kill(reason))

    def _listen(self, say: Callable[[Draft], None]) -> Ending | None:
        claim = self._claim
        for line in self._lines():
            kind, _, rest = line.partition(" ")
            if kind == "end":
                return _ending(json.loads(rest))
            time_ms, _, body = rest.partition(" ")
            say(Draft(claim.run, claim.attempt, kind, body, int(time_ms)))  # type: ignore[arg-type]
        return None

    def _lines(self) -> Iterator[str]:
        """The whole lines that the child writes, until it is gone: a process that it forked may hold the pipe open."""
        waiting = select.poll()
        waiting.register(self._said, select.POLLIN | select.POLLHUP)
        rest = b""
        while True:
            if waiting.poll(LOOK_MS):
                data = os.read(self._said, READ_BYTES)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                yield from (line.decode("ascii") for line in lines)
                if len(lines) >= MANY_LINES:
                    time.sleep(REST_S)
            elif self._process.poll() is not None:
                return

    def _log_prints(self, say: Callable[[Draft], None]) -> None:
        """Log what C code and programs print, and what Python does before and after the job."""
        for text, whole in self._printed():
            shown = cut(self._mask(text) if whole else self._mask.cut_off(text), MAX_LINE_CHARS)
            body = to_json({"level": "info", "message": shown})
            say(Draft(self._claim.run, self._claim.attempt, "log", body, now_ms()))

    def _printed(self) -> Iterator[tuple[str, bool]]:
        stdout = self._process.stdout
        assert isinstance(stdout, io.BufferedReader)
        line = Line()
        for data in iter(lambda: stdout.read1(PIPE_BYTES), b""):
            yield from line.add(line.decode(data))
        rest = line.take()
        if rest[0]:
            yield rest

    def _died(self, status: int) -> Ending:
        code: ErrorCode = "crashed"
        if self._reason is not None:
            code = self._reason.code  # type: ignore[assignment]
            message = f"{self._reason.message} It did not stop by itself and was killed."
        elif status < 0:
            message = f"The job's process was killed by signal {-status} ({_signal_name(-status)})."
        else:
            message = f"The job's process ended with exit code {status} before the job did."
        return Ending(self._claim.run, self._claim.attempt, "error", now_ms(), message=message, code=code)

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is dead already: follow() finds out, or has and closed it
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _kill(self, reason: type[StopRun]) -> None:
        self._reason = self._reason or reason
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()


def _python_path() -> list[str]:
    """Where the child finds this package, and what the runner was told; not the folder that it happens to be in."""
    return [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return "without a name"


def _ending(found: dict[str, Any]) -> Ending:
    return Ending(**{**found, "files": tuple(found["files"])})


def main(pipe: int) -> None:
    """The child's side: do the run that stdin assigns, say everything into ``pipe``."""
    faulthandler.enable()
    capture.install(child=True)
    _step_back()
    os.set_inheritable(pipe, False)
    orders = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a job that reads stdin gets its end, not our orders
    assignment = json.loads(orders.readline())
    claim = Claim(**assignment["claim"])
    said = os.fdopen(pipe, "w", encoding="ascii", newline="\n")
    lock = threading.Lock()

    def write(line: str) -> None:
        with lock:
            said.write(line + "\n")
            said.flush()

    job = load_job(assignment["source"], claim.job)
    folder = run_folder(Path(assignment["data"]), claim.run)
    progress = Progress(
        claim.run,
        claim.attempt,
        lambda draft: write(f"{draft.kind} {draft.time_ms} {draft.body}"),
        folder=folder / "files",
        settings=assignment["settings"],
        timeout_s=job.timeout_s,
        secrets=claim.secrets.values(),
    )
    threading.Thread(target=_obey, args=(orders, progress), name="orders", daemon=True).start()
    pace = Pace()
    pace.add(progress)
    ending = execute(job, claim, progress, folder)
    pace.discard(progress)
    with contextlib.suppress(Exception):  # a job may have closed it
        sys.stdout.flush()
    write("end " + to_json(asdict(ending)))
    said.close()
    os._exit(0)  # threads that the job left behind do not keep the process


def _step_back() -> None:
    """Take what the web workers and the runner leave: they preempt this process whenever they have something to do.

    A nice value is not enough: it divides time fairly, in slices of 3 ms, and what an event waits for is the rest of a
    slice, in the runner and in the web worker. SCHED_IDLE yields at once (sched(7)), but only to processes of its own
    session: where autogroups are on, Linux divides time among sessions first. So children stay in the server's.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            return os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.nice(NICENESS)


def _obey(orders: IO[bytes], progress: Progress) -> None:
    for line in orders:
        progress.stop(STOP_REASONS.get(line.decode().strip().removeprefix("stop "), Cancelled))
    progress.stop(Interrupted)
    time.sleep(KILL_AFTER_S)
    os._exit(1)  # the runner is dead and nobody hears what this run says


if __name__ == "__main__":
    main(int(sys.argv[1]))
