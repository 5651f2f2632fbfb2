"""Small real jobs with knobs, for the tests: they emit, spin, wait, fail and die on demand."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from marshmallow.validate import Range

from jobs import File, JobError, Param, Progress, Secret, job


@job(title="Emit", timeout="5m")
def emit(
    progress: Progress,
    n: Annotated[int, Range(0, 1_000_000), Param("How many", help="Rows to emit.")] = 10,
    rate: Annotated[float, Range(0, 100_000)] = 0,
    size: Annotated[int, Range(0, 60_000)] = 10,
) -> dict[str, int]:
    """Emit n rows of a size at a rate (rows a second; 0 is as fast as it goes)."""
    for index in progress.track(range(n), step="Emitting"):
        progress.row({"i": index, "text": "x" * size})
        if rate:
            time.sleep(1 / rate)
    return {"n": n}


@job(title="Hold")
def hold(progress: Progress, gate: str = "", percent: float = 30) -> str:
    """Report a percent, then wait until a file exists (or for ever), looking at the progress all the time."""
    progress.update(percent, "Holding", step="Waiting")
    while not (gate and Path(gate).exists()):
        progress.check()
        time.sleep(0.01)
    return "released"


@job(title="Hold in a child", cpu_bound=True)
def hold_in_child(progress: Progress, gate: str = "") -> str:
    """As hold, in a child process."""
    progress.update(30, "Holding")
    while not (gate and Path(gate).exists()):
        progress.check()
        time.sleep(0.01)
    return "released"


@job(title="Deaf", cpu_bound=True)
def deaf(progress: Progress) -> None:
    """Never look at the progress again."""
    progress.update(10, "Deaf from now on")
    threading.Event().wait()


@job(title="Spin", cpu_bound=True)
def spin(progress: Progress, seconds: float = 1.0) -> dict[str, float]:
    """Compute for some seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.update(100 * (1 - left / seconds), "Spinning")
    return {"seconds": seconds}


@job(title="Die", isolated=True)
def die(progress: Progress, how: Literal["signal", "exit"] = "signal", number: int = int(signal.SIGKILL)) -> None:
    """End the process that runs this."""
    progress.update(20, "Dying")
    if how == "exit":
        os._exit(number)
    os.kill(os.getpid(), number)


@job(title="Fail")
def fail(progress: Progress, how: Literal["raise", "job_error", "set", "nan", "exit", "swallow"] = "raise") -> object:
    """Fail in one of the ways that jobs fail."""
    progress.update(40, "About to fail")
    if how == "raise":
        raise ValueError("the cat ate it")
    if how == "job_error":
        raise JobError("The list is empty. Give at least one line.")
    if how == "exit":
        raise SystemExit(3)
    if how == "swallow":
        while True:
            try:
                progress.update(50)
            except Exception:  # noqa: BLE001 - what a careless job does
                pass
    return {"found": {1, 2}} if how == "set" else {"mean": float("nan")}


@job(title="Overtime", timeout=0.3)
def overtime(progress: Progress) -> None:
    """Work until the time limit comes."""
    while True:
        progress.update(60, "Still working")
        time.sleep(0.001)


@job(title="Again", retries=1)
def again(progress: Progress, journal: str) -> int:
    """Note each attempt in a file; hold in the first, end in the second."""
    with open(journal, "a") as file:
        file.write("attempt\n")
    attempts = len(Path(journal).read_text().splitlines())
    while attempts == 1:
        progress.update(50)
        time.sleep(0.01)
    return attempts


class Colour(Enum):
    """A colour."""

    RED = "red"
    GREEN = "green"


@job(title="Every kind of parameter", settings=["CRAWL_ALLOW"])
def kinds(
    progress: Progress,
    text: Annotated[str, Param("Text", help="Any text.", multiline=True)],
    whole: Annotated[int, Range(1, 500)] = 5,
    number: float = 1.5,
    flag: bool = True,
    day: date | None = None,
    order: Literal["count", "alphabet"] = "count",
    colour: Colour = Colour.RED,
    lines: list[str] = [],  # noqa: B006 - as a job's author would write it
    secret: Secret = Secret(""),  # noqa: B008
    upload: File | None = None,
) -> dict[str, object]:
    """Give back what came in.

    The secret is printed everywhere a careless job may print it.
    """
    progress.log(f"secret is {secret}")
    progress.output(f"out {secret}")
    progress.row({"secret": str(secret)})
    progress.update(50, f"using {secret}")
    progress.file("note.txt").write_text("a note")
    progress.file("never-written.txt")
    return {
        "text": text,
        "whole": whole,
        "number": number,
        "flag": flag,
        "day": None if day is None else day.isoformat(),
        "order": order,
        "colour": colour.value,
        "lines": lines,
        "secret": str(secret),
        "upload": None if upload is None else [upload.name, upload.size, upload.text()],
        "setting": progress.setting("CRAWL_ALLOW"),
    }


@job(title="Tell", cpu_bound=False)
def tell(
    progress: Progress,
    message: Annotated[str, Param("Message", multiline=True)] = "hello",
    pause: Annotated[float, Range(0, 10)] = 0.0,
) -> dict[str, str]:
    """Say one text in every way there is."""
    progress.plan("First", "Second")
    with progress.step("First"):
        progress.update(50, message, step="First")
        progress.log(message, "warning")
        progress.output(message)
        progress.row({"text": message, message[:40] or "empty": 1})
        time.sleep(pause)
    with progress.step("Second"):
        progress.update(50, message)
        time.sleep(pause)
    return {"told": message}


@job(title="Chatter")
def chatter(progress: Progress, calls: int = 100_000) -> dict[str, float]:
    """Call update as fast as it goes; tells the microseconds a call took."""
    began = time.perf_counter()
    for index in range(calls):
        progress.update(index / calls * 100, "chattering")
    return {"us": (time.perf_counter() - began) / calls * 1e6}


@job(title="Big")
def big(progress: Progress, size: Annotated[int, Range(0, 20_000_000)] = 100_000) -> str:
    """Return a long text."""
    return "x" * size


@job(title="Beat")
def beat(progress: Progress, n: int = 200, pause_ms: float = 10) -> None:
    """Say the wall clock (ns since 1970) at even distances, so that a reader can tell how late it hears it."""
    for _ in range(n):
        time.sleep(pause_ms / 1000)
        progress.log(str(time.time_ns()))
