"""The HTML pages. Each is true as it comes from the server: scripts only keep it so while things go on.

Forms are sent as any form and answered with 303 to what they made; bad parameters come back in the form with 422.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import (
    Blueprint,
    Flask,
    copy_current_request_context,
    current_app,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue

from jobs.errors import BadParameters, RunEnded, UnknownJob
from jobs.inputs import is_kept
from jobs.masking import MASK
from jobs.references import INPUTS, RunFile, SampleFile, reference
from jobs.registry import Job, Registry
from jobs.runs import Run
from web import choices, forms, resultview, wording
from web.launchbody import launch_parameters, typed_values
from web.offhub import off_hub, write_off_hub
from web.schemas import JOB, run_view
from web.story import SHOWN_ITEMS, story_of

LATEST_RUNS = 6
RUNS_A_PAGE = 50
MAX_SHOWN_RESULT = 512 * 1024
"""Characters of JSON. A longer result would take long to draw and longer to read; it is offered as a download. A chart
of 2,000 labelled points has 200,000."""
MOST_NESTED = 6
"""Levels of a result that are drawn as lists and tables; what lies deeper is shown as JSON."""

bp = Blueprint("pages", __name__)


@bp.get("/")
def jobs() -> ResponseReturnValue:
    """All jobs, and the latest runs; with ``?input=`` those jobs that take that file."""
    headway = current_app.extensions["headway"]
    found = off_hub(headway.store.runs, g.principal.owner, limit=LATEST_RUNS)
    described = JOB.dump(_sorted(headway.registry), many=True)
    chosen = _chosen()
    if chosen is not None:
        described = [one for one in described if one["available"] and forms.takes_files(one["parameters"])]
    return render_template("jobs.html", jobs=described, runs=[_shown(run) for run in found], input=chosen)


@bp.get("/jobs/<name>")
def job(name: str) -> ResponseReturnValue:
    """A job's form, filled in: with ``?run=`` as that run was, with ``?example=1`` as its author suggests.

    ``?input=`` names a file of an earlier run, which is chosen for the first of its files.
    """
    headway = current_app.extensions["headway"]
    found = headway.registry.find(name)
    values = forms.default_values(found.parameters())
    if "example" in request.args:
        values |= forms.sample_values(found.parameters())
    if before := request.args.get("run"):
        values |= _reusable(off_hub(headway.store.run, before, g.principal.owner))
    if (chosen := _chosen()) is not None:
        values |= dict.fromkeys(forms.file_names(found.parameters())[:1], chosen["reference"])
    return _form(found, values, {})


@bp.post("/jobs/<name>")
def launch(name: str) -> ResponseReturnValue:
    """Launch from the form."""
    headway = current_app.extensions["headway"]
    found = headway.registry.find(name)
    given = launch_parameters(request, found)
    try:
        run = write_off_hub(headway.launcher.launch, name, given, g.principal.owner)
    except BadParameters as error:
        return _form(found, typed_values(request, found), _by_field(error.errors)), 422
    return redirect(url_for("pages.run", run_id=run.id), 303)


@bp.post("/jobs/<name>/sample")
def sample(name: str) -> ResponseReturnValue:
    """Launch with the job's own samples: one click, nothing to fill in."""
    headway = current_app.extensions["headway"]
    found = headway.registry.find(name)
    given = forms.sample_values(found.parameters())
    try:
        run = write_off_hub(headway.launcher.launch, name, given, g.principal.owner)
    except BadParameters as error:
        values = forms.default_values(found.parameters()) | given
        return _form(found, values, _by_field(error.errors)), 422
    return redirect(url_for("pages.run", run_id=run.id), 303)


@bp.get("/runs")
def runs() -> ResponseReturnValue:
    """The history, newest first."""
    headway = current_app.extensions["headway"]
    filters = {name: request.args.get(name) or None for name in ("job", "status")}
    before = request.args.get("before") or None
    found = off_hub(headway.store.runs, g.principal.owner, **filters, before=before, limit=RUNS_A_PAGE + 1)
    return render_template(
        "runs.html",
        runs=[_shown(run) for run in found[:RUNS_A_PAGE]],
        next=found[RUNS_A_PAGE - 1].id if len(found) > RUNS_A_PAGE else None,
        before=before,
        filters=filters,
        jobs=_sorted(headway.registry),
    )


@bp.get("/runs/<run_id>")
def run(run_id: str) -> ResponseReturnValue:
    """One run, as it is now; its page follows it from there."""
    headway = current_app.extensions["headway"]
    found, result, story, goes_on = off_hub(_told, headway.store, headway.launcher, run_id, g.principal.owner)
    job = _job_of(found)
    too_large = result is not None and len(result) > MAX_SHOWN_RESULT
    draw = copy_current_request_context(render_template)
    return off_hub(  # five hundred rows take 50 ms to draw, which every stream of this worker would feel
        draw,
        "run.html",
        run=_shown(found) | {"result": json.loads(result or "null") if not too_large else None},
        result_too_large=too_large,
        story=story,
        titles=_titles(job),
        runnable=job is not None and job.available,
        goes_on=goes_on,
    )


@bp.post("/runs/<run_id>/cancellation")
def cancel(run_id: str) -> ResponseReturnValue:
    """Ask for a run's end. One that has ended meanwhile simply shows so."""
    try:
        write_off_hub(current_app.extensions["headway"].launcher.cancel, run_id, g.principal.owner)
    except RunEnded:
        pass
    return redirect(url_for("pages.run", run_id=run_id), 303)


@bp.post("/runs/<run_id>/retry")
def retry(run_id: str) -> ResponseReturnValue:
    """Run the same again."""
    again = write_off_hub(current_app.extensions["headway"].launcher.retry, run_id, g.principal.owner)
    return redirect(url_for("pages.run", run_id=again.id), 303)


def _sorted(registry: Registry) -> list[Job]:
    """By title; those that do not load come last."""
    return sorted(registry, key=lambda job: (job.problem is not None, job.title.lower()))


def _form(job: Job, values: Mapping[str, Any], errors: Mapping[str, list[str]]) -> str:
    headway = current_app.extensions["headway"]
    described = JOB.dump(job)
    offered = off_hub(
        choices.choices_for, headway.store, headway.registry, g.principal.owner, described["parameters"], values
    )
    return render_template(
        "job.html",
        job=described,
        values=values,
        errors=errors,
        samples=forms.samples(described, request.host_url.rstrip("/")) if job.available else [],
        files={"choices": offered, "max_bytes": headway.settings.max_upload_bytes},
    )


def _chosen() -> dict[str, str] | None:
    """The file that ``?input=`` names, as reference and as people call it. Raises UnknownRun."""
    chosen = reference(request.args.get("input", ""))
    if not isinstance(chosen, RunFile):
        return None
    headway = current_app.extensions["headway"]
    run = off_hub(headway.store.run, chosen.run, g.principal.owner)
    return {"reference": str(chosen), "name": choices.name_of(chosen, run, headway.registry)}


def _shown(run: Run) -> dict[str, Any]:
    return run_view(run, _job_of(run))


def _job_of(run: Run) -> Job | None:
    """The run's job; None where its file is gone."""
    try:
        found: Job = current_app.extensions["headway"].registry.find(run.job)
    except UnknownJob:
        return None
    return found


def _told(store: Any, launcher: Any, run_id: str, owner: str) -> tuple[Run, str | None, dict[str, Any], bool]:
    """A run, its result, what it has said, and whether a retry would go on with it, in one visit to store and disk."""
    run = store.run(run_id, owner)
    result = store.result(run_id, owner) if run.status == "completed" else None
    return run, result, story_of(store, run_id, run.head), launcher.goes_on(run)


def _reusable(run: Run) -> dict[str, Any]:
    """The parameters of a run that may stand in a form again: no secrets; a file as what the run was given."""
    files = {name: _given_to(run, name, value) for name, value in run.params.items() if is_kept(value)}
    shown = {name: value for name, value in run.params.items() if value != MASK and not isinstance(value, dict)}
    return shown | files


def _given_to(run: Run, name: str, kept: Mapping[str, Any]) -> str:
    """A reference to a run's input: to its origin where that is a sample, else to what the run itself keeps."""
    origin = str(kept.get("from", ""))
    return origin if isinstance(reference(origin), SampleFile) else str(RunFile(run.id, INPUTS + name))


def _titles(job: Job | None) -> dict[str, str]:
    properties = job.parameters()["properties"] if job is not None else {}
    return {name: schema.get("title", name) for name, schema in properties.items()}


def _by_field(errors: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Messages by form field: those of a list's items (``urls.0``) belong to the list."""
    found: dict[str, list[str]] = {}
    for name, messages in errors.items():
        found.setdefault(name.partition(".")[0], []).extend(messages)
    return found


@bp.record_once
def _set_up(state: BlueprintSetupState) -> None:
    app: Flask = state.app  # type: ignore[assignment]  # a blueprint is set up by an app
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {one.__name__: one for one in (*wording.FILTERS, *forms.FILTERS, *resultview.FILTERS)}
    app.jinja_env.tests |= {one.__name__: one for one in (*wording.TESTS, *resultview.TESTS)}
    app.jinja_env.globals |= {"SHOWN_ITEMS": SHOWN_ITEMS, "MOST_NESTED": MOST_NESTED}
    app.jinja_env.globals |= {"SHOWN_COLUMNS": wording.SHOWN_COLUMNS}
