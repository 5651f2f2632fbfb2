"""One run's life: call the job, and make one honest end of whatever happens.

The same in a thread of the runner and in a child process.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.capture import captured
from jobs.errors import JobError, StopRun
from jobs.events import MAX_DEPTH, Ending, ErrorCode, now_ms, to_json, too_deep
from jobs.parameters import File
from jobs.progress import Progress, cut
from jobs.registry import Job
from jobs.runs import Claim

MAX_ERROR_CHARS = 2000
"""Longest error message: it stands twice in the last update, where JSON may need 12 bytes for a character."""
MAX_RESULT_BYTES = 10_000_000
"""Largest result, as JSON. More belongs in a file: it is read by machines, and the page would choke on it."""


def run_folder(data: Path, run: str) -> Path:
    """Where a run's files live: ``inputs/`` what was uploaded, ``files/`` what the job wrote."""
    return data / "runs" / run


def execute(job: Job, claim: Claim, progress: Progress, folder: Path) -> Ending:
    """Call the job's function with the claim's parameters and give the run's end; nothing but the end comes out.

    ``folder`` is the run's. A traceback goes to the run's log, the error message to its last update.
    """
    try:
        with captured(progress):
            result = _call(job, claim, progress, folder)
        text = _result_text(progress.mask(result))
    except StopRun as stop:
        return _failed(claim, progress, stop.code, stop.message)  # type: ignore[arg-type]
    except JobError as error:
        return _failed(claim, progress, "failed", str(error) or "The job gave up without saying why.")
    except SystemExit as error:
        return _failed(claim, progress, "failed", f"The job ended itself with exit code {error.code}.")
    except BaseException as error:  # noqa: BLE001 - whatever a job raises is the end of its run, not of the runner
        progress.note(_traceback(error), "error")
        return _failed(claim, progress, "failed", _sentence(error))
    files = progress.finish()
    return Ending(claim.run, claim.attempt, "completed", now_ms(), result=text, files=files)


def _call(job: Job, claim: Claim, progress: Progress, folder: Path) -> Any:
    assert job.function is not None
    arguments = arguments_of(job, claim, folder)
    if job.progress_parameter is not None:
        arguments[job.progress_parameter] = progress
    result = job.function(**arguments)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def arguments_of(job: Job, claim: Claim, folder: Path) -> dict[str, Any]:
    """The claim's stored parameters as the function's arguments. Raises marshmallow's ValidationError."""
    files = {
        field.attribute: _file(claim.params[field.key], folder) if claim.params.get(field.key) else None
        for field in job.file_fields
    }
    elsewhere = {field.key for field in (*job.file_fields, *job.secret_fields)}
    given = {key: value for key, value in claim.params.items() if key not in elsewhere}
    loaded = job.schema.load({**given, **claim.secrets}, partial=[field.name for field in job.file_fields])
    return {**loaded, **files}


def _file(stored: Mapping[str, Any], folder: Path) -> File:
    return File(folder / "inputs" / stored["stored"], stored["name"], stored["bytes"])


def _failed(claim: Claim, progress: Progress, code: ErrorCode, message: str) -> Ending:
    files = progress.finish()
    shown = cut(progress.mask(message), MAX_ERROR_CHARS)
    return Ending(claim.run, claim.attempt, "error", now_ms(), message=shown, code=code, files=files)


def _sentence(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # what a job raises is the job's, its __str__ too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: BaseException) -> str:
    """The traceback without Headway's own frames, which tell a job's author nothing."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _result_text(result: Any) -> str:
    """The result as JSON text. Raises JobError that says where it holds what JSON cannot."""
    try:
        if too_deep(result):
            raise ValueError("something nested too deeply")
        text = to_json(result)
    except (TypeError, ValueError, RecursionError) as error:
        what = next(_unfit(result, "result"), str(error))
        raise JobError(
            f"The job returned {what}, which JSON cannot hold. Return text, numbers, lists and dicts."
        ) from None
    if len(text) > MAX_RESULT_BYTES:
        raise JobError(
            f"The result has {len(text) / 1e6:.0f} MB, and {MAX_RESULT_BYTES / 1e6:.0f} MB is the most."
            " Write it to progress.file(...) and return a summary."
        )
    return text


def _unfit(value: Any, path: str, depth: int = 0) -> Iterator[str]:
    """What JSON cannot hold inside ``value``, each as "a set at result['x']"."""
    if depth > MAX_DEPTH:
        yield f"something nested too deeply (over {MAX_DEPTH} levels, or inside itself) at {path[:100]}"
    elif isinstance(value, Mapping) and isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str | int | float | bool | None):
                yield f"a key of type {type(key).__name__} in {path}"
            yield from _unfit(one, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _unfit(one, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{value} at {path}"
    elif not isinstance(value, str | int | float | bool | None):
        yield f"a value of type {type(value).__name__} at {path}"
