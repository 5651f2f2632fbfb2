"""Parts of a result: found by JSON pointers, and made into files that another program reads."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest, NotFound

from jobs.figures import MAX_MARKS, chart
from web.resultpart import as_csv, as_svg, name_of, part_file, part_of, pointer

RFC_6901 = {
    "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8,
}  # fmt: skip
"""The document of section 5."""
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1"]


def read(text: str) -> list[list[str]]:
    """The table as the standard library's parser reads it, which is not ours."""
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("", RFC_6901),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_rfc_6901(where: str, found: Any) -> None:
    assert part_of(RFC_6901, where) == found


@given(st.lists(st.text() | st.integers(0, 5), max_size=5))
def test_a_pointer_leads_where_it_was_made_for(keys: list[str | int]) -> None:
    result: Any = "here"
    for key in reversed(keys):
        result = {key: result} if isinstance(key, str) else [None] * key + [result]
    assert part_of(result, pointer(keys)) == "here"


@pytest.mark.parametrize("where", ["foo", "/a~", "/a~2", "foo/0", "#/foo"])
def test_what_is_no_pointer_is_a_bad_request(where: str) -> None:
    with pytest.raises(BadRequest, match="RFC 6901"):
        part_of(RFC_6901, where)


@pytest.mark.parametrize(
    "where", ["/nothing", "/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/1e0", "/foo/0/0", "/foo/９", "//"]
)
def test_where_nothing_is_nothing_is_found(where: str) -> None:
    with pytest.raises(NotFound):
        part_of(RFC_6901, where)


def test_a_list_of_objects_is_a_table_with_all_their_keys() -> None:
    text = as_csv([{"a": 1, "b": "x, y"}, {"c": [1, {"d": None}], "a": None}, {"a": True, "b": 'say "x"\n'}])
    assert read(text) == [["a", "b", "c"], ["1", "x, y", ""], ["", "", '[1,{"d":null}]'], ["true", 'say "x"\n', ""]]


def test_a_list_of_lists_is_a_table_without_a_head() -> None:
    assert read(as_csv([["a", 1], ["b", 2, 3]])) == [["a", "1", ""], ["b", "2", "3"]]
    assert as_csv([]) == ""


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_a_formula(text: str) -> None:
    for made in (as_csv([{text: text}]), as_csv([[text]]), as_csv(chart("bar", "", {text: [(text, 1, text)]}, y=text))):
        assert [cell for row in read(made) for cell in row if cell.startswith(tuple("=+-@\t\r＝"))] == []


def test_a_chart_is_a_table_of_all_its_points() -> None:
    points = [(number, number / 2) for number in range(MAX_MARKS + 5)]
    found = read(as_csv(chart("line", "", {"a": points, "b": [(1, 2, "last")]}, x="Time", x_unit="s")))
    assert found[0] == ["series", "Time (s)", "y", "label"]
    assert len(found) == 1 + len(points) + 1
    assert found[-1] == ["b", "1.0", "2.0", "last"]


@pytest.mark.parametrize(
    "part", ["x", 1, None, {"a": 1}, [1, 2], [[1], 2], {"$headway": "chart"}, {"$headway": "image"}]
)
def test_what_is_no_table_is_not_made_one(part: Any) -> None:
    with pytest.raises(BadRequest):
        as_csv(part)


@pytest.mark.parametrize(
    "part", ["x", [{"a": 1}], {"$headway": "chart", "kind": "pie"}, {"$headway": "markdown", "text": ""}]
)
def test_only_a_chart_is_drawn(part: Any) -> None:
    with pytest.raises(BadRequest):
        as_svg(part)


def test_a_chart_is_drawn_as_a_file_of_its_own() -> None:
    text = as_svg(chart("bar", "<Sizes>", {"a": [("x", 1)]}))
    assert ElementTree.fromstring(text).attrib["aria-label"].startswith("<Sizes>. ")


def test_a_large_part_comes_in_pieces() -> None:
    """Each write to the client has its own limit of time."""
    result = {"rows": [{"n": number, "text": "ü" * 50} for number in range(5000)]}
    pieces = part_file(json.dumps(result), "/rows", "json")
    assert max(map(len, pieces)) <= 64 * 1024
    assert json.loads(b"".join(pieces)) == result["rows"]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("", "result"),
        ("/clusters", "clusters"),
        ("/a/0/b c", "a-0-b-c"),
        ("/" + "x" * 99, "x" * 60),
        ('/../ü\n"', "result"),
    ],
)
def test_files_have_plain_names(where: str, name: str) -> None:
    assert name_of(where) == name
