"""Log records of runs: they become lines of the run's log with their level, and stay out of the server's.

The handlers that a job adds while it runs are its own: they get its records alone, whichever logger it gave them to,
and are gone when the run has ended. Otherwise they would get other runs' records too, every run of a job would print
its lines once more than the run before, and the server's threads could be made to wait for a lock that a job holds.
"""

from __future__ import annotations

import functools
import logging
import sys
from types import FrameType

from jobs.capture.speaker import Speaker, speaking
from jobs.errors import StopRun
from jobs.progress import Level

_servers: list[logging.Handler] = []
_formatting = logging.Handler()


def install(*, child: bool) -> None:
    """Say runs' records of level INFO and above (or what a logger's own level lets through) in their logs."""
    root = logging.getLogger()
    root.setLevel(min(root.level, logging.INFO))
    if child and not root.handlers and logging.lastResort is not None:
        root.addHandler(logging.lastResort)  # so that basicConfig does in a child what it does in a thread: nothing
    _servers.extend(handler for handler in root.handlers if handler not in _servers)
    logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign, assignment]
    logging.Logger.addHandler = _add_handler  # type: ignore[method-assign, assignment]
    logging.Logger.removeHandler = _remove_handler  # type: ignore[method-assign, assignment]


_plain_call_handlers = logging.Logger.callHandlers
_plain_add_handler = logging.Logger.addHandler
_plain_remove_handler = logging.Logger.removeHandler


@functools.wraps(_plain_call_handlers)
def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Give a run's record to the handlers that are not the server's, and say it unless one of them has printed it.

    Raises StopRun where a run has to stop, when no lock is held; it is no Exception, so nothing in logging keeps it.
    """
    speaker = speaking()
    if speaker is None:
        _plain_call_handlers(logger, record)
    elif not _tells_of_a_stop(record):
        with speaker.at_level(_level(record.levelno)):
            printed = speaker.prints
            told_to_root, handled = _handle(logger, record)
            wanted = told_to_root or not (handled or record.levelno < logging.WARNING)  # as logging.lastResort does
            if wanted and speaker.prints == printed:
                _say(speaker, record)
        speaker.stop_if_told()


def _handle(logger: logging.Logger | None, record: logging.LogRecord) -> tuple[bool, bool]:
    """Whether the record was propagated up to the root, and whether there was any handler on its way."""
    handled = False
    while logger is not None:
        for handler in logger.handlers:
            handled = True
            if record.levelno >= handler.level and handler not in _servers:
                handler.handle(record)
        if not logger.propagate:
            return False, handled
        logger = logger.parent
    return True, handled


def _say(speaker: Speaker, record: logging.LogRecord) -> None:
    try:
        speaker.say(_formatting.format(record), _level(record.levelno))
    except Exception:
        _formatting.handleError(record)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _tells_of_a_stop(record: logging.LogRecord) -> bool:
    """asyncio tells, as an error, of tasks that a stop has ended and that nobody awaits any more."""
    return record.name == "asyncio" and bool(record.exc_info) and isinstance(record.exc_info[1], StopRun)  # type: ignore[index]


@functools.wraps(_plain_add_handler)
def _add_handler(logger: logging.Logger, handler: logging.Handler) -> None:
    _plain_add_handler(logger, handler)
    speaker = speaking()
    if speaker is None or _importing(sys._getframe(1)):  # a library's handler stays as long as the library
        return

    def remove() -> None:
        _plain_remove_handler(logger, handler)
        handler.close()

    handler.addFilter(lambda record: speaking() is speaker)  # asked before the handler's lock is taken
    speaker.at_end(remove)


@functools.wraps(_plain_remove_handler)
def _remove_handler(logger: logging.Logger, handler: logging.Handler) -> None:
    """``basicConfig(force=True)`` in a job would leave the server without a log."""
    if speaking() is None or handler not in _servers:
        _plain_remove_handler(logger, handler)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
