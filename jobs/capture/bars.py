"""Bars of tqdm: the outermost moves the run's bar, all of them give its message.

A hook, and not a reader of what tqdm draws, for three reasons. ``tqdm.refresh`` draws under a lock of the whole process
and does not let go of it when drawing raises, so a run that stopped there would stop every other bar for good. Where a
bar is drawn depends on all bars of the process, and ``tqdm.write`` and tqdm's monitor draw other runs' bars from their
own thread. And what is drawn ("1.23M/10.0M", a ``bar_format`` of one's own) is less than what the bar knows. The hook
takes the place of ``status_printer``, with which tqdm puts text on a terminal, and looks at a run's stop after each
refresh, when the lock is free. A future tqdm with other methods is left alone; its redraws then become one line.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from jobs.capture.speaker import Speaker, speaking
from jobs.capture.streams import is_ours

MODULE = "tqdm.std"
METHODS = ("status_printer", "refresh", "close", "__del__", "format_meter")
REDRAW_S = 0.1
"""tqdm's own mininterval: a job that draws once a minute, to spare a log file, would also stop only once a minute."""
KNOWN_TOTAL = "{desc}{n_fmt}/{total_fmt} [{rate_fmt}{postfix}]"
UNKNOWN_TOTAL = "{desc}{n_fmt}{unit} [{rate_fmt}{postfix}]"


class Bar:
    """A bar of a run, in the place of tqdm's printer: called with the text of each redraw."""

    def __init__(self, bar: Any, speaker: Speaker) -> None:
        self.speaker = speaker
        self.percent = 0.0
        self.total: float | None = None
        self.message = ""
        self._bar = weakref.ref(bar)  # a bar that nobody holds any more is to close itself
        self._end: Callable[[], None] | None = None
        self._ended = False

    def __call__(self, text: str) -> None:
        """Take over how far the bar is; an empty text is only the eraser."""
        bar = self._bar()
        if bar is None or not text or self._ended:
            return
        self._look(bar.format_dict, bar)
        if self._end is None:  # from the first redraw on, which a bar may put off (delay=)
            self._end = self.speaker.progress.follow(self)
        self.speaker.progress.moved()

    def end(self, bar: Any) -> None:
        """Take over the last state, with the rate of the whole, and move nothing any more."""
        self._ended, end, self._end = True, self._end, None
        if end is not None:
            self._look({**bar.format_dict, "rate": None}, bar)
            end()

    def _look(self, state: dict[str, Any], bar: Any) -> None:
        done, total = state["n"], state["total"]
        known = bool(total) and done < total + 0.5 and total != float("inf")  # as tqdm sees it
        self.total = float(total) if known else None
        self.percent = min(100.0, max(0.0, 100.0 * float(done) / self.total)) if self.total else 0.0
        name = (state["prefix"] or "").removesuffix(": ")
        state |= {"ncols": None, "colour": None, "prefix": f"{name}: " if name else ""}
        state["bar_format"] = KNOWN_TOTAL if known else UNKNOWN_TOTAL
        self.message = " ".join(bar.format_meter(**state).split()).replace("[ ", "[")


class _Nowhere:
    """The file of a bar that is not drawn."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


def install() -> None:
    """Hook into tqdm, at once or when a job imports it."""
    module = sys.modules.get(MODULE)
    if module is not None:
        hook(module)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Waits for the import of tqdm."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == MODULE else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_hook(module: ModuleType) -> None:
            load(module)
            hook(module)

        spec.loader.exec_module = load_and_hook  # type: ignore[method-assign]
        return spec


def hook(module: ModuleType) -> None:
    """Let the bars of runs move the runs' bars, and leave all others as they are."""
    tqdm = module.tqdm
    if hasattr(tqdm, "_headway") or not all(hasattr(tqdm, method) for method in METHODS):
        return
    plain_printer, plain_refresh, plain_close, plain_del = (getattr(tqdm, method) for method in METHODS[:4])

    def status_printer(bar: Any, file: Any = None) -> Any:
        if file is None:  # called on the class, with the file alone
            return plain_printer(bar)
        speaker = speaking()
        if speaker is None or not is_ours(file):
            return plain_printer(file)
        bar.fp = _Nowhere()
        bar.pos = 0  # each run has a screen of its own: no bar has to make room, none is hidden below the last line
        bar.mininterval = min(bar.mininterval, REDRAW_S)
        return Bar(bar, speaker)

    @functools.wraps(plain_refresh)
    def refresh(bar: Any, *args: Any, **kwargs: Any) -> Any:
        drawn = plain_refresh(bar, *args, **kwargs)
        if (shown := _shown(bar)) is not None and shown.speaker is speaking():
            shown.speaker.stop_if_told()
        return drawn

    @functools.wraps(plain_close)
    def close(bar: Any) -> None:
        if (shown := _shown(bar)) is not None and not bar.disable:
            shown.end(bar)
        plain_close(bar)

    @functools.wraps(plain_del)
    def __del__(bar: Any) -> None:
        """The garbage collector may call this in any thread, one that must not wait for tqdm's lock among them."""
        shown = _shown(bar)
        if shown is None or shown.speaker is speaking():
            plain_del(bar)
        else:
            shown.end(bar)

    for replaced in (status_printer, refresh, close, __del__):
        setattr(tqdm, replaced.__name__, replaced)
    tqdm._headway = True


def _shown(bar: Any) -> Bar | None:
    shown = getattr(bar, "sp", None)
    return shown if isinstance(shown, Bar) else None
