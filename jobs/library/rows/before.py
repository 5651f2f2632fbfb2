"""What earlier attempts of a bulk run have done."""

from __future__ import annotations

from typing import Any

from jobs import Checkpoint
from jobs.library.rows.operations import Result


class DoneBefore:
    """The results of earlier attempts, for a reader that asks for them in the order of the rows."""

    def __init__(self, checkpoint: Checkpoint, width: int) -> None:
        """Results have ``width`` cells; others come from an older version and do not count."""
        self.left = max(0, len(checkpoint) - 1)
        """How many have not been asked for."""
        self._width = width
        self._items = checkpoint.items()
        self._next: tuple[Any, Any] | None = next(self._items, None) if self.left else None

    def result(self, number: int) -> Result | None:
        """The result of a row, None where it has none."""
        if not self.left:
            return None
        while self._next is not None and self._next[0] < number:
            self._next = next(self._items, None)
        if self._next is None or self._next[0] != number:
            return None
        self.left -= 1
        result: Result = self._next[1]
        return result if len(result) == self._width else None
