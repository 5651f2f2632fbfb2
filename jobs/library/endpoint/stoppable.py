"""Asynchronous work inside a run, which ends when the run has to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from jobs import Progress

T = TypeVar("T")

TICK_S = 0.05
"""How often the work looks whether the run has to stop."""
CLOSE_S = 2.0
"""How long cancelled work may take to close its connections."""


def run_until_stopped(progress: Progress, work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` in this thread and give what it gives; when the run has to stop it is cancelled at once.

    So connections close within a moment of the user's wish, whatever they wait for. Raises what the work raises, and
    :class:`~jobs.errors.StopRun`.
    """
    # Not asyncio.run(): that waits for threads which look names up, and a resolver may take its time.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_watched(progress, work))
    finally:
        loop.run_until_complete(_tidied(loop))
        loop.close()


async def _watched(progress: Progress, work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look_at)
    while not task.done():
        await asyncio.wait([task], timeout=TICK_S)
        progress.check()
    return task.result()


async def _tidied(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is not done, and give it the time to close what it has opened."""
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]
    for task in tasks:
        task.add_done_callback(_look_at)
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_S)
    await loop.shutdown_asyncgens()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take notice of how it ended: where the run's stop comes first nobody else does, and asyncio would complain."""
    if not task.cancelled():
        task.exception()
