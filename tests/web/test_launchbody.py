"""The body of a launch, in whichever form it comes, to what the job's schema reads."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.test import EnvironBuilder

from tests.jobs.workbench import knob
from web.launchbody import launch_parameters, query_values, typed_values

KINDS = knob("kinds")


def parameters(**request: Any) -> dict[str, Any]:
    """What a POST with this body launches with."""
    builder = EnvironBuilder(method="POST", **request)
    try:
        with Request(builder.get_environ()) as made:
            return launch_parameters(made, KINDS)
    finally:
        builder.close()


def posted(body: bytes | str, content_type: str = "application/json") -> dict[str, Any]:
    """What a body of that type gives."""
    return parameters(data=body, content_type=content_type)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
@settings(deadline=None)
def test_a_json_object_is_taken_as_it_is(body: dict[str, Any], ascii_only: bool) -> None:
    """json.loads is the judge; nothing is guessed, renamed or turned into text."""
    assert posted(json.dumps(body, ensure_ascii=ascii_only).encode()) == body


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_known_by_its_type(content_type: str) -> None:
    assert posted('{"text": "ü"}', content_type) == {"text": "ü"}


def test_no_body_means_no_parameters() -> None:
    assert parameters() == {} and posted("") == {} and posted(" \n") == {}


@pytest.mark.parametrize(
    "body",
    [
        "{", "[1]", '"text"', "null", "5", "{} {}", "{'a': 1}", '{"a": NaN}', '{"a": Infinity}', '{"a": [-Infinity]}',
        "\0",
        b"\xff\xfe\xff", b'{"a": "\xff"}', "[" * 100_000, '{"a":' * 10_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
    ids=lambda body: str(body)[:30],
)  # fmt: skip
def test_what_is_no_json_object_is_a_400_with_a_sentence(body: bytes | str) -> None:
    """NaN and Infinity among it, which no other JSON reader takes."""
    with pytest.raises(BadRequest) as refused:
        posted(body)
    assert refused.value.description and refused.value.description.endswith(".")


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    for content_type in (
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/x",
        "",
    ):
        try:
            assert isinstance(posted(body, content_type), dict)
        except HTTPException as error:
            assert error.code in (400, 413, 415)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "text/plain; application/json", "application/jsonx", "image/png", ""],
)
def test_other_types_are_a_415_that_names_the_right_ones(content_type: str) -> None:
    """text/plain above all: a page of another site may send that without asking first."""
    with pytest.raises(UnsupportedMediaType, match="application/json"):
        posted('{"text": "x"}', content_type)


# Forms.


def form(**values: Any) -> dict[str, Any]:
    """What a form with these values gives."""
    return parameters(data=urlencode(values, doseq=True), content_type="application/x-www-form-urlencoded")


def test_a_form_s_values_are_texts_for_the_schema_to_read() -> None:
    given_ = form(text="hi", whole="7", number="2.5", order="count", colour="red", lines="a\r\nb", day="2026-11-22")
    loaded = KINDS.schema.load(given_)
    assert (loaded["whole"], loaded["number"], loaded["lines"]) == (7, 2.5, ["a", "b"])


def test_an_empty_field_means_not_given_but_for_a_text_that_may_be_empty() -> None:
    assert form(text="", whole="", number="", day="", order="", colour="", lines="", secret="") == {}
    builder = EnvironBuilder(method="POST", data={"gate": ""})
    assert launch_parameters(Request(builder.get_environ()), knob("hold")) == {"gate": ""}
    builder.close()


def test_of_two_equal_names_the_last_counts_and_a_list_takes_all() -> None:
    """A hidden "false" before a checkbox makes an unticked box say so."""
    assert form(flag=["false", "true"]) == {"flag": "true"} and form(flag=["false"]) == {"flag": "false"}
    assert form(lines=["a", "b"]) == {"lines": ["a", "b"]} and form(lines=["a\nb"]) == {"lines": "a\nb"}


def test_a_name_that_is_no_parameter_is_left_for_the_schema_to_refuse() -> None:
    assert form(pagse="5") == {"pagse": "5"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@settings(deadline=None)
def test_any_text_survives_form_and_multipart(text: str) -> None:
    assert form(text=text) == {"text": text}
    body = b'--xBx\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + text.encode() + b"\r\n--xBx--\r\n"
    if b"--xBx" not in text.encode():
        assert posted(body, "multipart/form-data; boundary=xBx") == {"text": text}


def test_an_upload_comes_with_its_name_and_stream() -> None:
    builder = EnvironBuilder(method="POST", data={"text": "hi", "upload": (io.BytesIO(b"one two"), "words.txt")})
    given_ = launch_parameters(Request(builder.get_environ()), KINDS)
    assert given_["text"] == "hi" and (given_["upload"].filename, given_["upload"].stream.read()) == (
        "words.txt",
        b"one two",
    )
    loaded = KINDS.schema.load(given_)
    assert loaded["upload"].name == "words.txt"
    given_["upload"].close()
    builder.close()


def test_a_file_field_that_was_left_empty_is_not_given() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nhi\r\n'
        b'--x\r\nContent-Disposition: form-data; name="upload"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"
    )
    assert posted(body, "multipart/form-data; boundary=x") == {"text": "hi"}


# A file in a form: three ways to give it.


def sent(**fields: Any) -> str:
    """What a form with these fields (``paste``, ``choice``, ``way``, ``upload``) gives for the file ``upload``."""
    data: dict[str, Any] = {f"upload.{name}": value for name, value in fields.items() if name != "upload"}
    if "upload" in fields:
        data["upload"] = (io.BytesIO(fields["upload"].encode()), "words.txt")
    builder = EnvironBuilder(method="POST", data=data, content_type="multipart/form-data; boundary=xBx")
    with Request(builder.get_environ()) as made:
        found = launch_parameters(made, KINDS)
        assert found.keys() <= {"upload"}, "what belongs to the form is no parameter"
        given_ = found.get("upload", "nothing")
        text: str = given_ if isinstance(given_, str) else given_.stream.read().decode()
    builder.close()
    return text


EVERYTHING = {"upload": "uploaded", "paste": "pasted", "choice": "sample:x"}


@pytest.mark.parametrize(("way", "counts"), [("upload", "uploaded"), ("paste", "pasted"), ("choice", "sample:x")])
def test_of_several_ways_to_give_a_file_the_picked_one_counts(way: str, counts: str) -> None:
    assert sent(way=way, **EVERYTHING) == counts


@pytest.mark.parametrize("way", ["upload", "paste", "choice", "", "no way"])
def test_where_the_picked_way_is_empty_the_first_that_is_not_counts(way: str) -> None:
    """Upload, paste, choice: so a browser that shows all three, and an older form, work as well."""
    filled = {name: value for name, value in EVERYTHING.items() if name != way}
    assert sent(way=way, **filled) == next(iter(filled.values()))
    assert sent(way=way, paste="", choice="sample:x") == "sample:x"
    assert sent(way=way, paste="", choice="") == "nothing"


def test_ways_need_no_file_part_at_all() -> None:
    assert form(**{"upload.paste": "pasted", "upload.choice": "", "upload.way": "paste"}) == {"upload": "pasted"}


def test_a_name_like_that_of_a_way_stays_a_parameter_where_there_is_no_file() -> None:
    assert form(**{"text.paste": "x", "lines.way": "y"}) == {"text.paste": "x", "lines.way": "y"}


def test_a_text_or_a_file_under_the_parameter_s_own_name_is_enough() -> None:
    assert form(upload="sample:x") == {"upload": "sample:x"}


def test_what_was_typed_comes_back_but_for_the_upload_itself() -> None:
    data = {"text": "hi", "upload.paste": "pasted", "upload.choice": "sample:x", "upload.way": "paste"}
    builder = EnvironBuilder(method="POST", data=data | {"upload": (io.BytesIO(b"x"), "words.txt")})
    with Request(builder.get_environ()) as made:
        assert typed_values(made, KINDS) == {
            "text": "hi",
            "upload": {"way": "paste", "upload": "words.txt", "paste": "pasted", "choice": "sample:x"},
        }
    builder.close()


def test_a_text_too_long_for_a_form_is_a_413_that_says_to_send_a_file() -> None:
    with pytest.raises(RequestEntityTooLarge) as refused:
        parameters(data={"text": "x" * 500_001}, content_type="multipart/form-data; boundary=xBx")
    assert "500 kB" in (refused.value.description or "") and "as a file" in (refused.value.description or "")
    with pytest.raises(RequestEntityTooLarge, match="1 MB"):
        form(text="x" * 1_000_001)


def test_a_query_is_read_as_a_form_without_what_belongs_to_the_stream() -> None:
    builder = EnvironBuilder(query_string="text=hi&whole=7&day=&token=t&after=3&last_event_id=x-1&lines=a&lines=b")
    assert dict(query_values(Request(builder.get_environ()), KINDS)) == {
        "text": "hi",
        "whole": "7",
        "lines": ["a", "b"],
    }
    builder.close()
