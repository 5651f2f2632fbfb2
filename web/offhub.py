"""Blocking calls (SQLite, fsync) off gevent's hub: one that waited there would freeze every stream of the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from gevent import get_hub, monkey
from gevent.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


WRITERS = 4
"""Threads for calls that may wait for a lock of the database; they are not to take those that readers need."""
_writers: list[ThreadPool] = []


def off_hub(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in one of the hub's native threads and wait cooperatively; directly where there is no gevent server."""
    if not monkey.is_module_patched("socket"):
        return call(*args, **kwargs)
    return _apply(get_hub().threadpool, call, args, kwargs)


def write_off_hub(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As :func:`off_hub`, for calls that write to the database."""
    if not monkey.is_module_patched("socket"):
        return call(*args, **kwargs)
    if not _writers:
        _writers.append(ThreadPool(WRITERS))
    return _apply(_writers[0], call, args, kwargs)


def _apply(pool: ThreadPool, call: Callable[..., T], args: Any, kwargs: Any) -> T:
    result, error = pool.apply(_caught, (call, args, kwargs))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _caught(call: Callable[..., T], args: Any, kwargs: Any) -> tuple[T | None, BaseException | None]:
    """The call's result or its exception: one that left the thread would be printed by the pool as its own fault."""
    try:
        return call(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - it is raised again on the other side
        return None, error
