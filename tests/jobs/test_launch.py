"""From a wish to a recorded run, and the wishes after it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite3  # two copies of SQLite in one process lose each other's locks
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bus import Bus, Ear, News
from jobs.errors import (
    BadParameters,
    BrokenJob,
    KeyReused,
    QueueFull,
    RunEnded,
    RunNotEnded,
    SecretsForgotten,
    UnknownJob,
    UnknownRun,
)
from jobs.events import Ending, now_ms
from jobs.execution import arguments_of, execute, run_folder
from jobs.launch import MASK, Launcher
from jobs.registry import Registry
from jobs.runs import Claim, Run
from jobs.store import Store
from tests.harness import JOBS
from tests.jobs.workbench import OWNER, Listener, in_threads, progress_with

SCHEMAS = """
import marshmallow as ma
from typing import Any
from jobs import Progress, job

class Renamed(ma.Schema):
    start_url = ma.fields.String(data_key="start-url", load_default="the default")

@job(schema=Renamed)
def renamed(start_url): return start_url

class Pinned(ma.Schema):
    pin = ma.fields.Integer(load_only=True, required=True)

@job(schema=Pinned)
def pinned(progress: Progress, pin):
    progress.log(f"pin {pin}")
    return pin

class Loose(ma.Schema):
    options = ma.fields.Dict(load_default=dict)

@job(schema=Loose)
def loose(options): return options

class Nested(ma.Schema):
    pages = ma.fields.List(ma.fields.Nested(Loose), load_default=list)
    day = ma.fields.Date(load_default=None)

@job(schema=Nested)
def nested(pages, day): return [pages, str(day)]
"""


class Sent:
    """What a web framework gives for an uploaded file."""

    def __init__(self, filename: str, content: bytes) -> None:
        self.filename = filename
        self.stream = io.BytesIO(content)


class Broken(io.RawIOBase):
    """An upload whose client goes away."""

    def readinto(self, buffer: Any) -> int:
        raise ConnectionResetError("gone")


class Office:
    """A launcher with its data folder, and no runner: the test claims."""

    def __init__(self, data: Path, max_queue: int = 1000) -> None:
        self.data = data
        (data / "more").mkdir(parents=True, exist_ok=True)
        (data / "more" / "schemas.py").write_text(SCHEMAS)
        self.store = Store(data / "headway.db", checkpoints=True)
        self.bus = Bus(data / "bus")
        self.registry = Registry([JOBS, data / "more"])
        self.launcher = Launcher(self.registry, self.store, self.bus, data, max_queue)

    def launch(self, job: str = "kinds", owner: str = OWNER, key: str | None = None, **given: Any) -> Run:
        """Launch."""
        return self.launcher.launch(job, given, owner, idempotency_key=key)

    def claim(self, lane: str = "thread") -> Claim:
        """The oldest run that waits."""
        return self.store.claim("runner", lane, 1)[0][0]

    def execute(self, claim: Claim) -> Ending:
        """Do a claimed run and record its end."""
        folder = run_folder(self.data, claim.run)
        self.heard = Listener()
        secrets = claim.secrets.values()
        progress = progress_with(self.heard, folder / "files", settings={"CRAWL_ALLOW": ""}, secrets=secrets)
        ending = execute(self.registry.find(claim.job), claim, progress, folder)
        self.store.append([ending])
        return ending

    def inputs(self, run: str) -> dict[str, bytes]:
        """The uploads of a run as they lie on the disk."""
        return {path.name: path.read_bytes() for path in (run_folder(self.data, run) / "inputs").glob("*")}

    def folders(self) -> list[str]:
        """The folders of runs."""
        return sorted(path.name for path in (self.data / "runs").glob("*"))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A launcher."""
    opened = Office(tmp_path / "data")
    yield opened
    opened.store.close()
    opened.bus.close()


def end(office: Office, run: str) -> None:
    """Bring a waiting run to an end."""
    office.store.cancel(run, OWNER)


# Launching.


def test_a_launched_run_is_recorded_with_its_parameters(office: Office) -> None:
    run = office.launch(text="hi", whole="7", day="2026-11-22", colour="green", lines="a\nb")
    assert run.params == {
        "text": "hi", "whole": 7, "number": 1.5, "flag": True, "day": "2026-11-22", "order": "count",
        "colour": "green", "lines": ["a", "b"],
    } | {name: value for name, value in run.params.items() if name in ("secret", "upload")}  # fmt: skip
    assert office.store.run(run.id, OWNER) == office.store.runs(OWNER)[0]
    assert run.status == "queued"


def test_a_launch_is_told_to_web_workers_and_wakes_the_runner(office: Office) -> None:
    web, runner = Ear(office.data / "bus", "web-1"), Ear(office.data / "bus", "runner-1")
    run = office.launch(text="hi")
    news = web.hear(2)
    assert news is not None and [(event.run, event.seq) for event in news.events] == [(run.id, 1)]
    assert runner.hear(2) == News()
    office.launcher.cancel(run.id, OWNER)
    news = web.hear(2)
    assert news is not None and [(event.seq, event.last) for event in news.events] == [(2, True)]
    web.close()
    runner.close()


def test_wrong_parameters_start_nothing_and_name_their_fields(office: Office) -> None:
    with pytest.raises(BadParameters) as refused:
        office.launch(whole=5.5, pagse=1, lines=["a", 7], upload=Sent("x", b"abc"))
    assert set(refused.value.errors) == {"text", "whole", "pagse", "lines.1"}
    assert all(isinstance(message, str) for found in refused.value.errors.values() for message in found)
    assert office.store.runs(OWNER) == [] and office.folders() == []


def test_unknown_and_broken_jobs_are_refused(office: Office) -> None:
    with pytest.raises(UnknownJob):
        office.launch("nothing")
    with pytest.raises(BrokenJob):
        office.launch("broken")


def test_a_full_queue_leaves_no_files_behind(tmp_path: Path) -> None:
    office = Office(tmp_path / "data", max_queue=1)
    office.launch(text="first")
    with pytest.raises(QueueFull):
        office.launch(text="second", upload=Sent("x", b"abc"))
    assert office.folders() == []
    office.store.close()
    office.bus.close()


@given(
    params=st.fixed_dictionaries(
        {"text": st.text()},
        optional={
            "whole": st.integers(1, 500),
            "number": st.floats(allow_nan=False, allow_infinity=False),
            "flag": st.booleans(),
            "day": st.dates().map(str),
            "order": st.sampled_from(["count", "alphabet"]),
            "colour": st.sampled_from(["red", "green"]),
            "lines": st.lists(st.text()),
            "secret": st.text(min_size=4),
        },
    )
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_job_gets_exactly_what_was_launched(office: Office, params: dict[str, Any]) -> None:
    """Through JSON, the schema, the database and the schema again."""
    run = office.launch(**params)
    claim = office.claim()
    assert claim.run == run.id
    arguments = arguments_of(office.registry.find("kinds"), claim, run_folder(office.data, run.id))
    for name, value in params.items():
        got = arguments[name]
        assert (got.value if name == "colour" else str(got) if name == "day" else got) == value
    office.store.append([Ending(run.id, 1, "completed", now_ms())])


# Schemas of one's own.


def test_a_field_with_another_name_outside_keeps_its_value(office: Office) -> None:
    run = office.launcher.launch("renamed", {"start-url": "https://example.org/"}, OWNER)
    assert "https://example.org/" in run.params.values()
    assert office.execute(office.claim()).result == '"https://example.org/"'


def test_a_secret_that_is_a_number_is_kept_and_masked(office: Office) -> None:
    run = office.launch("pinned", pin=471147)
    assert run.params == {"pin": MASK}
    ending = office.execute(office.claim())
    assert ending.status == "completed"
    assert office.heard.all("log") == [{"level": "info", "message": "pin ***"}]


@pytest.mark.parametrize("value", [json.loads("1e999"), json.loads("[1e999]"), float("nan"), {"deep": float("inf")}])
def test_what_json_cannot_hold_is_refused_also_where_the_schema_lets_it_in(office: Office, value: Any) -> None:
    with pytest.raises(BadParameters):
        office.launch("loose", options={"x": value})
    assert office.store.runs(OWNER) == []


def test_nested_fields_and_dates_come_through(office: Office) -> None:
    office.launch("nested", pages=[{"options": {"a": [1, None]}}], day="2026-11-22")
    assert office.execute(office.claim()).result == '[[{"options":{"a":[1,null]}}],"2026-11-22"]'


def test_a_retry_keeps_values_of_schemas_of_one_s_own(office: Office) -> None:
    first = office.launcher.launch("renamed", {"start-url": "https://example.org/"}, OWNER)
    end(office, first.id)
    office.launcher.retry(first.id, OWNER)
    assert office.execute(office.claim()).result == '"https://example.org/"'


# Uploads.


@pytest.mark.parametrize(
    "name", ["words.txt", "../../x", "C:\\x", "a\0b", "x" * 5000, "<script>.html", "ü\ud800"], ids=ascii
)
def test_an_upload_is_stored_under_a_name_of_our_own(office: Office, name: str) -> None:
    content = bytes(range(256)) * 5000
    run = office.launch(text="hi", upload=Sent(name, content))
    shown = run.params["upload"]
    assert office.inputs(run.id) == {shown["stored"]: content} and shown["stored"].isalnum()
    as_text = name.replace("\ud800", "\ufffd")  # a lone surrogate is no text
    assert shown["bytes"] == len(content) and as_text.endswith(shown["name"]) and len(shown["name"]) <= 200
    assert sorted(path.name for path in office.data.rglob("*") if name in path.name) == []
    json.dumps(dict(run.params))


def test_a_job_reads_the_upload(office: Office) -> None:
    office.launch(text="hi", upload=Sent("words.txt", b"one two"))
    assert json.loads(office.execute(office.claim()).result or "")["upload"] == ["words.txt", 7, "one two"]


def test_an_upload_whose_client_goes_away_leaves_nothing(office: Office) -> None:
    sent = Sent("words.txt", b"")
    sent.stream = Broken()  # type: ignore[assignment]
    with pytest.raises(ConnectionResetError):
        office.launch(text="hi", upload=sent)
    assert office.folders() == [] and office.store.runs(OWNER) == []


def test_a_deleted_run_takes_its_files_with_it(office: Office) -> None:
    run = office.launch(text="hi", upload=Sent("words.txt", b"one two"))
    with pytest.raises(RunNotEnded):
        office.launcher.delete(run.id, OWNER)
    assert office.folders() == [run.id]
    end(office, run.id)
    with pytest.raises(UnknownRun):
        office.launcher.delete(run.id, "bob")
    assert office.folders() == [run.id]
    office.launcher.delete(run.id, OWNER)
    assert office.folders() == []


# Idempotency.


def test_the_same_key_and_body_give_the_same_run_with_its_first_files(office: Office) -> None:
    first = office.launch(key="k", text="hi", upload=Sent("words.txt", b"one two"))
    again = office.launch(key="k", text="hi", upload=Sent("words.txt", b"one two"))
    assert again.id == first.id and office.folders() == [first.id] and len(office.inputs(first.id)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"text": "ho"},
        {"text": "hi", "whole": 6},
        {"text": "hi", "secret": "other secret"},
        {"text": "hi", "upload": Sent("words.txt", b"one tow")},
    ],
    ids=["text", "number", "secret", "file"],
)
def test_another_body_under_the_same_key_is_refused(office: Office, other: dict[str, Any]) -> None:
    office.launch(key="k", text="hi", secret="a secret", upload=Sent("words.txt", b"one two"))
    with pytest.raises(KeyReused):
        office.launch(key="k", **{"secret": "a secret", "upload": Sent("words.txt", b"one two")} | other)
    assert len(office.folders()) == 1


def test_another_job_under_the_same_key_is_refused(office: Office) -> None:
    office.launch("hold", key="k")
    with pytest.raises(KeyReused):
        office.launch("hold_in_child", key="k")


def test_defaults_that_are_said_are_the_same_body(office: Office) -> None:
    assert office.launch("hold", key="k").id == office.launch("hold", key="k", percent=30).id


def test_many_launches_at_once_with_one_key_are_one_run_with_its_files(office: Office) -> None:
    given: set[str] = set()
    in_threads(20, lambda _: given.add(office.launch(key="k", text="hi", upload=Sent("w.txt", b"one two")).id))
    assert len(given) == 1 and office.folders() == sorted(given)
    assert list(office.inputs(given.pop()).values()) == [b"one two"]


# Cancelling and retrying.


def test_cancelling_is_as_the_store_says(office: Office) -> None:
    run = office.launch(text="hi")
    with pytest.raises(UnknownRun):
        office.launcher.cancel(run.id, "bob")
    assert office.launcher.cancel(run.id, OWNER).status == "error"
    with pytest.raises(RunEnded):
        office.launcher.cancel(run.id, OWNER)


def test_a_retry_is_a_new_run_with_the_same_parameters_and_files(office: Office) -> None:
    first = office.launch(text="hi", whole=7, upload=Sent("words.txt", b"one two"))
    with pytest.raises(RunNotEnded):
        office.launcher.retry(first.id, OWNER)
    end(office, first.id)
    with pytest.raises(UnknownRun):
        office.launcher.retry(first.id, "bob")
    again = office.launcher.retry(first.id, OWNER)
    assert again.id != first.id and again.retry_of == first.id and again.params == first.params
    office.launcher.delete(first.id, OWNER)
    assert json.loads(office.execute(office.claim()).result or "")["upload"] == ["words.txt", 7, "one two"]


def test_a_run_with_secrets_cannot_be_retried_since_they_are_forgotten(office: Office) -> None:
    first = office.launch(text="hi", secret="a secret")
    end(office, first.id)
    with pytest.raises(SecretsForgotten):
        office.launcher.retry(first.id, OWNER)
    without = office.launch(text="hi", secret="")
    end(office, without.id)
    assert office.launcher.retry(without.id, OWNER).retry_of == without.id


def test_a_run_whose_job_has_changed_is_refused_by_field(office: Office) -> None:
    first = office.launch("hold", percent=30)
    end(office, first.id)
    (office.data / "more" / "schemas.py").write_text("from jobs import job\n@job\ndef hold_on(x: int): ...\n")
    with sqlite3.connect(office.data / "headway.db") as outside:  # the store is not in a transaction
        outside.execute("UPDATE runs SET job = 'emit'")
    outside.close()
    with pytest.raises(BadParameters) as refused:
        office.launcher.retry(first.id, OWNER)
    assert {"gate", "percent"} == set(refused.value.errors)


# Secrets.


def test_a_secret_is_masked_in_the_run_and_kept_for_its_execution_only(office: Office) -> None:
    run = office.launch(text="hi", secret="sk-canary-4711")
    assert run.params["secret"] == MASK
    claim = office.claim()
    assert claim.secrets == {"secret": "sk-canary-4711"} and claim.params["secret"] == MASK
    ending = office.execute(claim)
    assert ending.status == "completed"
    said = "".join(draft.body for draft in office.heard.drafts) + str(ending)
    assert "sk-canary" not in said and said.count("***") >= 5
    with sqlite3.connect(office.data / "headway.db") as outside:
        rows = [str(row) for table in ("runs", "events") for row in outside.execute(f"SELECT * FROM {table}")]
    outside.close()
    assert rows and "sk-canary" not in "".join(rows)
