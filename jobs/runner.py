"""The process that executes runs: claims them from the store, gives each a thread or a child process.

One per machine has the right to claim, ``runner.lock``; whoever of the web side finds that lock free starts a new one
(:func:`start_process`) and hands the lock over with the descriptor, so there is never a moment without a holder nor two
that race. Every runner also holds ``runners/<id>.lock`` as long as it lives, and writes its id into the runs that it
takes: a processing run whose runner's lock is free is dead for certain, and is ended as interrupted.

- SIGHUP (a reload): gives up the claim, finishes what it has, leaves. A new runner, with the new job code, claims.
- SIGTERM (a stop): stops its runs, records each one's end, leaves.

Run as ``python -m jobs.runner``. Also used inside the server's process by ``flask run`` and tests.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from jobs import capture
from jobs.bus import Bus, Ear
from jobs.checkpoint import CHECKPOINTS
from jobs.errors import Cancelled, Finished, HeadwayError, Interrupted, StopRun, StoreError
from jobs.events import Ending, now_ms
from jobs.execution import execute, run_folder
from jobs.isolation import Child
from jobs.locks import FileLock, forget_in_forks, holder, inherited, is_held, is_shared, try_lock
from jobs.progress import Pace, Progress
from jobs.recorder import Recorder
from jobs.registry import Job, Registry
from jobs.runs import Claim, new_run_id
from jobs.settings import Settings, job_settings, without_secrets
from jobs.store import Store

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the runner looks for work, cancellations and dead neighbours without being nudged."""
BEAT_S = 5.0
"""How often it renews its lock file's time, so that a stopped (SIGSTOP) runner shows."""
SERVER_GONE_S = 10.0
"""How long the web workers' lock must be free until the runner believes that its server is dead."""
STOP_GRACE_S = 6.0
"""How long a stop waits for jobs to end by themselves. A child process is killed after 5 s."""
SWITCH_INTERVAL_S = 0.0005
"""How soon a busy job thread yields to the recorder (sys.setswitchinterval): with CPython's default of 5 ms, one
CPU-bound thread makes updates 32 ms late instead of 5; jobs pay up to 6 % for it."""
LONGEST_SWITCH_INTERVAL_S = 0.005
FEW_THREADS = 16
"""Up to so many. Each thread that waits for its turn wakes up at that interval: a thousand do little else."""


def switch_interval_s(threads: int) -> float:
    """How soon a busy thread yields where there may be so many."""
    return min(LONGEST_SWITCH_INTERVAL_S, SWITCH_INTERVAL_S * max(1.0, threads / FEW_THREADS))


class Handle(Protocol):
    """What can be asked of a run that goes on."""

    def stop(self, reason: type[StopRun]) -> None:
        """Make the run stop at its next sign of life."""


class Runner:
    """Claims and executes runs until it is told to stop or retire."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: Bus,
        registry: Registry,
        lock: FileLock,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """``lock`` is the right to claim; the runner releases it. ``environment`` is where jobs' settings come from."""
        self.id = new_run_id()
        forget_in_forks()
        self._data = settings.data_path
        self._store = store
        self._bus = bus
        self._registry = registry
        self._claim_lock: FileLock | None = lock
        self._settings = job_settings(environment)
        own = try_lock(runner_lock_path(self._data, self.id))
        assert own is not None, "a runner's own lock is its alone"
        self._own_lock = own
        for signed in (lock, own):
            signed.sign()
        self._ear = Ear(self._data / "bus", f"runner-{self.id}")
        self._recorder = Recorder(store, bus, self._ended)
        self._pace = Pace()
        self._free = {"thread": settings.number("threads"), "process": settings.number("processes")}
        self._pools = {lane: ThreadPoolExecutor(size, thread_name_prefix=lane) for lane, size in self._free.items()}
        self._active: dict[str, tuple[str, Handle | None]] = {}
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._retired = threading.Event()

    def run(self, *, leave_with_server: bool = False) -> None:
        """Claim and execute until stopped, or until retired and done. ``leave_with_server``: see SERVER_GONE_S."""
        server_seen = looked = -1e9
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        log.info("runner %s ready, %d jobs", self.id, len(list(self._registry)))
        while not self._stopping.is_set():
            now = time.monotonic()
            try:
                if not self._retired.is_set():
                    self._claim_waiting()
                self._cancel_asked()
                if now - looked >= LOOK_S:
                    looked = now
                    self._bury_dead()
            except StoreError as error:
                log.error("cannot use the store: %s", error)
                self._stopping.wait(LOOK_S)
            except Exception:
                log.exception("the runner stumbled")
                self._stopping.wait(LOOK_S)
            if leave_with_server:
                server_seen = now if server_seen < 0 or is_shared(self._data / "web.lock") else server_seen
                if now - server_seen > SERVER_GONE_S and not self._retired.is_set():
                    log.warning("the server is gone; finishing what goes on and leaving")
                    self.retire()
            if self._retired.is_set() and not self._active:
                break
            self._ear.hear(LOOK_S)
        self._leave()

    def stop(self) -> None:
        """Make :meth:`run` stop all runs, record their ends and return."""
        self._stopping.set()

    def retire(self) -> None:
        """Give up the right to claim; :meth:`run` returns when the runs that go on have ended."""
        self._retired.set()
        lock, self._claim_lock = self._claim_lock, None
        if lock is not None:
            lock.release()

    # Beginning and ending runs.

    def _claim_waiting(self) -> None:
        for lane, pool in self._pools.items():
            free = self._free[lane]
            for claim, event in self._store.claim(self.id, lane, free) if free > 0 else ():
                self._bus.tell([event])
                with self._lock:
                    self._free[lane] -= 1
                    self._active[claim.run] = (lane, None)
                pool.submit(self._carry_out, claim)

    def _carry_out(self, claim: Claim) -> None:
        """Execute one run in this pool thread; whatever happens, it has an end."""
        try:
            job = self._registry.usable(claim.job)
            ending = self._in_child(job, claim) if job.in_child else self._in_thread(job, claim)
        except HeadwayError as error:
            ending = Ending(claim.run, claim.attempt, "error", now_ms(), message=str(error), code="failed")
        except BaseException as error:
            # Where, not what: the message may hold a secret of the run.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("run %s could not be executed: %s\n%s", claim.run, type(error).__name__, where)
            message = "The run could not be executed; the server's log has the reason."
            ending = Ending(claim.run, claim.attempt, "error", now_ms(), message=message, code="failed")
        if ending.code == "interrupted":
            if self._stopping.is_set():
                return  # _leave() decides, with the job's retries, whether the run ends or waits again
            ending = replace(ending, code="failed", message="The job said that it was interrupted, and was not.")
        self._recorder.queue.put(ending)

    def _in_thread(self, job: Job, claim: Claim) -> Ending:
        folder = run_folder(self._data, claim.run)
        progress = Progress(
            claim.run,
            claim.attempt,
            self._recorder.queue.put,
            folder=folder / "files",
            has_room=lambda: not self._recorder.queue.full(),
            settings=self._settings_of(job),
            timeout_s=job.timeout_s,
            secrets=claim.secrets.values(),
        )
        self._began(claim, progress)
        self._pace.add(progress)
        try:
            return execute(job, claim, progress, folder)
        finally:
            self._pace.discard(progress)
            progress.stop(Finished)  # threads that the job left behind end at their next call

    def _in_child(self, job: Job, claim: Claim) -> Ending:
        child = Child(job, claim, self._data, self._settings_of(job))
        self._began(claim, child)
        return child.follow(self._recorder.queue.put)

    def _settings_of(self, job: Job) -> dict[str, str]:
        return {name: self._settings.get(name, "") for name in job.settings}

    def _began(self, claim: Claim, handle: Handle) -> None:
        with self._lock:
            lane, _ = self._active[claim.run]
            self._active[claim.run] = (lane, handle)
        if self._stopping.is_set():
            handle.stop(Interrupted)

    def _ended(self, ending: Ending) -> None:
        if ending.status == "completed":  # recorded by now, so nobody will go on with it
            shutil.rmtree(run_folder(self._data, ending.run) / CHECKPOINTS, ignore_errors=True)
        with self._lock:
            lane, _ = self._active.pop(ending.run, (None, None))
            self._asked.discard(ending.run)
            if lane is not None:
                self._free[lane] += 1
        self._bus.nudge()

    # Looking around.

    def _cancel_asked(self) -> None:
        """Pass on what the store says of cancellations; once for each run, when it has begun."""
        if not self._active:
            return
        for run in self._store.cancelling(self.id) - self._asked:
            _, handle = self._active.get(run, (None, None))
            if handle is not None:
                self._asked.add(run)
                handle.stop(Cancelled)

    def _bury_dead(self) -> None:
        """End the runs of runners that are dead: their locks are free."""
        if self._retired.is_set():
            return
        for runner in self._store.runners() - {self.id}:
            path = runner_lock_path(self._data, runner)
            if not is_held(path):
                log.warning("runner %s died; ending its runs", runner)
                self._bus.tell(self._store.interrupt(runner, "The runner died before the run had ended."))
                self._bus.nudge()
                path.unlink(missing_ok=True)

    def _beat(self) -> None:
        """Renew the locks' times, in a thread of its own: a busy runner is not a stopped one."""
        while not self._stopping.wait(BEAT_S):
            with contextlib.suppress(OSError):  # released in this moment
                for lock in (self._claim_lock, self._own_lock):
                    if lock is not None:
                        lock.touch()

    def _leave(self) -> None:
        """Stop what goes on, record every end, let go of everything."""
        with self._lock:
            handles = [handle for _, handle in self._active.values() if handle is not None]
        for handle in handles:
            handle.stop(Interrupted)
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + STOP_GRACE_S
        threads = [thread for pool in self._pools.values() for thread in pool._threads]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._recorder.close()
        try:
            self._bus.tell(self._store.interrupt(self.id, Interrupted.message))
        except StoreError as error:
            log.error("cannot record the ends of runs, the next runner will: %s", error)
        while self._bus.flush() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._pace.close()
        self._ear.close()
        self.retire()
        self._own_lock.path.unlink(missing_ok=True)
        self._own_lock.release()
        log.info("runner %s left", self.id)


def runner_lock_path(data: Path, runner: str) -> Path:
    """The lock that a runner holds as long as it lives."""
    return data / "runners" / f"{runner}.lock"


def start_process(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Start a runner process if nobody has the right to claim; None where somebody has."""
    lock = try_lock(settings.data_path / "runner.lock")
    if lock is None:
        return None
    root = str(Path(__file__).resolve().parent.parent)
    environment = {name: value for name, value in os.environ.items() if name != "HEADWAY_KEY"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    environment["HEADWAY_DATA"] = str(settings.data_path)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.runner", str(lock.fd)],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[lock.fd],
            process_group=0,  # Ctrl-C in the terminal is for the server, which stops its runner in order
        )
        lock.sign(process.pid)  # it can be signalled from now on, and nobody signals its predecessor
        return process
    finally:
        lock.release()  # our copy; the runner has its own


def runner_pids(data: Path) -> set[int]:
    """The process ids of the runners that live, also of those that retired and still finish their runs."""
    found = {holder(path) for path in (data / "runners").glob("*.lock")} | {holder(data / "runner.lock")}
    return {pid for pid in found if pid is not None}


def main(lock_fd: int) -> None:
    """The runner process. Everything that it is told comes by environment and by signals."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s runner %(levelname)s %(message)s", stream=sys.stderr)
    capture.install()
    settings = Settings.from_environment()
    environment = dict(os.environ)
    for name in environment.keys() - without_secrets(environment).keys():
        del os.environ[name]
    sys.setswitchinterval(switch_interval_s(settings.number("threads")))
    data = settings.data_path
    lock = inherited(data / "runner.lock", lock_fd)
    store = Store(settings.database_path, checkpoints=True)
    registry = Registry(settings.job_folders, job_settings(environment))
    runner = Runner(settings, store, Bus(data / "bus"), registry, lock, environment)
    signal.signal(signal.SIGTERM, lambda *_: runner.stop())
    signal.signal(signal.SIGINT, lambda *_: runner.stop())
    signal.signal(signal.SIGHUP, lambda *_: runner.retire())
    gc.collect()
    gc.freeze()  # what is there by now stays; a full collection that looks at it takes 14 ms
    try:
        runner.run(leave_with_server=True)
    except BaseException:
        log.exception("the runner broke down")
    finally:
        logging.shutdown()
        os._exit(0)  # a job's thread that ignores its stop does not keep the process


if __name__ == "__main__":
    main(int(sys.argv[1]))
