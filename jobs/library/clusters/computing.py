"""Long calls of numeric libraries inside a run: with few threads, and left where the run has to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from jobs import Progress

T = TypeVar("T")

TICK_S = 0.05
"""How often it is looked whether the run has to stop."""


def compute(progress: Progress, work: Callable[[], T]) -> T:
    """Do ``work``, one call that may take seconds, and give what it gives. Raises StopRun when the run has to stop."""
    return finished(progress, begun(work))


def begun(work: Callable[[], T]) -> Future[T]:
    """Start ``work`` in a thread of its own; where nobody waits for it any more, it ends with the process."""
    future: Future[T] = Future()

    def work_in_thread() -> None:
        try:
            with few_threads():  # OpenMP's limit is each thread's own
                future.set_result(work())
        except BaseException as error:  # StopRun too: whoever waits has to know
            future.set_exception(error)

    threading.Thread(target=work_in_thread, name="computing", daemon=True).start()
    return future


def finished(progress: Progress, future: Future[T], tell: Callable[[], None] = lambda: None) -> T:
    """Wait for what was begun, and give what it gives. ``tell`` is called now and then.

    Raises StopRun as soon as the run has to stop, however long the call still takes: a library cannot be interrupted.
    """
    progress.check()
    while not wait([future], TICK_S).done:
        progress.check()
        tell()
    return future.result()


@contextmanager
def few_threads() -> Iterator[None]:
    """One thread for dense algebra and one for OpenMP.

    Two are hardly faster here on two free cores, since the matrices are small; where another run uses the cores they
    wait for each other in turns, and take up to twenty times longer. And sums come out the same each time, so that the
    same texts give the same clusters.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), threadpool_limits(1, "openmp"):
        yield
