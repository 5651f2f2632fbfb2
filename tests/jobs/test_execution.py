"""One run's life: whatever a job does, one honest end comes out."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import Cancelled, Interrupted, StopRun, TimedOut
from jobs.events import Ending
from jobs.execution import MAX_RESULT_BYTES, execute, run_folder
from jobs.progress import Progress
from jobs.registry import Job
from tests.harness import wait_for
from tests.jobs.workbench import Listener, claim_of, knob, progress_with, written_job


class Bench:
    """Executes jobs in this thread, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.heard = Listener()

    def execute(self, job: Job, secrets: dict[str, str] | None = None, **params: Any) -> Ending:
        """Execute a job; what it says is in ``heard``."""
        claim = claim_of(job, params, secrets)
        folder = run_folder(self.data, claim.run)
        self.progress = progress_with(self.heard, folder / "files", secrets=(secrets or {}).values())
        ending = execute(job, claim, self.progress, folder)
        assert (ending.run, ending.attempt) == (claim.run, claim.attempt)
        return ending

    def source(self, body: str, parameters: str = "progress: Progress", prefix: str = "") -> Ending:
        """Execute a job with this function body."""
        return self.execute(written_job(self.data, f"{prefix}@job\ndef made({parameters}):\n    {body}\n"))

    @property
    def log(self) -> str:
        """All lines of the log."""
        return "\n".join(line["message"] for line in self.heard.all("log"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench for jobs."""
    return Bench(tmp_path)


def failed(ending: Ending) -> str:
    """The message of an end that has to be a failure."""
    assert (ending.status, ending.code, ending.result) == ("error", "failed", None)
    assert ending.message
    return ending.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(result=JSON)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_job_returns_is_the_result(result: Any, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(result))
    ending = bench.source(
        f"import json, pathlib; return json.loads(pathlib.Path({str(tmp_path / 'result.json')!r}).read_text())"
    )
    assert (ending.status, ending.code) == ("completed", None)
    assert json.loads(ending.result or "") == result


def test_a_job_gets_its_parameters_as_the_types_that_it_names(bench: Bench) -> None:
    ending = bench.execute(
        knob("kinds"), secrets={"secret": "canary-1"}, text="hi", whole=7, day="2026-11-22", colour="green",
        secret="***",
    )  # fmt: skip
    assert ending.status == "error" and "CRAWL_ALLOW" in (ending.message or ""), "the setting was not given"
    job = written_job(
        bench.data,
        "from datetime import date\n@job\ndef made(day: date, n: int = 3, upload: File | None = None):\n"
        "    return [type(day).__name__, day.isoformat(), n, upload]\n",
    )
    assert bench.execute(job, day="2026-11-22").result == '["date","2026-11-22",3,null]'


def test_an_uploaded_file_is_read_from_the_run_s_folder(bench: Bench) -> None:
    job = written_job(
        bench.data, "@job\ndef made(upload: File):\n    return [upload.name, upload.size, upload.text()]\n"
    )
    claim = claim_of(job, {"upload": {"name": "../../x", "bytes": 3, "stored": "0"}})
    folder = run_folder(bench.data, claim.run)
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "0").write_text("abc")
    assert execute(job, claim, progress_with(bench.heard, folder / "files"), folder).result == '["../../x",3,"abc"]'


def test_a_job_without_progress_runs(bench: Bench) -> None:
    assert bench.source("return 6 * 7", parameters="").result == "42"


def test_an_async_job_is_awaited(bench: Bench) -> None:
    job = written_job(
        bench.data,
        "import asyncio\n@job\nasync def made(progress: Progress):\n"
        "    await asyncio.sleep(0)\n    progress.log('inside')\n"
        "    return await asyncio.gather(asyncio.sleep(0, 1))\n",
    )
    assert bench.execute(job).result == "[1]" and bench.log == "inside"


def test_an_async_job_stops_where_it_is_told(bench: Bench) -> None:
    job = written_job(
        bench.data,
        "import asyncio\n@job\nasync def made(progress: Progress):\n"
        "    progress.update(5)\n    progress.stop(__import__('jobs.errors').errors.Cancelled)\n"
        "    while True:\n        await asyncio.sleep(0)\n        progress.check()\n",
    )
    assert bench.execute(job).code == "cancelled"


def test_a_job_error_is_a_sentence_without_traceback(bench: Bench) -> None:
    assert failed(bench.execute(knob("fail"), how="job_error")) == "The list is empty. Give at least one line."
    assert bench.log == ""
    assert failed(bench.source("raise JobError()")) == "The job gave up without saying why."


def test_an_exception_puts_its_message_at_the_end_and_its_traceback_into_the_log(bench: Bench) -> None:
    assert failed(bench.execute(knob("fail"), how="raise")) == "ValueError: the cat ate it"
    assert bench.log.startswith("Traceback (most recent call last):") and bench.log.endswith(
        "ValueError: the cat ate it"
    )
    assert bench.heard.all("log")[-1]["level"] == "error"
    assert "knobs.py" in bench.log and 'raise ValueError("the cat ate it")' in bench.log


def test_a_traceback_is_without_headway_s_own_frames(bench: Bench) -> None:
    for body in ("1 / 0", "progress.row({'x': {1}})", "raise KeyError"):
        failed(bench.source(body))
    assert "jobs/execution.py" not in bench.log and "def _call" not in bench.log
    assert bench.log.count("file_") >= 3


def test_an_async_job_s_traceback_names_its_line(bench: Bench) -> None:
    job = written_job(bench.data, "@job\nasync def made():\n    return 1 / 0\n")
    assert failed(bench.execute(job)) == "ZeroDivisionError: division by zero"
    assert "return 1 / 0" in bench.log


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {'found': {1, 2}}", "type set at result['found']"),
        ("return {'mean': [1.0, float('nan')]}", "nan at result['mean'][1]"),
        ("return float('-inf')", "-inf at result"),
        ("return b'bytes'", "type bytes at result"),
        ("return {(1, 2): 3}", "a key of type tuple in result"),
        ("return (x for x in 'ab')", "type generator at result"),
        ("return object()", "type object at result"),
        ("x = []; x.append(x); return x", "inside itself"),
        ("x = []\n    for _ in range(100_000): x = [x]\n    return x", "nested too deeply"),
        ("x = {}\n    for _ in range(900): x = {'x': x}\n    return x", "nested too deeply"),
    ],
)
def test_a_result_that_json_cannot_hold_says_what_and_where(bench: Bench, body: str, said: str) -> None:
    assert said in failed(bench.source(body))


def test_a_result_that_is_too_large_says_so(bench: Bench) -> None:
    message = failed(bench.source(f"return 'x' * {MAX_RESULT_BYTES + 1}"))
    assert "10 MB" in message and "progress.file" in message
    assert bench.source(f"return 'x' * {MAX_RESULT_BYTES - 2}").status == "completed"


@pytest.mark.parametrize("body", ["raise SystemExit(3)", "import sys; sys.exit(3)"])
def test_a_job_that_exits_ends_its_run_and_nothing_else(bench: Bench, body: str) -> None:
    assert "exit code 3" in failed(bench.source(body))


def test_what_nobody_expects_is_an_end_too(bench: Bench) -> None:
    assert failed(bench.source("raise KeyboardInterrupt")) == "KeyboardInterrupt"
    assert failed(bench.source("raise BaseException('base')")) == "BaseException: base"
    assert failed(bench.source("raise GeneratorExit")) == "GeneratorExit"
    assert "RecursionError" in failed(bench.source("made(progress)"))
    assert "Group" in failed(bench.source("raise ExceptionGroup('Group', [ValueError('a'), KeyError('b')])"))


def test_an_exception_that_cannot_be_told_is_an_end_too(bench: Bench) -> None:
    prefix = "class Untold(Exception):\n    def __str__(self): raise RuntimeError('no text')\n"
    assert "Untold" in failed(bench.source("raise Untold", prefix=prefix))


@pytest.mark.parametrize(
    "body",
    [
        "progress.update(1); progress.update(__import__('decimal').Decimal(5))",
        "progress.update(1); progress.update('50')",
        "progress.update(5, step=3)",
        "progress.update(1); progress.update(2, message=object)",
        "progress.step(3).__enter__()",
    ],
)
def test_an_end_comes_out_whatever_the_progress_was_told(bench: Bench, body: str) -> None:
    """Refused at the call, or made the best of: but not an exception out of execute."""
    ending = bench.source(body)
    assert ending.status == "completed" or ending.code == "failed"


@pytest.mark.parametrize(
    ("reason", "code", "word"),
    [
        (Cancelled, "cancelled", "cancelled"),
        (TimedOut, "timeout", "time limit"),
        (Interrupted, "interrupted", "server"),
    ],
)
def test_a_stop_ends_the_run_with_its_code(bench: Bench, reason: type[StopRun], code: str, word: str) -> None:
    job = knob("hold")
    claim = claim_of(job, {"percent": 30})
    progress = progress_with(bench.heard, bench.data)
    endings: list[Ending] = []
    thread = threading.Thread(target=lambda: endings.append(execute(job, claim, progress, bench.data)))
    thread.start()
    wait_for(lambda: bench.heard.updates)
    progress.stop(reason)
    thread.join(10)
    assert [(ending.status, ending.code) for ending in endings] == [("error", code)]
    assert word in (endings[0].message or "") and bench.log == ""
    assert bench.heard.last["progress"] == 30


def test_a_careless_except_exception_does_not_keep_a_run(bench: Bench) -> None:
    job = knob("fail")
    progress = progress_with(bench.heard, bench.data)
    endings: list[Ending] = []
    thread = threading.Thread(
        target=lambda: endings.append(execute(job, claim_of(job, {"how": "swallow"}), progress, bench.data))
    )
    thread.start()
    wait_for(lambda: bench.heard.updates)
    progress.stop(Cancelled)
    thread.join(10)
    assert endings[0].code == "cancelled"


def test_a_job_that_cleans_up_after_a_stop_is_still_cancelled(bench: Bench) -> None:
    body = (
        "try:\n        progress.stop(__import__('jobs.errors').errors.Cancelled); progress.check()\n"
        "    finally:\n        __import__('pathlib').Path('{}').write_text('clean')"
    ).format(bench.data / "cleaned")
    assert bench.source(body).code == "cancelled"
    assert (bench.data / "cleaned").read_text() == "clean"


@pytest.mark.parametrize("end", ["return 1", "raise ValueError", "raise JobError('no')"])
def test_files_that_were_written_are_listed_however_the_run_ends(bench: Bench, end: str) -> None:
    ending = bench.source(f"progress.file('a.csv').write_text('abc'); progress.file('never.csv'); {end}")
    assert ending.files == ({"name": "a.csv", "bytes": 3},)


def test_the_last_words_of_a_job_come_before_its_end(bench: Bench) -> None:
    bench.source(
        "progress.update(1, 'first'); progress.update(99, 'last words'); progress.output('a'); progress.output('b')"
    )
    assert bench.heard.last["message"] == "last words"
    assert "".join(piece["text"] for piece in bench.heard.all("output")) == "ab"


SECRET = "sk-canary-4711"


@pytest.mark.parametrize(
    "body",
    [
        "return {'key': key, key: [key]}",
        "raise ValueError(f'bad key {key}')",
        "raise JobError(f'bad key {key}')",
        "raise SystemExit(key)",
        "progress.log(key); raise KeyError(key)",
        "return {key}",
    ],
)
def test_a_secret_is_masked_in_results_messages_and_tracebacks(bench: Bench, body: str) -> None:
    job = written_job(bench.data, f"@job\ndef made(progress: Progress, key: Secret):\n    {body}\n")
    ending = bench.execute(job, secrets={"key": SECRET}, key="***")
    everything = f"{ending}\n" + "\n".join(draft.body for draft in bench.heard.drafts)
    assert SECRET not in everything
    assert "***" in everything or body == "return {key}"


def test_stored_parameters_that_no_longer_fit_the_job_fail_the_run(bench: Bench) -> None:
    """The job's file may have changed between launch and start."""
    assert "pages" in failed(bench.execute(knob("hold"), pages=3)) + bench.log


def test_a_run_has_one_folder_with_inputs_and_files(tmp_path: Path) -> None:
    assert run_folder(tmp_path, "abc") == tmp_path / "runs" / "abc"


def test_progress_is_what_execution_expects_of_it() -> None:
    assert {"note", "finish", "mask"} <= set(vars(Progress))
