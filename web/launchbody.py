"""The body of a launch to parameters: JSON, form or multipart. Their meaning is the job's schema's business."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from jobs.events import too_deep
from jobs.registry import Job

MAX_TEXT_BYTES = 1_000_000
"""Largest body but for uploads: it is read in one go, which nothing else in the worker gets past."""
WAYS = ("upload", "paste", "choice")
"""The ways in which a form gives a file, in the order in which they count where none was picked, or the picked one is
empty. The upload has the parameter's own name, the others ``<name>.paste`` and ``<name>.choice``; ``<name>.way`` says
which was picked.
"""
STREAM_QUERY = frozenset({"token", "after", "last_event_id"})
"""What a query says to the stream, not to the job."""


def launch_parameters(request: Request, job: Job) -> dict[str, Any]:
    """What the body gives for each parameter. Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        if request.mimetype != "multipart/form-data":
            request.max_content_length = MAX_TEXT_BYTES
        try:
            return dict(_form_values(request, job))
        except RequestEntityTooLarge:
            raise RequestEntityTooLarge(_too_large(request)) from None
    return json_object(request)


def typed_values(request: Request, job: Job) -> dict[str, Any]:
    """What was typed into a job's form, to stand in it again; of a file what was pasted and chosen."""
    typed: dict[str, Any] = {name: values[-1] for name, values in request.form.lists()}
    for field in job.file_fields:
        ways = {way: typed.pop(f"{field.key}.{way}", "") for way in (*WAYS[1:], "way")}
        upload = request.files.get(field.key)
        typed[field.key] = ways | {"upload": upload.filename if upload else ""}
    return typed


def _too_large(request: Request) -> str:
    most, text = request.max_content_length or 0, request.max_form_memory_size or 0
    if request.mimetype != "multipart/form-data":
        return f"The request has more than {most / 1e6:.0f} MB. Send long texts as files (multipart/form-data)."
    return (
        f"The request has more than {most / 1e6:.0f} MB, or a text in it more than {text / 1e3:.0f} kB."
        " Send a long text as a file. For larger files raise HEADWAY_MAX_UPLOAD."
    )


def json_object(request: Request) -> dict[str, Any]:
    """A body that is a JSON object, or empty. Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
    if request.mimetype == "application/json" or (not request.mimetype and not request.content_length):
        request.max_content_length = MAX_TEXT_BYTES
        return _object(request.get_data())
    raise UnsupportedMediaType("Send the parameters as application/json, as a form, or as multipart/form-data.")


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    if too_deep(found):
        raise BadRequest("The JSON is nested too deeply.")
    if not isinstance(found, dict):
        raise BadRequest('The body must be a JSON object, such as {"url": "https://example.org"}.')
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def query_values(request: Request, job: Job) -> Iterator[tuple[str, Any]]:
    """A launch by GET: its query without what belongs to the stream."""
    values = MultiDict((name, value) for name, value in request.args.items(multi=True) if name not in STREAM_QUERY)
    return _texts(values, job)


def _form_values(request: Request, job: Job) -> Iterator[tuple[str, Any]]:
    ways = {f"{field.key}.{way}" for field in job.file_fields for way in (*WAYS[1:], "way")}
    yield from _texts(MultiDict(one for one in request.form.items(multi=True) if one[0] not in ways), job)
    for name, files in request.files.lists():
        if files[-1].filename:
            yield name, files[-1]
    for field in job.file_fields:
        if (found := _file_of(request, field.key)) is not None:
            yield field.key, found


def _file_of(request: Request, name: str) -> Any:
    """What a form gives for a file, in the way that was picked; else in the first way that has something."""
    uploads = [file for file in request.files.getlist(name) if file.filename]
    given: dict[str, Any] = {"upload": uploads[-1] if uploads else None}
    given |= {way: request.form.get(f"{name}.{way}") for way in WAYS[1:]}
    return given.get(request.form.get(f"{name}.way", "")) or next(filter(None, given.values()), None)


def _texts(form: MultiDict[str, str], job: Job) -> Iterator[tuple[str, Any]]:
    """A form's values as texts. An empty one means "not given", but for optional text, which may be empty."""
    properties = job.parameters()["properties"]
    required = {name for name, field in job.schema.fields.items() if field.required}
    for name, values in form.lists():
        described = properties.get(name, {})
        if described.get("type") == "array" and len(values) > 1:
            yield name, values
        elif values[-1] != "" or (described.get("type") == "string" and _may_be_empty(described, name in required)):
            yield name, values[-1]


def _may_be_empty(described: Mapping[str, Any], required: bool) -> bool:
    return not required and "format" not in described and "enum" not in described
