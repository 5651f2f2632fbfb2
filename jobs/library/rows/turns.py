"""Whose turn it is: requests to many hosts, each asked as fast as it may be and none keeping the others waiting."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Host(Generic[T]):
    """A host with what waits for it. ``busy`` counts what was taken and has not come back."""

    name: str
    due: float = 0.0
    busy: int = 0
    ready: bool = False
    """Whether it stands in the heap of those that may have a turn."""
    queue: deque[T] = field(default_factory=deque)


class Turns(Generic[T]):
    """Gives out what waits, host by host, for one thread. Times are those of ``time.monotonic``.

    No host may have more than ``share`` turns at a time, so that one which does not answer cannot hold all who work;
    but where there is certainly nothing else to do (``complete``), the only one may have ``places``. ``gap_s`` is left
    between two turns of a host. A host is forgotten when nothing waits for it and its gap is over.
    """

    def __init__(self, places: int, share: int, gap_s: float) -> None:
        self.waiting = 0
        """What was added and not taken yet."""
        self.complete = False
        """Whether nothing is added before something has come back."""
        self._places, self._share = places, share
        self._gap_s = gap_s
        self._hosts: dict[str, _Host[T]] = {}
        self._working = 0
        self._ready: list[tuple[float, int, _Host[T]]] = []
        self._later: list[tuple[float, int, T, str]] = []
        self._resting: list[tuple[float, int, _Host[T]]] = []
        self._full: dict[str, _Host[T]] = {}
        self._number = 0

    def add(self, item: T, host: str) -> None:
        """Let something wait for its turn with a host, behind what waits there already."""
        self.waiting += 1
        self._enqueue(item, host, first=False)

    def add_later(self, item: T, host: str, due: float) -> None:
        """The same for something that must not have its turn before a time; then it goes first."""
        self.waiting += 1
        heapq.heappush(self._later, (due, self._next(), item, host))

    def pause(self, host: str, until: float) -> None:
        """Give a host no turn until then: it asked for that."""
        found = self._hosts.get(host)
        if found is not None:
            found.due = max(found.due, until)

    def take(self, now: float) -> T | None:
        """What has its turn at this time, None where nothing has. Say :meth:`come_back` when it is over."""
        self._wake(now)
        if self._full and self._is_only_one:
            self._get_ready(self._full.popitem()[1])
        while self._ready and self._ready[0][0] <= now:
            _, _, host = heapq.heappop(self._ready)
            host.ready = False
            if host.due > now:  # it was paused meanwhile
                self._get_ready(host)
                continue
            if host.busy >= (self._places if self._is_only_one else self._share):
                self._full[host.name] = host
                continue
            item = host.queue.popleft()
            self.waiting -= 1
            host.busy += 1
            # A turn that came a little late does not delay all that follow.
            host.due = (host.due if now - host.due < self._gap_s / 2 else now) + self._gap_s
            self._get_ready(host)
            return item
        return None

    def come_back(self, host: str, now: float) -> None:
        """A turn with that host is over."""
        found = self._hosts[host]
        found.busy -= 1
        self._full.pop(host, None)
        self._get_ready(found)
        if not found.busy and not found.queue:
            self._rest(found, now)

    def wait_s(self, now: float) -> float | None:
        """Seconds until :meth:`take` may have something; None where only a turn that ends can change anything."""
        due = [heap[0][0] for heap in (self._ready, self._later) if heap]
        return max(0.0, min(due) - now) if due else None

    @property
    def _is_only_one(self) -> bool:
        return self.complete and self._working <= 1

    def _enqueue(self, item: T, name: str, first: bool) -> None:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(name)
        if not host.queue and not host.busy:
            self._working += 1
        (host.queue.appendleft if first else host.queue.append)(item)
        self._get_ready(host)

    def _get_ready(self, host: _Host[T]) -> None:
        if host.queue and not host.ready:
            host.ready = True
            heapq.heappush(self._ready, (host.due, self._next(), host))

    def _rest(self, host: _Host[T], now: float) -> None:
        """Nothing to do for it; it is remembered as long as its gap or its pause lasts."""
        self._working -= 1
        if host.due <= now:
            del self._hosts[host.name]
        else:
            heapq.heappush(self._resting, (host.due, self._next(), host))

    def _wake(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, item, name = heapq.heappop(self._later)
            self._enqueue(item, name, first=True)
        while self._resting and self._resting[0][0] <= now:
            _, _, host = heapq.heappop(self._resting)
            if not host.queue and not host.busy and host.due <= now and self._hosts.get(host.name) is host:
                del self._hosts[host.name]

    def _next(self) -> int:
        self._number += 1
        return self._number
