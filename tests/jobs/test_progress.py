"""What a job holds in its hand: which of its calls become events, in which order, and where it stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import Cancelled, Interrupted, StopRun, TimedOut
from jobs.progress import Pace, Progress
from tests.harness import wait_for
from tests.jobs.workbench import FRAME_ROOM_BYTES, Listener, in_threads, progress_with

SECRET = "sk-canary-4711"
NO_FIXTURE_RESET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def heard() -> Listener:
    """What the progress says."""
    return Listener()


@pytest.fixture
def progress(heard: Listener, tmp_path: Path) -> Progress:
    """A progress that nobody ticks but the test."""
    return progress_with(heard, tmp_path / "files")


@pytest.fixture
def paced(progress: Progress, pace: Pace) -> Iterator[Progress]:
    """A progress with its pace, as in the runner."""
    pace.add(progress)
    yield progress
    pace.discard(progress)


# The pace.


def test_at_most_20_updates_a_second_are_said_however_often_a_job_calls(paced: Progress, heard: Listener) -> None:
    calls, began = 0, time.monotonic()
    while time.monotonic() - began < 1.0:
        for _ in range(1000):
            calls += 1
            paced.update(calls % 100, f"call {calls}")
    elapsed = time.monotonic() - began
    assert calls > 50_000
    assert 5 <= len(heard.updates) <= 20 * elapsed + 2


def test_the_newest_update_is_said_also_when_the_job_falls_silent_after_it(paced: Progress, heard: Listener) -> None:
    for number in range(1000):
        paced.update(number / 10, f"number {number}")
    wait_for(lambda: heard.last["message"] == "number 999", 2)
    assert len(heard.updates) < 500


def test_an_update_after_a_silence_is_said_at_once(progress: Progress, heard: Listener) -> None:
    progress.update(1, "first")
    assert len(heard.updates) == 1
    progress.update(2, "second")
    assert len(heard.updates) == 1
    progress.tick()
    assert heard.last["message"] == "second"
    progress.tick()
    progress.update(3, "third")
    assert [update["message"] for update in heard.updates] == ["first", "second", "third"]


def test_what_is_said_again_is_not_said(progress: Progress, heard: Listener) -> None:
    for _ in range(10):
        progress.update(5, "same")
        progress.tick()
    assert len(heard.updates) == 1


def test_every_change_of_step_is_said_at_once(progress: Progress, heard: Listener) -> None:
    for number in range(100):
        progress.update(step=f"step {number}")
    with progress.step("inner"):
        pass
    assert [update["step"] for update in heard.updates][:100] == [f"step {number}" for number in range(100)]
    assert heard.updates[100]["step"] == "step 99 › inner" and heard.last["step"] == "step 99"


def test_finish_says_what_is_left(progress: Progress, heard: Listener) -> None:
    progress.update(1, "first")
    progress.update(2, "left behind")
    progress.output("one ")
    progress.output("two")
    progress.finish()
    assert heard.last["message"] == "left behind"
    assert "".join(piece["text"] for piece in heard.all("output")) == "one two"


def test_a_pace_takes_up_and_lets_go_of_runs(heard: Listener, tmp_path: Path, pace: Pace) -> None:
    first, second = (progress_with(heard, tmp_path) for _ in range(2))
    pace.add(first)
    pace.discard(first)
    pace.add(second)
    second.update(1, "open")
    second.update(2, "behind the gate")
    wait_for(lambda: heard.last["message"] == "behind the gate", 2)


@pytest.mark.parametrize(
    "careless",
    [
        lambda progress: progress.update(Decimal("50")),
        lambda progress: progress.update(Fraction(1, 2)),
        lambda progress: progress.update("50"),
        lambda progress: progress.update(5, step=3),
        lambda progress: progress.update(5, message=Unprintable()),
        lambda progress: progress.step(7).__enter__(),
    ],
    ids=["decimal", "fraction", "text", "step", "message", "step block"],
)
def test_what_one_job_says_wrongly_does_not_end_the_pace_of_all(
    careless: Callable[[Progress], object], heard: Listener, tmp_path: Path, pace: Pace
) -> None:
    """One thread ticks every run of the runner: it must outlive each of them, time limits hang on it."""
    bad, good = progress_with(Listener(), tmp_path), progress_with(heard, tmp_path)
    pace.add(bad)
    bad.update(1, "shuts the gate")
    for _ in range(2):
        try:
            careless(bad)
        except (TypeError, ValueError):
            pass  # refusing it at the call is right: the job's author sees where
    pace.add(good)
    good.update(1, "open")
    good.update(2, "behind the gate")
    wait_for(lambda: heard.last["message"] == "behind the gate", 2, "the pace to be alive")
    bad.finish()


class Unprintable:
    """What cannot be told."""

    def __str__(self) -> str:
        raise TypeError("no text")


# The percent.


def test_progress_is_indeterminate_until_the_job_says_how_far_it_is(progress: Progress, heard: Listener) -> None:
    progress.update(message="starting")
    assert heard.last == {
        "status": "processing",
        "progress": 0,
        "message": "starting",
        "step": None,
        "indeterminate": True,
    }
    progress.update(10)
    progress.tick()
    assert "indeterminate" not in heard.last


def test_a_run_that_goes_on_never_stands_at_100(progress: Progress, heard: Listener) -> None:
    progress.update(100)
    assert heard.last["progress"] == 99.9
    with progress.step("All of it", weight=100):
        progress.update(100)
        progress.tick()
    assert max(heard.percents) == 99.9


def test_a_percent_outside_0_to_100_is_brought_inside_and_nan_is_refused(progress: Progress, heard: Listener) -> None:
    for given_, said in ((-5, 0), (1e308, 99.9), (float("inf"), 99.9)):
        progress.update(given_)
        progress.tick()
        assert heard.last["progress"] == said
    with pytest.raises(ValueError, match="NaN"):
        progress.update(float("nan"))


def test_the_bar_never_goes_back(progress: Progress, heard: Listener) -> None:
    for percent in (50, 20, 60, 0):
        progress.update(percent)
        progress.tick()
    assert heard.percents == [50, 60]


def test_inside_a_step_0_to_100_means_that_step(progress: Progress, heard: Listener) -> None:
    with progress.step("Crawling", weight=60):
        progress.update(50)
        progress.tick()
        assert heard.last["progress"] == 30
        with progress.step("Deep", weight=10):
            progress.update(50)
            progress.tick()
            assert (heard.last["progress"], heard.last["step"]) == (33, "Crawling › Deep")
    with progress.step("Clustering"):
        assert heard.last["progress"] == 60
        progress.update(50)
        progress.tick()
        assert heard.last["progress"] == 80


def test_planned_steps_share_the_bar_equally(progress: Progress, heard: Listener) -> None:
    names = ["One", "Two", "Three", "Four"]
    progress.plan(*names)
    assert heard.all("plan") == [{"steps": names}]
    reached = []
    for name in names:
        with progress.step(name):
            pass
        reached.append(heard.last["progress"])
    assert reached == [25, 50, 75, 99.9]


def test_weights_beyond_the_whole_are_cut(progress: Progress, heard: Listener) -> None:
    for weight in (70, 70, -5, float("nan")):
        with progress.step(f"weighs {weight}", weight=weight):
            progress.update(100)
            progress.tick()
    assert heard.percents == sorted(heard.percents) and heard.percents[-1] == 99.9


def test_a_step_left_by_an_exception_that_the_job_survives_is_over(progress: Progress, heard: Listener) -> None:
    try:
        with progress.step("Fragile", weight=20):
            raise ValueError("survived")
    except ValueError:
        pass
    with progress.step("Sturdy", weight=20):
        progress.update(50)
        progress.tick()
        assert (heard.last["step"], heard.last["progress"]) == ("Sturdy", 30)


def test_a_step_that_fails_the_run_is_the_last_one_named(progress: Progress, heard: Listener) -> None:
    with pytest.raises(ValueError), progress.step("Fragile", weight=20):
        progress.update(50)
        raise ValueError("for good")
    assert heard.last["step"] == "Fragile"


Step = tuple[float | None, list[Any]]
TREES: st.SearchStrategy[list[Any]] = st.recursive(
    st.lists(st.floats(-20, 120) | st.floats(allow_nan=False), max_size=3),
    lambda inner: st.lists(st.tuples(st.none() | st.floats(-10, 200), inner) | st.floats(0, 100), max_size=4),
    max_leaves=20,
)


@given(tree=TREES, planned=st.integers(0, 4))
@NO_FIXTURE_RESET
def test_any_tree_of_steps_stays_within_0_and_99_9_and_never_goes_back(
    tree: list[Any], planned: int, tmp_path: Path
) -> None:
    heard = Listener()
    progress = progress_with(heard, tmp_path)
    if planned:
        progress.plan(*(f"0.{number}" for number in range(planned)))

    def walk(nodes: list[Any], depth: int) -> None:
        for number, node in enumerate(nodes):
            if isinstance(node, float):
                progress.update(node)
            else:
                weight, inner = node
                with progress.step(f"{depth}.{number}", weight=weight):
                    walk(inner, depth + 1)
            progress.tick()

    walk(tree, 0)
    progress.finish()
    assert all(0 <= percent <= 99.9 for percent in heard.percents)
    assert heard.percents == sorted(heard.percents)
    assert not heard.updates or heard.last["step"] is None, "all steps are over"


@given(weights=st.lists(st.integers(1, 30), min_size=1, max_size=3))
@NO_FIXTURE_RESET
def test_a_finished_step_has_moved_the_bar_by_its_weight(weights: list[int], tmp_path: Path) -> None:
    heard = Listener()
    progress = progress_with(heard, tmp_path)
    for number, weight in enumerate(weights):
        with progress.step(f"{number}", weight=weight):
            pass
        assert heard.last["progress"] == pytest.approx(min(99.9, sum(weights[: number + 1])), abs=0.01)


# track.


def test_track_counts_what_is_done(progress: Progress, heard: Listener) -> None:
    seen = []
    for item in progress.track(["a", "b", "c", "d"]):
        progress.tick()
        seen.append((item, heard.last["progress"] if heard.updates else None))
    progress.finish()
    assert [item for item, _ in seen] == ["a", "b", "c", "d"]
    assert [said for _, said in seen][1:] == [25, 50, 75]
    assert (heard.last["progress"], heard.last["message"]) == (99.9, "4 of 4")


def test_track_takes_a_total_for_what_has_no_length(progress: Progress, heard: Listener) -> None:
    for _ in progress.track(iter(range(4)), total=8):
        progress.tick()
    progress.finish()
    assert (heard.last["progress"], heard.last["message"]) == (50, "4 of 8")


def test_track_without_a_total_says_so_instead_of_guessing(progress: Progress, heard: Listener) -> None:
    for _ in progress.track(iter(range(30))):
        progress.tick()
    progress.finish()
    assert (heard.last["progress"], heard.last["message"], heard.last["indeterminate"]) == (0, "30", True)


def test_track_names_a_step(progress: Progress, heard: Listener) -> None:
    assert list(progress.track(range(3), step="Counting")) == [0, 1, 2]
    assert {update["step"] for update in heard.updates} == {"Counting", None}
    assert heard.last["step"] is None


def test_a_message_of_the_loop_stands_before_the_count(progress: Progress, heard: Listener) -> None:
    for item in progress.track(["a", "b"]):
        progress.update(message=f"at {item}")
    progress.finish()
    assert heard.last["message"] == "at b"


@pytest.mark.parametrize("total", [0, 2, 100])
def test_a_wrong_total_does_no_harm(progress: Progress, heard: Listener, total: int) -> None:
    for _ in progress.track(iter(range(10)), total=total):
        progress.tick()
    progress.finish()
    assert all(0 <= percent <= 99.9 for percent in heard.percents)
    assert heard.percents == sorted(heard.percents)


def test_after_a_break_out_of_a_tracked_loop_updates_count_again(progress: Progress, heard: Listener) -> None:
    for item in progress.track(range(10)):
        if item == 3:
            break
    progress.update(80, "after the loop")
    progress.tick()
    assert (heard.last["progress"], heard.last["message"]) == (80, "after the loop")


def test_after_a_break_out_of_a_tracked_step_that_step_is_over(progress: Progress, heard: Listener) -> None:
    progress.plan("Search", "Report")
    for item in progress.track(range(10), step="Search"):
        if item == 3:
            break
    with progress.step("Report"):
        progress.update(50)
        progress.tick()
        assert (heard.last["step"], heard.last["progress"]) == ("Report", 75)


def test_a_loop_inside_a_tracked_loop_does_not_run_the_bar_to_its_end(progress: Progress, heard: Listener) -> None:
    """After the first of ten items the bar stands near 10 %, whatever went on inside."""
    for item in progress.track(range(10)):
        if item == 1:
            assert heard.last["progress"] <= 20
        for _ in progress.track(range(3)):
            progress.tick()
        progress.tick()
    progress.finish()
    assert heard.last["progress"] == 99.9


def test_a_step_inside_a_tracked_loop_does_not_run_the_bar_to_its_end(progress: Progress, heard: Listener) -> None:
    for item in progress.track(range(10)):
        if item == 1:
            assert heard.last["progress"] <= 20
        with progress.step(f"Item {item}"):
            progress.update(50)
        progress.tick()
    progress.finish()
    assert heard.last["progress"] == 99.9


# What is never dropped.


def test_log_output_and_rows_are_never_dropped_and_stay_in_order(progress: Progress, heard: Listener) -> None:
    expected = ""
    for number in range(300):
        progress.update(number / 3)
        progress.log(f"line {number}")
        progress.output(f"[{number}]")
        progress.row({"number": number})
        expected += f"L{number}[{number}]R{number}"
    progress.finish()
    told = ""
    for draft in heard.drafts:
        body = json.loads(draft.body)
        if draft.kind == "log":
            told += "L" + body["message"].removeprefix("line ")
        elif draft.kind == "output":
            told += body["text"]
        elif draft.kind == "row":
            told += f"R{body['row']['number']}"
    assert told == expected


def test_pieces_of_output_that_come_fast_are_joined(paced: Progress, heard: Listener) -> None:
    for number in range(2000):
        paced.output(f"{number} ")
    wait_for(lambda: "".join(piece["text"] for piece in heard.all("output")).endswith("1999 "), 2)
    assert "".join(piece["text"] for piece in heard.all("output")) == "".join(f"{number} " for number in range(2000))
    assert len(heard.all("output")) < 200


@given(
    pieces=st.lists(st.text(max_size=50) | st.integers(4000, 15000).map(lambda size: "\U0001f600" * size), max_size=6)
)
@NO_FIXTURE_RESET
def test_any_output_arrives_whole_in_frames_that_fit(pieces: list[str], tmp_path: Path) -> None:
    heard = Listener()
    progress = progress_with(heard, tmp_path)
    for piece in pieces:
        progress.output(piece)
    progress.finish()
    assert "".join(piece["text"] for piece in heard.all("output")) == "".join(pieces)
    assert all(len(draft.body) <= FRAME_ROOM_BYTES for draft in heard.drafts)


@pytest.mark.parametrize("character", ["x", "\n", "\0", "ü", "\U0001f600", "\ud800"], ids=ascii)
def test_whatever_is_too_long_is_cut_below_a_frame(progress: Progress, heard: Listener, character: str) -> None:
    long = character * 200_000
    progress.update(10, long, step=long)
    with progress.step(long):
        progress.log(long)
    progress.row({"a": long, "b": [long], "c": 1})
    progress.row({long: 1})
    progress.row({f"column {number}": character * 100 for number in range(5000)})
    progress.output(long)
    progress.plan(long, "short")
    progress.finish()
    sizes = {draft.kind: len(draft.body) for draft in heard.drafts}
    assert set(sizes) == {"update", "log", "row", "output", "plan"}
    assert [draft.kind for draft in heard.drafts if len(draft.body) > FRAME_ROOM_BYTES] == []
    assert all(draft.body.isascii() and "\n" not in draft.body for draft in heard.drafts)
    shown = "\ufffd" if character == "\ud800" else character  # a lone surrogate is no text
    assert heard.updates[0]["message"].startswith(shown * 500) and heard.updates[0]["message"].endswith("(cut)")


def test_a_plan_of_very_many_steps_fits_a_frame(progress: Progress, heard: Listener) -> None:
    progress.plan(*(f"{number} " + "x" * 150 for number in range(2000)))
    assert len(heard.drafts[-1].body) <= FRAME_ROOM_BYTES


def test_a_row_with_one_long_cell_keeps_the_others(progress: Progress, heard: Listener) -> None:
    progress.row({"url": "https://example.org/", "title": "t" * 100_000, "links": list(range(20_000)), "words": 7})
    (row,) = (found["row"] for found in heard.all("row"))
    assert (row["url"], row["words"]) == ("https://example.org/", 7)
    assert row["title"].startswith("ttt") and len(row["title"]) < 3000


@pytest.mark.parametrize(
    "row",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": {1, 2}},
        {"x": b"bytes"},
        {"x": object()},
        {("a", "b"): 1},
        {"x": [float("nan")]},
    ],
    ids=["NaN", "infinity", "set", "bytes", "object", "key", "NaN inside"],
)
def test_a_row_that_json_cannot_hold_is_refused_and_nothing_is_said(
    progress: Progress, heard: Listener, row: dict[Any, Any]
) -> None:
    with pytest.raises((TypeError, ValueError)):
        progress.row(row)
    assert heard.drafts == []


def test_a_long_traceback_in_the_log_keeps_its_last_line(progress: Progress, heard: Listener) -> None:
    """The last line of a traceback is the one that says what happened."""
    progress.note(
        "Traceback (most recent call last):\n" + "  File x, line 1\n" * 2000 + "ValueError: the cause", "error"
    )
    assert any("ValueError: the cause" in found["message"] for found in heard.all("log"))


# Files, settings, time.


def test_a_file_that_was_written_becomes_a_download(progress: Progress, tmp_path: Path) -> None:
    progress.file("pages.csv").write_text("a,b\n")
    progress.file("pages.csv")
    progress.file("never written.txt")
    assert progress.finish() == ({"name": "pages.csv", "bytes": 4},)
    assert (tmp_path / "files" / "pages.csv").exists()


@pytest.mark.parametrize("name", ["report.pdf", "Report (2) - final_1.csv", "a", "1.txt", "_x"])
def test_plain_file_names_are_taken(progress: Progress, tmp_path: Path, name: str) -> None:
    assert progress.file(name) == tmp_path / "files" / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        ".hidden",
        "a\0b",
        "a\nb",
        "a\n",
        "x" * 200,
        "C:x",
        "a;b",
        "ä.txt",
        "-x",
    ],
    ids=ascii,
)
def test_a_name_that_is_more_than_a_plain_file_name_is_refused(progress: Progress, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        progress.file(name)
    assert progress.finish() == ()


def test_a_job_reads_only_the_settings_that_it_declares(heard: Listener, tmp_path: Path) -> None:
    progress = progress_with(heard, tmp_path, settings={"OPENAI_MODEL": "m", "UNSET": ""})
    assert progress.setting("OPENAI_MODEL") == "m" and progress.setting("UNSET") is None
    with pytest.raises(LookupError, match=r"settings=\['KEY'\]"):
        progress.setting("KEY")


def test_seconds_left_counts_down_to_zero(heard: Listener, tmp_path: Path, progress: Progress) -> None:
    assert progress.seconds_left is None
    short = progress_with(heard, tmp_path, timeout_s=0.05)
    assert 0 < (short.seconds_left or 0) <= 0.05
    wait_for(lambda: short.seconds_left == 0, 2)


def test_the_time_left_is_estimated_when_there_is_something_to_go_by(progress: Progress, heard: Listener) -> None:
    progress.update(50)
    assert "eta_s" not in heard.last
    began = time.monotonic()

    def told() -> bool:
        progress.update(50, f"{time.monotonic()}")
        progress.tick()
        return "eta_s" in heard.last

    wait_for(told, 5)
    elapsed = time.monotonic() - began
    assert elapsed > 1.9, "an estimate after less than 2 s is a guess"
    assert heard.last["eta_s"] == pytest.approx(elapsed, abs=1)


# Jobs inside jobs.


def test_a_plan_inside_a_step_shares_out_that_step_and_is_not_the_runs_plan(tmp_path: Path) -> None:
    heard = Listener()
    progress = progress_with(heard, tmp_path)

    def a_job_of_its_own() -> None:
        progress.plan("Fetch", "Sort")
        with progress.step("Fetch"):
            progress.update(50)
        with progress.step("Sort"):
            pass

    progress.plan("First", "Second")
    with progress.step("First", weight=60):
        a_job_of_its_own()
    with progress.step("Second"):
        progress.update(0)
    progress.finish()
    assert heard.all("plan") == [{"steps": ["First", "Second"]}]
    reached = {update["step"]: update["progress"] for update in heard.updates}
    assert reached["First › Fetch"] in (0, 15) and reached["First › Sort"] == 30 and reached["Second"] == 60


def test_a_dummy_key_takes_no_word_from_a_run(tmp_path: Path) -> None:
    heard = Listener()
    progress_with(heard, tmp_path, settings={"OPENAI_API_KEY": "ollama"}).log("ollama is a word")
    assert heard.all("log") == [{"level": "info", "message": "ollama is a word"}]


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HOOK_TOKEN", "SMTP_PASSWORD"])
def test_a_setting_that_is_a_secret_is_masked_in_all_that_is_said(tmp_path: Path, name: str) -> None:
    heard = Listener()
    progress = progress_with(heard, tmp_path, settings={name: "canary-7", "MODEL": "small"})
    progress.log("canary-7 and small")
    progress.output("canary-7")
    progress.row({"canary-7": ["canary-7"]})
    progress.update(1, "canary-7", step="canary-7")
    assert progress.setting(name) == "canary-7" and progress.mask(["canary-7"]) == ["***"]
    progress.finish()
    assert heard.all("log") == [{"level": "info", "message": "*** and small"}]
    assert not any("canary" in draft.body for draft in heard.drafts)


def test_a_checkpoint_of_a_name_is_one_and_others_are_others(tmp_path: Path) -> None:
    progress = progress_with(Listener(), tmp_path / "files")
    progress.checkpoint()[1] = "one"
    assert progress.checkpoint()[1] == "one" and 1 not in progress.checkpoint("other")
    progress.finish()
    assert dict(progress_with(Listener(), tmp_path / "files").checkpoint()) == {1: "one"}
    for name in ("", "a/b", "..", "a.db", "x" * 61):
        with pytest.raises(ValueError, match="no name for a checkpoint"):
            progress.checkpoint(name)


# Stopping.

CALLS: dict[str, Callable[[Progress], object]] = {
    "update": lambda progress: progress.update(1),
    "step": lambda progress: progress.step("x").__enter__(),
    "plan": lambda progress: progress.plan("x"),
    "track": lambda progress: list(progress.track([1, 2])),
    "log": lambda progress: progress.log("x"),
    "output": lambda progress: progress.output("x"),
    "empty output": lambda progress: progress.output(""),
    "row": lambda progress: progress.row({"x": 1}),
    "file": lambda progress: progress.file("x"),
    "checkpoint": lambda progress: progress.checkpoint(),
    "check": lambda progress: progress.check(),
    "setting": lambda progress: progress.setting("x"),
}


def test_every_method_that_a_job_calls_is_tried_below() -> None:
    verbs = {name for name, value in vars(Progress).items() if callable(value) and not name.startswith("_")}
    assert verbs - {"stop", "tick", "note", "line", "follow", "moved", "finish", "mask"} == set(CALLS) - {
        "empty output"
    }


@pytest.mark.parametrize("reason", [Cancelled, TimedOut, Interrupted])
@pytest.mark.parametrize("call", CALLS)
def test_after_a_stop_every_call_raises_it(progress: Progress, call: str, reason: type[StopRun]) -> None:
    progress.stop(reason)
    with pytest.raises(reason):
        CALLS[call](progress)


def test_except_exception_does_not_swallow_a_stop(progress: Progress) -> None:
    progress.stop(Cancelled)
    with pytest.raises(StopRun):
        try:
            progress.update(1)
        except Exception:  # noqa: BLE001 - what a careless job does
            raise AssertionError("swallowed") from None


def test_the_first_reason_to_stop_counts(progress: Progress) -> None:
    progress.stop(TimedOut)
    progress.stop(Cancelled)
    with pytest.raises(TimedOut):
        progress.check()


def test_a_loop_stops_between_two_items(progress: Progress) -> None:
    seen = []
    with pytest.raises(Cancelled):
        for item in progress.track(range(100)):
            seen.append(item)
            if item == 4:
                progress.stop(Cancelled)
    assert seen == [0, 1, 2, 3, 4]


def test_the_wish_to_cancel_shows_at_the_next_tick(progress: Progress, heard: Listener) -> None:
    progress.update(30, "busy")
    progress.stop(Cancelled)
    progress.tick()
    assert heard.last["cancelling"] is True and heard.last["progress"] == 30


def test_a_stop_reaches_every_thread_of_the_job(progress: Progress) -> None:
    stopped = []

    def work() -> None:
        try:
            while True:
                progress.update(1)
        except Cancelled:
            stopped.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    progress.stop(Cancelled)
    for thread in threads:
        thread.join(10)
    assert len(stopped) == 8


def test_a_run_that_uses_up_its_time_is_stopped(heard: Listener, tmp_path: Path, pace: Pace) -> None:
    progress = progress_with(heard, tmp_path, timeout_s=0.1)
    pace.add(progress)
    began = time.monotonic()
    with pytest.raises(TimedOut):
        while True:
            progress.check()
    assert 0.1 <= time.monotonic() - began < 1


# Secrets.


def everything_said(progress: Progress, heard: Listener, text: Any) -> str:
    """All that becomes of a text that a job says in every way there is."""
    progress.plan(text, "other")
    with progress.step(text):
        progress.update(10, text)
        progress.update(20, text, step=f"of {text}")
        progress.log(text, "warning")
        progress.output(text)
        progress.row({"cell": text, text: 1, "list": [text, {"deep": (text,)}]})
        progress.note(text)
    progress.finish()
    assert {draft.kind for draft in heard.drafts} == {"plan", "update", "log", "output", "row"}
    return "\n".join(draft.body for draft in heard.drafts)


def test_a_secret_is_masked_wherever_it_is_said(heard: Listener, tmp_path: Path) -> None:
    progress = progress_with(heard, tmp_path, secrets=[SECRET, ""])
    said = everything_said(progress, heard, f"the key is {SECRET}!")
    assert SECRET not in said and said.count("the key is ***!") >= 8
    assert progress.mask({"a": [SECRET, 1, None]}) == {"a": ["***", 1, None]}


def test_a_secret_that_begins_with_another_is_masked_whole(heard: Listener, tmp_path: Path) -> None:
    progress = progress_with(heard, tmp_path, secrets=["user", "user-4711"])
    assert "4711" not in everything_said(progress, heard, "user-4711")


def test_a_secret_is_masked_before_a_text_is_cut(heard: Listener, tmp_path: Path) -> None:
    """A cut through a secret would leave its first part readable."""
    progress = progress_with(heard, tmp_path, secrets=[SECRET])
    for length in (200, 1000, 2000, 5000, 5120):
        for left in range(length - 20, length + 1):
            text = "x" * left + SECRET
            progress.plan(text)
            progress.update(step=text)
            progress.update(1, text)
            progress.log(text)
            progress.output(text)
            progress.row({"a": text, "b": "y" * 70_000})
            progress.finish()
    assert [draft.kind for draft in heard.drafts if SECRET[:4] in draft.body] == []


@given(secret=st.text(min_size=4, max_size=12).filter(lambda text: "*" not in text), before=st.text(max_size=5))
@NO_FIXTURE_RESET
def test_any_secret_is_masked_in_any_text(secret: str, before: str, tmp_path: Path) -> None:
    heard = Listener()
    progress = progress_with(heard, tmp_path, secrets=[secret])
    progress.log(before + secret + before)
    progress.row({"x": secret})
    assert secret not in heard.all("log")[0]["message"]
    assert heard.all("row") == [{"row": {"x": "***"}}]


# Threads.


def test_eight_threads_lose_nothing_and_never_move_the_bar_back(paced: Progress, heard: Listener) -> None:
    def work(thread: int) -> None:
        for number in range(300):
            paced.update(number / 3, f"{thread}: {number}")
            paced.log(f"{thread} {number}")
            paced.row({"thread": thread, "number": number})
            paced.output(f"<{thread} {number}>")

    in_threads(8, work)
    paced.finish()
    for thread in range(8):
        mine = [found["message"] for found in heard.all("log") if found["message"].startswith(f"{thread} ")]
        assert mine == [f"{thread} {number}" for number in range(300)]
        rows = [found["row"]["number"] for found in heard.all("row") if found["row"]["thread"] == thread]
        assert rows == list(range(300))
    output = "".join(piece["text"] for piece in heard.all("output"))
    assert sorted(output[1:-1].split("><")) == sorted(
        f"{thread} {number}" for thread in range(8) for number in range(300)
    )
    assert heard.percents == sorted(heard.percents)


def test_steps_of_several_threads_all_end(progress: Progress, heard: Listener) -> None:
    def work(thread: int) -> None:
        for number in range(50):
            with progress.step(f"{thread}.{number}", weight=1):
                progress.update(50)

    in_threads(8, work)
    progress.finish()
    assert heard.last["step"] is None
    assert heard.percents == sorted(heard.percents) and heard.percents[-1] <= 99.9
