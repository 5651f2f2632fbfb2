"""What a form offers in place of an upload: the job's sample, and what earlier runs made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jobs.errors import UnknownJob, UnknownRun
from jobs.references import INPUTS, ROWS, Reference, RunFile, reference
from jobs.registry import Registry
from jobs.runs import Run
from jobs.store import Store
from web.forms import as_file, file_names, kinds_of
from web.frame import iso_time
from web.wording import ago

SHOWN_FILES = 20
RUNS_LOOKED_AT = 50
TABLE_ENDINGS = ["csv", "tsv", "jsonl", "txt", "json"]
"""What is offered to a parameter that does not say what it takes."""


class Choice(NamedTuple):
    """One entry: the reference, and how it reads."""

    value: str
    label: str


class Group(NamedTuple):
    """Entries of one origin."""

    label: str
    choices: list[Choice]


def choices_for(
    store: Store, registry: Registry, owner: str, parameters: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, list[Group]]:
    """What can be chosen for each of a job's files; what ``values`` has chosen already is among it. Reads the store."""
    names = file_names(parameters)
    runs = store.runs(owner, limit=RUNS_LOOKED_AT) if names else []
    ended = [run for run in runs if run.ended]
    found: dict[str, list[Group]] = {}
    for name in names:
        schema = parameters["properties"][name]
        sample = reference(str(schema.get("x-sample", "")))
        groups = [
            Group("Sample", [Choice(str(sample), f"{sample.name} · sample")] if sample else []),
            Group("Files of earlier runs", _files(ended, registry, kinds_of(schema) or TABLE_ENDINGS)),
        ]
        picked = as_file(values.get(name))["choice"].strip()
        if picked and all(picked != choice.value for group in groups for choice in group.choices):
            groups.insert(0, Group("Chosen", [Choice(picked, _label(store, registry, owner, picked))]))
        found[name] = [group for group in groups if group.choices]
    return found


def name_of(chosen: Reference, run: Run | None, registry: Registry) -> str:
    """What a reference means, for people: ``pages.csv``, ``the rows of "Crawl a site"``."""
    if run is None or not isinstance(chosen, RunFile):
        return chosen.name
    if chosen.name == ROWS:
        return f"the rows of “{_title(run, registry)}”"
    if chosen.name.startswith(INPUTS):
        given = run.params.get(chosen.name.removeprefix(INPUTS))
        return str(given["name"]) if isinstance(given, dict) and "name" in given else chosen.name
    return chosen.name


def _files(runs: Iterable[Run], registry: Registry, endings: list[str]) -> list[Choice]:
    def found() -> Iterator[Choice]:
        for run in runs:
            for file in run.files:
                if file["name"].rpartition(".")[2].lower() in endings:
                    yield Choice(str(RunFile(run.id, file["name"])), _of_run(file["name"], run, registry))

    return [choice for choice, _ in zip(found(), range(SHOWN_FILES), strict=False)]


def _label(store: Store, registry: Registry, owner: str, picked: str) -> str:
    chosen = reference(picked)
    if not isinstance(chosen, RunFile):
        return picked
    try:
        run = store.run(chosen.run, owner)
    except UnknownRun:
        return picked
    name = "Rows" if chosen.name == ROWS else name_of(chosen, run, registry)
    return _of_run(name, run, registry)


def _of_run(name: str, run: Run, registry: Registry) -> str:
    when = "" if run.ended_ms is None else f", {ago(iso_time(run.ended_ms))}"
    return f"{name} · {_title(run, registry)}{when}"


def _title(run: Run, registry: Registry) -> str:
    try:
        return registry.find(run.job).title
    except UnknownJob:
        return run.job
