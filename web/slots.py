"""How many streams may be open at a time: in this worker, and for each principal."""

from __future__ import annotations

import threading
from collections import Counter


class Slots:
    """Counts open streams. Beyond a limit the answer is "busy", so that ordinary requests always have room."""

    def __init__(self, most: int, most_each: int) -> None:
        """``most`` in all, ``most_each`` for one principal."""
        self._most = most
        self._most_each = most_each
        self._all_taken = 0
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, principal: str) -> str | None:
        """Take a slot: None where it was taken, else in a sentence why not."""
        with self._lock:
            if self._all_taken >= self._most:
                return "This server has as many streams open as it may. Try again later."
            if self._taken[principal] >= self._most_each:
                return f"You have {self._most_each} streams open already. Close some of them."
            self._taken[principal] += 1
            self._all_taken += 1
        return None

    def give_back(self, principal: str) -> None:
        """Undo one :meth:`take` that gave None."""
        with self._lock:
            self._all_taken -= 1
            self._taken[principal] -= 1
            if self._taken[principal] == 0:
                del self._taken[principal]

    @property
    def taken(self) -> int:
        """How many streams are open."""
        return self._all_taken
