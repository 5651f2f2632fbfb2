"""Jobs that wait for a sign, a file that appears, and then say the wall clock (ns since 1970) at even distances.

So whoever watches them can be there before the first word, and tell how late each one comes.
"""

from __future__ import annotations

import time
from pathlib import Path

from jobs import Progress, job

LOOK_S = 0.25
"""Between two looks for the sign. A thousand runs look at different moments, and speak at different ones then."""
MORE_S = 1.0
"""For so long updates without the time follow: no run ends while others are listened to."""
APART = 0.8
"""The least part of the distance between two updates that a late one leaves before the next: a job that says two in
less than 50 ms has only the newer one told."""


@job(title="Update at a sign")
def update_at_sign(progress: Progress, sign: str, n: int = 100, apart_ms: float = 100) -> None:
    """Say the clock in updates."""
    _wait_for(progress, sign)
    apart_s = apart_ms / 1000
    due = time.monotonic()
    more = round(MORE_S / apart_s)
    for number in range(n + more):
        due += apart_s
        time.sleep(max(apart_s * APART, due - time.monotonic()))
        progress.update(100 * number / (n + more), str(time.time_ns()) if number < n else "Ending soon")


@job(title="Log at a sign")
def log_at_sign(progress: Progress, sign: str, n: int = 500, apart_ms: float = 8) -> None:
    """Say the clock in log lines, of which every one is told."""
    _wait_for(progress, sign)
    for _ in range(n):
        time.sleep(apart_ms / 1000)
        progress.log(str(time.time_ns()))


def _wait_for(progress: Progress, sign: str) -> None:
    while not Path(sign).exists():
        progress.check()
        time.sleep(LOOK_S)
