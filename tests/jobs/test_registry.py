"""``@job`` and the finding of job files."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import marshmallow as ma
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import Progress, job
from jobs.errors import BrokenJob, UnknownJob
from jobs.registry import Registry, load_job, seconds
from tests.harness import JOBS
from tests.jobs.workbench import knob, written_job

COUNT = "from jobs import job\n@job\ndef count(): 'Count.'\n"


def registry_of(folder: Path, **files: str) -> Registry:
    """A registry over one folder with these files."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return Registry([folder])


def mine(registry: Registry) -> dict[str, Any]:
    """The jobs that do not ship with Headway, by name."""
    return {one.name: one for one in registry if not one.source.startswith("jobs.library.")}


def test_the_library_is_found_and_every_job_of_it_works() -> None:
    found = {one.name: one for one in Registry()}
    assert "crawl" in found
    assert [one.problem for one in found.values() if one.problem] == []


def test_jobs_are_found_in_every_folder_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.py").write_text(COUNT)
    found = {one.name for one in Registry([JOBS, tmp_path / "more"])}
    assert {"emit", "hold", "count"} <= found


def test_a_job_has_what_its_decorator_and_docstring_say(tmp_path: Path) -> None:
    made = written_job(
        tmp_path,
        "@job(name='made', title='Made', timeout='10m', cpu_bound=True, retries=2, settings=['CRAWL_ALLOW'])\n"
        "def function(progress: Progress, secret: Secret, upload: File, text: str = 'x'):\n"
        "    '''First line.\n\n    More.\n    '''\n",
    )
    assert (made.title, made.help, made.timeout_s, made.retries) == ("Made", "First line.\n\nMore.", 600, 2)
    assert made.settings == {"CRAWL_ALLOW"}
    assert [[field.key for field in fields] for fields in (made.secret_fields, made.file_fields)] == [
        ["secret"],
        ["upload"],
    ]
    assert made.progress_parameter == "progress"
    assert made.source.endswith(".py") and load_job(made.source, "made").name == "made"


def test_a_title_is_made_from_the_name_where_there_is_none(tmp_path: Path) -> None:
    assert written_job(tmp_path, "@job\ndef count_all_words(): ...\n", "count_all_words").title == "Count all words"


@pytest.mark.parametrize(
    ("options", "lane", "in_child"),
    [("", "thread", False), ("cpu_bound=True", "process", True), ("isolated=True", "thread", True)],
)
def test_a_job_that_computes_or_may_crash_goes_to_a_process(
    tmp_path: Path, options: str, lane: str, in_child: bool
) -> None:
    """Only one that computes waits for a core."""
    made = written_job(tmp_path, f"@job({options})\ndef made(): ...\n")
    assert (made.lane, made.in_child) == (lane, in_child)


def test_a_decorated_function_stays_an_ordinary_function() -> None:
    @job
    def plain(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @job(title="With options")
    def options(a: int) -> int:
        return -a

    assert plain(1) == 3 and plain(a=1, b=5) == 6 and options(4) == -4
    assert plain.__name__ == "plain" and inspect.getdoc(plain) == "Add."
    assert list(inspect.signature(plain).parameters) == ["a", "b"]


def test_a_broken_file_is_shown_with_its_traceback_and_harms_nobody(tmp_path: Path) -> None:
    found = mine(registry_of(tmp_path / "jobs", apart="import no_such_module\n", count=COUNT, zero="1 / 0\n"))
    assert set(found) == {"apart", "count", "zero"}
    assert found["count"].problem is None
    assert "no_such_module" in found["apart"].problem.message
    assert "ZeroDivisionError" in found["zero"].problem.traceback and "1 / 0" in found["zero"].problem.traceback
    assert found["apart"].parameters()["properties"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "def broken(:\n",
        "\0",
        "import sys; sys.exit(3)",
        "raise BaseException('on purpose')",
        "from jobs import job\n@job\ndef made(x: object): ...\n",
        "from jobs import job\n@job(timeout='soon')\ndef made(): ...\n",
        "from jobs import job\n@job(name='No Name!')\ndef made(): ...\n",
        "from jobs import job\n@job\ndef Made(): ...\n",
        "# coding: utf-8\nname = '\ud800'\n".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=["syntax", "nul", "exit", "base exception", "type", "timeout", "name", "upper case", "bytes"],
)
def test_whatever_is_wrong_with_a_file_the_others_load(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "broken.py").write_bytes(text.encode("latin-1"))
    found = mine(registry_of(folder, count=COUNT))
    assert found["count"].problem is None
    assert found["broken"].problem is not None and found["broken"].problem.traceback.strip()


def test_a_broken_job_can_be_found_but_not_used(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "jobs", broken="1 / 0\n")
    assert registry.find("broken").problem is not None
    with pytest.raises(BrokenJob, match="division by zero"):
        registry.usable("broken")
    for look in (registry.find, registry.usable):
        with pytest.raises(UnknownJob, match="'nothing'"):
            look("nothing")


def test_a_name_that_is_taken_breaks_the_later_file_only(tmp_path: Path) -> None:
    found = mine(registry_of(tmp_path / "jobs", a=COUNT, b=COUNT + "@job\ndef other(): ...\n"))
    assert found["count"].source.endswith("a.py") and found["count"].problem is None
    assert "already defined" in found["b"].problem.message and "a.py" in found["b"].problem.message
    assert "other" not in found


def test_a_job_of_the_library_cannot_be_replaced_by_a_file(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "jobs", crawl=COUNT.replace("count", "crawl"))
    assert registry.find("crawl").source.startswith("jobs.library.")
    assert [one.name for one in registry if one.problem] == ["crawl-broken"]


def test_one_name_twice_in_one_file_is_told_too(tmp_path: Path) -> None:
    """Nobody's job disappears without a word."""
    twice = "from jobs import job\n@job(name='made')\ndef one(): ...\n@job(name='made')\ndef two(): ...\n"
    found = mine(registry_of(tmp_path / "jobs", twice=twice))
    assert "already defined" in found["twice"].problem.message


def test_a_broken_file_does_not_take_a_good_job_s_name(tmp_path: Path) -> None:
    """count.py is broken, and words.py defines the job ``count``: only count.py is to suffer."""
    registry = registry_of(tmp_path / "jobs", count="1 / 0\n", words=COUNT)
    assert registry.find("count").problem is None
    assert len([one for one in registry if one.problem]) == 1


def test_job_files_may_import_their_neighbours_and_files_with_an_underscore_are_none(tmp_path: Path) -> None:
    found = mine(registry_of(tmp_path / "jobs", _words_of="WORDS = 3\n", count="import _words_of\n" + COUNT))
    assert set(found) == {"count"} and found["count"].problem is None


def test_an_imported_job_belongs_to_the_file_that_defines_it(tmp_path: Path) -> None:
    found = mine(registry_of(tmp_path / "jobs", a_first=COUNT, b_second="from a_first import count\n"))
    assert set(found) == {"count"} and found["count"].problem is None


def test_two_folders_may_have_files_of_the_same_name(tmp_path: Path) -> None:
    registry_of(tmp_path / "one", same=COUNT)
    registry_of(tmp_path / "two", same=COUNT.replace("count", "other"))
    found = mine(Registry([tmp_path / "one", tmp_path / "two"]))
    assert set(found) == {"count", "other"} and not any(one.problem for one in found.values())


def test_load_job_names_what_it_does_not_find() -> None:
    with pytest.raises(UnknownJob, match="nothing"):
        load_job(str(JOBS / "knobs.py"), "nothing")


class Wanted(ma.Schema):
    """Parameters as a marshmallow schema."""

    words = ma.fields.List(ma.fields.String(), required=True)
    pin = ma.fields.Integer(load_only=True, load_default=0)


def test_a_marshmallow_schema_takes_the_place_of_the_signature() -> None:
    for schema in (Wanted, Wanted()):

        @job(name="made", schema=schema)
        def function(progress: Progress, **parameters: Any) -> None: ...

        made = vars(function)["__headway_job__"]
        assert set(made.parameters()["properties"]) == {"words", "pin"}
        assert made.parameters()["required"] == ["words"]
        assert [field.key for field in made.secret_fields] == ["pin"] and made.progress_parameter == "progress"


def test_a_job_of_the_tests_has_every_kind_of_parameter() -> None:
    assert {"text", "whole", "upload", "secret"} <= set(knob("kinds").parameters()["properties"])


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("300s", 300), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5m", 90), (" 5s ", 5), (90, 90), (0.5, 0.5)],
)
def test_a_duration_is_seconds(duration: Any, expected: float) -> None:
    assert seconds(duration) == expected


@pytest.mark.parametrize("duration", ["", "10", "m", "-5m", "5 m", "5M", "1h30m", "nan", "0s", "0m", 0, -1, math.nan])
def test_what_is_no_duration_is_refused(duration: Any) -> None:
    with pytest.raises(ValueError):
        seconds(duration)


@given(st.text(max_size=8) | st.from_regex(r"\A\d{1,4}(\.\d)?[smhd]\Z"))
def test_any_text_is_a_duration_above_zero_or_a_value_error(text: str) -> None:
    try:
        assert 0 < seconds(text) < math.inf
    except ValueError:
        pass
