"""Keeps a runner beside the server: every web worker watches, and the first that sees none starts one.

Plain ``threading``: under gunicorn's gevent worker, which patches it, the watch is a greenlet.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time

from jobs.locks import holder
from jobs.runner import runner_pids, start_process
from jobs.settings import Settings

log = logging.getLogger(__name__)

WATCH_S = 0.5
"""Between two looks. A dead runner is back within this and its start, about half a second more."""
SETTLE_S = 1.0
"""After a start: a runner that dies at once (a poisoned job) is not begun again faster than this."""
STALLED_S = 30.0
"""A runner that has not beaten (every 5 s) for so long is stopped or stuck: killed. Counted in looks of this process,
not by a clock: one that was itself stopped meanwhile has seen nothing."""


class Supervisor:
    """Watches the runner's lock from a web worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock_path = settings.data_path / "runner.lock"
        self._beat_ns = -1
        self._silent_looks = 0
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch, in a thread of its own."""
        threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_S):
            try:
                process = start_process(self._settings)
                if process is not None:
                    log.warning("no runner was there; started one, process %d", process.pid)
                    self._ended.wait(SETTLE_S)
                    threading.Thread(target=process.wait, daemon=True).start()  # its status is to be collected
                else:
                    self._kill_stalled()
            except OSError:
                log.exception("cannot look after the runner")

    def _kill_stalled(self) -> None:
        """Kill a runner that holds the lock and does nothing (SIGSTOP, a hung disk); the kernel frees its locks."""
        try:
            beat_ns = self._lock_path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if beat_ns != self._beat_ns:
            self._beat_ns, self._silent_looks = beat_ns, 0
            return
        self._silent_looks += 1
        if self._silent_looks > STALLED_S / WATCH_S and (pid := holder(self._lock_path)) is not None:
            log.error("runner process %d has stalled; killing it", pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def retire_runners(settings: Settings) -> None:
    """Let the runners finish what they have and leave; new ones, with new job code, take over the queue."""
    _signal_all(settings, signal.SIGHUP)


def stop_runners(settings: Settings, timeout_s: float) -> None:
    """Stop all runners in order, and wait until they have recorded the ends of their runs."""
    deadline = time.monotonic() + timeout_s
    _signal_all(settings, signal.SIGTERM)
    while runner_pids(settings.data_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_all(settings, signal.SIGKILL)


def _signal_all(settings: Settings, number: signal.Signals) -> None:
    for pid in runner_pids(settings.data_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
