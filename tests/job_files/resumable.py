"""Jobs that go on where an earlier attempt, or an earlier run, broke off; and one that is not set up."""

from __future__ import annotations

import time
from pathlib import Path

from jobs import JobError, Progress, job


@job(title="Count on", retries=1)
def count_on(progress: Progress, journal: str, n: int = 20, gate: str = "", fail_at: int = -1) -> dict[str, int]:
    """Write each number into a journal once, and its square into the checkpoint; wait in the middle for a file."""
    done = progress.checkpoint()
    begun_with = len(done)
    for number in progress.track(range(n)):
        if number in done:
            continue
        if number == fail_at:
            raise JobError("It failed, as it was told to.")
        while gate and number == n // 2 and not Path(gate).exists():
            progress.check()
            time.sleep(0.01)
        with open(journal, "a") as file:
            file.write(f"{number}\n")
        done[number] = number * number
    return {"begun_with": begun_with, "sum": sum(value for _, value in done.items())}


@job(
    title="Needs settings", needs=["NEEDED_URL", "NEEDED_KEY"], needs_help="For example `HEADWAY_NEEDED_URL=http://x`."
)
def needs_settings(progress: Progress) -> str:
    """Can only be launched where two settings are set."""
    return f"{progress.setting('NEEDED_URL')} {progress.setting('NEEDED_KEY')}"
