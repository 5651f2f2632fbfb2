"""What a file parameter may be given: a content, something that an earlier run has, a sample; and what it may not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import BadParameters, KeyReused, UploadGone
from jobs.events import Ending
from jobs.execution import execute, run_folder
from jobs.launch import Launcher
from jobs.parameters import FileField, Upload
from jobs.progress import Progress
from jobs.references import RunFile, SampleFile, reference
from jobs.registry import Registry
from jobs.runs import Run, new_run_id
from tests.harness import JOBS
from tests.jobs.test_launch import Office, Sent, end
from tests.jobs.workbench import OWNER, Listener

ID = "01k6v3p9x2qz8m4n7r5t0w1y3b"
FRUITS = (JOBS / "samples" / "fruits.csv").read_bytes()
PAGES = b"url,status\nhttps://example.org/,200\n"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A launcher."""
    opened = Office(tmp_path / "data")
    yield opened
    opened.store.close()
    opened.bus.close()


def made(office: Office, owner: str = OWNER, **how: Any) -> Run:
    """A run that has ended and has rows and files."""
    run = office.launch("make_files", owner=owner, **how)
    ended(office)
    return office.store.run(run.id, owner)


def ended(office: Office) -> Ending:
    """The end of the oldest run that waits, with all that it said in the store."""
    claim, heard = office.claim(), Listener()
    folder = run_folder(office.data, claim.run)
    progress = Progress(claim.run, claim.attempt, heard, folder=folder / "files")
    ending = execute(office.registry.find(claim.job), claim, progress, folder)
    office.store.append([*heard.drafts, ending])
    return ending


def given_to(office: Office, texts: Any, **more: Any) -> tuple[Run, dict[str, Any]]:
    """A run that is given this, and what its job found in it."""
    run = office.launch("read_file", texts=texts, **more)
    return run, json.loads(ended(office).result or "null")


def refused(office: Office, texts: Any, **more: Any) -> str:
    """The sentence with which this is refused; nothing of the launch is left."""
    before = office.folders(), len(office.store.runs(OWNER))
    with pytest.raises(BadParameters) as refusal:
        office.launch("read_file", texts=texts, **more)
    assert (office.folders(), len(office.store.runs(OWNER))) == before
    (sentence,) = refusal.value.errors["texts"]
    return sentence


# What is a reference.


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"run:{ID}/pages.csv", RunFile(ID, "pages.csv")),
        (f"run:{ID}/rows", RunFile(ID, "rows")),
        (f"run:{ID}/inputs/texts", RunFile(ID, "inputs/texts")),
        (f"run:{ID}/a b (1).csv", RunFile(ID, "a b (1).csv")),
        (f" run:{ID}/pages.csv\r\n", RunFile(ID, "pages.csv")),
        (f"run:{ID}/../../key", RunFile(ID, "../../key")),
        ("sample:fruits.csv", SampleFile("fruits.csv")),
        ("sample:fruits.csv\n", SampleFile("fruits.csv")),
        ("sample:../x", SampleFile("../x")),
    ],
)
def test_a_text_that_is_a_reference_and_nothing_else_is_one(text: str, meant: RunFile | SampleFile) -> None:
    """Also one that leads nowhere: it is refused with a sentence, rather than taken for a content."""
    assert reference(text) == meant
    assert str(meant) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "", "run:", f"run:{ID}", f"run:{ID}/", f"run:{ID[1:]}/pages.csv", f"run:{ID.upper()}/pages.csv",
        f"run:{ID}/pages.csv\nsecond line", f"first line\nrun:{ID}/pages.csv", f"see run:{ID}/pages.csv",
        f"Run:{ID}/pages.csv", f"run:{ID}/" + "x" * 500, f"run:{ID}/a\0b", "sample:", "sample: of a text",
        "sample:fruits.csv\nmore", "a sample:fruits.csv",
    ],
)  # fmt: skip
def test_any_other_text_is_a_content(text: str) -> None:
    assert reference(text) is None
    upload = FileField().deserialize(text)
    assert isinstance(upload, Upload) and upload.stream.read() == text.encode()


@given(st.text())
def test_no_text_breaks_the_reader_of_references(text: str) -> None:
    found = reference(text)
    assert found is None or str(found) == text.strip()


# Files of earlier runs.


def test_a_file_of_an_earlier_run_is_an_input(office: Office) -> None:
    before = made(office)
    run, found = given_to(office, f"run:{before.id}/pages.csv")
    assert found["texts"] == ["pages.csv", len(PAGES), PAGES.decode()]
    assert run.params["texts"] == {
        "name": "pages.csv",
        "bytes": len(PAGES),
        "stored": "0",
        "from": f"run:{before.id}/pages.csv",
    }
    assert office.inputs(run.id) == {"0": PAGES}


def test_a_large_file_costs_its_space_once_in_a_chain_of_runs(office: Office) -> None:
    before = made(office, size=1000)
    run = office.launch("read_file", texts=f"run:{before.id}/large.txt")
    kept = run_folder(office.data, run.id) / "inputs" / "0"
    assert kept.samefile(run_folder(office.data, before.id) / "files" / "large.txt")


def test_an_input_outlives_the_run_that_it_came_from(office: Office) -> None:
    before = made(office)
    run = office.launch("read_file", texts=f"run:{before.id}/pages.csv")
    office.launcher.delete(before.id, OWNER)
    assert json.loads(ended(office).result or "")["texts"][2] == PAGES.decode()
    assert office.store.run(run.id, OWNER).status == "completed"


def test_a_run_that_failed_has_files_and_rows_too(office: Office) -> None:
    before = made(office, fail=True)
    assert before.status == "error"
    assert given_to(office, f"run:{before.id}/pages.csv")[1]["texts"][2] == PAGES.decode()
    assert len(given_to(office, f"run:{before.id}/rows")[1]["texts"][2].splitlines()) == 3


@pytest.mark.parametrize("rows", [1, 5000])
def test_the_rows_of_an_earlier_run_are_an_input_as_json_lines(office: Office, rows: int) -> None:
    """All of them in order and nothing else, also where they need several pages of the store."""
    before = made(office, rows=rows, size=200)
    run, found = given_to(office, f"run:{before.id}/rows")
    name, size, text = found["texts"]
    assert name == "rows.jsonl" and size == len(text) and text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines == [{"number": number, "text": f"ü{number} " + "x" * 200} for number in range(rows)]
    assert run.params["texts"]["from"] == f"run:{before.id}/rows"


def test_a_run_without_rows_has_none_to_give(office: Office) -> None:
    assert "has no rows" in refused(office, f"run:{made(office, rows=0).id}/rows")


def test_two_files_may_come_from_two_places(office: Office) -> None:
    before = made(office)
    _, found = given_to(office, f"run:{before.id}/pages.csv", also=Sent("b.txt", b"uploaded"))
    assert (found["texts"][2], found["also"]) == (PAGES.decode(), ["b.txt", 8, "uploaded"])


def test_every_file_that_cannot_be_had_is_named(office: Office) -> None:
    with pytest.raises(BadParameters) as refusal:
        office.launch("read_file", texts=f"run:{ID}/x", also="sample:nothing")
    assert set(refusal.value.errors) == {"texts", "also"}


def test_a_run_that_goes_on_or_waits_is_no_input_yet(office: Office) -> None:
    waiting = office.launch("make_files")
    assert "has not ended" in refused(office, f"run:{waiting.id}/pages.csv")
    office.claim()
    assert "has not ended" in refused(office, f"run:{waiting.id}/rows")


def test_a_name_that_the_run_does_not_have_is_answered_with_those_that_it_has(office: Office) -> None:
    sentence = refused(office, f"run:{made(office).id}/pagse.csv")
    assert "'pagse.csv'" in sentence and "pages.csv" in sentence and "large.txt" in sentence


def test_a_file_that_somebody_took_away_is_said_to_be_gone(office: Office) -> None:
    before = made(office)
    (run_folder(office.data, before.id) / "files" / "pages.csv").unlink()
    assert "no longer there" in refused(office, f"run:{before.id}/pages.csv")


# Whose they are, and where they lie.


@pytest.mark.parametrize("name", ["pages.csv", "rows", "inputs/rows", "nothing"])
def test_a_foreign_run_is_told_from_none_by_nothing(office: Office, name: str) -> None:
    foreign = made(office, owner="bob")
    assert refused(office, f"run:{foreign.id}/{name}") == refused(office, f"run:{new_run_id()}/{name}")


def test_a_foreign_run_that_goes_on_reads_the_same(office: Office) -> None:
    foreign = office.launch("make_files", owner="bob")
    assert refused(office, f"run:{foreign.id}/rows") == refused(office, f"run:{new_run_id()}/rows")


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "../inputs/0", "../../../key", "/etc/hostname", "files/pages.csv", "./pages.csv", "pages.csv/",
        "pages.csv/../large.txt", "..\\..\\key", "%2e%2e/key", "inputs/", "inputs/..", "inputs/../files/pages.csv",
        "inputs/0", "inputs/rows", "inputs//etc/hostname", "link.csv", "never.csv", "PAGES.CSV", "pages.csv ",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_a_run(office: Office, name: str) -> None:
    """Nor to what lies in its folder but is none of its files: a link, another spelling."""
    before = made(office)
    text = f"run:{before.id}/{name}"
    if text.strip() != text:  # a blank at the end does not count
        assert given_to(office, text)[1]["texts"][2] == PAGES.decode()
    else:
        assert refused(office, text)


def test_a_file_that_became_a_link_is_not_followed(office: Office) -> None:
    before = made(office)
    (office.data / "key").write_text("the server's key")
    path = run_folder(office.data, before.id) / "files" / "pages.csv"
    path.unlink()
    path.symlink_to(office.data / "key")
    assert "no longer there" in refused(office, f"run:{before.id}/pages.csv")


@pytest.mark.parametrize("stored", ["../../../headway.db", "0/../../../../headway.db", "/etc/hostname", "", "x"])
def test_an_object_that_looks_like_an_input_is_none(office: Office, stored: str) -> None:
    """What a caller put into a parameter of its own is not taken for what the server keeps there."""
    run = office.launch("loose", options={"name": "x.txt", "bytes": 1, "stored": stored})
    ended(office)
    assert "no such file" in refused(office, f"run:{run.id}/inputs/options")


def test_the_text_of_another_parameter_is_no_reference(office: Office) -> None:
    text = f"run:{made(office).id}/pages.csv"
    run = office.launch("kinds", text=text)
    assert run.params["text"] == text


def test_the_content_of_an_upload_is_no_reference(office: Office) -> None:
    text = f"run:{made(office).id}/pages.csv"
    assert given_to(office, Sent("a.txt", text.encode()))[1]["texts"] == ["a.txt", len(text), text]


# Samples.


def test_a_sample_is_a_file_beside_the_job(office: Office) -> None:
    run, found = given_to(office, "sample:fruits.csv")
    assert found["texts"] == ["fruits.csv", len(FRUITS), FRUITS.decode()]
    assert run.params["texts"]["from"] == "sample:fruits.csv"


def test_a_job_cannot_change_its_sample(office: Office) -> None:
    run = office.launch("read_file", texts="sample:fruits.csv")
    (run_folder(office.data, run.id) / "inputs" / "0").write_bytes(b"changed")
    assert (JOBS / "samples" / "fruits.csv").read_bytes() == FRUITS


@pytest.mark.parametrize(
    "name", ["nothing", "..", ".", "../file_jobs.py", "/etc/hostname", "fruits.csv/", "./fruits.csv", "FRUITS.CSV", "*"]
)
def test_no_sample_leads_elsewhere(office: Office, name: str) -> None:
    assert "It has fruits.csv." in refused(office, f"sample:{name}")


def test_a_job_without_samples_says_so(office: Office) -> None:
    (office.data / "more" / "lone.py").write_text(
        "from jobs import File, job\n@job\ndef lone(texts: File): return texts.text()\n"
    )
    launcher = Launcher(Registry([office.data / "more"]), office.store, office.bus, office.data, 10)
    with pytest.raises(BadParameters) as refusal:
        launcher.launch("lone", {"texts": "sample:fruits.csv"}, OWNER)
    assert refusal.value.errors == {"texts": ["This job has no sample 'fruits.csv'. It has none."]}


# Sizes.


@pytest.mark.parametrize("name", ["large.txt", "rows"])
def test_what_an_earlier_run_made_has_the_limit_of_an_upload(office: Office, name: str) -> None:
    before = made(office, rows=30, size=100)
    office.launcher = Launcher(office.registry, office.store, office.bus, office.data, 10, max_input_bytes=99)
    assert "HEADWAY_MAX_UPLOAD" in refused(office, f"run:{before.id}/{name}")
    assert given_to(office, f"run:{before.id}/pages.csv")[1]["texts"][1] == len(PAGES)


# Launched twice, and again.


def test_a_key_covers_the_reference(office: Office) -> None:
    before = made(office)
    pages, large = f"run:{before.id}/pages.csv", f"run:{before.id}/large.txt"
    first = office.launch("read_file", key="k", texts=pages)
    assert office.launch("read_file", key="k", texts=pages).id == first.id
    for other in (large, "sample:fruits.csv", PAGES.decode(), Sent("pages.csv", PAGES)):
        with pytest.raises(KeyReused):
            office.launch("read_file", key="k", texts=other)
    assert office.folders() == sorted([before.id, first.id])


def test_run_again_keeps_the_file_and_its_origin(office: Office) -> None:
    before = made(office)
    first, _ = given_to(office, f"run:{before.id}/pages.csv")
    office.launcher.delete(before.id, OWNER)
    again = office.launcher.retry(first.id, OWNER)
    assert again.params == first.params
    assert json.loads(ended(office).result or "")["texts"][2] == PAGES.decode()


def test_what_a_run_was_given_can_be_given_again(office: Office) -> None:
    """So that "Change and run" needs no second upload."""
    first, _ = given_to(office, Sent("words.txt", b"one two"), times=2)
    second, found = given_to(office, f"run:{first.id}/inputs/texts")
    assert found["texts"] == ["words.txt", 7, "one two"]
    assert second.params["texts"]["from"] == f"run:{first.id}/inputs/texts"
    third, _ = given_to(office, f"run:{second.id}/inputs/texts")
    assert third.params["texts"]["from"] == f"run:{first.id}/inputs/texts"
    assert os.stat(run_folder(office.data, third.id) / "inputs" / "0").st_nlink == 3


def test_run_again_says_when_the_files_are_gone(office: Office) -> None:
    run = office.launch("read_file", texts="words")
    end(office, run.id)
    (run_folder(office.data, run.id) / "inputs" / "0").unlink()
    with pytest.raises(UploadGone):
        office.launcher.retry(run.id, OWNER)
