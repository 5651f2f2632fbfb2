"""From a wish to a recorded run: validate, store the uploads, record, wake the runner. And the wishes after it."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import marshmallow as ma

from jobs.bus import Bus
from jobs.checkpoint import CHECKPOINTS
from jobs.errors import BadParameters, RunNotEnded, SecretsForgotten, StoreBusy, flat_messages
from jobs.events import to_json
from jobs.execution import run_folder
from jobs.inputs import Inputs
from jobs.masking import MASK
from jobs.registry import Job, Registry
from jobs.runs import Run, new_run_id
from jobs.store import NewRun, Store

MAX_INPUT_BYTES = 100_000_000
"""Largest file that a run is given, unless the settings say otherwise (``max_upload``)."""


class Launcher:
    """Launches, cancels, retries and deletes runs for their owners. May be called from any thread."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        bus: Bus,
        data: Path,
        max_queue: int,
        max_input_bytes: int = MAX_INPUT_BYTES,
    ) -> None:
        self._registry = registry
        self._store = store
        self._bus = bus
        self._data = data
        self._max_queue = max_queue
        self._inputs = Inputs(store, data, max_input_bytes)

    def launch(
        self,
        job_name: str,
        given: Mapping[str, Any],
        owner: str,
        *,
        idempotency_key: str | None = None,
        retry_of: Run | None = None,
    ) -> Run:
        """Record a run of that job; when this returns it survives a power cut.

        ``given`` are the parameters as they came (JSON values or texts; files with ``filename`` and ``stream``, as a
        content, or as a reference to what is there already).
        Raises UnknownJob, BrokenJob, BadParameters, QueueFull, KeyReused, StoreBusy.
        """
        job = self._registry.usable(job_name)
        loaded, shown = _validated(job, given, partial=retry_of is not None)
        run = new_run_id()
        folder = run_folder(self._data, run)
        try:
            secrets = {one.key: loaded[one.attribute] for one in job.secret_fields if loaded.get(one.attribute)}
            files, known_by = self._inputs.keep(job, loaded, owner, folder / "inputs")
            if retry_of is not None:
                files |= self._inputs.inherit(job, retry_of, folder / "inputs")
                self._go_on(retry_of, folder)
            params = {**shown, **files, **dict.fromkeys(secrets, MASK)}
            keys = [field.data_key or name for name, field in job.schema.fields.items()]
            new = NewRun(
                id=run,
                job=job.name,
                owner=owner,
                lane=job.lane,
                params={key: params[key] for key in keys if key in params},
                secrets=secrets,
                retries=job.retries,
                retry_of=None if retry_of is None else retry_of.id,
                idempotency_key=idempotency_key,
                idempotency_hash=_digest(job.name, shown, secrets, known_by),
            )
            accepted, events = self._store.accept(new, max_queue=self._max_queue)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreBusy("The disk is full. Free some space, then try again.") from error
            raise
        if accepted.id != run:  # an Idempotency-Key came back: its first run has the files already
            shutil.rmtree(folder, ignore_errors=True)
        self._bus.tell(events)
        self._bus.nudge()
        return accepted

    def cancel(self, run: str, owner: str) -> Run:
        """Ask for a run's end. Raises UnknownRun, RunEnded."""
        found, events = self._store.cancel(run, owner)
        self._bus.tell(events)
        self._bus.nudge()
        return found

    def retry(self, run: str, owner: str) -> Run:
        """Launch the same again, as a new run; where the first broke off, it goes on from its checkpoints.

        Raises UnknownRun, RunNotEnded, SecretsForgotten, and as launch.
        """
        before = self._store.run(run, owner)
        if not before.ended:
            raise RunNotEnded("The run has not ended yet. Wait for its end, or cancel it first.")
        job = self._registry.usable(before.job)
        if any(before.params.get(field.key) == MASK for field in job.secret_fields):
            raise SecretsForgotten("This run had secret parameters, which are not kept. Launch it again by its form.")
        uploads = {field.key for field in job.file_fields}
        kept = {key: value for key, value in before.params.items() if key not in uploads}
        return self.launch(before.job, kept, owner, retry_of=before)

    def delete(self, run: str, owner: str) -> None:
        """Forget a run that has ended, its events and its files. Raises UnknownRun, RunNotEnded."""
        self._store.delete(run, owner)
        shutil.rmtree(run_folder(self._data, run), ignore_errors=True)

    def goes_on(self, run: Run) -> bool:
        """Whether a retry of that run would go on where it broke off: it ended with an error and kept checkpoints."""
        return run.status == "error" and self._checkpoints(run).is_dir()

    def _go_on(self, before: Run, folder: Path) -> None:
        """Give a run the checkpoints of the one that it repeats, where that one broke off."""
        if self.goes_on(before):
            kept = self._checkpoints(before)
            shutil.copytree(kept, folder / CHECKPOINTS, ignore=shutil.ignore_patterns("*-shm"))

    def _checkpoints(self, run: Run) -> Path:
        return run_folder(self._data, run.id) / CHECKPOINTS


def _validated(job: Job, given: Mapping[str, Any], *, partial: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters as the job's values, and as the JSON values that can be shown."""
    optional = [field.name for field in job.file_fields] if partial else None
    try:
        loaded: dict[str, Any] = job.schema.load(dict(given), partial=optional)
        shown = _dumped(job, loaded)
        to_json(shown)
    except ma.ValidationError as error:
        raise BadParameters(dict(flat_messages(error.normalized_messages()))) from None
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise BadParameters({"_schema": [f"The parameters do not fit into JSON: {error}."]}) from None
    return loaded, shown


def _dumped(job: Job, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as JSON values, without files and secrets."""
    uploads = {field.attribute for field in job.file_fields}
    dumped: dict[str, Any] = job.schema.dump({name: value for name, value in loaded.items() if name not in uploads})
    return dumped


def _digest(*parts: Any) -> str:
    return hashlib.sha256(to_json(parts).encode()).hexdigest()
