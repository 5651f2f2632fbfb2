"""How long a stream lives, and when it has to say something."""

from __future__ import annotations

import random
import time

from jobs.events import now_ms
from web import frame
from web.feed import HEARTBEAT_S, Feed

LIFE_S = 15 * 60.0
"""Longest life of a stream, less up to a fifth at random: rights are checked again, and proxies cut long streams."""
RETRY_MS = (1000, 3000)


class Lifetime:
    """One stream's times, all of them in ``time.monotonic()``."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._told = False
        self._said_at = time.monotonic()
        self.until = self._said_at + LIFE_S * random.uniform(0.8, 1.0)
        """When the stream says goodbye."""

    def said(self) -> None:
        """Something was said just now."""
        self._said_at = time.monotonic()

    def limit(self, until: float) -> None:
        """End by this time; the feed has spread the goodbyes already, where it is closing."""
        if until < self.until:
            self._told = self._feed.closing
            self.until = until

    def utterance(self) -> tuple[bytes, bool]:
        """What is to be said though nothing is new: a goodbye (and True), a heartbeat, or nothing."""
        now = time.monotonic()
        if self._feed.closing and not self._told:
            self.limit(self._feed.goodbye_at())
            self._told = True
        if now >= self.until:
            return self.bye(), True
        return frame.heartbeat(now_ms()) if now >= self._said_at + HEARTBEAT_S else b"", False

    @property
    def rest_s(self) -> float:
        """How long nothing has to be said if nothing is new."""
        return max(0.0, min(self.until, self._said_at + HEARTBEAT_S) - time.monotonic())

    def bye(self) -> bytes:
        """The goodbye."""
        return frame.bye("restart" if self._feed.closing else "rotate", retry_ms())


def retry_ms() -> int:
    """When a client should come back, in ms; at random, that they do not come all at once."""
    return random.randint(*RETRY_MS)
