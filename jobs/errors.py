"""Every error that Headway raises on purpose, as one small tree.

What a job must not swallow (:class:`StopRun`) is a ``BaseException``: a job's own ``except Exception`` then lets a
cancelled or overdue run end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class HeadwayError(Exception):
    """The root of all errors below; catching it means "Headway refused or failed, and says why"."""


class JobError(HeadwayError):
    """Raised by a job to end its run as ``failed`` with one sentence for the user and no traceback."""


class TableError(JobError):
    """Raised when a file cannot be read as a table, or has not the column that is asked for."""


class SettingsError(HeadwayError):
    """Raised when a setting (environment variable) has a value that cannot work."""


class BrokenJob(HeadwayError):
    """Raised when a job is launched whose file does not load."""


class NotSetUp(HeadwayError):
    """Raised when a job is launched that needs settings which are not set."""


class UnknownJob(HeadwayError):
    """Raised when no job has the given name."""


class BadParameters(HeadwayError):
    """Raised when launch parameters do not fit the job. ``errors`` maps a field's name to its messages."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("Some parameters are not right: " + ", ".join(sorted(errors)) + ".")
        self.errors = errors


def flat_messages(messages: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """marshmallow's nested messages as one level: ``{"urls": {0: ["..."]}}`` becomes ``("urls.0", ["..."])``."""
    for name, found in messages.items():
        if isinstance(found, Mapping):
            yield from flat_messages(found, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", [str(message) for message in found]


class UnknownRun(HeadwayError):
    """Raised when a run does not exist, or not for this owner: the two are not told apart."""


class RunEnded(HeadwayError):
    """Raised when something is asked of a run that only a run which goes on can do."""


class RunNotEnded(HeadwayError):
    """Raised when something is asked of a run that only a run which has ended can do."""


class SecretsForgotten(HeadwayError):
    """Raised when a run is retried whose secret parameters are no longer kept."""


class UploadGone(HeadwayError):
    """Raised when a run is retried whose uploads are no longer there."""


class KeyReused(HeadwayError):
    """Raised when an idempotency key comes back with another job or other parameters."""


class QueueFull(HeadwayError):
    """Raised when more runs wait than the server accepts."""


class StoreError(HeadwayError):
    """Raised when the database is damaged, foreign, newer than this program, or out of space."""


class StoreBusy(StoreError):
    """Raised when the database is locked or full for the moment: the same call may succeed later."""


class StopRun(BaseException):
    """Raised inside a job, at its next call of its progress, when the run has to stop.

    A ``BaseException`` so that ``except Exception`` in a job, or in a library that it uses, does not swallow it.
    ``code`` is the error code that the run ends with.
    """

    code = "cancelled"
    message = "The run was cancelled."


class Cancelled(StopRun):
    """Raised when somebody asked for the run to be cancelled."""


class TimedOut(StopRun):
    """Raised when the run has used up its time."""

    code = "timeout"
    message = "The run took longer than its time limit."


class Interrupted(StopRun):
    """Raised when the runner has to stop before the run has ended."""

    code = "interrupted"
    message = "The server stopped before the run had ended."


class Finished(StopRun):
    """Raised in threads that a job has left behind when its run had ended."""

    message = "The run has ended already."


STOP_REASONS: dict[str, type[StopRun]] = {stop.code: stop for stop in (Cancelled, TimedOut, Interrupted)}
"""From an error code to what is raised for it; child processes are told the code."""
