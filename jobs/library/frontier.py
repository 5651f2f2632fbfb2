"""What a crawl fetches next, and when: in the order found, at most as many as asked for, and as fast as hosts allow."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from jobs.library.linkgraph import Target

MAPPED_DEPTH = 1
"""The depth of a page that only a sitemap names: as if the start linked to it."""
UNKNOWN_DEPTH = 1 << 30
"""The depth of a page that a sitemap names, while a link may still lead to it."""


@dataclass(slots=True, eq=False)
class _Host:
    delay_s: float
    due: float = 0.0
    queue: deque[Target] = field(default_factory=deque)


class Frontier:
    """The queue of a crawl, for one thread. Times are those of ``time.monotonic``.

    Pages from sitemaps come after those that links led to, since only links tell how far a page is from the start.
    """

    def __init__(self, limit: int, delay_s: float) -> None:
        self.known = 0
        """Pages that could be fetched, also beyond the limit."""
        self.delayed = delay_s > 0
        """Whether any host must not be asked as fast as it answers."""
        self._room = limit
        self._delay_s = delay_s
        self._hosts: dict[str, _Host] = {}
        self._due: list[tuple[float, int, _Host]] = []
        self._turn = 0
        self._mapped: dict[Target, str] = {}

    def slow_down(self, host: str, delay_s: float) -> None:
        """Leave at least this long between two fetches from a host."""
        self._host(host).delay_s = max(self._delay_s, delay_s)
        self.delayed = self.delayed or delay_s > 0

    def begin(self) -> None:
        """Count a page that is fetched without having been queued: the start."""
        self.known += 1
        self._room -= 1

    def add(self, target: Target, host: str) -> None:
        """Queue a page that a link led to."""
        self.known += 1
        self._enqueue(target, self._host(host))

    def add_mapped(self, target: Target, host: str) -> None:
        """Queue a page that a sitemap names."""
        self.known += 1
        self._mapped[target] = host

    @property
    def mapped(self) -> bool:
        """Whether pages wait that only a sitemap names."""
        return bool(self._mapped)

    def promote(self, target: Target) -> None:
        """A link has led to a page that waits because a sitemap named it: now it has its place among the others."""
        host = self._mapped.pop(target, None)
        if host is not None:
            self._enqueue(target, self._host(host))

    def take(self, now: float) -> Target | None:
        """The next page that may be fetched at this time, None where there is none."""
        if self._room <= 0:
            return None
        if not self._due and self._mapped:
            target = next(iter(self._mapped))
            target.depth = min(target.depth, MAPPED_DEPTH)
            self.promote(target)
        if not self._due or self._due[0][0] > now:
            return None
        _, _, host = heapq.heappop(self._due)
        target = host.queue.popleft()
        host.due = now + host.delay_s
        if host.queue:
            self._push(host)
        self._room -= 1
        return target

    def wait_s(self, now: float) -> float | None:
        """Seconds until :meth:`take` has something, None where nothing waits or the limit is reached."""
        if self._room <= 0 or not (self._due or self._mapped):
            return None
        return max(0.0, self._due[0][0] - now) if self._due else 0.0

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(self._delay_s)
        return host

    def _enqueue(self, target: Target, host: _Host) -> None:
        host.queue.append(target)
        if len(host.queue) == 1:
            self._push(host)

    def _push(self, host: _Host) -> None:
        self._turn += 1
        heapq.heappush(self._due, (host.due, self._turn, host))
