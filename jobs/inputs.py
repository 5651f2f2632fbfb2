"""The files that a run is given: uploads, texts, and what an earlier run or a sample holds; under names of our own.

A name from outside never becomes part of a path. What an earlier run holds is linked rather than copied, so that a
chain of runs over one large file costs its space once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.errors import BadParameters, UnknownRun, UploadGone
from jobs.execution import run_folder
from jobs.parameters import Upload
from jobs.references import INPUTS, ROWS, RunFile, SampleFile
from jobs.registry import LIBRARY, Job
from jobs.runs import Run
from jobs.store import Store

MAX_NAME_CHARS = 200
MAX_NAMES_SAID = 12
"""Files that a message lists: enough to see one's slip."""
_CHUNK_BYTES = 1 << 20


class _Unusable(Exception):
    """Raised when what was given for a file parameter cannot be had; says why, and what to do, in a sentence or two."""


class Inputs:
    """Stores the files that new runs are given. ``max_bytes`` is the most that one may have, wherever it comes from."""

    def __init__(self, store: Store, data: Path, max_bytes: int) -> None:
        self._store = store
        self._data = data
        self._max_bytes = max_bytes

    def keep(
        self, job: Job, loaded: Mapping[str, Any], owner: str, folder: Path
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Store what the job's file parameters were given; by parameter what the run keeps, and what it is known by.

        A content is known by its SHA-256, a reference by its text. Raises BadParameters.
        """
        kept: dict[str, Any] = {}
        known_by: dict[str, str] = {}
        problems: dict[str, list[str]] = {}
        for number, field in enumerate(job.file_fields):
            given = loaded.get(field.attribute)
            if not isinstance(given, Upload | RunFile | SampleFile):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            try:
                kept[field.key], known_by[field.key] = self._stored(job, given, owner, folder / f"{number}")
            except _Unusable as problem:
                problems[field.key] = [str(problem)]
        if problems:
            raise BadParameters(problems)
        return kept, known_by

    def inherit(self, job: Job, before: Run, folder: Path) -> dict[str, Any]:
        """Give a run the files of the one that it repeats. Raises UploadGone."""
        files = {
            field.key: before.params[field.key] for field in job.file_fields if is_kept(before.params.get(field.key))
        }
        for stored in files.values():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                _link(run_folder(self._data, before.id) / "inputs" / stored["stored"], folder / stored["stored"])
            except FileNotFoundError:
                raise UploadGone("The files of this run are no longer there. Launch it again by its form.") from None
        return files

    def _stored(
        self, job: Job, given: Upload | RunFile | SampleFile, owner: str, path: Path
    ) -> tuple[dict[str, Any], str]:
        if isinstance(given, Upload):
            size, digest = self._write(_chunks(given), path)
            return _kept(given.name, size, path), digest
        if isinstance(given, SampleFile):
            with _sample(job, given.name).open("rb") as stream:  # a copy: a job may write into what it is given
                size, _ = self._write(_chunks(Upload(given.name, stream)), path)
            return _kept(given.name, size, path, came_from=str(given)), str(given)
        return self._of_run(given, owner, path), str(given)

    def _of_run(self, given: RunFile, owner: str, path: Path) -> dict[str, Any]:
        try:
            run = self._store.run(given.run, owner)
        except UnknownRun:
            raise _Unusable("There is no such run. Choose a file of one that your list of runs shows.") from None
        if not run.ended:
            raise _Unusable("That run has not ended yet. Wait for its end, then use what it made.")
        if given.name == ROWS:
            size, _ = self._write(self._rows(run), path)
            return _kept("rows.jsonl", size, path, came_from=str(given))
        if given.name.startswith(INPUTS):
            return self._given_to(run, given, path)
        if given.name not in {one["name"] for one in run.files}:
            raise _Unusable(f"That run has no file {_said(given.name)}. {_listed(one['name'] for one in run.files)}")
        size = self._linked(given.name, run_folder(self._data, run.id) / "files" / given.name, path)
        return _kept(given.name, size, path, came_from=str(given))

    def _given_to(self, run: Run, given: RunFile, path: Path) -> dict[str, Any]:
        """A file that an earlier run was given; where that one came from is still said."""
        before = run.params.get(given.name.removeprefix(INPUTS))
        if before is None or not is_kept(before):
            raise _Unusable("That run was given no such file. Choose another one.")
        size = self._linked(before["name"], run_folder(self._data, run.id) / "inputs" / before["stored"], path)
        return _kept(before["name"], size, path, came_from=before.get("from") or str(given))

    def _rows(self, run: Run) -> Iterator[bytes]:
        """The run's rows as JSON lines, as they stand in the store: a page at a time."""
        after = 0
        while page := self._store.rows_of(run.id, after):
            yield "".join(event.body.removeprefix('{"row":')[:-1] + "\n" for event in page).encode()
            after = page[-1].seq
        if not after:
            raise _Unusable("That run has no rows. Choose one of its files, or another run.")

    def _linked(self, name: str, source: Path, path: Path) -> int:
        try:
            if source.is_symlink() or not source.is_file():
                raise FileNotFoundError
            self._check_size(source.stat().st_size)
            _link(source, path)
        except FileNotFoundError:
            raise _Unusable(f"The file {_said(name)} of that run is no longer there. Choose another one.") from None
        with path.open("rb") as file:
            os.fsync(file.fileno())  # the run that wrote it had no reason to
            return os.fstat(file.fileno()).st_size

    def _write(self, chunks: Iterator[bytes], path: Path) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with path.open("xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
                self._check_size(size)
            file.flush()
            os.fsync(file.fileno())  # the run's acceptance promises its files too
        return size, digest.hexdigest()

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            most = f"{self._max_bytes / 1e6:.0f} MB"
            raise _Unusable(
                f"It has more than {most}, the most that is taken. Choose less, or raise HEADWAY_MAX_UPLOAD."
            )


def is_kept(value: Any) -> bool:
    """Whether a run's parameter is what it keeps of a file, rather than some object that a caller made up."""
    return isinstance(value, dict) and str(value.get("stored", "")).isdecimal() and isinstance(value.get("name"), str)


def _kept(name: str, size: int, path: Path, *, came_from: str | None = None) -> dict[str, Any]:
    """What a run keeps of a file, as everybody may see it."""
    kept: dict[str, Any] = {"name": name[-MAX_NAME_CHARS:], "bytes": size, "stored": path.name}
    return kept if came_from is None else kept | {"from": came_from}


def _chunks(upload: Upload) -> Iterator[bytes]:
    while chunk := upload.stream.read(_CHUNK_BYTES):
        yield chunk


def _sample(job: Job, name: str) -> Path:
    """A sample's file; its name has to be one of those that the folder lists, so it leads nowhere else."""
    own = Path(job.source).parent if job.source.endswith(".py") else LIBRARY
    samples = sorted(path for path in (own / "samples").glob("[!.]*") if path.is_file())
    for path in samples:
        if path.name == name:
            return path
    raise _Unusable(f"This job has no sample {_said(name)}. {_listed(path.name for path in samples)}")


def _link(source: Path, path: Path) -> None:
    """Give a file a second name, or a copy where the file system has no links. Raises FileNotFoundError."""
    try:
        os.link(source, path, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, too many links, or one that knows none
        shutil.copyfile(source, path, follow_symlinks=False)


def _said(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")


def _listed(names: Iterator[str]) -> str:
    found = list(names)
    if not found:
        return "It has none."
    return f"It has {', '.join(found[:MAX_NAMES_SAID])}{' and more' if len(found) > MAX_NAMES_SAID else ''}."
