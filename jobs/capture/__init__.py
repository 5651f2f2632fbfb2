"""What a job prints and logs becomes lines of its run's log, and its tqdm bars the run's bar, without a change to it.

:func:`install` once for a process, :func:`captured` around each run. What C code or a program that the job starts
writes to the descriptors 1 and 2 does not come by here: in a child process its runner reads it from a pipe.
"""

from __future__ import annotations

import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from jobs.capture import bars, records, speaker, streams
from jobs.capture.speaker import Speaker, speaking
from jobs.errors import StopRun
from jobs.progress import Progress


def install(*, child: bool = False) -> None:
    """Tell runs' prints and records from the server's from now on. Once more does no harm.

    To be called before job files are imported: what they hold of sys.stdout from then on is ours.
    """
    speaker.install(child=child)
    streams.install()
    records.install(child=child)
    bars.install()
    if warnings.showwarning is not _show_warning:
        _before.show_warning, warnings.showwarning = warnings.showwarning, _show_warning
    if threading.excepthook is not _tell_of_thread:
        _before.tell_of_thread, threading.excepthook = threading.excepthook, _tell_of_thread


@contextmanager
def captured(progress: Progress) -> Iterator[None]:
    """Let this thread, and the threads and tasks that it begins, speak through ``progress``."""
    # Each run is to show its warnings, where Python shows them once in a process: a new filter makes it forget.
    warnings.filterwarnings("ignore", message="^no warning reads so$")
    with Speaker(progress).here():
        yield


class _Before:
    """What stood where :func:`install` put something of ours."""

    show_warning: Any = warnings.showwarning
    tell_of_thread: Any = threading.excepthook


_before = _Before()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    run = speaking() if file is None else None
    if run is None:
        _before.show_warning(message, category, filename, lineno, file, line)
    else:
        run.say(warnings.formatwarning(message, category, filename, lineno, line).rstrip(), "warning")


def _tell_of_thread(died: threading.ExceptHookArgs) -> None:
    """An exception that ended a thread of a run; one that a stop has ended is nothing to tell of."""
    run = speaking()
    if run is None:
        _before.tell_of_thread(died)
    elif not issubclass(died.exc_type, StopRun):
        told = "".join(traceback.format_exception(died.exc_type, died.exc_value, died.exc_traceback))
        name = died.thread.name if died.thread is not None else "unknown"
        run.say(f"Exception in thread {name}:\n{told}".rstrip(), "error")
