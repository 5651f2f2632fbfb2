"""What is counted while a bulk run goes on, and its result."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from jobs import chart
from jobs.library.rows.operations import Result

MAX_REASONS = 1000
"""Different errors that are counted; one that comes later counts among the others."""
SHOWN_REASONS = 20
OTHERS = "other errors"


class Tally:
    """Rows done and failed, statuses and errors. ``total`` is how many rows the table has."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self.resumed = 0
        """Rows that were done before this attempt began."""
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._started = time.monotonic()

    def count(self, result: Result, *, resumed: bool = False) -> None:
        """Count a row that is done; its result begins with the status and ends with the error."""
        self.done += 1
        self.resumed += resumed
        status, error = result[0], result[-1]
        self._statuses["none" if status is None else str(status)] += 1
        if error is not None:
            self.failed += 1
            known = error in self._reasons or len(self._reasons) < MAX_REASONS
            self._reasons[error if known else OTHERS] += 1

    @property
    def percent(self) -> float:
        """Of the table's rows."""
        return 100.0 * self.done / max(self.total, self.done, 1)

    @property
    def message(self) -> str:
        """How far it is, for the bar."""
        return (
            f"{self.done:,} of {max(self.total, self.done):,} rows · {self.failed:,} failed · {self._rate:,.0f} rows/s"
        )

    def result(self) -> dict[str, Any]:
        """The run's result."""
        return {
            "rows": self.done,
            "failed": self.failed,
            "done_before": self.resumed,
            "seconds": round(self._seconds, 3),
            "rows_per_s": round(self._rate, 1),
            "by_status": self._chart(),
            "statuses": [{"status": status, "rows": count} for status, count in self._statuses.most_common()],
            "errors": [{"error": error, "rows": count} for error, count in self._reasons.most_common(SHOWN_REASONS)],
        }

    def _chart(self) -> dict[str, Any]:
        bars = sorted(self._statuses.items())
        return chart("bar", "Rows by status", {"rows": bars}, x="status", y="rows")

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def _rate(self) -> float:
        return (self.done - self.resumed) / max(self._seconds, 0.001)
