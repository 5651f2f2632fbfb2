"""A job's form, hints and samples, made from the JSON schema of its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.jobs.workbench import knob, written_job
from web.forms import as_file, field_hints, file_hints, has_sample, kinds_of, sample_values, samples
from web.wording import summary

MADE = """
@job
def made({}): ...
"""
RUN = "run:01k6v3p9x2qz8m4n7r5t0w1y3b/pages.csv"


def parameters(folder: Path, signature: str) -> dict[str, Any]:
    """The JSON schema of a job with these parameters."""
    source = "from typing import Annotated\nfrom marshmallow.validate import Range\n" + MADE.format(signature)
    return written_job(folder, source).parameters()


# What a file may be.


def test_a_file_s_hint_says_what_it_may_be_and_how_large(tmp_path: Path) -> None:
    schema = parameters(tmp_path, 'texts: Annotated[File, Param(help="One a line.")]')["properties"]["texts"]
    assert file_hints(schema, 100_000_000) == ["One a line.", "CSV, TSV, JSONL or text, at most 100 MB."]
    assert kinds_of(schema) == []


@pytest.mark.parametrize(
    ("accept", "said"), [(".csv", "CSV"), (".csv, .TSV", "CSV or TSV"), (".pdf,.docx,.odt", "PDF, DOCX or ODT")]
)
def test_a_job_may_say_what_it_reads(tmp_path: Path, accept: str, said: str) -> None:
    schema = parameters(tmp_path, f"texts: Annotated[File, Param(accept={accept!r})]")["properties"]["texts"]
    assert file_hints(schema, 1_000_000) == [f"{said}, at most 1.0 MB."]


def test_what_is_no_file_says_its_limits(tmp_path: Path) -> None:
    kinds = {"k": "int, Range(2, 5000)", "rate": "float, Range(0, 0.5)", "most": "float, Range(max=10.0)"}
    signature = ", ".join(f"{name}: Annotated[{kind}]" for name, kind in kinds.items())
    properties = parameters(tmp_path, signature)["properties"]
    assert field_hints(properties["k"], "integer") == ["2 to 5,000."]
    assert field_hints(properties["rate"], "number") == ["0 to 0.5."]
    assert field_hints(properties["most"], "number") == ["At most 10."]


# What stands in a file's field.


@pytest.mark.parametrize(
    ("value", "way", "text"),
    [
        (None, "upload", ""),
        ("", "upload", ""),
        ("sample:fruits.csv", "choice", "sample:fruits.csv"),
        (RUN, "choice", RUN),
        ("one\ntwo", "paste", "one\ntwo"),
        ("run:short/x", "paste", "run:short/x"),
        ({"way": "paste", "paste": "typed", "choice": RUN, "upload": "a.csv"}, "paste", "typed"),
        ({"way": "", "paste": "typed", "choice": RUN, "upload": ""}, "paste", "typed"),
        ({"way": "none such", "paste": "", "choice": RUN, "upload": ""}, "choice", RUN),
        ({"way": "upload", "paste": "typed"}, "upload", ""),
        ({}, "upload", ""),
    ],
)
def test_the_way_that_is_picked_is_the_one_that_was_used(value: Any, way: str, text: str) -> None:
    found = as_file(value)
    assert (found["way"], found[way]) == (way, text)
    assert found.keys() == {"way", "upload", "paste", "choice"}


# Samples.


@pytest.mark.parametrize(
    ("signature", "can"),
    [
        ('texts: Annotated[File, Param(sample="sample:x.csv")]', True),
        ('texts: Annotated[File, Param(sample="sample:x.csv")], k: int = 5', True),
        ('texts: Annotated[File, Param(sample="sample:x.csv")], k: int', False),
        ('url: Annotated[str, Param(sample="https://example.com/")]', True),
        ('a: Annotated[str, Param(sample="x")] = "y", b: int = 5', True),
        ("a: str", False),
        ("a: str = 'x'", False),
        ("", False),
    ],
)
def test_a_job_starts_with_one_click_where_nothing_that_it_needs_is_missing(
    tmp_path: Path, signature: str, can: bool
) -> None:
    assert has_sample(parameters(tmp_path, signature)) == can


def test_samples_of_code_name_a_file_where_there_is_no_sample(tmp_path: Path) -> None:
    described = {"url": "/api/v1/jobs/made", "parameters": parameters(tmp_path, "texts: File, k: int = 5")}
    curl, javascript = (one["code"] for one in samples(described, "http://127.0.0.1:8000"))
    assert curl.endswith("-F texts=@texts.csv")
    assert 'body.append("texts", document.querySelector("input[type=file]").files[0]);' in javascript


def test_a_job_without_files_is_launched_as_json() -> None:
    described = {"url": "/api/v1/jobs/kinds", "parameters": knob("tell").parameters()}
    curl, javascript = (one["code"] for one in samples(described, "http://127.0.0.1:8000"))
    assert "--json '{}'" in curl and "JSON.stringify({})" in javascript
    assert sample_values(described["parameters"]) == {}


def test_a_list_of_runs_calls_a_file_by_its_name() -> None:
    params = {"texts": {"name": "pages.csv", "bytes": 3, "stored": "0", "from": RUN}, "k": 5, "options": {"a": 1}}
    assert summary({"params": params}) == "pages.csv · k 5"
