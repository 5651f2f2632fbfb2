"""A job's form and samples, made from the JSON schema of its parameters."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from jobs.references import reference
from web.launchbody import WAYS
from web.wording import filesize, plain

Schema = Mapping[str, Any]

INPUT_TYPES = {
    "date": "date",
    "date-time": "datetime-local",
    "uri": "url",
    "url": "url",
    "email": "email",
    "password": "password",
    "binary": "file",
}
"""From a schema's format to an input's type."""
SAMPLE_TEXTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "email": "someone@example.com",
    "password": "...",
}


TABLE_KINDS = "CSV, TSV, JSONL or text"
"""What a file is expected to be, where its parameter does not say."""


def input_attributes(schema: Schema, kind: str) -> dict[str, Any]:
    """Type and limits of an ``<input>``. xmlattr leaves out what is None."""
    shape = schema.get("format") or ""
    if kind in ("integer", "number"):
        return {
            "type": "number",
            "step": 1 if kind == "integer" else "any",
            "inputmode": "numeric" if kind == "integer" else "decimal",
            "min": schema.get("minimum"),
            "max": schema.get("maximum"),
        }
    given: dict[str, Any] = {"type": INPUT_TYPES.get(shape, "text"), "maxlength": schema.get("maxLength")}
    if shape == "date-time":
        given["step"] = 1
    if shape == "password":
        given["autocomplete"] = "off"
    return given


def field_hints(schema: Schema, kind: str) -> list[str]:
    """The sentences below a field: its help, how to write it, its limits."""
    hints = [schema["description"]] if schema.get("description") else []
    if kind == "array":
        hints.append("One a line.")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        hints.append(f"{_limit(low)} to {_limit(high)}.")
    elif low is not None:
        hints.append(f"At least {_limit(low)}.")
    elif high is not None:
        hints.append(f"At most {_limit(high)}.")
    if schema.get("format") == "password":
        hints.append("Never shown again, and forgotten when the run has ended.")
    return hints


def _limit(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number:,}"


def default_values(parameters: Schema) -> dict[str, Any]:
    """What stands in a fresh form."""
    return {name: schema.get("default") for name, schema in parameters["properties"].items()}


def sample_values(parameters: Schema) -> dict[str, Any]:
    """What a newcomer can start with; offered, never assumed."""
    return {name: schema["x-sample"] for name, schema in parameters["properties"].items() if "x-sample" in schema}


def as_bool(value: Any) -> bool:
    """Whether a checkbox is ticked, for a default as for what a form sent."""
    return value is True or str(value).lower() in ("true", "on", "1", "yes")


def as_lines(value: Any) -> str:
    """The text of a textarea: a list one a line."""
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)


def as_input(value: Any, shape: str) -> str:
    """The text of an input; datetime-local takes no offset."""
    if value is None:
        return ""
    text = plain(value) if isinstance(value, float) else str(value)
    return text[:19] if shape == "date-time" else text


def takes_files(parameters: Schema) -> bool:
    """Whether a form has to be sent as multipart."""
    return bool(file_names(parameters))


def file_names(parameters: Schema) -> list[str]:
    """The parameters that are files."""
    return [name for name, schema in parameters["properties"].items() if schema.get("format") == "binary"]


def has_sample(parameters: Schema) -> bool:
    """Whether a newcomer can start the job without filling in anything: it has samples, and for all it requires."""
    given = sample_values(parameters)
    return bool(given) and set(parameters.get("required", [])) <= given.keys()


def as_file(value: Any) -> dict[str, str]:
    """What stands in each part of a file's field, and which ``way`` of giving it is picked.

    ``value`` is a content, a reference, None, or what :func:`~web.launchbody.typed_values` found in a form.
    """
    empty = {"way": "upload", "upload": "", "paste": "", "choice": ""}
    if isinstance(value, Mapping):
        filled = next((way for way in WAYS if value.get(way)), "upload")
        return {**empty, **value, "way": value["way"] if value.get("way") in WAYS else filled}
    if not value:
        return empty
    way = "choice" if reference(str(value)) else "paste"
    return empty | {"way": way, way: str(value)}


def file_hints(schema: Schema, max_bytes: int) -> list[str]:
    """The sentences below a file's field: its help, what it may be."""
    kinds = [kind.upper() for kind in kinds_of(schema)]
    said = " or ".join(filter(None, [", ".join(kinds[:-1]), *kinds[-1:]])) or TABLE_KINDS
    return [*field_hints(schema, "string"), f"{said}, at most {filesize(max_bytes)}."]


def kinds_of(schema: Schema) -> list[str]:
    """The endings, without their dots, of the files that a parameter takes; none where it does not say."""
    return [one.strip().lstrip(".").lower() for one in schema.get("x-accept", "").split(",") if one.strip()]


def samples(job: Mapping[str, Any], origin: str) -> list[dict[str, str]]:
    """The same launch from a shell and from a page, ready to be copied."""
    return [
        {
            "label": "curl",
            "title": "In a shell, with the key in HEADWAY_KEY:",
            "code": _curl(job, origin),
        },
        {"label": "JavaScript", "title": "On a page of this server:", "code": _javascript(job)},
    ]


def _curl(job: Mapping[str, Any], origin: str) -> str:
    lines = [
        f"curl -N {origin}{job['url']}/runs",
        '-H "Authorization: Bearer $HEADWAY_KEY"',
        '-H "Accept: text/event-stream"',
    ]
    if takes_files(job["parameters"]):
        files = file_names(job["parameters"])
        lines += [_form_option(name, value, is_file=name in files) for name, value in _sample(job).items()]
    else:
        lines.append(f"--json {shlex.quote(json.dumps(_sample(job), ensure_ascii=False))}")
        lines.append(lines.pop(2))  # --json sets an Accept of its own: ours comes last and wins
    return " \\\n  ".join(lines)


def _form_option(name: str, value: Any, *, is_file: bool) -> str:
    """One part of a form as curl's option. ``-F`` reads files and takes what follows a ``;`` for itself."""
    if is_file and value is None:
        return f"-F {shlex.quote(f'{name}=@{name}.csv')}"
    text = _form_text(value)
    option = "--form-string" if text.startswith(("@", "<")) or ";" in text or '"' in text else "-F"
    return f"{option} {shlex.quote(f'{name}={text}')}"


def _javascript(job: Mapping[str, Any]) -> str:
    files = file_names(job["parameters"])
    sample = _sample(job)
    if any(sample[name] is None for name in files if name in sample):
        before = "const body = new FormData();\n" + "".join(
            f"body.append({json.dumps(name)}, {_javascript_value(value)});\n" for name, value in sample.items()
        )
        body = "  body,\n"
    else:
        before = ""
        body = (
            '  headers: { "Content-Type": "application/json" },\n'
            f"  body: JSON.stringify({json.dumps(sample, ensure_ascii=False)}),\n"
        )
    return (
        f'{before}const answer = await fetch("{job["url"]}/runs", {{\n  method: "POST",\n{body}}});\n'
        "const run = await answer.json();\n"
        "const events = new EventSource(run.events_url);\n"
        "events.onmessage = (event) => {\n"
        "  const { status, progress } = JSON.parse(event.data);\n"
        "  console.log(status, progress);\n"
        '  if (status === "completed" || status === "error") {\n    events.close();\n  }\n'
        "};"
    )


def _javascript_value(value: Any) -> str:
    """A value for a form's part; a file without a sample is what the page's own field holds."""
    if value is None:
        return 'document.querySelector("input[type=file]").files[0]'
    return json.dumps(_form_text(value), ensure_ascii=False)


def _sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """The shortest sensible launch: what is required, and what has a sample."""
    parameters = job["parameters"]
    required = parameters.get("required", [])
    return {
        name: _sample_value(name, schema)
        for name, schema in parameters["properties"].items()
        if name in required or "x-sample" in schema
    }


def _sample_value(name: str, schema: Schema) -> Any:
    for known in ("x-sample", "default"):
        if known in schema:
            return schema[known]
    if schema.get("format") == "binary":
        return None  # only whoever launches has it
    if schema.get("enum"):
        return schema["enum"][0]
    types = schema.get("type") or "string"
    kind = types if isinstance(types, str) else next(one for one in types if one != "null")
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "array":
        return ["one", "two"]
    if kind == "boolean":
        return True
    return SAMPLE_TEXTS.get(schema.get("format") or "", schema.get("x-placeholder") or name)


def _form_text(value: Any) -> str:
    return "true" if value is True else "false" if value is False else as_lines(value)


FILTERS = [
    as_bool, as_file, as_input, as_lines, field_hints, file_hints, has_sample, input_attributes, kinds_of,
    sample_values, takes_files,
]  # fmt: skip
