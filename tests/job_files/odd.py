"""Jobs that misbehave in ways that jobs do."""

from __future__ import annotations

import os
import sys
import time
from typing import Literal

from jobs import Progress, job
from jobs.errors import Interrupted


@job(title="Fork in a thread")
def fork_in_thread(progress: Progress) -> None:
    """Leave a forked process behind, then hold; as a pool of multiprocessing does."""
    if os.fork() == 0:
        time.sleep(25)
        os._exit(0)
    progress.update(10, "Forked")
    while True:
        progress.check()
        time.sleep(0.01)


@job(title="Odd", isolated=True)
def odd(
    progress: Progress, how: Literal["close_stdout", "fork_and_die", "symlink", "interrupted", "bytes", "garbage"]
) -> str:
    """Do one odd thing."""
    if how == "close_stdout":
        sys.stdout.close()
    if how == "fork_and_die":
        if os.fork() == 0:
            os.setsid()
            time.sleep(25)
            os._exit(0)
        os._exit(9)
    if how == "symlink":
        progress.file("link.txt").symlink_to("/etc/passwd")
    if how == "interrupted":
        raise Interrupted
    if how == "bytes":
        progress.output(b"bytes")  # type: ignore[arg-type]
        progress.row({"a": 1})
    if how == "garbage":
        os.write(int(sys.argv[1]), b"no such line\n")
    return "done"
