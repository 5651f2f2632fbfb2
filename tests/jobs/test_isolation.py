"""A run in a child process of its own: what it says arrives, however it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.errors import Cancelled, Interrupted, StopRun
from jobs.events import Draft, Ending
from jobs.isolation import KILL_AFTER_S, Child
from jobs.registry import Job
from tests.harness import ROOT, wait_for
from tests.jobs.workbench import Listener, claim_of, knob, written_job

SECRET = "sk-canary-4711"


class Followed:
    """A child that a thread follows to its end."""

    def __init__(
        self,
        data: Path,
        job: Job,
        params: dict[str, Any],
        secrets: dict[str, str],
        settings: dict[str, str],
        say: Callable[[Draft], None] | None = None,
    ) -> None:
        self.heard = Listener()
        self.child = Child(job, claim_of(job, params, secrets), data, settings)
        self._endings: list[Ending | BaseException] = []
        self._thread = threading.Thread(target=self._follow, args=(say or self.heard,))
        self._thread.start()

    def _follow(self, say: Callable[[Draft], None]) -> None:
        try:
            self._endings.append(self.child.follow(say))
        except BaseException as error:  # noqa: BLE001 - the test is told
            self._endings.append(error)

    def end(self, limit_s: float = 20) -> Ending:
        """The run's end."""
        self._thread.join(limit_s)
        assert self._endings, "the child still lives"
        (found,) = self._endings
        if isinstance(found, BaseException):
            raise found
        return found

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self.child._process.pid

    @property
    def log(self) -> list[str]:
        """The lines of the log."""
        return [line["message"] for line in self.heard.all("log")]


Begin = Callable[..., Followed]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """A maker of followed children; those that still live are killed after the test."""
    begun: list[Followed] = []

    def make(job: Job | str, secrets: dict[str, str] | None = None, say: Any = None, **params: Any) -> Followed:
        made = written_job(tmp_path, job) if isinstance(job, str) else job
        begun.append(Followed(tmp_path, made, params, secrets or {}, {"CRAWL_ALLOW": "x:1"}, say))
        return begun[-1]

    yield make
    for one in begun:
        if one._thread.is_alive():
            os.killpg(one.pid, signal.SIGKILL)
            one._thread.join(10)


def body(text: str, options: str = "isolated=True") -> str:
    """The source of a job with this function body; it may have a secret, ``key``."""
    parameters = "progress: Progress, key: Secret = Secret('')"
    return f"import os, signal, sys, threading, time\n@job({options})\ndef made({parameters}):\n    {text}\n"


def test_a_child_s_result_and_all_that_it_says_arrive_in_order(begin: Begin) -> None:
    followed = begin(
        body(
            "progress.plan('a', 'b')\n    for n in range(500):\n"
            "        progress.row({'n': n}); progress.log(f'line {n}')\n"
            "    progress.output('text'); progress.update(50, 'half'); progress.file('a.txt').write_text('abc')\n"
            "    return {'n': 500, 'text': 'ü\\u2028'}"
        )
    )
    ending = followed.end()
    assert (ending.status, ending.code, json.loads(ending.result or "")) == (
        "completed",
        None,
        {"n": 500, "text": "ü\u2028"},
    )
    assert ending.files == ({"name": "a.txt", "bytes": 3},)
    assert [row["row"]["n"] for row in followed.heard.all("row")] == list(range(500))
    assert followed.log == [f"line {n}" for n in range(500)]
    assert followed.heard.last["message"] == "half" and followed.heard.all("output") == [{"text": "text"}]
    assert {draft.run for draft in followed.heard.drafts} == {ending.run}


def test_a_child_gets_parameters_secrets_settings_and_files(begin: Begin) -> None:
    ending = begin(knob("kinds"), secrets={"secret": SECRET}, text="hi", secret="***").end()
    result = json.loads(ending.result or "")
    assert (result["text"], result["secret"], result["setting"]) == ("hi", "***", "x:1")


def test_updates_in_a_tight_loop_are_throttled_in_the_child(begin: Begin) -> None:
    followed = begin(knob("spin"), seconds=0.5)
    assert followed.end().status == "completed"
    assert 2 <= len(followed.heard.updates) <= 14


def test_a_failure_in_the_child_is_told_as_in_a_thread(begin: Begin) -> None:
    followed = begin(body("1 / 0"))
    ending = followed.end()
    assert (ending.code, ending.message) == ("failed", "ZeroDivisionError: division by zero")
    assert "1 / 0" in "".join(followed.log)


def test_what_a_child_or_its_libraries_print_goes_to_the_log(begin: Begin) -> None:
    followed = begin(
        body(
            "print('to stdout'); print('to stderr', file=sys.stderr); os.write(1, b'from C\\xff\\n')\n"
            "    import subprocess; subprocess.run(['echo', 'from a program'])\n"
            "    import logging; logging.getLogger('x').warning('logged')\n    print('no newline', end='')"
        )
    )
    assert followed.end().status == "completed"
    assert sorted(followed.log) == sorted(
        ["to stdout", "to stderr", "from C\ufffd", "from a program", "logged", "no newline"]
    )


def test_a_very_long_print_fits_a_frame(begin: Begin) -> None:
    followed = begin(body("print('\\U0001f600' * 100_000); print('after')"))
    followed.end()
    assert all(len(draft.body) <= 60 * 1024 for draft in followed.heard.drafts) and followed.log[-1] == "after"


@pytest.mark.parametrize(
    "printed",
    [
        f"print('the key is {SECRET}')",
        f"print('x' * 3995 + '{SECRET}')",
        f"sys.stdout.write('{SECRET[:5]}'); sys.stdout.flush(); sys.stdout.write('{SECRET[5:]}\\n')",
    ],
    ids=["plain", "at the cut", "in pieces"],
)
def test_a_secret_is_masked_in_what_a_child_prints(begin: Begin, printed: str) -> None:
    followed = begin(body(printed), secrets={"key": SECRET})
    assert followed.end().status == "completed"
    assert followed.log and SECRET[:5] not in "".join(followed.log)


def test_a_secret_of_several_lines_is_masked_in_what_a_child_prints(begin: Begin) -> None:
    """A private key in PEM, say."""
    pem = "-----BEGIN KEY-----\nMIIcanary4711\nMIIcanary4712\n-----END KEY-----"
    followed = begin(body("print(key)"), secrets={"key": pem})
    assert followed.end().status == "completed"
    assert "canary" not in "".join(followed.log)


def test_secrets_are_not_in_the_command_line_or_environment_of_the_child(begin: Begin) -> None:
    followed = begin(body("progress.log(f'has {len(key)}')\n    while True: progress.check()"), secrets={"key": SECRET})
    wait_for(lambda: followed.log == [f"has {len(SECRET)}"])
    child = psutil.Process(followed.pid)
    assert SECRET not in " ".join(child.cmdline()) + str(child.environ())
    followed.child.stop(Cancelled)
    assert followed.end().code == "cancelled"


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (6, "SIGABRT")])
def test_a_child_that_is_killed_is_a_crash_with_its_signal(begin: Begin, number: int, name: str) -> None:
    followed = begin(knob("die"), how="signal", number=number)
    ending = followed.end()
    assert (ending.status, ending.code) == ("error", "crashed")
    assert f"signal {number} ({name})" in (ending.message or "")
    assert followed.heard.last["progress"] == 20, "what it said before is kept"


def test_a_signal_without_a_name_is_a_crash_too(begin: Begin) -> None:
    """Real-time signals: only the first and the last of them have names in Python."""
    ending = begin(knob("die"), how="signal", number=40).end()
    assert ending.code == "crashed" and "40" in (ending.message or "")


@pytest.mark.parametrize("code", [0, 1, 42])
def test_a_child_that_exits_early_is_a_crash_with_its_exit_code(begin: Begin, code: int) -> None:
    ending = begin(knob("die"), how="exit", number=code).end()
    assert ending.code == "crashed" and f"exit code {code}" in (ending.message or "")


def test_a_segmentation_fault_leaves_its_trace_in_the_log(begin: Begin) -> None:
    followed = begin(body("import ctypes; ctypes.string_at(0)"))
    assert followed.end().code == "crashed"
    assert any("Segmentation fault" in line for line in followed.log)


def test_a_line_that_the_child_s_death_cut_off_is_not_passed_on(begin: Begin) -> None:
    """The reader is slow and the pipe full, so the child is killed in the middle of a line."""
    heard, go_on = Listener(), threading.Event()

    def slow(draft: Draft) -> None:
        heard(draft)
        go_on.wait(20)

    followed = begin(body("while True: progress.row({'text': 'x' * 50_000})"), say=slow)
    wait_for(lambda: heard.drafts)
    wait_for(lambda: psutil.Process(followed.pid).status() == psutil.STATUS_SLEEPING and _blocked(followed.pid))
    os.kill(followed.pid, signal.SIGKILL)
    wait_for(lambda: psutil.Process(followed.pid).status() == psutil.STATUS_ZOMBIE)
    go_on.set()
    assert followed.end().code == "crashed"
    assert heard.all("row") and all(len(row["row"]["text"]) == 50_000 for row in heard.all("row"))


def _blocked(pid: int) -> bool:
    """Whether a thread of the process waits for room in a pipe."""
    return any("pipe_w" in (task / "wchan").read_text() for task in Path(f"/proc/{pid}/task").iterdir()) or not any(
        (task / "wchan").read_text().strip("0") for task in Path(f"/proc/{pid}/task").iterdir()
    )


@pytest.mark.parametrize(("reason", "code"), [(Cancelled, "cancelled"), (Interrupted, "interrupted")])
def test_a_child_stops_at_its_next_sign_of_life(begin: Begin, reason: type[StopRun], code: str) -> None:
    followed = begin(knob("hold_in_child"))
    wait_for(lambda: followed.heard.updates)
    began = time.monotonic()
    followed.child.stop(reason)
    ending = followed.end()
    assert (ending.code, ending.message) == (code, reason.message)
    assert time.monotonic() - began < 2
    assert followed.heard.last.get("cancelling", False) is (reason is Cancelled)


def test_a_child_that_is_cancelled_before_it_began_stops(begin: Begin) -> None:
    followed = begin(knob("hold_in_child"))
    followed.child.stop(Cancelled)
    followed.child.stop(Interrupted)
    assert followed.end().code == "cancelled"


def test_a_deaf_child_is_killed_and_the_end_says_so(begin: Begin) -> None:
    followed = begin(knob("deaf"))
    wait_for(lambda: followed.heard.updates)
    began = time.monotonic()
    followed.child.stop(Cancelled)
    ending = followed.end()
    assert ending.code == "cancelled" and "killed" in (ending.message or "")
    assert KILL_AFTER_S <= time.monotonic() - began < KILL_AFTER_S + 2


def test_a_child_that_uses_up_its_time_is_stopped(begin: Begin) -> None:
    followed = begin(body("while True: progress.update(60); time.sleep(0.001)", "isolated=True, timeout=0.3"))
    assert followed.end(5).code == "timeout"


def test_what_a_job_started_is_gone_with_it(begin: Begin) -> None:
    """And it does not hold up the run's end, although it has the child's output open."""
    followed = begin(
        body("import subprocess; p = subprocess.Popen(['sleep', '300']); progress.log('on'); return p.pid")
    )
    wait_for(lambda: followed.log)
    left = int(followed.end(3).result or 0)
    wait_for(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE, 5)


def test_threads_that_a_job_left_behind_do_not_keep_the_process(begin: Begin) -> None:
    followed = begin(body("threading.Thread(target=time.sleep, args=(300,)).start(); return 1"))
    assert followed.end(10).result == "1"


def test_a_job_that_reads_stdin_gets_its_end_and_not_our_orders(begin: Begin) -> None:
    assert begin(body("return [sys.stdin.read(), os.read(0, 10).decode()]")).end().result == '["",""]'


def test_a_job_that_closes_what_it_can_still_ends(begin: Begin) -> None:
    assert begin(body("sys.stdout.close(); sys.stderr.close(); return 1")).end().status in ("completed", "error")


def test_a_child_whose_job_cannot_be_loaded_is_a_crash_with_the_reason_in_the_log(tmp_path: Path, begin: Begin) -> None:
    job = written_job(tmp_path, body("return 1"))
    Path(job.source).write_text("1 / 0\n")
    followed = begin(job)
    assert followed.end().code in ("crashed", "failed")
    assert any("ZeroDivisionError" in line for line in followed.log)


ORPHAN = """
import sys
from pathlib import Path
from jobs.isolation import Child
from tests.jobs.workbench import claim_of, knob
job = knob(sys.argv[2])
child = Child(job, claim_of(job), Path(sys.argv[1]), {})
print(child._process.pid, flush=True)
child.follow(lambda draft: print(draft.kind, flush=True))
"""


@pytest.mark.parametrize("job", ["hold_in_child", "deaf"])
def test_a_child_whose_runner_dies_leaves(tmp_path: Path, job: str) -> None:
    """At once when the job looks at its progress, after some seconds when it is deaf."""
    runner = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path), job], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    child = psutil.Process(int(runner.stdout.readline()))
    assert runner.stdout.readline() == "update\n"
    runner.kill()
    runner.communicate()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, KILL_AFTER_S + 5)


def test_a_child_works_behind_the_web_workers(begin: Begin) -> None:
    """And of their session: Linux weighs sessions against each other first, where autogroups are on."""
    said = begin(body("return [os.sched_getscheduler(0), os.getsid(0)]")).end().result
    assert json.loads(said or "0") == [os.SCHED_IDLE, os.getsid(0)]


def test_a_child_leaves_no_descriptors_open(begin: Begin) -> None:
    begin(body("return 1")).end()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        begin(body("return 1")).end()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before, 5)
