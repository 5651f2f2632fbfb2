"""File locks: the kernel says who lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.locks import holder, inherited, is_held, is_shared, try_lock
from tests.harness import ROOT, wait_for

HOLD = """
import os, sys, time
from pathlib import Path
from jobs.locks import try_lock
lock = try_lock(Path(sys.argv[1]), shared=sys.argv[2] == "shared")
if lock and sys.argv[2] != "shared":
    lock.sign()
print(bool(lock), os.getpid(), flush=True)
sys.stdin.read()
"""

Holder = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Holder]:
    """A maker of processes that hold a lock until their stdin ends or they die."""
    started: list[subprocess.Popen[str]] = []

    def make(path: Path, how: str = "alone", got: bool = True) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLD, str(path), how],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline().split() == [str(got), str(started[-1].pid)]
        return started[-1]

    yield make
    for process in started:
        process.kill()
        process.communicate()


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.lock"
    lock = try_lock(path)
    assert lock is not None and try_lock(path) is None and is_held(path)
    lock.release()
    assert not is_held(path)
    again = try_lock(path)
    assert again is not None
    again.release()


def test_a_lock_that_was_never_taken_is_not_held_and_not_made(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "x.lock") and holder(tmp_path / "x.lock") is None
    assert not (tmp_path / "x.lock").exists()


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_the_kernel_frees_the_lock_of_a_process_that_dies(tmp_path: Path, hold: Holder, death: signal.Signals) -> None:
    path = tmp_path / "x.lock"
    process = hold(path)
    assert is_held(path) and holder(path) == process.pid and try_lock(path) is None
    process.send_signal(death)
    process.wait(10)
    assert not is_held(path) and holder(path) is None


def test_a_stopped_process_still_holds_its_lock(tmp_path: Path, hold: Holder) -> None:
    process = hold(tmp_path / "x.lock")
    process.send_signal(signal.SIGSTOP)
    assert is_held(tmp_path / "x.lock")


def test_many_share_and_one_alone_must_wait_for_all(tmp_path: Path, hold: Holder) -> None:
    path = tmp_path / "web.lock"
    first, second = hold(path, "shared"), hold(path, "shared")
    hold(path, "alone", got=False)
    first.kill()
    first.wait(10)
    assert is_shared(path)
    second.kill()
    second.wait(10)
    assert not is_shared(path)


def test_a_lock_goes_with_its_descriptor_to_a_child(tmp_path: Path) -> None:
    """There is never a moment without a holder: the parent lets go when the child has it already."""
    path = tmp_path / "runner.lock"
    lock = try_lock(path)
    assert lock is not None
    code = (
        "import sys; from pathlib import Path; from jobs.locks import inherited\n"
        "lock = inherited(Path(sys.argv[1]), int(sys.argv[2])); lock.sign()\n"
        "print('signed', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(lock.fd)],
        cwd=ROOT,
        pass_fds=[lock.fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lock.release()
    assert is_held(path)
    assert child.stdout is not None and child.stdout.readline() == "signed\n"
    assert holder(path) == child.pid
    child.communicate(timeout=10)
    assert not is_held(path)


def test_a_lock_does_not_go_to_children_that_are_not_meant(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = try_lock(path)
    assert lock is not None
    os.set_inheritable(lock.fd, True)
    lock = inherited(path, lock.fd)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    lock.release()
    assert not is_held(path)
    child.kill()
    child.wait(10)


def test_a_touch_renews_the_time_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = try_lock(path)
    assert lock is not None
    os.utime(path, (1, 1))
    lock.touch()
    assert time.time() - path.stat().st_mtime < 60
    lock.release()


def test_a_signature_replaces_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("999999999999")
    lock = try_lock(path)
    assert lock is not None and holder(path) == 999999999999
    lock.sign()
    assert holder(path) == os.getpid() and path.read_text() == str(os.getpid())
    lock.release()


def test_nobody_fails_to_share_a_lock_because_somebody_looks_whether_it_is_held(tmp_path: Path) -> None:
    """A web worker that fails to share web.lock at its start is never seen, and the runner leaves under it."""
    path = tmp_path / "web.lock"
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            is_held(path)

    looking = threading.Thread(target=look)
    looking.start()
    wait_for(path.parent.exists, 1)
    failed, deadline = 0, time.monotonic() + 2
    while not failed and time.monotonic() < deadline:
        lock = try_lock(path, shared=True)
        if lock is None:
            failed += 1
        else:
            lock.release()
    ended.set()
    looking.join()
    assert failed == 0
