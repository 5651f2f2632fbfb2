"""File locks: how processes know who lives. The kernel frees a lock when its holder dies, however it dies.

flock(2): a lock belongs to an open file, not to a process, so it can be handed to a child with the descriptor.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
from functools import cache
from multiprocessing.synchronize import Lock
from pathlib import Path


def native_lock() -> Lock:
    """A lock between the threads of this process that is the kernel's, whatever a server has made of ``threading``.

    gevent's patched locks switch greenlets, and native threads that wait for each other with them may wait for ever:
    seen with gevent 26.9 in Semaphore._spin_on_native_lock, when several launches told the bus at once.
    """
    return multiprocessing.Lock()


_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


@cache
def forget_in_forks() -> None:
    """Keep processes that job code forks from keeping our locks alive after our death.

    For processes that run job code; not for web workers, where gevent's Popen forks in Python to hand a lock on.
    """
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """Let go of the locks in a forked child; that frees nothing of its parent's."""
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


class FileLock:
    """A held lock. It is freed by :meth:`release`, or by the kernel at the death of its last holder."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        _held.add(fd)

    def sign(self, pid: int | None = None) -> None:
        """Write a process id (default: this one's) into the file, for those who want to signal the holder."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, str(pid or os.getpid()).encode(), 0)

    def touch(self) -> None:
        """Renew the file's time: a sign of life beyond not being dead (a stopped process holds its locks too)."""
        os.utime(self.fd)

    def release(self) -> None:
        """Free the lock."""
        _held.discard(self.fd)
        os.close(self.fd)


def try_lock(path: Path, *, shared: bool = False) -> FileLock | None:
    """Take the lock on ``path`` without waiting; None where another holds it. The file is made where it is missing."""
    fd = _open(path)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return FileLock(path, fd)


def inherited(path: Path, fd: int) -> FileLock:
    """The lock that a parent process took and handed on as descriptor ``fd``; children of ours will not get it."""
    os.set_inheritable(fd, False)
    return FileLock(path, fd)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def lock_shared(path: Path) -> FileLock:
    """Take the lock together with others; waits for those who hold it alone, which :func:`is_shared` does briefly."""
    fd = _open(path)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return FileLock(path, fd)


def is_held(path: Path) -> bool:
    """Whether somebody alive holds the lock on ``path`` alone. Those who ask do not hinder each other."""
    return _is_refused(path, shared=True)


def is_shared(path: Path) -> bool:
    """Whether anybody alive holds the lock on ``path``, alone or together with others."""
    return _is_refused(path, shared=False)


def _is_refused(path: Path, *, shared: bool) -> bool:
    if not path.exists():
        return False
    lock = try_lock(path, shared=shared)
    if lock is not None:
        lock.release()
    return lock is None


def holder(path: Path) -> int | None:
    """The process id that the holder of the lock signed with; None where nobody holds it."""
    if not is_held(path):
        return None
    text = path.read_text()
    return int(text) if text.isdecimal() else None
