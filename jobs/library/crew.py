"""A few threads that work off tasks, for one thread that hands them out and takes the results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Crew(Generic[T, R]):
    """``count`` threads, each of which takes a task, calls ``work`` with it and gives the result back.

    An exception of ``work`` is raised by :meth:`results`, in the thread that hands out. The threads are daemons: one
    that hangs in the resolver, which nothing can interrupt, must not keep the process.
    """

    def __init__(self, count: int, work: Callable[[T], R], name: str) -> None:
        self.busy = 0
        """Tasks given whose results have not been taken."""
        self._work = work
        self._todo: SimpleQueue[T | None] = SimpleQueue()
        self._done: SimpleQueue[R | _Failed] = SimpleQueue()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def give(self, task: T) -> None:
        """Hand out a task."""
        self.busy += 1
        self._todo.put(task)

    def results(self, wait_s: float) -> list[R]:
        """Wait for a result, and take all that there are by then; none after ``wait_s`` seconds."""
        taken: list[R | _Failed] = []
        try:
            taken.append(self._done.get(timeout=wait_s))
            while len(taken) < len(self._threads):
                taken.append(self._done.get_nowait())
        except Empty:
            pass
        self.busy -= len(taken)
        return [_result(one) for one in taken]

    def close(self, wait_s: float = 1.0) -> None:
        """Let the threads end, each after the task in its hands; waits this long in all."""
        self._closed = True
        for _ in self._threads:
            self._todo.put(None)
        share_s = wait_s / len(self._threads)
        for thread in self._threads:
            thread.join(share_s)

    def _serve(self) -> None:
        while (task := self._todo.get()) is not None and not self._closed:
            try:
                self._done.put(self._work(task))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the one who handed out gets to know
                self._done.put(_Failed(error))


class _Failed:
    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _result(one: R | _Failed) -> R:
    if isinstance(one, _Failed):
        raise one.error
    return one
