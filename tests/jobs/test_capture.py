"""What a job prints, logs and draws, without knowing of Headway: it comes out as its run's log lines and its bar."""

from __future__ import annotations

import gc
import io
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from jobs import capture
from jobs.capture.printout import KEEP_CHARS, Line, plain
from jobs.errors import Cancelled, Finished
from jobs.events import Draft, Ending
from jobs.execution import execute, run_folder
from jobs.isolation import Child
from jobs.progress import MAX_LINE_CHARS, Pace, Progress
from jobs.registry import Job
from tests.harness import ROOT, wait_for
from tests.jobs.workbench import Listener, claim_of, in_threads, progress_with, written_job

SECRET = "sk-canary-4711"
IMPORTS = (
    "import asyncio, contextlib, faulthandler, gc, io, logging, os, queue, subprocess, sys, threading, time, warnings\n"
    "from concurrent.futures import ThreadPoolExecutor\nfrom tqdm import tqdm, trange\nlog = logging.getLogger('job')\n"
)


class Run:
    """A run that goes on in a thread of its own, as in the runner, or in a child process."""

    def __init__(self, folder: Path, lane: str, job: Job, pace: Pace | None, say: Any, secrets: dict[str, str]) -> None:
        self.heard = Listener()
        self._say = say or self.heard
        self._endings: list[Ending] = []
        claim = claim_of(job, {"key": "***"} if secrets else {}, secrets)
        here = run_folder(folder, claim.run)
        self.child = Child(job, claim, folder, {}) if lane == "child" else None
        self.progress = progress_with(self._hear, here / "files", secrets=secrets.values())

        def carry_out() -> None:
            if self.child is not None:
                self._endings.append(self.child.follow(self._hear))
                return
            if pace is not None:
                pace.add(self.progress)
            self._endings.append(execute(job, claim, self.progress, here))
            if pace is not None:
                pace.discard(self.progress)
            self.progress.stop(Finished)

        self.thread = threading.Thread(target=carry_out, name="pool", daemon=True)
        self.thread.start()

    def _hear(self, draft: Draft) -> None:
        self._say(draft)

    def stop(self) -> None:
        """Cancel it."""
        (self.child or self.progress).stop(Cancelled)

    def end(self) -> Ending:
        """Its end."""
        self.thread.join(20)
        assert self._endings, "the run goes on"
        return self._endings[0]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Its log: levels and lines."""
        return [(line["level"], line["message"]) for line in self.heard.all("log")]

    @property
    def log(self) -> list[str]:
        """The lines of its log."""
        return [line for _, line in self.lines]

    @property
    def messages(self) -> list[str]:
        """The messages of its updates."""
        return [update["message"] for update in self.heard.updates if update["message"]]


Begin = Callable[..., Run]


@pytest.fixture
def installed() -> None:
    """Prints and records are told apart, as in the runner."""
    capture.install()


@pytest.fixture
def begin(installed: None, tmp_path: Path, pace: Pace) -> Iterator[Begin]:
    """A maker of runs in threads of this process, of jobs with this function body."""
    yield from _maker(tmp_path, pace, "thread")


@pytest.fixture(params=["thread", "child"])
def begin_anywhere(installed: None, request: pytest.FixtureRequest, tmp_path: Path, pace: Pace) -> Iterator[Begin]:
    """As begin, and again in child processes."""
    yield from _maker(tmp_path, pace, request.param)


def _maker(folder: Path, pace: Pace, lane: str) -> Iterator[Begin]:
    begun: list[Run] = []

    def make(body: str, prefix: str = "", say: Any = None, secret: str = "", paced: bool = True) -> Run:
        body = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        parameters = "progress: Progress, key: Secret = Secret('')"
        job = written_job(folder, f"{IMPORTS}{prefix}@job\ndef made({parameters}):\n{body}\n")
        begun.append(Run(folder, lane, job, pace if paced else None, say, {"key": secret} if secret else {}))
        return begun[-1]

    yield make
    for run in begun:
        run.stop()
        run.thread.join(20)


def done(run: Run) -> Run:
    """A run that has completed."""
    ending = run.end()
    assert ending.status == "completed", f"{ending.message}\n{run.log}"
    return run


# Lines.


def test_prints_become_lines_in_order_with_what_the_job_says_itself(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "print('one', 2, sep=', ')\nprogress.log('two')\nprint('three', file=sys.stderr)\n"
            "print('four\\nfive\\r\\n')\nprint()\nprint('si', end='', flush=True)\nprint('x')\n"
            "sys.stdout.writelines(['seven\\n', 'eight\\n'])\nlog.info('nine')\nprint('ten', end='')"
        )
    )
    assert run.lines == [
        ("info", line) for line in ("one, 2", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    ]


def test_what_was_printed_comes_before_the_traceback_that_ends_the_run(begin_anywhere: Begin) -> None:
    run = begin_anywhere("print('dividing ', end='')\n1 / 0")
    assert run.end().code == "failed"
    assert run.log[0] == "dividing" and run.log[1].endswith("ZeroDivisionError: division by zero")


def test_a_long_line_is_cut_and_one_without_end_fills_no_memory(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "print('x' * 10_000)\nfor _ in range(300): print('y' * 1000, end='')\nprint()\nprint('after')",
        )
    )
    assert [len(line) for line in run.log] == [MAX_LINE_CHARS, MAX_LINE_CHARS, len("after")]
    assert run.log[0].startswith("xxx") and run.log[0].endswith("(cut)")
    line = Line()
    for _ in range(1000):
        assert list(line.add("z" * 1000)) == []
    assert line.take() == ("z" * KEEP_CHARS, False)


@pytest.mark.parametrize(
    "printed",
    [
        "print('the key is', key)",
        "print('x' * 3990 + key)",
        "sys.stdout.write(key[:5]); sys.stdout.flush(); sys.stdout.write(key[5:] + '\\n')",
        "print(key * 10_000)",
        f"print((key * 10_000)[:{KEEP_CHARS} + 5])",
        "log.warning('with %s', key)",
        "warnings.warn(key)",
        "sys.stdout.buffer.write(key.encode() + b'\\n')",
        "bar = tqdm(total=2, desc=key); bar.update(); bar.close()",
    ],
)
@pytest.mark.filterwarnings("default")
def test_a_secret_is_masked_in_all_that_is_printed(begin_anywhere: Begin, printed: str) -> None:
    run = done(begin_anywhere(printed + "\nprint('printed')", secret=SECRET))
    said = "".join(draft.body for draft in run.heard.drafts)
    assert "***" in said or len(run.log) == 2
    assert SECRET[:5] not in said


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (["10%\r", "50%\r", "100%\n"], ["100%"]),
        (["10%", "\r50%", "\r100%", "\n"], ["100%"]),
        (["loading\r", "        \r", "\n", "next\n"], ["next"]),
        (["a\r\n", "b\r", "\n"], ["a", "b"]),
        (["\x1b[31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07\x1b[2K\n"], ["red link"]),
        (["\x1b[2K\x1b[1A\x1b[?25l", "\n"], []),
        (["half an escape \x1b", "[32mgreen\x1b[", "0m\n"], ["half an escape green"]),
        (["spinning |\b/\b-\b\\\b done\n"], ["spinning  done"]),
        (["nul\x00 bell\x07 tab\tend\n"], ["nul bell tab\tend"]),
        (["\n\n  \n \t\nx  \n"], ["x"]),
        (["é ü 漢字 😀\n"], ["é ü 漢字 😀"]),
        (["", "no newline"], ["no newline"]),
    ],
)
def test_a_line_is_what_a_terminal_would_show_at_its_end(written: list[str], shown: list[str]) -> None:
    line = Line()
    found = [text for piece in written for text, _ in line.add(piece)]
    rest, whole = line.take()
    assert found + [text for text in (rest,) if text] == shown and whole


def test_a_character_that_comes_in_pieces_is_put_together() -> None:
    line = Line()
    assert "".join(line.decode(bytes([byte])) for byte in "ü漢😀".encode()) == "ü漢😀"


def test_a_multi_line_message_keeps_its_lines_and_loses_its_colours() -> None:
    assert plain("\x1b[1ma\x1b[0m\n\tb\r\n") == "a\n\tb\n"


@pytest.mark.parametrize("printed", ["print(key * 100)", "os.write(1, (key * 100).encode())"])
def test_a_secret_is_not_begun_where_a_line_is_cut(tmp_path: Path, pace: Pace, printed: str) -> None:
    """Masked, it is so short that the place where the line's end was thrown away is shown."""
    secret = "sk-" + "canary" * 200
    for begin in _maker(tmp_path, pace, "child"):
        (line,) = done(begin(printed, secret=secret)).log
        assert set(line) == {"*"}


def test_what_a_program_prints_is_cut_masked_and_cleaned_in_a_child(tmp_path: Path, pace: Pace) -> None:
    """It comes by the pipe, as what C code prints does."""
    for begin in _maker(tmp_path, pace, "child"):
        run = done(
            begin(
                "os.write(1, (key * 10_000).encode() + b'\\n')\nos.write(2, b'1%\\r' * 50_000 + b'\\x1b[1m100%\\n')\n"
                "os.write(1, b'x' * 200_000 + b'\\nno newline')",
                secret=SECRET,
            )
        )
        assert [line[:10] for line in run.log] == ["***" * 3 + "*", "100%", "x" * 10, "no newline"]
        assert max(len(line) for line in run.log) == MAX_LINE_CHARS and SECRET[:5] not in "".join(run.log)


def test_what_redraws_a_line_by_itself_leaves_one_line(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "for n in range(1000):\n    sys.stdout.write(f'\\r\\x1b[32m{n} of 1000\\x1b[0m')\n    sys.stdout.flush()\n"
            "print()"
        )
    )
    assert run.log == ["999 of 1000"]


# Streams.


def test_the_streams_of_a_run_are_good_for_what_scripts_do_with_them(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            """
for stream in (sys.stdout, sys.stderr):
    assert not stream.isatty() and not stream.closed and stream.writable() and stream.encoding == "utf-8"
    assert isinstance(stream.fileno(), int) and stream.errors and stream.name
    stream.reconfigure(encoding="latin-1", line_buffering=True)
    stream.close()
    stream.flush()
    with stream:
        pass
sys.stdout.buffer.write("bytes ü\\n".encode())
sys.stdout.buffer.flush()
sys.stdout.buffer.write(memoryview(b"a view\\n"))
wrapped = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", line_buffering=True)
print("wrapped", file=wrapped)
del wrapped
gc.collect()
try:
    sys.stdout.write(b"bytes")
except TypeError as error:
    print(error)
faulthandler.enable()
faulthandler.enable(file=sys.stderr)
faulthandler.disable()
print("printed", file=sys.stdout)
print("also", file=sys.stderr, flush=True)
"""
        )
    )
    assert run.log == [
        "bytes ü", "a view", "wrapped", "write() argument must be str, not bytes", "printed", "also",
    ]  # fmt: skip


def test_a_job_may_put_something_else_in_the_place_of_its_streams(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            """
with contextlib.redirect_stdout(io.StringIO()) as caught:
    assert sys.stdout is caught
    print("caught")
with contextlib.redirect_stdout(sys.stderr):
    print("to stderr")

class Tee:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        self.stream.write(text.upper())
    def flush(self):
        self.stream.flush()

plain, sys.stdout = sys.stdout, Tee(sys.stdout)
print("tee")
sys.stdout = plain
print("plain")
sys.stdout = io.StringIO()
print("lost")
sys.stdout = sys.__stdout__
print("back")
return caught.getvalue()
"""
        )
    )
    assert run.end().result == '"caught\\n"'
    assert run.log == ["to stderr", "TEE", "plain", "back"]


def test_redirecting_in_one_run_leaves_other_runs_and_the_server_alone(begin: Begin) -> None:
    """sys.stdout is one for the process; a run's is its own."""
    go_on, redirected = threading.Event(), threading.Event()
    with mock.patch.dict(sys.modules, {"test_gates": mock.Mock(go_on=go_on, redirected=redirected)}):
        first = begin(
            "from test_gates import go_on, redirected\n"
            "with contextlib.redirect_stdout(io.StringIO()) as caught, contextlib.redirect_stderr(io.StringIO()):\n"
            "    redirected.set(); print('mine'); go_on.wait(10); print('mine too')\n"
            "return caught.getvalue()"
        )
        assert redirected.wait(10)
        second = done(begin("print('not for the first'); print('nor this', file=sys.stderr)"))
        with redirect_stdout(io.StringIO()) as server:
            print("the server's")
            third = done(begin("print('not for the server')"))
        go_on.set()
    assert done(first).end().result == '"mine\\nmine too\\n"' and first.log == []
    assert second.log == ["not for the first", "nor this"]
    assert server.getvalue() == "the server's\n" and third.log == ["not for the server"]


SERVER = """
import contextlib, faulthandler, io, logging, os, sys, threading, warnings
real = {name: (getattr(sys, name).fileno(), getattr(sys, name).encoding) for name in ("stdout", "stderr")}
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
from jobs import capture
capture.install(); capture.install()
for name, (descriptor, encoding) in real.items():
    stream = getattr(sys, name)
    assert (stream.fileno(), stream.encoding) == (descriptor, encoding)
    assert stream.isatty() is False and stream.writable() and not stream.closed and stream.errors
    stream.buffer.write(f"{name} bytes\\n".encode())
    stream.buffer.flush()
    stream.writelines([f"{name} a\\n", f"{name} b\\n"])
    print(f"{name} printed", file=stream, flush=True)
    stream.reconfigure(line_buffering=True)
print("to stdout")
faulthandler.enable()
faulthandler.dump_traceback(file=sys.stderr)
logging.getLogger("x").info("a record")
logging.getLogger("x").debug("too low")
warnings.warn("a warning")
with contextlib.redirect_stdout(io.StringIO()) as caught:
    print("caught")
    assert sys.stdout is caught
assert caught.getvalue() == "caught\\n"
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
assert input() == ""
sys.stdout.flush()
try:
    sys.stdout.write(1)
except TypeError as error:
    print(error)
raise SystemExit("last words")
"""


def test_the_server_s_own_streams_work_as_before() -> None:
    told = subprocess.run([sys.executable, "-c", SERVER], cwd=ROOT, capture_output=True, text=True, input="\n")
    assert told.returncode == 1, told.stderr
    assert told.stdout.splitlines() == [
        "stdout bytes", "stdout a", "stdout b", "stdout printed", "to stdout",
        "write() argument must be str, not int",
    ]  # fmt: skip
    for line in ("stderr bytes", "stderr a", "stderr b", "stderr printed", "INFO a record", "last words"):
        assert line in told.stderr.splitlines()
    assert "UserWarning: a warning" in told.stderr and "ZeroDivisionError" in told.stderr
    assert "most recent call first" in told.stderr and "too low" not in told.stderr


def test_mocked_streams_of_the_process_are_put_back(installed: None) -> None:
    with mock.patch("sys.stdout", io.StringIO()) as caught, redirect_stderr(io.StringIO()) as errors:
        print("mocked")
        print("mocked too", file=sys.stderr)
    assert (caught.getvalue(), errors.getvalue()) == ("mocked\n", "mocked too\n")
    assert sys.stdout is not caught and sys.stderr is not errors


# Records.


def test_a_record_is_a_line_of_its_level(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "log.debug('too low')\nlog.info('count %d', 3)\nlog.warning('w')\nlog.error('e')\nlog.critical('c')\n"
            "logging.getLogger().warning('of the root')\nlogging.log(25, 'between')"
        )
    )
    assert run.lines == [
        ("info", "count 3"), ("warning", "w"), ("error", "e"), ("error", "c"),
        ("warning", "of the root"), ("info", "between"),
    ]  # fmt: skip


def test_a_logger_s_own_level_lets_debug_through(begin_anywhere: Begin) -> None:
    run = done(begin_anywhere("log.setLevel('DEBUG')\nlog.debug('low')\nlog.setLevel('NOTSET')\nlog.debug('too low')"))
    assert run.lines == [("debug", "low")]


def test_a_logged_exception_has_its_traceback_in_one_line_of_the_log(begin_anywhere: Begin) -> None:
    run = done(begin_anywhere("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('no luck')"))
    ((level, text),) = run.lines
    assert level == "error" and text.startswith("no luck\nTraceback (most recent call last):")
    assert "1 / 0" in text and text.endswith("ZeroDivisionError: division by zero")


def test_a_record_that_cannot_be_formatted_is_told_of_in_the_run_s_log(begin_anywhere: Begin) -> None:
    run = done(begin_anywhere("log.info('%d', 'x')\nlog.info('goes on')"))
    assert run.log[0] == "--- Logging error ---" and "Message: '%d'" in run.log and run.log[-1] == "goes on"


@pytest.mark.parametrize(
    ("setup", "line"),
    [
        ("log.addHandler(logging.StreamHandler())", "hello"),
        ("h = logging.StreamHandler(sys.stdout); h.setFormatter(logging.Formatter('%(name)s: %(message)s'));"
         " log.addHandler(h)", "job: hello"),
        ("logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))", "hello"),
        ("logging.basicConfig(format='%(name)s: %(message)s')", "hello"),
        ("logging.basicConfig(format='%(name)s: %(message)s', force=True)", "hello"),
        ("h = logging.StreamHandler(); h.setLevel('ERROR'); log.addHandler(h)", "hello"),
        ("log.addHandler(logging.NullHandler())", "hello"),
        ("h = logging.StreamHandler(); log.addHandler(h); log.propagate = False", "hello"),
    ],
)  # fmt: skip
def test_a_record_is_one_line_whatever_handlers_the_job_adds_however_often(begin: Begin, setup: str, line: str) -> None:
    """Run after run in one process: handlers do not pile up."""
    for _ in range(3):
        run = done(begin(f"log.propagate = True\n{setup}\nlog.warning('hello')\nlog.propagate = True"))
        assert run.lines == [("warning", line)]
        assert logging.getLogger("job").handlers == []


def test_a_logger_that_keeps_its_records_to_itself_is_silent(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "log.propagate = False\nlog.addHandler(logging.NullHandler())\nlog.error('kept')\n"
            "lonely = logging.getLogger('lonely')\nlonely.propagate = False\nlonely.info('kept')\n"
            "lonely.error('heard')\n"
            "log.propagate = lonely.propagate = True"
        )
    )
    assert run.lines == [("error", "heard")]


def test_what_a_handler_of_the_job_s_own_kind_prints_is_not_said_again(begin_anywhere: Begin) -> None:
    """RichHandler, say, is no StreamHandler."""
    run = done(
        begin_anywhere(
            "class Own(logging.Handler):\n    def emit(self, record): print('<', record.getMessage(), '>')\n"
            "log.addHandler(Own())\nlog.error('hello')\nprint('printed')"
        )
    )
    assert run.lines == [("error", "< hello >"), ("info", "printed")]


def test_a_job_that_sets_up_logging_leaves_the_server_its_own(begin: Begin) -> None:
    root = logging.getLogger()
    server = logging.StreamHandler(io.StringIO())
    root.addHandler(server)
    capture.install()
    try:
        before = list(root.handlers)
        run = done(
            begin(
                "import logging.config\nlogging.basicConfig(force=True)\nlogging.config.dictConfig("
                "{'version': 1, 'disable_existing_loggers': False, 'root': {'handlers': []}})\n"
                "log.warning('a run speaks')"
            )
        )
        assert root.handlers == before
        logging.getLogger("server").warning("the server speaks")
        assert server.stream.getvalue() == "the server speaks\n"
        assert run.log == ["a run speaks"]
    finally:
        root.removeHandler(server)


def test_a_handler_that_a_run_added_gets_the_records_of_no_other(begin: Begin, tmp_path: Path) -> None:
    added, go_on = threading.Event(), threading.Event()
    with mock.patch.dict(sys.modules, {"test_gates": mock.Mock(added=added, go_on=go_on)}):
        first = begin(
            f"from test_gates import added, go_on\nlog.addHandler(logging.FileHandler({str(tmp_path / 'log.txt')!r}))\n"
            "log.info('mine')\nadded.set()\ngo_on.wait(10)\nlog.info('mine too')"
        )
        assert added.wait(10)
        second = done(begin("log.info('not for the first')"))
        logging.getLogger("job").warning("nor this")
        go_on.set()
    assert done(first).log == ["mine", "mine too"] and second.log == ["not for the first"]
    assert (tmp_path / "log.txt").read_text() == "mine\nmine too\n"


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line_of_level_warning_in_every_run(begin_anywhere: Begin) -> None:
    """Python shows it once in a process."""
    runs = [done(begin_anywhere("for _ in range(3): warnings.warn('mind the gap', stacklevel=1)")) for _ in range(2)]
    for run in runs:
        ((level, text),) = run.lines
        assert level == "warning" and "UserWarning: mind the gap" in text
    with redirect_stderr(io.StringIO()) as caught:
        done(
            begin_anywhere("with warnings.catch_warnings(record=True) as w: warnings.warn('kept'); assert len(w) == 1")
        )
    assert caught.getvalue() == ""


def test_an_exception_that_ends_a_thread_is_an_error_in_the_run_s_log(begin_anywhere: Begin) -> None:
    run = done(begin_anywhere("t = threading.Thread(target=lambda: 1 / 0, name='worker')\nt.start()\nt.join()"))
    ((level, text),) = run.lines
    assert level == "error" and text.startswith("Exception in thread worker:\nTraceback")
    assert text.endswith("ZeroDivisionError: division by zero")


# Whose it is.


def test_threads_pools_crews_and_asyncio_belong_to_the_run_that_begins_them(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            """
from jobs.library.crew import Crew

def say(text):
    print(text)
    log.info("%s logged", text)

def nest():
    thread = threading.Thread(target=say, args=("nested",))
    thread.start()
    thread.join()

thread = threading.Thread(target=nest)
thread.start()
thread.join()
timer = threading.Timer(0, say, ("timer",))
timer.start()
timer.join()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(say, ["pool"]))
crew = Crew(1, say, "crew")
crew.give("crew")
while not crew.results(1):
    pass
crew.close()

async def main():
    await asyncio.to_thread(say, "to_thread")
    await asyncio.get_running_loop().run_in_executor(None, say, "executor")
    async def task():
        say("task")
    await asyncio.gather(task(), asyncio.create_task(task()))

asyncio.run(main())
"""
        )
    )
    names = ["nested", "timer", "pool", "crew", "to_thread", "executor", "task", "task"]
    assert run.log == [line for name in names for line in (name, f"{name} logged")]


def test_runs_at_once_never_mix(begin: Begin) -> None:
    """Prints, records, warnings, bars, threads and pools of eight runs, begun together."""
    together = threading.Barrier(8)
    body = """
from test_gates import together
name = "NAME"
def say(n):
    print(f"{name} print {n}")
    print(f"{name} error {n}", file=sys.stderr)
    log.info("%s log %d", name, n)
together.wait(20)
with ThreadPoolExecutor(3) as pool:
    for n in tqdm(range(200), desc=name, mininterval=0):
        say(n)
        pool.submit(say, n + 1000)
        threads = [threading.Thread(target=say, args=(n + 2000,))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        tqdm.write(f"{name} wrote {n}", file=sys.stderr)
"""
    with mock.patch.dict(sys.modules, {"test_gates": mock.Mock(together=together)}):
        runs = {f"run{n}": begin(body.replace("NAME", f"run{n}")) for n in range(8)}
        for run in runs.values():
            done(run)
    for name, run in runs.items():
        assert len(run.log) == 200 * 10
        assert all(line.startswith(f"{name} ") for line in run.log)
        assert run.messages and all(message.startswith(f"{name}: ") for message in run.messages)


def test_a_task_belongs_to_the_run_that_gives_it_also_in_a_pool_of_another_s_threads(begin: Begin) -> None:
    """A pool of a module outlives the run that has filled it with threads."""
    pool = "from test_gates import pool\n"
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as shared, mock.patch.dict(sys.modules, {"test_gates": mock.Mock(pool=shared)}):
        first = done(begin(pool + "pool.submit(print, 'first').result()"))
        second = done(begin(pool + "pool.submit(print, 'second').result()"))
        with redirect_stdout(io.StringIO()) as server:
            shared.submit(print, "the server's").result()
    assert (first.log, second.log, server.getvalue()) == (["first"], ["second"], "the server's\n")


def test_a_thread_that_a_job_leaves_behind_prints_where_the_server_does(begin: Begin) -> None:
    """The run's log is closed; and a print never ends a thread that nobody waits for."""
    go_on, ended = threading.Event(), threading.Event()
    begun: list[Run] = []
    body = (
        "from test_gates import go_on, ended\ndef stay():\n    print('within')\n    go_on.wait(10)\n"
        "    print('late'); log.warning('late too'); ended.set()\nt = threading.Thread(target=stay)\nt.start()\n"
        "while len(__import__('test_gates').heard()) < 1: time.sleep(0.01)"
    )
    gates = mock.Mock(go_on=go_on, ended=ended)
    with mock.patch.dict(sys.modules, {"test_gates": gates}), redirect_stdout(io.StringIO()) as server:
        gates.heard.side_effect = lambda: [line for one in begun for line in one.log]
        begun.append(begin(body))
        run = done(begun[0])
        go_on.set()
        assert ended.wait(10)
    assert run.log == ["within"] and server.getvalue() == "late\n"


def test_two_threads_that_print_at_once_do_not_cut_each_other_s_lines(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "def say(name):\n    for n in range(500): print(name, name, n)\n"
            "threads = [threading.Thread(target=say, args=(name,)) for name in 'abcd']\n"
            "[t.start() for t in threads]\n[t.join() for t in threads]"
        )
    )
    assert sorted(run.log) == sorted(f"{name} {name} {n}" for name in "abcd" for n in range(500))


def test_what_a_forked_process_prints_is_heard_once(tmp_path: Path, pace: Pace) -> None:
    """It goes by the child's pipe: the way to the log is its parent's."""
    for begin in _maker(tmp_path, pace, "child"):
        run = done(
            begin(
                "import multiprocessing\nprint('begun', end=' ')\n"
                "p = multiprocessing.get_context('fork').Process(target=print, args=('forked',))\n"
                "p.start()\np.join()\nprint('and ended')\nos.system('echo from a shell')"
            )
        )
        assert sorted(run.log) == ["begun and ended", "forked", "from a shell"]


# Where a run stops.


@pytest.mark.parametrize(
    "body",
    [
        "while True: print('on')",
        "while True: print('on', file=sys.stderr)",
        "print('on')\nwhile True: sys.stdout.write('no newline')",
        "while True: log.info('on')",
        "print('on')\nwhile True:\n    try: print('on')\n    except Exception: pass",
        "print('on')\nfor _ in tqdm(iter(int, 1)): time.sleep(0.001)",
        "print('on')\nbar = tqdm(total=5)\nwhile True: bar.set_postfix(a=1)",
        "def work(n):\n    while True: print('on')\nwith ThreadPoolExecutor(2) as pool: list(pool.map(work, range(4)))",
        "async def main():\n    while True:\n        await asyncio.sleep(0)\n        print('on')\nasyncio.run(main())",
        "log.addHandler(logging.StreamHandler())\nwhile True: log.info('on')",
        "print('on')\nwhile True: tqdm.write('on')",
    ],
)
def test_a_cancelled_run_stops_where_it_prints_logs_or_draws(begin_anywhere: Begin, body: str) -> None:
    run = begin_anywhere(body)
    wait_for(lambda: run.log or run.heard.updates)
    run.stop()
    ending = run.end()
    assert (ending.code, ending.message) == ("cancelled", Cancelled.message)
    assert not [line for line in run.log if "Traceback" in line or "Cancelled" in line]


def test_a_job_that_cleans_up_after_a_stop_may_print(begin_anywhere: Begin) -> None:
    """What stands after a print in a finally, an __exit__ or an async task that is cancelled is done."""
    run = begin_anywhere(
        """
class Door:
    def __enter__(self):
        return self
    def __exit__(self, *why):
        print("door closes")
        log.info("door logs")
        print("door closed")

async def background():
    try:
        await asyncio.sleep(60)
    finally:
        print("task closes")
        log.info("task closed")

async def main():
    task = asyncio.create_task(background())
    await asyncio.sleep(0)
    while True:
        print("on")
        await asyncio.sleep(0)

with Door():
    try:
        asyncio.run(main())
    finally:
        print("cleaning")
        try:
            raise OSError
        except OSError:
            print("in spite of an error")
        print("cleaned")
"""
    )
    wait_for(lambda: run.log)
    run.stop()
    assert run.end().code == "cancelled"
    last = [line for line in run.log if line != "on"]
    assert last == [
        "task closes", "task closed", "cleaning", "in spite of an error", "cleaned",
        "door closes", "door logs", "door closed",
    ]  # fmt: skip


def test_a_bare_thread_is_not_ended_by_its_prints(begin: Begin) -> None:
    """Nobody would hear of it: whoever waits for its work would wait for ever."""
    run = begin(
        """
work = queue.Queue()
def serve():
    while True:
        print("item", work.get())
        work.task_done()
threading.Thread(target=serve, daemon=True).start()
work.put(1)
progress.stop(__import__("jobs.errors").errors.Cancelled)
for n in range(10): work.put(n)
work.join()
print("stops here")
"""
    )
    assert run.end().code == "cancelled"
    assert len(run.log) == 11


def test_a_stop_is_told_by_no_hook(begin_anywhere: Begin) -> None:
    """Not as the exception of a thread, nor as one of a task that was never awaited."""
    run = begin_anywhere(
        """
def stop(): progress.check()
async def main():
    task = asyncio.create_task(asyncio.to_thread(stop))
    await asyncio.wait([task])
print("on")
while not progress._stop: time.sleep(0.01)
thread = threading.Thread(target=stop)
thread.start()
thread.join()
asyncio.run(main())
gc.collect()
progress.check()
"""
    )
    wait_for(lambda: run.log)
    run.stop()
    assert run.end().code == "cancelled"
    assert run.log == ["on"]


# Locks and floods.


def test_a_job_that_prints_without_end_waits_for_who_writes_it_down(begin: Begin) -> None:
    said: queue.Queue[Draft] = queue.Queue(100)
    run = begin("for n in range(20_000): print(n)", say=said.put, paced=False)
    wait_for(said.full)
    assert run.thread.is_alive()
    lines = 0
    while run.thread.is_alive() or not said.empty():
        try:
            lines += said.get(timeout=0.2).kind == "log"
        except queue.Empty:
            continue
    assert lines == 20_000 and run.end().status == "completed"


def test_the_recorder_may_log_while_a_job_s_handler_waits_for_room(begin: Begin) -> None:
    """A handler holds its lock while it prints: the server's threads must never need it."""
    said: queue.Queue[Draft] = queue.Queue(5)
    run = begin(
        "logging.getLogger().addHandler(logging.StreamHandler())\nfor n in range(50): log.info(n)",
        say=said.put,
        paced=False,
    )
    wait_for(said.full)
    recorder = threading.Thread(target=logging.getLogger("jobs.recorder").error, args=("cannot record",))
    recorder.start()
    recorder.join(10)
    assert not recorder.is_alive(), "the recorder waits for a job that waits for it"
    while run.thread.is_alive() or not said.empty():
        try:
            said.get(timeout=0.2)
        except queue.Empty:
            continue
    assert run.end().status == "completed"


def test_a_print_in_the_midst_of_saying_waits_its_turn(begin: Begin) -> None:
    """The garbage collector may call a __del__ that prints inside queue.Queue.put, whose lock is taken."""
    taken = threading.Lock()
    heard: list[Draft] = []

    def say(draft: Draft) -> None:
        assert taken.acquire(timeout=1), "said while saying"
        try:
            if '"first"' in draft.body:
                print("second")
                logging.getLogger("job").warning("third")
            heard.append(draft)
        finally:
            taken.release()

    run = done(begin("print('first'); print('fourth')", say=say, paced=False))
    run.heard.drafts = heard
    assert run.log == ["first", "second", "third", "fourth"]


def test_a_print_inside_the_progress_s_lock_goes_through(begin: Begin) -> None:
    run = done(begin("with progress._lock:\n    print('inside')\n    log.info('too')\n    progress.log('and this')"))
    assert run.log == ["inside", "too", "and this"]


# Bars of tqdm.


STYLES = {
    "tqdm": "from tqdm import tqdm as bar",
    "std": "from tqdm.std import tqdm as bar",
    "auto": "from tqdm.auto import tqdm as bar",
    "asyncio": "from tqdm.asyncio import tqdm as bar",
    "module": "import tqdm\nbar = tqdm.tqdm",
    "trange": "from tqdm import trange\nbar = lambda items, **rest: trange(len(items), **rest)",
    "auto trange": "from tqdm.auto import trange\nbar = lambda items, **rest: trange(len(items), **rest)",
    "subclass": "import tqdm\nclass bar(tqdm.tqdm): pass",
}


@pytest.mark.parametrize("style", STYLES)
def test_a_bar_moves_the_run_s_bar_and_leaves_no_line(begin_anywhere: Begin, style: str) -> None:
    run = done(
        begin_anywhere(
            f"{STYLES[style]}\nfor n in bar([1, 2, 3, 4], desc='Encoding', mininterval=0, miniters=1):\n"
            "    progress.tick()"
        )
    )
    assert run.log == []
    assert run.messages[0].startswith("Encoding: 0/4 [") and run.messages[-1].startswith("Encoding: 4/4 [")
    assert run.messages[-1].endswith("it/s]")
    assert run.heard.percents == sorted(run.heard.percents) and run.heard.percents[-1] == 99.9
    assert {25, 50, 75} <= set(run.heard.percents)
    assert not any(update["indeterminate"] for update in run.heard.updates if "indeterminate" in update)


@pytest.mark.parametrize(
    ("made", "message", "percent"),
    [
        ("tqdm(total=10)", "3/10 [it/s]", 30),
        ("tqdm(total=10, desc='Encoding')", "Encoding: 3/10 [it/s]", 30),
        ("tqdm(total=10, desc='Encoding', unit='page')", "Encoding: 3/10 [page/s]", 30),
        ("tqdm(total=10, initial=4)", "7/10 [it/s]", 70),
        ("tqdm(total=10_000_000, unit='B', unit_scale=True, initial=4_999_997)", "5.00M/10.0M [B/s]", 50),
        (
            "tqdm(total=10 * 1024, unit='iB', unit_scale=True, unit_divisor=1024, initial=5117)",
            "5.00k/10.0k [iB/s]",
            50,
        ),
        ("tqdm(total=10, unit_scale=0.5)", "1.5/5.0 [it/s]", 30),
        ("tqdm(total=10, bar_format='{bar}')", "3/10 [it/s]", 30),
        ("tqdm(total=10, postfix={'loss': 0.25})", "3/10 [it/s, loss=0.25]", 30),
        ("tqdm(total=10, leave=False, ncols=20, colour='green', ascii=True)", "3/10 [it/s]", 30),
        ("tqdm(total=10, file=sys.stdout)", "3/10 [it/s]", 30),
        ("tqdm(total=10, position=7)", "3/10 [it/s]", 30),
        ("tqdm(total=10, position=40, nrows=2, dynamic_ncols=True)", "3/10 [it/s]", 30),
        ("tqdm(total=10, mininterval=3600)", "3/10 [it/s]", 30),
        ("tqdm(total=2.5)", "3it [it/s]", None),
        ("tqdm()", "3it [it/s]", None),
        ("tqdm(desc='Reading', unit='B', unit_scale=True)", "Reading: 3.00B [B/s]", None),
        ("tqdm(total=float('inf'))", "3it [it/s]", None),
        ("tqdm(total=0)", "3it [it/s]", None),
    ],
)
def test_a_bar_says_how_far_it_is(begin: Begin, made: str, message: str, percent: float | None) -> None:
    import re

    run = done(begin(f"bar = {made}\nbar.update(3)\nbar.refresh()\nprogress.tick()\nbar.close()", paced=False))
    shown = run.heard.updates[0]
    assert re.sub(r"\[[\d.]+[kM]?", "[", shown["message"]) == message
    assert (None if shown.get("indeterminate") else shown["progress"]) == percent
    assert run.log == []


def test_the_inner_bar_is_told_and_the_outer_one_counts(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            """
outer = tqdm(total=4, desc="Epochs")
outer.update(2)
outer.refresh()
inner = tqdm(total=10, desc="Batches", leave=False)
inner.update(9)
inner.refresh()
progress.tick()
inner.close()
progress.tick()
outer.close()
"""
        )
    )
    told = [update for update in run.heard.updates if "Batches: 9/10" in (update["message"] or "")]
    assert told and all(update["progress"] == 50 for update in told)
    assert told[0]["message"].startswith("Epochs: 2/4 [") and " › Batches: 9/10 [" in told[0]["message"]
    assert run.heard.last["progress"] == 50 and "Batches" not in run.heard.last["message"]
    assert run.log == []


def test_a_second_bar_does_not_pretend_to_know(begin: Begin) -> None:
    """The first has used up the whole: how much is left, nobody has said."""
    run = done(
        begin(
            "for _ in tqdm(range(5), desc='First'): pass\nbar = tqdm(total=4, desc='Second')\nprogress.tick()\n"
            "bar.update(2)\nbar.refresh()\nprogress.tick()\nbar.close()",
            paced=False,
        )
    )
    assert [update.get("indeterminate", False) for update in run.heard.updates[:2]] == [True, True]
    assert run.heard.updates[1]["message"].startswith("Second: 2/4") and run.heard.updates[1]["progress"] == 99.9


def test_a_bar_inside_a_step_moves_the_step(begin: Begin) -> None:
    run = done(
        begin(
            "with progress.step('Half', weight=50):\n    bar = tqdm(total=4)\n    bar.update(2)\n    bar.refresh()\n"
            "    progress.tick()\n    bar.close()\nprogress.tick()",
            paced=False,
        )
    )
    assert [(update["step"], update["progress"]) for update in run.heard.updates if update["message"]][0] == (
        "Half",
        25,
    )
    assert run.heard.last["progress"] == 50


def test_a_step_inside_a_bar_s_loop_is_a_part_of_its_item(begin: Begin) -> None:
    run = done(
        begin(
            "for n in tqdm(range(4), mininterval=0, miniters=1):\n    with progress.step(f'part {n}'):\n"
            "        progress.update(50)\n        progress.tick()",
            paced=False,
        )
    )
    assert {12.5, 37.5, 62.5, 87.5} <= set(run.heard.percents)


def test_a_bar_inside_a_tracked_loop_is_only_told(begin: Begin) -> None:
    run = done(
        begin(
            "for n in progress.track(range(4)):\n    bar = tqdm(total=10, desc='Inner')\n    bar.update(5)\n"
            "    bar.refresh()\n    progress.tick()\n    bar.close()",
            paced=False,
        )
    )
    assert [update["progress"] for update in run.heard.updates if "Inner: 5/10" in (update["message"] or "")] == [
        0, 25, 50, 75,
    ]  # fmt: skip
    assert any((update["message"] or "").startswith("2 of 4 › Inner: 5/10 [") for update in run.heard.updates)


def test_a_job_s_own_message_goes_before_a_bar_s(begin: Begin) -> None:
    run = done(
        begin("bar = tqdm(total=4)\nprogress.update(message='mine')\nbar.update(1)\nbar.refresh()\nprogress.tick()")
    )
    assert run.heard.last["message"] == "mine" and run.heard.last["progress"] == 25


def test_what_is_written_beside_a_bar_is_a_line(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "for n in tqdm(range(3), mininterval=0, miniters=1):\n    tqdm.write(f'wrote {n}')\n"
            "    print('printed', n)\n    log.info('logged %d', n)"
        )
    )
    assert run.log == [line for n in range(3) for line in (f"wrote {n}", f"printed {n}", f"logged {n}")]


def test_tqdm_s_own_logging_handler_loses_nothing(begin: Begin) -> None:
    run = done(
        begin(
            "from tqdm.contrib.logging import logging_redirect_tqdm\nwith logging_redirect_tqdm():\n"
            "    for n in trange(2): log.info('logged %d', n)"
        )
    )
    assert run.log == ["logged 0", "logged 1"]


def test_a_bar_that_goes_elsewhere_or_is_disabled_is_left_alone(begin: Begin) -> None:
    run = done(
        begin(
            "file = io.StringIO()\nfor _ in tqdm(range(3), file=file, desc='Elsewhere'): pass\n"
            "for _ in tqdm(range(3), disable=True): pass\nreturn file.getvalue()",
        )
    )
    assert "Elsewhere: 100%" in (run.end().result or "") and "3/3" in (run.end().result or "")
    assert run.heard.updates == [] and run.log == []


def test_a_bar_outside_of_runs_is_drawn_as_ever(installed: None) -> None:
    from tqdm import tqdm

    with redirect_stderr(io.StringIO()) as drawn:
        for _ in tqdm(range(3), desc="Server"):
            pass
    assert "Server: 100%" in drawn.getvalue() and drawn.getvalue().endswith("\n")


def test_a_bar_that_is_never_closed_ends_with_whoever_held_it(begin_anywhere: Begin) -> None:
    run = done(
        begin_anywhere(
            "def one(desc):\n    bar = tqdm(total=4, desc=desc)\n    bar.update(1)\n    bar.refresh()\n"
            "one('First')\nprogress.tick()\none('Second')\nprogress.tick()\nprint('end')"
        )
    )
    assert run.log == ["end"] and run.heard.last["message"].startswith("Second: 1/4")


def test_a_bar_that_the_garbage_collector_ends_in_another_thread_harms_nobody(begin: Begin) -> None:
    """In the recorder's thread, say, which waits for nobody."""
    collected, held = threading.Event(), threading.Event()
    with mock.patch.dict(sys.modules, {"test_gates": mock.Mock(collected=collected, held=held)}):
        run = begin(
            "from test_gates import collected, held\ngc.disable()\nbar = tqdm(total=4, desc='Lost')\nbar.update(1)\n"
            "bar.cycle = bar\ndel bar\nwith tqdm.get_lock():\n    held.set()\n    collected.wait(30)\n"
            "print('end')"
        )
        assert held.wait(10)
        collector = threading.Thread(target=gc.collect, daemon=True)
        collector.start()
        collector.join(10)
        stuck = collector.is_alive()
        collected.set()
        gc.enable()
    assert not stuck, "the collector waits for tqdm's lock"
    assert done(run).log == ["end"]


def test_a_run_that_stops_in_a_bar_leaves_tqdm_to_the_others(begin: Begin) -> None:
    """tqdm does not let go of its lock, one for the process, where drawing raises."""
    first = begin("for _ in tqdm(iter(int, 1)): time.sleep(0.001)")
    wait_for(lambda: first.heard.updates)
    first.stop()
    assert first.end().code == "cancelled"
    second = done(begin("for _ in tqdm(range(3), desc='Second'): pass"))
    assert second.heard.last["message"].startswith("Second: 3/3")
    from tqdm import tqdm

    assert tqdm.get_lock().locks[-1].acquire(blocking=False), "the lock was left taken"
    tqdm.get_lock().locks[-1].release()


def test_tqdm_s_monitor_speaks_for_nobody(begin: Begin) -> None:
    """One thread for the process, begun by the first run that has a bar; it redraws the bars of all."""
    from tqdm import tqdm

    drawn, go_on = threading.Event(), threading.Event()
    gates = mock.Mock(drawn=drawn, go_on=go_on)
    body = (
        "from test_gates import drawn, go_on\nbar = tqdm(total=4, desc='NAME')\nbar.n = 2\n"
        "drawn.set()\ngo_on.wait(10)\nprogress.tick()"
    )
    with mock.patch.dict(sys.modules, {"test_gates": gates}):
        first = begin(body.replace("NAME", "First"))
        assert drawn.wait(10)
        drawn.clear()
        second = begin(body.replace("NAME", "Second"))
        assert drawn.wait(10)

        def redraw() -> None:
            with tqdm.get_lock():
                for bar in list(tqdm._instances):
                    bar.refresh(nolock=True)

        in_threads(1, lambda number: redraw())
        go_on.set()
        assert done(first).heard.last["message"].startswith("First: 2/4")
        assert done(second).heard.last["message"].startswith("Second: 2/4")
    assert first.log == second.log == []


def test_more_bars_than_a_screen_has_lines_are_all_heard(begin: Begin) -> None:
    """tqdm hides those below the last line, and counts the bars of the whole process."""
    run = done(
        begin(
            "bars = [tqdm(total=4, desc=f'bar {n}') for n in range(30)]\nfor bar in bars:\n    bar.update(2)\n"
            "    bar.refresh()\nprogress.tick()\n[bar.close() for bar in bars]",
            paced=False,
        )
    )
    assert all(f"bar {n}: 2/4" in run.heard.updates[0]["message"] for n in range(20))
    assert run.log == []


def test_a_tqdm_with_other_methods_is_left_alone() -> None:
    from jobs.capture.bars import hook

    class Strange:
        def close(self) -> None:
            """Close."""

    before = Strange.close
    hook(mock.Mock(tqdm=Strange))
    assert Strange.close is before and not hasattr(Strange, "_headway")


def test_what_prints_when_nothing_is_installed_is_left_alone(tmp_path: Path) -> None:
    """captured() alone changes nothing: a job that a test of its author calls prints as ever."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom jobs.capture import captured\nfrom jobs.progress import Progress\n"
        f"with captured(Progress('r', 1, print, folder=Path({str(tmp_path)!r}))): print('as ever')"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout == "as ever\n", told.stderr


def test_progress_is_what_capture_expects_of_it() -> None:
    assert {"line", "note", "check", "follow", "moved"} <= set(vars(Progress))
