"""Which run it is that prints: known by its task, by its thread, or, in a child process, because it is the only one.

A job's own thread, its asyncio tasks and what it gives to an executor carry their run in a context variable. What is
raised there reaches the job, so a print or a log line is a place where a run that has to stop does. A bare thread only
has its run's mark, given by the thread that starts it: nobody would hear what is raised in it, and whoever waits for
its work would wait for ever, so it is never stopped by a print.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from jobs.capture.printout import Line, plain
from jobs.progress import Level, Progress

P = ParamSpec("P")
R = TypeVar("R")

_MARK = "_headway_run"
_task: ContextVar[Speaker | None] = ContextVar("headway_run", default=None)


class _Mine(threading.local):
    """What a thread has printed for a run."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.level: Level = "info"
        self.prints = 0


class Speaker:
    """A run, as its prints are heard: they become lines of its log."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.speaks = True
        """False when the run has ended: what its threads still print goes to the server's streams again."""
        self.assigned: dict[str, Any] = {}
        """What the job has put in the place of sys.stdout and sys.stderr."""
        self._mine = _Mine()
        self._unfinished: dict[Line, None] = {}
        self._at_end: list[Callable[[], object]] = []

    def print(self, stream: str, text: str) -> None:
        """Take what was written to a stream; each line of it is a line of the log."""
        self.stop_if_told()
        self._mine.prints += 1
        line = self._line(stream)
        for found, whole in line.add(text):
            self.stop_if_told()
            self.progress.line(found, self._mine.level, whole=whole)
        if line.begun:
            self._unfinished[line] = None
        else:
            self._unfinished.pop(line, None)

    def print_bytes(self, stream: str, data: bytes) -> None:
        """As :meth:`print`, of UTF-8."""
        self.print(stream, self._line(stream).decode(data))

    def say(self, message: str, level: Level) -> None:
        """Write a log line that is whole already, of a logger say. Never stops the run."""
        self.progress.note(plain(message), level)

    @property
    def prints(self) -> int:
        """How often this thread has printed."""
        return self._mine.prints

    @contextmanager
    def at_level(self, level: Level) -> Iterator[None]:
        """Give what this thread prints meanwhile a level: a log handler prints a record."""
        before, self._mine.level = self._mine.level, level
        try:
            yield
        finally:
            self._mine.level = before

    def stop_if_told(self) -> None:
        """Raise StopRun if the run has to stop, where that reaches the job and the job is not cleaning up already."""
        if _task.get() is self and not _unwinding():
            self.progress.check()

    def carry_out(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do a task of this run, in whichever thread."""
        token = _task.set(self)
        try:
            return work(*args, **kwargs)
        finally:
            _task.reset(token)

    def at_end(self, call: Callable[[], object]) -> None:
        """Have this called when the run ends."""
        self._at_end.append(call)

    @contextmanager
    def here(self) -> Iterator[None]:
        """Let this thread speak for the run, and say what it has not finished at the end."""
        token, thread = _task.set(self), threading.current_thread()
        before = getattr(thread, _MARK, None)
        setattr(thread, _MARK, self)
        _process.only = self if _process.child else None
        try:
            yield
        finally:
            self._end()
            _process.only = None
            setattr(thread, _MARK, before)
            _task.reset(token)

    def _line(self, stream: str) -> Line:
        """Each thread has a line of its own, so that two that print at once do not cut each other's."""
        lines = self._mine.lines
        if stream not in lines:
            lines[stream] = Line()
        return lines[stream]

    def _end(self) -> None:
        self.speaks = False
        for line in list(self._unfinished):
            text, whole = line.take()
            if text:
                self.progress.line(text, whole=whole)
        for call in reversed(self._at_end):
            call()


def speaking() -> Speaker | None:
    """The run whose code calls this, None where none does."""
    if _process.forked:
        return None
    found = _task.get() or getattr(threading.current_thread(), _MARK, None) or _process.only
    return found if found is not None and found.speaks else None


def _unwinding() -> bool:
    """Whether what must not be swallowed is on its way (StopRun, GeneratorExit, asyncio.CancelledError).

    A ``finally`` that prints and then closes a file has to come to the closing.
    """
    error = sys.exc_info()[1]
    while error is not None and isinstance(error, Exception):
        error = error.__context__
    return error is not None


class _Process:
    """What is so for all threads of this process."""

    child = False
    only: Speaker | None = None
    forked = False


_process = _Process()


def install(*, child: bool) -> None:
    """Let threads and tasks belong to the run that begins them; in a child process all belong to its one run."""
    _process.child = child
    if threading.Thread.start is not _start:
        threading.Thread.start = _start  # type: ignore[method-assign, assignment]
        ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign, assignment]
        os.register_at_fork(after_in_child=_forget)


_plain_start = threading.Thread.start
_plain_submit = ThreadPoolExecutor.submit


@functools.wraps(_plain_start)
def _start(thread: threading.Thread) -> None:
    if (speaker := speaking()) is not None:
        setattr(thread, _MARK, speaker)
    _plain_start(thread)


@functools.wraps(_plain_submit)  # type: ignore[arg-type]
def _submit(pool: ThreadPoolExecutor, work: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
    """The threads of a pool may be another run's, where the pool is a job file's: the task decides."""
    if (speaker := speaking()) is not None:
        work = functools.partial(speaker.carry_out, work)
    return _plain_submit(pool, work, *args, **kwargs)


def _forget() -> None:
    """A forked process prints where its parent's real streams lead: the way to the run's log is its parent's."""
    _process.forked = True
