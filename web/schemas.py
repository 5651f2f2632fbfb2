"""What goes in and out of the API, one schema for each direction, each made once."""

from __future__ import annotations

import json
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from jobs.registry import Job
from jobs.runs import Run, run_url
from jobs.store import MAX_RUNS_LISTED
from web.frame import iso_time

API = "/api/v1"


RUN_ID = validate.Regexp(r"[0-9a-z]{1,40}\Z", error="Must be the id of a run.")


def _time(name: str) -> fields.Function:
    def read(run: Run) -> str | None:
        value = getattr(run, name)
        return None if value is None else iso_time(value)

    return fields.Function(read, metadata={"type": ["string", "null"], "format": "date-time"})


class FileSchema(ma.Schema):
    """A file that a run wrote."""

    name = fields.String()
    bytes = fields.Integer()
    url = fields.String()


class RunErrorSchema(ma.Schema):
    """Why a run ended as it did."""

    code = fields.String(metadata={"enum": ["failed", "cancelled", "timeout", "interrupted", "crashed"]})
    message = fields.String()


class RunSchema(ma.Schema):
    """A run. ``result`` is there for a completed run, unless it is too large: then ``result_url`` has it."""

    id = fields.String()
    job = fields.String()
    job_title = fields.String()
    owner = fields.String()
    status = fields.String(metadata={"enum": ["queued", "processing", "completed", "error"]})
    progress = fields.Float(metadata={"minimum": 0, "maximum": 100})
    indeterminate = fields.Boolean()
    message = fields.String(allow_none=True)
    step = fields.String(allow_none=True)
    params = fields.Dict()
    created_at = _time("created_ms")
    started_at = _time("started_ms")
    ended_at = _time("ended_ms")
    attempt = fields.Integer()
    cancelling = fields.Boolean()
    queue_position = fields.Integer(allow_none=True)
    eta_s = fields.Float(allow_none=True)
    error = fields.Nested(RunErrorSchema, allow_none=True)
    result = fields.Raw(allow_none=True)
    result_url = fields.String(allow_none=True)
    files = fields.List(fields.Nested(FileSchema))
    cursor = fields.Integer(attribute="head")
    retry_of = fields.String(allow_none=True)
    url = fields.String()
    events_url = fields.String()


class RunsSchema(ma.Schema):
    """A page of the history; ``next`` goes into ``before`` for the page after it."""

    runs = fields.List(fields.Nested(RunSchema))
    next = fields.String(allow_none=True)


class RunsQuerySchema(ma.Schema):
    """What the history is asked for."""

    class Meta:
        unknown = ma.EXCLUDE

    job = fields.String(validate=validate.Length(max=63))
    status = fields.String(validate=validate.OneOf(["queued", "processing", "completed", "error"]))
    q = fields.String(validate=validate.Length(max=200))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_RUNS_LISTED))
    before = fields.String(validate=RUN_ID)


class RowsQuerySchema(ma.Schema):
    """As what a run's rows are wanted."""

    class Meta:
        unknown = ma.EXCLUDE

    format = fields.String(load_default="json", validate=validate.OneOf(["csv", "json", "jsonl"]))


class ResultQuerySchema(ma.Schema):
    """Which part of a result is wanted, and as what."""

    class Meta:
        unknown = ma.EXCLUDE

    part = fields.String(metadata={"description": "A JSON pointer (RFC 6901); without it the whole result."})
    format = fields.String(load_default="json", validate=validate.OneOf(["json", "csv", "svg"]))


class ProblemWithJobSchema(ma.Schema):
    """Why a job file does not load."""

    message = fields.String()
    traceback = fields.String()


class JobSchema(ma.Schema):
    """A job."""

    name = fields.String()
    title = fields.String()
    help = fields.String()
    parameters = fields.Function(lambda job: job.parameters(), metadata={"type": "object"})
    timeout_s = fields.Float(allow_none=True)
    cpu_bound = fields.Boolean()
    retries = fields.Integer()
    available = fields.Boolean()
    setup = fields.String(
        allow_none=True, metadata={"description": "What has to be set before it can run, null where nothing has."}
    )
    problem = fields.Nested(ProblemWithJobSchema, allow_none=True)
    url = fields.Function(lambda job: f"{API}/jobs/{job.name}", metadata={"type": "string"})


class JobsSchema(ma.Schema):
    """All jobs."""

    jobs = fields.List(fields.Nested(JobSchema))


class TokenWishSchema(ma.Schema):
    """What a token is to be narrowed to."""

    run = fields.String(validate=RUN_ID)
    job = fields.String(validate=validate.Regexp(r"[a-z][a-z0-9_-]{0,62}\Z", error="Must be the name of a job."))


class TokenSchema(ma.Schema):
    """A token for ``?token=`` on streams."""

    token = fields.String()
    expires_in = fields.Integer(metadata={"description": "Seconds."})


class HealthSchema(ma.Schema):
    """Whether the server is well."""

    status = fields.String()


RUN = RunSchema()
JOB = JobSchema()
TOKEN_WISH = TokenWishSchema()


def run_view(run: Run, job: Job | None) -> dict[str, Any]:
    """A run as a dict that RunSchema dumps: what the store knows, and where things are."""
    url = run_url(run.id)
    found: dict[str, Any] = RUN.dump(run)
    return found | {
        "job_title": job.title if job is not None else run.job,
        "url": url,
        "events_url": f"{url}/events",
        "result": None if run.result is None else json.loads(run.result),
        "result_url": f"{url}/result" if run.status == "completed" else None,
        "files": [{**file, "url": f"{url}/files/{file['name']}"} for file in run.files],
    }
