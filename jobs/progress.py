"""What a job holds in its hand: it turns the job's calls into drafts of events, and is where a run stops.

A job may call :meth:`Progress.update` a million times a second; at most 20 updates a second reach the log. The trick
is a gate and a :class:`Pace`, one thread for all runs of a process. An update through an open gate is said at once
and shuts the gate; one before a shut gate only leaves its values behind, which costs a few attribute writes and no look
at the clock. Every 50 ms the pace says what was left behind, or opens the gate where nothing was. So the newest update
is always said, also when the job falls silent after it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from jobs.checkpoint import CHECKPOINTS, Checkpoint
from jobs.errors import Cancelled, StopRun, TimedOut
from jobs.events import MAX_BODY_BYTES, Draft, Kind, ProgressUpdate, now_ms, to_json
from jobs.masking import Mask, secrets_of

log = logging.getLogger(__name__)

T = TypeVar("T")
Level = Literal["debug", "info", "warning", "error"]

TICK_S = 0.05
"""Between two updates of a run: 20 a second look smooth to the eye, and more only cost."""
MOST_BEFORE_END = 99.9
"""The highest percent of a run that has not completed: 100 is said by its last update alone."""
MAX_MESSAGE_CHARS = 1000
MAX_STEP_CHARS = 200
MAX_LINE_CHARS = 4000
"""Longest line of what is printed."""
MAX_PLANNED, MAX_PLANNED_CHARS = 50, 100
MAX_CELL_CHARS = 2000
"""Longest text in a row that is too long as a whole."""
OUTPUT_CHARS = 5000
"""Longest piece of output in one event: JSON may need 12 bytes for a character, and a body has 60 KiB."""
ETA_AFTER_S = 2.0
ETA_AFTER_PERCENT = 1.0
"""Before both, an estimate of the time left would be a guess."""
CUT = " … (cut)"


class Counter(Protocol):
    """What knows how far a loop is: one of :meth:`Progress.track`, or a bar of tqdm. Read when an update is said."""

    @property
    def percent(self) -> float:
        """0-100; 0 where nobody knows."""

    @property
    def total(self) -> float | None:
        """How many there are in all, None where nobody knows."""

    @property
    def message(self) -> str:
        """How far it is, in words."""


@dataclass(slots=True, eq=False)
class _Step:
    """A part of the whole bar: from ``base``, ``span`` percent wide."""

    name: str | None
    base: float
    span: float
    percent: float = 0.0
    tracked: Counter | None = None
    bars: list[Counter] = field(default_factory=list)
    planned: tuple[str, ...] = ()

    @property
    def counter(self) -> Counter | None:
        """What counts here: the loop that is tracked, or the outermost bar."""
        bars = self.bars[:1]
        return self.tracked or (bars[0] if bars else None)

    @property
    def counted(self) -> str:
        """How far the loops are, in words, the outermost first."""
        return " › ".join(one.message for one in (self.tracked, *self.bars) if one is not None)

    @property
    def used(self) -> float:
        """How much of this step's own 0-100 is done, by what was said and by what was counted."""
        counter = self.counter
        return self.percent if counter is None else max(self.percent, counter.percent)

    @property
    def reached(self) -> float:
        """Where that stands in the whole bar."""
        return self.base + self.span * self.used / 100


class Progress:
    """A run's voice. All methods may be called from any thread of the job.

    Every method raises :class:`~jobs.errors.StopRun` in the calling thread once the run was cancelled, ran out of
    time or has to make way for a stop of the server.
    """

    def __init__(
        self,
        run: str,
        attempt: int,
        say: Callable[[Draft], None],
        *,
        folder: Path,
        has_room: Callable[[], bool] = lambda: True,
        settings: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        secrets: Iterable[object] = (),
    ) -> None:
        """``say`` takes each draft in order and may block, unless ``has_room``; the run's files go to ``folder``."""
        self._run = run
        self._attempt = attempt
        self._say_draft = say
        self._has_room = has_room
        self._folder = folder
        self._settings = dict(settings or {})
        self._mask = Mask([*secrets, *secrets_of(self._settings)])
        self._started = time.monotonic()
        self._deadline = None if timeout_s is None else self._started + timeout_s
        self._lock = threading.RLock()
        self._stop: type[StopRun] | None = None
        self._steps = [_Step(None, 0.0, 100.0)]
        self._here = self._steps[0]
        self._files: list[str] = []
        self._checkpoints: dict[str, Checkpoint] = {}
        self._message: str | None = None
        self._indeterminate = True  # until the job says how far it is
        self._reached = 0.0
        self._said: ProgressUpdate | None = None
        self._open = True
        self._left = False
        self._output: list[str] = []
        self._output_open = True
        self._unsaid: deque[Draft] = deque()
        self._saying = False

    # What a job calls.

    def update(self, progress: float | None = None, message: str | None = None, *, step: str | None = None) -> None:
        """Say how far the current step is (``progress`` 0-100), what goes on, and the step's name; None leaves each.

        Below half a microsecond on average in a tight loop. A percent outside 0-100 is brought inside. Raises
        ValueError for NaN.
        """
        if self._stop is not None:
            raise self._stop(self._stop.message)
        if progress is not None:
            if progress.__class__ is not float:
                progress = float(progress)
            if not 0 <= progress <= 100:
                progress = _inside(progress)
            self._here.percent = progress
            self._indeterminate = False
        if message is not None:
            # What cannot be turned into text fails here, in the job, and not later in a thread of ours.
            self._message = message if message.__class__ is str else str(message)
        self._left = True
        if step is not None and step != self._here.name:
            self._here.name = str(step)
            self._say_update()
        elif self._open:
            self._say_update()

    @contextmanager
    def step(self, name: str, weight: float | None = None) -> Iterator[None]:
        """Name a part of the work; inside it 0-100 means this part. Steps may stand inside steps.

        ``weight`` is the percent of the enclosing bar that it takes. Without one, a step that :meth:`plan` announced
        takes an equal share, any other takes all that is left.
        """
        self.check()
        with self._lock:
            outer = self._here
            share = self._share(name, weight, outer)
            begun = outer.used
            inner = self._here = _Step(str(name), outer.reached, outer.span * share / 100)
            self._steps.append(inner)
            self._message = None
            self._say_update()
        try:
            yield
        except GeneratorExit:  # a loop over track(step=...) was left by break: the step is done
            self._leave_step(inner, outer, begun + share)
            raise
        except BaseException:
            with self._lock:
                if self._left:
                    self._say_update()
                self._drop_step(inner)  # without a word: the last step named is the one that failed
                outer.percent = max(outer.percent, min(100.0, begun + share))
            raise
        self._leave_step(inner, outer, begun + share)

    def plan(self, *steps: str) -> None:
        """Announce the steps ahead, in order. Inside a step it only shares out that step: the run has one plan."""
        self.check()
        self._here.planned = tuple(str(step) for step in steps)
        if self._here is self._steps[0]:
            shown = [cut(self._mask(step), MAX_PLANNED_CHARS) for step in self._here.planned[:MAX_PLANNED]]
            self._say("plan", to_json({"steps": shown}))

    def track(self, iterable: Iterable[T], total: int | None = None, step: str | None = None) -> Iterator[T]:
        """Go through ``iterable``, saying how many of ``total`` (default: its length) are done.

        Where the total is unknown the bar says so instead of guessing. ``step`` opens a step around the loop.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self._indeterminate = total is None
        if step is not None:
            with self.step(step):
                yield from self.track(iterable, total)
            return
        if self._here.counter is not None:  # a loop inside a loop is a part of the outer one's item
            with self.step(self._here.name or ""):
                yield from self.track(iterable, total)
            return
        here = self._here
        counter = _Counter(total)
        with self._lock:
            self._message, here.tracked = None, counter
        try:
            for item in iterable:
                self.check()
                yield item
                counter.done += 1
                self._left = True
                if self._open:
                    self._say_update()
        finally:
            with self._lock:
                here.percent, here.tracked = here.used, None
                self._message = self._message or counter.message
                self._left = True
        self.check()

    def log(self, message: str, level: Level = "info") -> None:
        """Write a line (or several) to the run's log."""
        self.check()
        self.note(message, level)

    def output(self, text: str) -> None:
        """Append to the run's streamed text. Pieces that come fast are joined, in order; none is lost."""
        self.check()
        text = str(text)
        if not text:
            return
        with self._lock:
            self._output.append(text)
            if self._output_open:
                self._say_output()

    def row(self, row: Mapping[str, Any]) -> None:
        """Add a row to the run's table. Raises ValueError or TypeError where a value is not JSON (NaN, a set)."""
        self.check()
        shown = self._mask(dict(row))
        body = to_json({"row": shown})
        if len(body) > MAX_BODY_BYTES:
            body = to_json({"row": {key: _cut_cell(value) for key, value in shown.items()}})
        if len(body) > MAX_BODY_BYTES:
            body = to_json({"row": {"cut": f"This row has {len(shown)} columns and is too long to show."}})
        self._say("row", body)

    def file(self, name: str) -> Path:
        """The path for a file of that name; whatever stands there when the run ends becomes a download.

        Raises ValueError for a name that is more than a plain file name.
        """
        self.check()
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. ()-]{0,120}", name):
            raise ValueError(f"{name!r} is not a plain file name: use letters, digits, _ . - ( ) and spaces")
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            if name not in self._files:
                self._files.append(name)
        return self._folder / name

    def checkpoint(self, name: str = "checkpoint") -> Checkpoint:
        """What the run has finished so far, kept for whoever goes on with it: see :class:`~jobs.checkpoint.Checkpoint`.

        It outlives the runner. The run's next attempt finds it, and so does a run that "Run again" launched after this
        one ended with an error. Raises ValueError for a name that is more than letters, digits, _ and -.
        """
        self.check()
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name):
            raise ValueError(f"{name!r} is no name for a checkpoint: use letters, digits, _ and -")
        with self._lock:
            if name not in self._checkpoints:
                self._checkpoints[name] = Checkpoint(self._folder.parent / CHECKPOINTS / f"{name}.db")
            return self._checkpoints[name]

    def check(self) -> None:
        """Raise StopRun if the run has to stop; otherwise nothing."""
        if self._stop is not None:
            raise self._stop(self._stop.message)

    def setting(self, name: str) -> str | None:
        """A setting that ``@job(settings=[...])`` names, None where it is not set. Raises LookupError for any other."""
        self.check()
        if name not in self._settings:
            raise LookupError(f"This job may not read the setting {name}. Name it in @job(settings=[{name!r}]).")
        return self._settings[name] or None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time limit, None where there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    # What the runner calls.

    def stop(self, reason: type[StopRun]) -> None:
        """Make the job's next call raise ``reason``; the first reason counts. Never waits for anything."""
        if self._stop is None:
            self._stop = reason
            self._left = True  # that it is cancelling is said at the next tick

    def tick(self) -> None:
        """Say what was left behind a shut gate, or open it. The :class:`Pace` calls this every 50 ms.

        Never waits: where the job is saying something itself, or there is no room, the next tick will do.
        """
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.stop(TimedOut)
        if not self._has_room() or not self._lock.acquire(blocking=False):
            return
        try:
            if self._left:
                self._say_update()
            else:
                self._open = True
            if self._output:
                self._say_output()
            else:
                self._output_open = True
        finally:
            self._lock.release()

    def note(self, message: str, level: Level = "info") -> None:
        """Write a log line even when the run has to stop: its traceback, say."""
        text = cut_middle(self._mask(str(message)), MAX_BODY_BYTES // 12 - len(CUT))
        self._say("log", to_json({"level": level, "message": text}))

    def line(self, text: str, level: Level = "info", *, whole: bool = True) -> None:
        """Write a line that was printed; ``whole`` is False where its end was thrown away. Goes on as :meth:`note`."""
        text = self._mask(text) if whole else self._mask.cut_off(text)
        self._say("log", to_json({"level": level, "message": cut(text, MAX_LINE_CHARS)}))

    def follow(self, bar: Counter) -> Callable[[], None]:
        """Let somebody else's bar count in the current step as :meth:`track` does; ends with a call of what it gives.

        Neither this, nor the end, nor :meth:`moved` raises or waits: a bar may be drawn under a lock that is not ours.
        """
        here = self._here
        if here.counter is None:
            self._message = None
        here.bars.append(bar)
        self._left = True

        def end() -> None:
            if here.counter is bar:
                here.percent = here.used
                self._indeterminate = self._indeterminate and not bar.total
            message = here.counted
            here.bars.remove(bar)
            if here.counter is None:
                self._message = self._message or message
            self._left = True

        return end

    def moved(self) -> None:
        """A bar that this follows has something new; the next tick says it."""
        self._left = True

    def finish(self) -> tuple[Mapping[str, Any], ...]:
        """Say what is still unsaid; gives the run's files that exist, as ``{"name", "bytes"}``."""
        with self._lock:
            if self._left:
                self._say_update()
            if self._output:
                self._say_output()
        for checkpoint in self._checkpoints.values():
            checkpoint.close()
        paths = [self._folder / name for name in self._files]
        return tuple(
            {"name": path.name, "bytes": path.stat().st_size}
            for path in paths
            if path.is_file() and not path.is_symlink()
        )

    def mask(self, value: Any) -> Any:
        """``value`` with the run's secrets masked in every text inside it."""
        return self._mask(value)

    # Inside.

    def _share(self, name: str, weight: float | None, outer: _Step) -> float:
        """The percent of ``outer`` that a step inside it takes."""
        left = 100.0 - outer.used
        if weight is not None:
            return max(0.0, min(float(weight), left))
        if outer.counter is not None:  # inside a tracked loop: one item's
            return min(left, 100.0 / outer.counter.total) if outer.counter.total else 0.0
        if name in outer.planned:
            return min(left, 100.0 / len(outer.planned))
        return left

    def _leave_step(self, inner: _Step, outer: _Step, used: float) -> None:
        with self._lock:
            self._drop_step(inner)
            outer.percent = max(outer.percent, min(100.0, used))
            self._indeterminate = outer.counter is not None and outer.counter.total is None
            self._say_update()

    def _drop_step(self, step: _Step) -> None:
        self._steps.remove(step)
        self._here = self._steps[-1]

    def _say_update(self) -> None:
        with self._lock:
            self._open = self._left = False
            update = self._compose()
            if update != self._said:
                self._said = update
                self._put("update", update.body())

    def _compose(self) -> ProgressUpdate:
        here, message, indeterminate = self._here, self._message, self._indeterminate
        if (counter := here.counter) is not None:
            message = message or here.counted
            indeterminate = counter.total is None or here.percent >= 100  # a second loop where the first used all up
        self._reached = max(self._reached, min(MOST_BEFORE_END, float(here.reached)))
        names = dict.fromkeys(step.name for step in self._steps if step.name)  # a loop in a loop repeats its step's
        return ProgressUpdate(
            status="processing",
            progress=round(self._reached, 2),
            message=None if message is None else cut(self._mask(message), MAX_MESSAGE_CHARS),
            step=cut(self._mask(" › ".join(names)), MAX_STEP_CHARS) if names else None,
            indeterminate=indeterminate,
            eta_s=None if indeterminate else self._eta_s(),
            cancelling=self._stop is Cancelled,
        )

    def _eta_s(self) -> float | None:
        elapsed = time.monotonic() - self._started
        if elapsed < ETA_AFTER_S or self._reached < ETA_AFTER_PERCENT:
            return None
        return round(elapsed * (100 - self._reached) / self._reached)

    def _say(self, kind: Kind, body: str) -> None:
        """Say something that is never dropped; output that came before it goes first."""
        with self._lock:
            if self._output:
                self._say_output()
            self._put(kind, body)

    def _say_output(self) -> None:
        pieces, self._output = self._output, []
        text = self._mask("".join(pieces))
        self._output_open = False
        for start in range(0, len(text), OUTPUT_CHARS):
            self._put("output", to_json({"text": text[start : start + OUTPUT_CHARS]}))

    def _put(self, kind: Kind, body: str) -> None:
        """Only under the lock. What is said in the midst of saying waits its turn.

        The garbage collector may call a ``__del__`` that prints in the middle of ``queue.Queue.put``, whose lock is
        not to be taken twice.
        """
        self._unsaid.append(Draft(self._run, self._attempt, kind, body, now_ms()))
        if self._saying:
            return
        self._saying = True
        try:
            while self._unsaid:
                self._say_draft(self._unsaid.popleft())
        finally:
            self._saying = False


class _Counter:
    """How many of a tracked iterable are done; read only when an update is said."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0

    @property
    def percent(self) -> float:
        return min(100.0, 100.0 * self.done / self.total) if self.total else 0.0

    @property
    def message(self) -> str:
        return f"{self.done}" if self.total is None else f"{self.done} of {self.total}"


class Pace:
    """One thread that ticks every run's progress at 20 Hz, as long as there is one."""

    def __init__(self) -> None:
        self._ticking: set[Progress] = set()
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._tick_all, name="pace", daemon=True)
        self._thread.start()

    def add(self, progress: Progress) -> None:
        """Tick this one from now on."""
        self._ticking = self._ticking | {progress}
        self._wake.set()

    def discard(self, progress: Progress) -> None:
        """Tick this one no longer."""
        self._ticking = self._ticking - {progress}

    def close(self) -> None:
        """End the thread."""
        self._ended = True
        self._wake.set()

    def _tick_all(self) -> None:
        while not self._ended:
            if not self._ticking:
                self._wake.wait()
                self._wake.clear()
            for progress in self._ticking:
                try:
                    progress.tick()
                except Exception:  # one run's fault must not take the pace from all the others
                    log.exception("cannot say a run's progress")
            time.sleep(TICK_S)


def _inside(progress: float) -> float:
    if progress != progress:
        raise ValueError("progress is not a number (NaN)")
    return min(100.0, max(0.0, progress))


def cut(text: str, most: int) -> str:
    """``text``, or so much of its beginning that it has ``most`` characters with the note that it was cut."""
    return text if len(text) <= most else text[: most - len(CUT)] + CUT


def cut_middle(text: str, most: int) -> str:
    """As :func:`cut`, but keeping the end as well: the last line of a traceback says what happened."""
    return text if len(text) <= most else text[: most // 2] + CUT + "\n" + text[-most // 2 :]


def _cut_cell(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, MAX_CELL_CHARS)
    if isinstance(value, list | dict) and len(text := to_json(value)) > MAX_CELL_CHARS:
        return cut(text, MAX_CELL_CHARS)
    return value
