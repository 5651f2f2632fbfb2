"""The JSON calls: jobs, runs, tokens, health. Views are the happy path; errors are errors.py's."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flask import Response, current_app, g, jsonify, request, send_file
from flask_smorest import Blueprint
from marshmallow import ValidationError
from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound, TooManyRequests
from werkzeug.security import safe_join

from jobs.errors import BadParameters, RunNotEnded, StoreError, UnknownJob, flat_messages
from jobs.execution import run_folder
from jobs.locks import is_held
from jobs.runs import Run
from web import longpoll, overview, resultpart, rowfile, schemas, stream
from web.auth import STREAM_TOKEN_S
from web.launchbody import json_object, launch_parameters, query_values
from web.offhub import off_hub, write_off_hub
from web.reader import Cursor
from web.schemas import API, run_view

MAX_KEY_CHARS = 255

jobs = Blueprint("jobs", __name__, url_prefix=f"{API}/jobs", description="What can be run")
runs = Blueprint("runs", __name__, url_prefix=f"{API}/runs", description="What runs and ran")
service = Blueprint("api", __name__, description="The server itself")

_BAR = {
    "in": "query",
    "name": "bar",
    "schema": {"type": "integer", "minimum": 0, "maximum": stream.MAX_COLUMNS},
    "description": "As text: a bar of so many columns that redraws itself.",
}
_STREAMS: dict[str, Any] = {form: {"schema": {"type": "string"}} for form in stream.FORMS}
_EVENTS_SCHEMA = {
    "type": "object",
    "description": "Up to a thousand events after `from`. Ask again with `?after=` the `after` of this, until `ended`.",
    "properties": {
        "run": {"type": "string"},
        "from": {"type": "integer"},
        "after": {"type": "integer"},
        "head": {"type": "integer"},
        "reset": {"type": "boolean"},
        "ended": {"type": "boolean"},
        "events": {"type": "array", "items": {"type": "object"}},
    },
}
_LAUNCH_DOC = {
    "requestBody": {
        "description": "The job's parameters, as its JSON schema describes them.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
            "multipart/form-data": {"schema": {"type": "object"}},
        },
    },
    "parameters": [
        {
            "in": "header",
            "name": "Idempotency-Key",
            "schema": {"type": "string", "maxLength": MAX_KEY_CHARS},
            "description": "The same key and parameters give the same run.",
        },
        _BAR,
    ],
    "responses": {"200": {"description": "Its stream, where that is accepted", "content": _STREAMS}},
}


def _headway() -> Any:
    return current_app.extensions["headway"]


def _owner() -> str:
    owner: str = g.principal.owner
    return owner


def view_of(run: Run) -> dict[str, Any]:
    """A run as the API shows it."""
    try:
        job = _headway().registry.find(run.job)
    except UnknownJob:
        job = None
    return run_view(run, job)


def _accepted(run: Run) -> Response:
    response = jsonify(view_of(run))
    response.status_code = 202
    response.headers["Location"] = f"{API}/runs/{run.id}"
    return response


# Jobs.


@jobs.get("")
@jobs.response(200, schemas.JobsSchema)
def list_jobs() -> dict[str, Any]:
    """All jobs, also those whose file does not load."""
    return {"jobs": sorted(_headway().registry, key=lambda job: job.title.lower())}


@jobs.get("/<name>")
@jobs.response(200, schemas.JobSchema)
def get_job(name: str) -> Any:
    """One job, with the JSON schema of its parameters."""
    return _headway().registry.find(name)


@jobs.post("/<name>/runs")
@jobs.doc(**_LAUNCH_DOC)
@jobs.response(202, schemas.RunSchema)
def launch(name: str) -> Response:
    """Launch a run; with ``Accept: text/event-stream`` (or another form of stream) also stream it, in the same call."""
    headway = _headway()
    form = stream.wanted_form(request)
    columns = stream.columns_of(request, form)
    given = launch_parameters(request, headway.registry.usable(name))
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= MAX_KEY_CHARS:
        raise BadRequest(f"An Idempotency-Key has 1 to {MAX_KEY_CHARS} characters.")
    run = write_off_hub(headway.launcher.launch, name, given, _owner(), idempotency_key=key)
    if form is None:
        return _accepted(run)
    try:
        response = stream.stream_response(headway, g.principal, run.id, Cursor(), request, form, columns)
    except (TooManyRequests, StoreError):  # it is launched all the same: who tries again would launch two
        return _accepted(run)
    response.headers["Content-Location"] = f"{API}/runs/{run.id}"
    return response


@jobs.get("/<name>/stream")
@jobs.doc(
    parameters=[
        {"in": "query", "name": "token", "required": True, "schema": {"type": "string"}},
        {"in": "header", "name": "Last-Event-ID", "schema": {"type": "string"}, "description": "`<run>-<seq>`"},
    ],
    responses={"200": {"description": "The run's stream", "content": _STREAMS}},
)
def launch_stream(name: str) -> Response:
    """Launch by GET and stream, for a plain EventSource. One token launches one run, and joins it ever after."""
    headway = _headway()
    if request.method == "HEAD":
        raise MethodNotAllowed(["GET"])
    form = stream.form_of(request)
    job = headway.registry.usable(name)
    given = dict(query_values(request, job))
    run = write_off_hub(headway.launcher.launch, name, given, _owner(), idempotency_key=g.principal.launch_key)
    cursor = stream.cursor_of(request, run.id)
    response = stream.stream_response(headway, g.principal, run.id, cursor, request, form)
    response.headers["Content-Location"] = f"{API}/runs/{run.id}"
    return response


# Runs.


@runs.get("")
@runs.arguments(schemas.RunsQuerySchema, location="query")
@runs.response(200, schemas.RunsSchema)
def list_runs(query: dict[str, Any]) -> Response:
    """The history, newest first."""
    limit = query["limit"]
    found = off_hub(
        _headway().store.runs,
        _owner(),
        job=query.get("job"),
        status=query.get("status"),
        text=query.get("q"),
        before=query.get("before"),
        limit=limit,
    )
    more = found[-1].id if len(found) == limit else None
    return jsonify(runs=[view_of(run) for run in found], next=more)


@runs.get("/<run_id>")
@runs.response(200, schemas.RunSchema)
def get_run(run_id: str) -> Response:
    """One run."""
    return jsonify(view_of(off_hub(_headway().store.run, run_id, _owner())))


@runs.delete("/<run_id>")
@runs.response(204)
def delete_run(run_id: str) -> None:
    """Forget a run that has ended, with its events and files."""
    write_off_hub(_headway().launcher.delete, run_id, _owner())


@runs.get("/<run_id>/events")
@runs.doc(
    parameters=[
        {"in": "header", "name": "Last-Event-ID", "schema": {"type": "string"}, "description": "`<run>-<seq>`"},
        {"in": "query", "name": "after", "schema": {"type": "integer", "minimum": 0}},
        {"in": "query", "name": "last_event_id", "schema": {"type": "string"}},
        {"in": "query", "name": "token", "schema": {"type": "string"}},
        {
            "in": "query",
            "name": "wait",
            "schema": {"type": "integer", "minimum": 0, "maximum": longpoll.MAX_WAIT_S},
            "description": "As JSON: so many seconds to wait for the next event.",
        },
        _BAR,
    ],
    responses={
        "200": {
            "description": "The events, in the form that is asked for",
            "content": _STREAMS | {stream.JSON: {"schema": _EVENTS_SCHEMA}},
        },
        "204": {"description": "The client has had the last event."},
    },
)
def events(run_id: str) -> Response:
    """The run's events, from the cursor on, until its end; as JSON those that there are, or the next ones."""
    form = stream.form_of(request, stream.ALL_FORMS)
    cursor = stream.cursor_of(request, run_id)
    if form == stream.JSON:
        wait_s = longpoll.wait_of(request)
        return longpoll.events_response(_headway(), g.principal, run_id, cursor, wait_s, request.environ)
    columns = stream.columns_of(request, form)
    return stream.stream_response(_headway(), g.principal, run_id, cursor, request, form, columns)


@runs.post("/<run_id>/cancellation")
@runs.response(202, schemas.RunSchema)
def cancel(run_id: str) -> Response:
    """Ask for the run's end; the run says when it has come."""
    return _accepted(write_off_hub(_headway().launcher.cancel, run_id, _owner()))


@runs.post("/<run_id>/retry")
@runs.response(202, schemas.RunSchema)
def retry(run_id: str) -> Response:
    """Launch the same again, as a new run."""
    return _accepted(write_off_hub(_headway().launcher.retry, run_id, _owner()))


@runs.get("/<run_id>/rows")
@runs.doc(
    responses={
        "200": {"description": "The rows, as a download.", "content": {one: {} for one in rowfile.TYPES.values()}}
    }
)
@runs.arguments(schemas.RowsQuerySchema, location="query")
def rows(query: dict[str, Any], run_id: str) -> Response:
    """The rows that the run has said until now, as CSV, JSON or JSON lines."""
    headway, form = _headway(), query["format"]
    run = off_hub(headway.store.run, run_id, _owner())
    return _download(rowfile.row_file(headway.store, run, form), rowfile.TYPES[form], run, f"rows.{form}")


@runs.get("/<run_id>/result")
@runs.doc(
    responses={
        "200": {"description": "What the job returned.", "content": {one: {} for one in resultpart.TYPES.values()}}
    }
)
@runs.arguments(schemas.ResultQuerySchema, location="query")
def result(query: dict[str, Any], run_id: str) -> Response:
    """The result, whatever its length; or a part of it, a table or chart also as a file."""
    store = _headway().store
    run = off_hub(store.run, run_id, _owner())
    if run.status != "completed":
        raise RunNotEnded("There is a result when the run has completed.")
    found, form = off_hub(store.result, run_id, _owner()), query["format"]
    if form == "json" and "part" not in query:
        return Response(found + "\n", content_type="application/json")
    where = query.get("part", "")
    body = off_hub(resultpart.part_file, found, where, form)
    return _download(body, resultpart.TYPES[form], run, f"{resultpart.name_of(where)}.{form}")


@runs.get("/<run_id>/files/<name>")
@runs.response(200, content_type="application/octet-stream", description="The file.")
def file(run_id: str, name: str) -> Response:
    """A file that the run wrote, as a download."""
    headway = _headway()
    run = off_hub(headway.store.run, run_id, _owner())
    path = safe_join(str(run_folder(headway.settings.data_path, run.id) / "files"), name)
    if path is None or name not in {one["name"] for one in run.files} or Path(path).is_symlink():
        raise NotFound("The run has no such file.")
    try:
        return send_file(path, as_attachment=True, download_name=name, max_age=0)
    except FileNotFoundError:
        raise NotFound("The run's file is no longer there.") from None


def _download(body: Iterable[bytes], content_type: str, run: Run, name: str) -> Response:
    """A file that is named after the run and what it has of it."""
    response = Response(body, content_type=content_type)
    response.headers.set("Content-Disposition", "attachment", filename=f"{run.job}-{run.id[-6:]}-{name}")
    return response


# Everything at once.


@service.get(f"{API}/events")
@service.doc(
    parameters=[
        {
            "in": "query",
            "name": "follow",
            "schema": {"type": "string"},
            "description": f"`<run>@<seq>,...`: up to {overview.MAX_FOLLOWED} runs to follow from there on.",
        },
        {"in": "query", "name": "token", "schema": {"type": "string"}},
    ],
    responses={"200": {"description": "Server-Sent Events", "content": {"text/event-stream": {}}}},
)
def all_events() -> Response:
    """The latest update of every run, and all events of the followed ones, in one stream."""
    stream.form_of(request, (stream.EVENTS,))
    return overview.overview_response(_headway(), g.principal, overview.followed(request), request.environ)


# The server.


@service.post(f"{API}/token")
@service.doc(requestBody={"content": {"application/json": {"schema": schemas.TokenWishSchema}}})
@service.response(200, schemas.TokenSchema)
def token() -> dict[str, Any]:
    """A signed token for ``?token=`` on streams, good for five minutes."""
    headway = _headway()
    try:
        wish = schemas.TOKEN_WISH.load(json_object(request))
    except ValidationError as error:
        raise BadParameters(dict(flat_messages(error.normalized_messages()))) from None
    if "run" in wish:
        off_hub(headway.store.run, wish["run"], _owner())
    if "job" in wish:
        headway.registry.find(wish["job"])
    return {
        "token": headway.gate.sign("stream", owner=_owner(), n=secrets.token_hex(8), **wish),
        "expires_in": STREAM_TOKEN_S,
    }


@service.get("/healthz")
@service.response(200, schemas.HealthSchema)
def healthz() -> dict[str, str]:
    """Whether this worker answers."""
    return {"status": "ok"}


@service.get("/readyz")
@service.response(200, schemas.HealthSchema)
def readyz() -> dict[str, str]:
    """Whether runs can be launched: the database answers and a runner is there."""
    headway = _headway()
    off_hub(headway.store.ping)
    if not is_held(headway.settings.data_path / "runner.lock"):
        raise StoreError("No runner is there to execute runs.")
    return {"status": "ready"}
