"""``@job`` marks a function as a job; a :class:`Registry` finds the marked functions in folders of Python files.

A job file is imported by whoever needs it: the web workers to check parameters, the runner to run. So heavy libraries
(torch, scikit-learn) belong inside the function, where only the run pays for them. A file that does not load becomes
a :class:`Job` with a ``problem``; it takes nothing else down.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

import marshmallow as ma

from jobs.errors import BrokenJob, NotSetUp, UnknownJob
from jobs.parameters import FileField, json_schema, schema_of

F = TypeVar("F", bound=Callable[..., Any])

LIBRARY = Path(__file__).parent / "library"
_MARK = "__headway_job__"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str | float) -> float:
    """Seconds of ``90``, ``"300s"``, ``"10m"``, ``"2h"`` or ``"1d"``. Raises ValueError for anything else."""
    if isinstance(duration, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", duration.strip())
        if found is None:
            raise ValueError(f"{duration!r} is not a duration; write for example 300s, 10m or 2h")
        duration = float(found[1]) * _UNITS_S[found[2]]
    if not 0 < duration < float("inf"):
        raise ValueError("a duration must be more than 0 seconds")
    return float(duration)


@dataclass(frozen=True)
class Problem:
    """Why a job file does not load."""

    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Field:
    """The names of a marshmallow field: its own, the caller's (``data_key``), the function's (``attribute``)."""

    name: str
    key: str
    attribute: str


def _field(name: str, field: ma.fields.Field[Any]) -> Field:
    return Field(name, field.data_key or name, field.attribute or name)


@dataclass(frozen=True)
class Job:
    """A registered function: what it is called, what it takes and how it wants to be run.

    ``source`` is where it was found (a module's name or a file's path): a child process loads it from there.
    """

    name: str
    title: str
    help: str = ""
    function: Callable[..., Any] | None = None
    schema: ma.Schema = field(default_factory=ma.Schema)
    progress_parameter: str | None = None
    timeout_s: float | None = None
    cpu_bound: bool = False
    isolated: bool = False
    retries: int = 0
    settings: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    needs_help: str = ""
    source: str = ""
    problem: Problem | None = None
    setup: str | None = None
    """What has to be set before it can run, in a sentence; None where nothing has."""

    @property
    def available(self) -> bool:
        """Whether it can be launched."""
        return self.problem is None and self.setup is None

    @property
    def lane(self) -> str:
        """Whose turn its runs wait for: ``process`` for jobs that compute, as many at a time as there are cores, else
        ``thread``."""
        return "process" if self.cpu_bound else "thread"

    @property
    def in_child(self) -> bool:
        """Whether each run has a child process of its own."""
        return self.cpu_bound or self.isolated

    @property
    def secret_fields(self) -> list[Field]:
        """The parameters that are only ever written (marshmallow's ``load_only``)."""
        return [_field(name, one) for name, one in self.schema.fields.items() if one.load_only]

    @property
    def file_fields(self) -> list[Field]:
        """The parameters that are uploads."""
        return [_field(name, one) for name, one in self.schema.fields.items() if isinstance(one, FileField)]

    def missing(self, settings: Mapping[str, str]) -> str | None:
        """What has to be set before it can run, in a sentence; None where all is set. ``settings`` without prefix."""
        unset = [f"`HEADWAY_{name}`" for name in self.needs if not settings.get(name)]
        if not unset:
            return None
        return f"Not set up yet: set {' and '.join(unset)}, then restart. {self.needs_help}".rstrip()

    def parameters(self) -> dict[str, Any]:
        """JSON schema of the parameters."""
        return json_schema(self.schema)


@overload
def job(function: F) -> F: ...
@overload
def job(
    *,
    name: str | None = None,
    title: str | None = None,
    timeout: str | float | None = None,
    cpu_bound: bool = False,
    isolated: bool = False,
    retries: int = 0,
    settings: Iterable[str] = (),
    needs: Iterable[str] = (),
    needs_help: str = "",
    schema: type[ma.Schema] | ma.Schema | None = None,
) -> Callable[[F], F]: ...
def job(
    function: F | None = None,
    *,
    name: str | None = None,
    title: str | None = None,
    timeout: str | float | None = None,
    cpu_bound: bool = False,
    isolated: bool = False,
    retries: int = 0,
    settings: Iterable[str] = (),
    needs: Iterable[str] = (),
    needs_help: str = "",
    schema: type[ma.Schema] | ma.Schema | None = None,
) -> F | Callable[[F], F]:
    """Mark a function as a job. It stays an ordinary function, which other jobs and tests may call.

    ``timeout`` is the longest a run may take ("10m", "2h", or seconds). ``cpu_bound`` gives each run a child process
    of its own, so that it cannot slow the others, and as many runs at a time as there are cores. ``isolated`` gives it
    a child process because it may crash the interpreter, or has much to say, but does not wait for a core.
    ``retries`` is how often a run is begun again when it was interrupted. ``settings`` are the names (without
    ``HEADWAY_``) that ``progress.setting()`` may give it; without those of ``needs`` the job cannot be launched, and
    its card says so, with ``needs_help``. ``schema`` replaces the typed signature.
    """

    def mark(marked: F) -> F:
        given = schema() if isinstance(schema, type) else schema
        if given is None:
            checked, progress_parameter = schema_of(marked)
        else:
            checked, progress_parameter = given, _progress_parameter(marked)
        called = name or marked.__name__
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", called):
            raise ValueError(f"{called!r} is no name for a job: lower case letters, digits, - and _, at most 63")
        found = Job(
            name=called,
            title=title or called.replace("_", " ").capitalize(),
            help=inspect.cleandoc(marked.__doc__ or ""),
            function=marked,
            schema=checked,
            progress_parameter=progress_parameter,
            timeout_s=None if timeout is None else seconds(timeout),
            cpu_bound=cpu_bound,
            isolated=isolated,
            retries=retries,
            settings=frozenset(settings) | frozenset(needs),
            needs=tuple(needs),
            needs_help=needs_help,
        )
        found.parameters()  # a schema that cannot be described is a broken job now, not a broken page later
        setattr(marked, _MARK, found)
        return marked

    return mark if function is None else mark(function)


def _progress_parameter(function: Callable[..., Any]) -> str | None:
    first = next(iter(inspect.signature(function).parameters), None)
    return "progress" if first == "progress" else None


class Registry:
    """The jobs by name, found once at start in ``folders`` (the library always first).

    ``settings`` are those that jobs may be given: what a job needs and they lack is its :attr:`Job.setup`.
    """

    def __init__(self, folders: Iterable[Path] = (), settings: Mapping[str, str] | None = None) -> None:
        self._jobs: dict[str, Job] = {}
        self._settings = settings or {}
        broken: list[tuple[Path, str, BaseException]] = []
        for folder in (LIBRARY, *folders):
            for path in sorted(folder.glob("*.py")):
                if not path.stem.startswith("_"):
                    source = f"jobs.library.{path.stem}" if folder == LIBRARY else str(path.resolve())
                    try:
                        self._add(source)
                    except BaseException as error:  # noqa: BLE001 - SystemExit at import is the file's fault too
                        if isinstance(error, KeyboardInterrupt):
                            raise
                        broken.append((path, source, error))
        for one in broken:  # last, so that none takes the name of a job that works
            found = _broken(*one, taken=self._jobs.keys())
            self._jobs[found.name] = found

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def find(self, name: str) -> Job:
        """The job of that name, broken or not. Raises UnknownJob."""
        try:
            return self._jobs[name]
        except KeyError:
            raise UnknownJob(f"There is no job named {name!r}.") from None

    def usable(self, name: str) -> Job:
        """The job of that name. Raises UnknownJob, BrokenJob where its file does not load, or NotSetUp."""
        found = self.find(name)
        if found.problem is not None:
            raise BrokenJob(f"The job {name!r} cannot run: {found.problem.message}")
        if found.setup is not None:
            raise NotSetUp(found.setup)
        return found

    def _add(self, source: str) -> None:
        """Add the jobs of a file, all of them or (where one is wrong) none."""
        found: dict[str, Job] = {}
        for one in load_jobs(source):
            known = self._jobs.get(one.name) or found.get(one.name)
            if known is not None:
                raise ValueError(f"a job named {one.name!r} is already defined in {known.source}")
            found[one.name] = replace(one, setup=one.missing(self._settings))
        self._jobs |= found


def load_jobs(source: str) -> Iterator[Job]:
    """The jobs that a module (by name) or a file (by path) defines; raises whatever its import raises."""
    module = _import(source)
    for value in {id(value): value for value in vars(module).values()}.values():  # an alias is the same job
        found = getattr(value, _MARK, None)
        if isinstance(found, Job) and getattr(value, "__module__", None) == module.__name__:
            yield replace(found, source=source)


def load_job(source: str, name: str) -> Job:
    """The one job of that name in that module or file. Raises UnknownJob."""
    for found in load_jobs(source):
        if found.name == name:
            return found
    raise UnknownJob(f"There is no job named {name!r} in {source}.")


def _import(source: str) -> ModuleType:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    path = Path(source)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # job files may import their neighbours
    name = f"headway_jobs_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _broken(path: Path, source: str, error: BaseException, taken: Iterable[str]) -> Job:
    name = re.sub(r"[^a-z0-9_-]", "-", path.stem.lower()).lstrip("-0123456789_")[:50] or "job"
    while name in set(taken):
        name += "-broken"
    message = f"{path.name} does not load: {type(error).__name__}: {error}"
    return Job(
        name=name,
        title=path.name,
        help="This file does not load.",
        source=source,
        problem=Problem(message, "".join(traceback.format_exception(error))),
    )
