"""From a typed signature to fields and JSON schema, and which values those fields take."""

import io
import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import marshmallow as ma
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow.validate import Length, Range, Regexp

from jobs import File, Param, Progress, Secret
from jobs.errors import flat_messages
from jobs.parameters import MAX_INTEGER, Upload, json_schema, schema_of


class Colour(Enum):
    """A colour."""

    RED = "red"
    GREEN = "green"


@dataclass
class Sent:
    """What a web framework gives for an uploaded file."""

    filename: str | None
    stream: io.BytesIO


def schema_with(hint: Any, *default: Any) -> ma.Schema:
    """The schema of a function with one parameter, ``x``, of this type."""

    def function(x):  # type: ignore[no-untyped-def]
        return x

    function.__annotations__["x"] = hint
    function.__defaults__ = default or None
    return schema_of(function)[0]


def loaded(hint: Any, value: Any) -> Any:
    """What a parameter of that type takes a value for."""
    return schema_with(hint).load({"x": value})["x"]


def property_of(hint: Any, *default: Any) -> dict[str, Any]:
    """The JSON schema of a parameter of that type."""
    described = json_schema(schema_with(hint, *default))["properties"]["x"]
    json.dumps(described, allow_nan=False)
    return described


LINES = list[str]


@pytest.mark.parametrize(
    ("hint", "described"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (date, {"type": "string", "format": "date"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (Literal["count", "alphabet"], {"type": "string", "enum": ["count", "alphabet"]}),
        (Literal[1, 2], {"enum": [1, 2]}),
        (Colour, {"enum": ["red", "green"]}),
        (LINES, {"type": "array", "items": {"type": "string"}}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (File, {"type": "string", "format": "binary"}),
        (Secret, {"type": "string", "format": "password", "writeOnly": True}),
        (str | None, {"type": ["string", "null"]}),
        (int | None, {"type": ["integer", "null"]}),
        (Annotated[int, Range(1, 500)], {"type": "integer", "minimum": 1, "maximum": 500}),
        (Annotated[str, Length(2, 9)], {"type": "string", "minLength": 2, "maxLength": 9}),
        (Annotated[str, Regexp("[a-z]+")], {"type": "string", "pattern": "[a-z]+"}),
        (Annotated[str, "What to look for"], {"type": "string", "description": "What to look for"}),
        (
            Annotated[str, Param("Start URL", help="Where", placeholder="https://", multiline=True, sample="s")],
            {
                "title": "Start URL",
                "description": "Where",
                "x-placeholder": "https://",
                "x-multiline": True,
                "x-sample": "s",
            },
        ),
    ],
    ids=str,
)
def test_each_type_is_described_as_json_schema(hint: Any, described: dict[str, Any]) -> None:
    found = property_of(hint)
    assert found == found | described


def test_a_title_comes_from_the_name_and_a_default_makes_a_parameter_optional() -> None:
    def function(start_url: str, pages: int = 100, colour: Colour = Colour.RED, note: str | None = None) -> None: ...

    described = json_schema(schema_of(function)[0])
    assert described["required"] == ["start_url"]
    assert described["properties"]["start_url"]["title"] == "Start url"
    assert described["properties"]["pages"]["default"] == 100
    assert described["properties"]["colour"]["default"] in ("red", Colour.RED)
    json.dumps(described)


@pytest.mark.parametrize(
    ("hint", "given", "expected"),
    [
        (str, "text", "text"),
        (str, "", ""),
        (int, 5, 5),
        (int, 5.0, 5),
        (int, "5", 5),
        (int, " 5 ", 5),
        (int, "-5", -5),
        (int, MAX_INTEGER, MAX_INTEGER),
        (float, 2, 2.0),
        (float, "2.5", 2.5),
        (bool, True, True),
        (bool, "true", True),
        (bool, "false", False),
        (bool, "on", True),
        (date, "2026-11-22", date(2026, 11, 22)),
        (datetime, "2026-11-22T10:00:00", datetime(2026, 11, 22, 10)),
        (Literal["count", "alphabet"], "alphabet", "alphabet"),
        (Literal[1, 2], 2, 2),
        (Literal[1, 2], "2", 2),
        (Colour, "green", Colour.GREEN),
        (LINES, ["a", "b"], ["a", "b"]),
        (LINES, "a\r\n b \n\n", ["a", "b"]),
        (LINES, "", []),
        (list[int], "1\n2", [1, 2]),
        (str | None, None, None),
        (Secret, "s3cret", "s3cret"),
    ],
    ids=str,
)
def test_json_and_form_values_are_taken(hint: Any, given: Any, expected: Any) -> None:
    found = loaded(hint, given)
    assert found == expected
    assert type(found) is type(expected) or hint is Secret


@pytest.mark.parametrize(
    ("hint", "given"),
    [
        (str, 5),
        (str, None),
        (str, ["a"]),
        (int, 5.5),
        (int, "5.5"),
        (int, True),
        (int, False),
        (int, None),
        (int, ""),
        (int, "five"),
        (int, 10**30),
        (int, str(10**30)),
        (int, "9" * 5000),
        (int, MAX_INTEGER + 1),
        (int, -MAX_INTEGER - 1),
        (int, float("nan")),
        (int, float("inf")),
        (int, json.loads("1e999")),
        (int, [5]),
        (float, float("nan")),
        (float, "nan"),
        (float, json.loads("1e999")),
        (float, "1e999"),
        (float, "-inf"),
        (float, 10**400),
        (float, True),
        (float, None),
        (bool, "maybe"),
        (bool, 7),
        (bool, None),
        (bool, []),
        (date, "22.11.2026"),
        (date, "2026-02-30"),
        (date, 5),
        (datetime, "yesterday"),
        (datetime, 10**30),
        (Literal["count", "alphabet"], "random"),
        (Literal["count", "alphabet"], None),
        (Literal["count", "alphabet"], ["count"]),
        (Literal[1, 2], True),
        (Literal[1, 2], 1.5),
        (Colour, "blue"),
        (Colour, "RED"),
        (Colour, []),
        (LINES, 5),
        (LINES, [1]),
        (LINES, {"a": 1}),
        (LINES, None),
        (File, 5),
        (File, None),
        (File, {"name": "x"}),
        (Secret, 5),
        (Secret, None),
        (Annotated[int, Range(1, 500)], 0),
        (Annotated[int, Range(1, 500)], "501"),
        (Annotated[str, Length(max=3)], "four"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_that_does_not_fit_is_refused_with_a_sentence(hint: Any, given: Any) -> None:
    with pytest.raises(ma.ValidationError) as refused:
        loaded(hint, given)
    messages = dict(flat_messages(refused.value.normalized_messages()))
    assert {name.partition(".")[0] for name in messages} == {"x"}
    assert all(message.endswith(".") for found in messages.values() for message in found)


def test_a_number_that_is_too_large_is_said_to_be_too_large() -> None:
    for value in (10**30, str(10**30)):
        with pytest.raises(ma.ValidationError, match="too large"):
            loaded(int, value)


def test_a_refused_choice_names_the_choices() -> None:
    with pytest.raises(ma.ValidationError, match="count, alphabet"):
        loaded(Literal["count", "alphabet"], "random")


def test_an_unknown_field_and_a_missing_one_are_named() -> None:
    with pytest.raises(ma.ValidationError) as refused:
        schema_with(int).load({"pagse": 5})
    assert set(refused.value.normalized_messages()) == {"pagse", "x"}


def test_a_parameter_that_may_be_none_takes_null_and_has_its_default() -> None:
    assert schema_with(str | None, None).load({}) == {"x": None}
    assert schema_with(str, None).load({"x": None}) == {"x": None}
    assert schema_with(int, 7).load({}) == {"x": 7}


@given(st.integers())
def test_a_whole_number_is_taken_as_it_is_or_refused(number: int) -> None:
    """Given as a number or as its text, nothing is rounded, wrapped or cut."""
    for value in (number, str(number)):
        try:
            assert loaded(int, value) == number
        except ma.ValidationError:
            assert abs(number) > MAX_INTEGER


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_float_is_taken_exactly_when_json_can_hold_it(number: float) -> None:
    try:
        assert loaded(float, number) == number
        json.dumps(number, allow_nan=False)
    except ma.ValidationError:
        with pytest.raises(ValueError):
            json.dumps(number, allow_nan=False)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_whatever_comes_is_taken_or_refused_but_never_crashes(value: Any) -> None:
    for hint in (str, int, float, bool, date, datetime, Literal["a", 1], Colour, LINES, list[int], File, Secret):
        try:
            loaded(hint, value)
        except ma.ValidationError:
            pass


def test_a_file_comes_as_an_upload_or_as_text() -> None:
    found = loaded(File, Sent("words.txt", io.BytesIO(b"one two")))
    assert isinstance(found, Upload)
    assert (found.name, found.stream.read()) == ("words.txt", b"one two")
    assert loaded(File, Sent(None, io.BytesIO(b""))).name == "upload"
    pasted = loaded(File, "ein Wörtchen \ud800")
    assert pasted.stream.read().decode().startswith("ein Wörtchen")


def test_a_job_reads_an_uploaded_file_as_bytes_or_text(tmp_path: Path) -> None:
    path = tmp_path / "0"
    path.write_bytes(b"gr\xfc\xc3\xbc")
    file = File(path, "grüße.txt", 5)
    assert file.text() == "gr\ufffdü"
    with file.open() as opened:
        assert opened.read() == b"gr\xfc\xc3\xbc"


def test_a_secret_is_a_text_that_does_not_show_itself() -> None:
    secret = loaded(Secret, "s3cret")
    assert isinstance(secret, Secret)
    assert "s3cret" not in repr(secret) and "s3cret" not in repr([secret])
    assert schema_with(Secret).dump({"x": secret}) == {}


def test_progress_is_found_by_type_or_by_name_and_is_no_parameter() -> None:
    def by_type(voice: Progress, text: str) -> None: ...

    def by_name(progress, text: str): ...  # type: ignore[no-untyped-def]

    def without(text: str) -> None: ...

    for function, name in ((by_type, "voice"), (by_name, "progress"), (without, None)):
        schema, progress = schema_of(function)
        assert (set(schema.fields), progress) == ({"text"}, name)


def test_a_parameter_without_type_is_a_text() -> None:
    def function(text): ...  # type: ignore[no-untyped-def]

    assert schema_of(function)[0].load({"text": "x"}) == {"text": "x"}


@pytest.mark.parametrize("hint", [bytes, dict, list, list[dict[str, int]], Decimal, Path, int | str, object], ids=str)
def test_a_type_without_a_field_is_a_type_error_that_names_parameter_and_type(hint: Any) -> None:
    with pytest.raises(TypeError, match="parameter 'x'") as refused:
        schema_with(hint)
    assert getattr(hint, "__name__", str(hint)) in str(refused.value)


def test_parameters_that_have_no_name_of_their_own_are_refused() -> None:
    def stars(*texts: str) -> None: ...

    def more(**texts: str) -> None: ...

    def positional(text: str, /) -> None: ...

    for function in (stars, more, positional):
        with pytest.raises(TypeError, match="by its name"):
            schema_of(function)
