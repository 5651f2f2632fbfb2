"""From a job's typed signature to the marshmallow schema that checks its parameters, and to JSON schema.

A parameter's type decides its field; what stands in ``Annotated`` refines it: marshmallow validators, and one
:class:`Param` for the form. A parameter without a default is required.
"""

from __future__ import annotations

import inspect
import io
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import IO, Any

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from jobs.references import Reference, reference
from jobs.tables.reader import TableReader

MAX_INTEGER = 2**63 - 1
"""The largest whole number accepted: what a database and every JSON reader of note can hold."""
MAX_DIGITS = 20
"""Longest text read as a whole number; enough for MAX_INTEGER, and far from int()'s own limit."""


class Secret(str):
    """A parameter that is shown as ``***`` everywhere, and kept only until its run has ended."""

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file, as a job gets it: ``name`` is the uploader's (no path), ``path`` ours, ``size`` in bytes."""

    path: Path
    name: str
    size: int

    def open(self) -> IO[bytes]:
        """Open for reading as bytes."""
        return self.path.open("rb")

    def text(self, encoding: str = "utf-8") -> str:
        """The whole content as text; undecodable bytes become U+FFFD."""
        return self.path.read_text(encoding=encoding, errors="replace")

    def table(self, column: str | None = None) -> TableReader:
        """The content as a table, read row by row; ``column`` is the one that is wanted, which tells the header.

        Raises TableError where the file is no table.
        """
        return TableReader(self.path, self.name, column)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way in, not stored yet: its name and a stream to read once."""

    name: str
    stream: IO[bytes]


@dataclass(frozen=True, slots=True)
class Param:
    """How a parameter shows in the form: ``Annotated[str, Param("Start URL", help="...")]``.

    ``sample`` is a value that a newcomer can start with; it is offered, never assumed. That of a file is best a
    ``sample:<name>``, which is a file of the folder ``samples`` beside the job's own. ``accept`` names the endings of
    the files that the job can read (``".csv, .tsv"``): it is said and offered, not checked.
    """

    title: str | None = None
    help: str | None = None
    placeholder: str | None = None
    multiline: bool = False
    sample: Any = None
    accept: str | None = None

    def metadata(self) -> dict[str, Any]:
        """As the properties of a JSON schema."""
        found = {
            "title": self.title,
            "description": self.help,
            "x-placeholder": self.placeholder,
            "x-multiline": self.multiline or None,
            "x-sample": self.sample,
            "x-accept": self.accept,
        }
        return {key: value for key, value in found.items() if value is not None}


class Whole(ma.fields.Integer):
    """A whole number: 5, 5.0 and "5" are; 5.5, true and "five" are not, nor what exceeds 64 bits."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid", input=value)
        if isinstance(value, str) and len(value.strip()) > MAX_DIGITS:
            raise self.make_error("too_large" if value.strip().lstrip("+-").isdecimal() else "invalid", input=value)
        number: int = super()._validated(value)
        if not -MAX_INTEGER <= number <= MAX_INTEGER:
            raise self.make_error("too_large", input=value)
        return number


class Choice(ma.fields.Field[Any]):
    """One of a ``Literal``'s values, given as itself or (from a form) as its text."""

    default_error_messages = {"unknown": "Must be one of: {choices}."}

    def __init__(self, choices: tuple[Any, ...], **kwargs: Any) -> None:
        self.choices = choices
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        for choice in self.choices:
            if type(value) is type(choice) and value == choice or isinstance(value, str) and value == str(choice):
                return choice
        raise self.make_error("unknown", choices=", ".join(map(str, self.choices)))


class Lines(ma.fields.List[Any]):
    """A list of texts; from a form, one a line."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if isinstance(value, str):
            value = [line.strip() for line in value.splitlines() if line.strip()]
        found: list[Any] = super()._deserialize(value, attr, data, **kwargs)
        return found


class FileField(ma.fields.Field[Upload | Reference]):
    """An uploaded file (anything with ``filename`` and ``stream``), its content as text, or a reference to a file."""

    default_error_messages = {"invalid": "Must be an uploaded file or its content as text."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if isinstance(value, str):
            return reference(value) or Upload("pasted.txt", io.BytesIO(value.encode("utf-8", "replace")))
        if not hasattr(value, "filename") or not hasattr(value, "stream"):
            raise self.make_error("invalid")
        return Upload(value.filename or "upload", value.stream)


class SecretField(ma.fields.String):
    """A text that is only ever written."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["metadata"] = {"format": "password", **kwargs.get("metadata", {})}
        super().__init__(load_only=True, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return Secret(super()._deserialize(value, attr, data, **kwargs))


_SIMPLE: dict[Any, Callable[..., ma.fields.Field[Any]]] = {
    str: ma.fields.String,
    int: Whole,
    float: ma.fields.Float,
    bool: ma.fields.Boolean,
    date: ma.fields.Date,
    datetime: ma.fields.DateTime,
    File: FileField,
    Secret: SecretField,
}


def schema_of(function: Callable[..., Any]) -> tuple[ma.Schema, str | None]:
    """The schema of a function's parameters, and the name of the parameter that takes its ``Progress`` (or None).

    Raises TypeError naming the parameter whose type has no field.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, ma.fields.Field[Any]] = {}
    progress: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, str)
        if getattr(hint, "__name__", "") == "Progress" or (name == "progress" and name not in hints):
            progress = name
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"parameter {name!r} of {function.__name__}: write each parameter by its name")
        else:
            fields[name] = _field(name, hint, parameter.default)
    return ma.Schema.from_dict(dict(fields))(), progress


def _field(name: str, hint: Any, default: Any) -> ma.fields.Field[Any]:
    extras: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *rest = typing.get_args(hint)
        extras = tuple(rest)
    hint, optional = _without_none(hint)
    options: dict[str, Any] = {"metadata": {"title": name.replace("_", " ").capitalize()}}
    for extra in extras:
        if isinstance(extra, Param):
            options["metadata"] |= extra.metadata()
        elif isinstance(extra, str):
            options["metadata"]["description"] = extra
    options["validate"] = [extra for extra in extras if callable(extra)]
    options["allow_none"] = optional or default is None
    if default is inspect.Parameter.empty:
        options["required"] = True
    else:
        options["load_default"] = default
    return _typed(name, hint, options)


def _typed(name: str, hint: Any, options: dict[str, Any]) -> ma.fields.Field[Any]:
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        options["metadata"] |= {"enum": list(choices)}
        if all(isinstance(choice, str) for choice in choices):
            options["metadata"] |= {"type": "string"}
        return Choice(choices, **options)
    if typing.get_origin(hint) is list and typing.get_args(hint) in ((str,), (int,), (float,)):
        return Lines(_SIMPLE[typing.get_args(hint)[0]](), **options)
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return ma.fields.Enum(hint, by_value=True, **options)
    if hint in _SIMPLE:
        return _SIMPLE[hint](**options)
    raise TypeError(
        f"parameter {name!r} has the type {hint!r}, which has no form field. Use str, int, float, bool, date, datetime,"
        " Literal, an Enum, list[str], File or Secret, or give @job a marshmallow schema."
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Take ``None`` out of ``T | None``."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    rest = [one for one in typing.get_args(hint) if one is not type(None)]
    return (rest[0], True) if len(rest) == 1 else (hint, False)


def json_schema(schema: ma.Schema) -> dict[str, Any]:
    """The JSON schema (draft 2020-12, as in OpenAPI 3.1) of a job's parameters, for forms and clients."""
    plugin = MarshmallowPlugin()
    APISpec("parameters", "1", "3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    plugin.converter.add_attribute_function(_file_property)
    described: dict[str, Any] = plugin.converter.schema2jsonschema(schema)
    described.setdefault("properties", {})
    return described


def _file_property(_self: Any, field: Any, **_kwargs: Any) -> dict[str, Any]:
    return {"type": "string", "format": "binary"} if isinstance(field, FileField) else {}
