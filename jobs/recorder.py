"""From one ``queue.Queue`` to the store and the bus: one thread, so that one place orders what all jobs say.

The queue is bounded: when jobs say more than the disk takes they wait, instead of filling the memory.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from jobs.bus import Bus
from jobs.errors import StoreError
from jobs.events import Draft, Ending, Event
from jobs.store import Store

log = logging.getLogger(__name__)

QUEUE_LENGTH = 20_000
BATCH = 1_000
"""Most drafts in one transaction: longer ones hold the write lock for more than a few ms and gain nothing."""
PAUSE_PER_DRAFT_S = 0.001
FREE_PAUSE_S = 0.02
MAX_PAUSE_S = 0.003
"""A transaction costs half a millisecond however little is in it. So thousands of drafts a second have to come in
batches of some dozens, and the recorder rests after a batch. Each draft makes it owe a millisecond of rest, which
passing time pays; it rests for what it owes beyond the free part, so hundreds a second are written at once, one by one.
What others say meanwhile waits, so a rest is not long. With a thousand runs p99 is 66 ms with 10, 47 with 4."""
OWED_RETRY_S = 0.005
IDLE_S = 2.0
"""Without work for so long, the recorder tidies up."""
STORE_RETRY_S = 0.5


class Rest:
    """How long to rest after a batch."""

    def __init__(self) -> None:
        self._owed_s = 0.0
        self._looked_at = 0.0

    def after(self, drafts: int, now: float) -> float:
        """Seconds to rest after so many drafts, at ``now`` in ``time.monotonic()``."""
        paid_s, self._looked_at = now - self._looked_at, now
        owed_s = max(0.0, self._owed_s - paid_s) + drafts * PAUSE_PER_DRAFT_S
        self._owed_s = min(owed_s, FREE_PAUSE_S + MAX_PAUSE_S)
        return max(0.0, self._owed_s - FREE_PAUSE_S)


class Recorder:
    """Takes drafts and endings from :attr:`queue`, has them written in batches, tells the bus."""

    def __init__(self, store: Store, bus: Bus, on_ended: Callable[[Ending], None]) -> None:
        """``on_ended`` is called, in the recorder's thread, when an ending is on the disk (or was refused)."""
        self.queue: queue.Queue[Draft | Ending | None] = queue.Queue(QUEUE_LENGTH)
        self._store = store
        self._bus = bus
        self._on_ended = on_ended
        self._thread = threading.Thread(target=self._record_all, name="recorder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is in the queue and end the thread."""
        self.queue.put(None)
        self._thread.join()

    def _record_all(self) -> None:
        owed = False
        rest = Rest()
        while True:
            batch, closing = self._next_batch(OWED_RETRY_S if owed else IDLE_S)
            if not batch and not closing and not owed:
                self._tidy()
            if batch:
                self._bus.tell(self._write(batch))
                for one in batch:
                    if isinstance(one, Ending):
                        self._on_ended(one)
            if closing:
                return
            owed = self._bus.flush()
            time.sleep(rest.after(len(batch), time.monotonic()))

    def _tidy(self) -> None:
        """Empty the WAL while nothing happens: it holds what was deleted, secrets of ended runs among it."""
        try:
            self._store.checkpoint()
        except StoreError as error:
            log.warning("cannot empty the WAL now: %s", error)

    def _next_batch(self, wait_s: float | None) -> tuple[list[Draft | Ending], bool]:
        """All that is there, after waiting for the first; and whether the recorder is to end after it."""
        try:
            first = self.queue.get(timeout=wait_s)
        except queue.Empty:
            return [], False
        if first is None:
            return [], True
        batch: list[Draft | Ending] = [first]
        # The rest under one lock: with a get for each, hundreds of jobs that put would be waited for hundreds of times.
        with self.queue.mutex:
            waiting = self.queue.queue
            while waiting and len(batch) < BATCH:
                one = waiting.popleft()
                if one is None:
                    return batch, True
                batch.append(one)
            self.queue.not_full.notify_all()
        return batch, False

    def _write(self, batch: list[Draft | Ending]) -> list[Event]:
        """Write until it is written: what a job said is not lost to a locked database or a full disk."""
        while True:
            try:
                return self._store.append(batch)
            except StoreError as error:
                log.error("cannot record progress, trying again: %s", error)
                time.sleep(STORE_RETRY_S)
            except Exception:
                if len(batch) > 1:  # one of them cannot be written; it must not take the others along, nor this thread
                    return [event for one in batch for event in self._write([one])]
                log.exception("run %s said something that cannot be recorded", batch[0].run)
                plain = _plain_ending(batch[0])
                if plain is None or plain == batch[0]:
                    return []
                batch = [plain]


def _plain_ending(bad: Draft | Ending) -> Ending | None:
    """The ending of a run whose own cannot be written. A draft that cannot be is dropped."""
    if isinstance(bad, Draft):
        return None
    message = "The end of the run could not be recorded; the server's log has the reason."
    return Ending(bad.run, bad.attempt, "error", bad.time_ms, message=message, code="failed")
