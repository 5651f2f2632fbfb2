"""Jobs that know nothing of Headway: they print, log, warn and draw bars, as scripts do; in a thread and in a child."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs import job

log = logging.getLogger(__name__)


def converse(name: str) -> int:
    """Say something in every way that a script has; all of it names who speaks."""
    from tqdm.auto import tqdm

    print(f"{name} begins")
    print(f"{name} on stderr", file=sys.stderr)
    log.info("%s logs", name)
    log.warning("%s is worried", name)
    log.debug("%s is not heard", name)
    warnings.warn(f"{name} warns", stacklevel=1)
    try:
        raise ValueError(f"{name} stumbled")
    except ValueError:
        log.exception("%s failed", name)
    thread = threading.Thread(target=print, args=(f"{name} in a thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(print, f"{name} in a pool").result()
    sys.stdout.buffer.write(f"{name} in bytes: ü\n".encode())
    with tqdm(total=8, desc=f"{name} counts") as bar:
        bar.update(6)
    print(f"{name} ends", end="")
    return bar.n


def count(name: str, gate: str) -> None:
    """Draw two bars, one inside the other, and wait in the midst of them until a file exists."""
    from tqdm import tqdm

    for number in tqdm(range(4), desc=name, mininterval=0):
        with tqdm(total=10, desc="part", leave=False) as part:
            part.update(7)
            part.refresh()
            while number == 2 and not Path(gate).exists():
                part.refresh()
                time.sleep(0.01)


def print_on() -> None:
    """Print for ever."""
    while True:
        print("still here")


def log_on() -> None:
    """Log for ever."""
    while True:
        log.info("still here")


def count_on() -> None:
    """Draw a bar for ever."""
    from tqdm import tqdm

    for _ in tqdm(iter(int, 1)):
        time.sleep(0.001)


@job(title="Converse")
def converse_in_thread(name: str) -> int:
    """Converse in a thread of the runner."""
    return converse(name)


@job(title="Converse in a child", isolated=True)
def converse_in_child(name: str) -> int:
    """Converse in a process of one's own."""
    return converse(name)


@job(title="Count")
def count_in_thread(name: str, gate: str) -> None:
    """Count in a thread of the runner."""
    count(name, gate)


@job(title="Count in a child", isolated=True)
def count_in_child(name: str, gate: str) -> None:
    """Count in a process of one's own."""
    count(name, gate)


@job(title="Go on")
def go_on_in_thread(how: str) -> None:
    """Do one thing for ever in a thread of the runner."""
    {"print": print_on, "log": log_on, "count": count_on}[how]()


@job(title="Go on in a child", isolated=True)
def go_on_in_child(how: str) -> None:
    """Do one thing for ever in a process of one's own."""
    {"print": print_on, "log": log_on, "count": count_on}[how]()
