"""The other forms of a stream say what its frames say, whatever a job puts into them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.events import Event, to_json
from web import frame, streamform
from web.streamform import json_lines, text, told_in

RUN = "01jd2m8zq4y6x9v3c5b7n0k2hf"
TEXTS = st.text(max_size=40)
BODIES = st.one_of(
    st.tuples(st.just("log"), st.fixed_dictionaries({"level": st.just("info"), "message": TEXTS})),
    st.tuples(st.just("output"), st.fixed_dictionaries({"text": TEXTS})),
    st.tuples(st.just("row"), st.fixed_dictionaries({"row": st.dictionaries(TEXTS, TEXTS, max_size=3)})),
    st.tuples(st.just("plan"), st.fixed_dictionaries({"steps": st.lists(TEXTS, max_size=3)})),
    st.tuples(
        st.just("update"),
        st.fixed_dictionaries(
            {"status": st.just("processing"), "progress": st.floats(0, 100), "message": TEXTS, "step": TEXTS}
        ),
    ),
)


def framed(said: list[tuple[str, dict[str, object]]]) -> bytes:
    """Events as frames, in order from number 1."""
    events = [
        Event(RUN, seq, kind, 1000 * seq, to_json(body), False)  # type: ignore[arg-type]
        for seq, (kind, body) in enumerate(said, 1)
    ]
    return b"".join(map(frame.event_frame, events))


def cut(said: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The same bytes in pieces of these sizes, and the rest."""
    for size in sizes:
        yield said[:size]
        said = said[size:]
    yield said


@given(st.lists(BODIES, max_size=6), st.lists(st.integers(0, 60), max_size=20))
def test_a_line_of_json_says_what_its_frame_says_however_the_stream_is_cut(
    said: list[tuple[str, dict[str, object]]], sizes: list[int]
) -> None:
    lines = b"".join(json_lines(cut(framed(said), sizes))).decode("ascii").split("\n")
    assert lines.pop() == ""
    found = [json.loads(line) for line in lines]
    assert [one["event"] for one in found] == [kind for kind, _ in said]
    for seq, (one, (_, body)) in enumerate(zip(found, said, strict=True), 1):
        assert one["seq"] == seq and one["run"] == RUN
        assert body.items() <= one.items()


def test_what_a_frame_says_to_its_reader_is_in_its_line_too() -> None:
    said = frame.hello(RUN, 0, 7, reset=False, heartbeat_s=15.0, retry_ms=1500) + frame.bye("restart", 2000)
    assert [json.loads(line) for line in b"".join(json_lines(iter([said]))).splitlines()] == [
        {"event": "hello", "retry_ms": 1500, "run": RUN, "from": 0, "head": 7, "reset": False, "heartbeat_s": 15.0},
        {"event": "bye", "retry_ms": 2000, "reason": "restart"},
    ]


def told(*said: tuple[str, dict[str, object]], columns: int = 0) -> str:
    """A stream of these events as text."""
    return b"".join(text(iter([framed(list(said))]), columns)).decode()


def step(progress: float, name: str, message: str = "", **more: object) -> tuple[str, dict[str, object]]:
    """An update."""
    return "update", {"status": "processing", "progress": progress, "step": name, "message": message, **more}


END = ("update", {"status": "completed", "progress": 100, "message": "", "step": "", "data": 1})


def test_text_has_a_line_for_each_step_and_all_that_was_said() -> None:
    assert (
        told(
            ("update", {"status": "queued", "progress": 0, "message": "", "step": ""}),
            ("plan", {"steps": ["Fetching", "Sorting"]}),
            step(1, "Fetching", "1 of 50"),
            step(2, "Fetching", "2 of 50"),
            ("log", {"level": "warning", "message": "slow"}),
            ("output", {"text": "He"}),
            ("output", {"text": "llo"}),
            ("row", {"row": {"a": 1}}),
            step(50, "Sorting", indeterminate=True),
            END,
        )
        == "  0 %  Queued\nSteps: Fetching, Sorting\n  1 %  Fetching: 1 of 50\nwarning: slow\n"
        'Hello\n{"a":1}\n  ? %  Sorting\n100 %  Completed\n'
    )


def test_an_error_is_the_last_line() -> None:
    end = {"status": "error", "progress": 3, "message": "", "step": "", "error": {"code": "x", "message": "No\nhost"}}
    assert told(("output", {"text": "half"}), ("update", end)) == "half\nError: No host\n"


def test_a_bar_redraws_itself_and_leaves_the_lines_above_it() -> None:
    said = told(step(0, "Going"), ("log", {"level": "info", "message": "one"}), step(50, "Going"), END, columns=4)
    assert shown_by_a_terminal(said) == ["one", "100 %  Completed"]
    assert "50 % [##  ] Going" in said
    left = told(step(50, "Going"), ("output", {"text": "half"}), ("log", {"level": "info", "message": "x"}), columns=4)
    assert shown_by_a_terminal(left) == ["half", "x", " 50 % [##  ] Going"]
    half = told(
        step(50, "Going"), ("output", {"text": "He"}), step(75, "Going"), ("output", {"text": "y\n"}), columns=4
    )
    assert shown_by_a_terminal(half) == ["Hey", " 75 % [### ] Going"]


def test_nothing_but_the_end_is_a_hundred_percent() -> None:
    assert told(step(99.9, "Almost")) == " 99 %  Almost\n"
    assert "99 % [### ] " in told(step(99.9, "Almost"), columns=4)


def test_line_ends_of_other_systems_are_line_ends() -> None:
    assert told(("output", {"text": "a\r\nb\rc\n"})) == "a\nb\nc\n"


def test_a_goodbye_says_where_to_go_on() -> None:
    hello = frame.hello(RUN, 57, 60, reset=False, heartbeat_s=15.0, retry_ms=1500)
    for columns in (0, 10):
        said = b"".join(text(iter([hello + frame.bye("rotate", 2000)]), columns)).decode()
        assert said == f"(the server closes this stream; go on with GET /api/v1/runs/{RUN}/events?after=57)\n"


def test_a_place_that_is_no_more_is_said() -> None:
    hello = frame.hello(RUN, 0, 60, reset=True, heartbeat_s=15.0, retry_ms=1500)
    assert b"".join(text(iter([hello]), 0)) == b"(unknown place: all from the start)\n"


def test_a_long_step_is_said_again_before_a_proxy_takes_it_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamform, "HEARTBEAT_S", 0.0)
    beat = frame.heartbeat(1000)
    said = framed([step(50, "Going", "1 of 2")])
    assert b"".join(text(iter([said, beat, beat]), 0)).decode() == " 50 %  Going: 1 of 2\n" * 3
    assert shown_by_a_terminal(b"".join(text(iter([said, beat]), 4)).decode()) == [" 50 % [##  ] Going"]


def shown_by_a_terminal(said: str) -> list[str]:
    """What stands there in the end: of control sequences it knows the two that a bar needs."""
    lines = [""]
    column = 0
    while said:
        if said.startswith("\r"):
            column, said = 0, said[1:]
        elif said.startswith("\x1b[K"):
            lines[-1], said = lines[-1][:column], said[3:]
        elif said.startswith("\n"):
            lines.append("")
            column, said = 0, said[1:]
        else:
            lines[-1] = lines[-1][:column] + said[0] + lines[-1][column + 1 :]
            column, said = column + 1, said[1:]
    return [line for line in lines if line]


@given(st.lists(BODIES, max_size=6), st.sampled_from([0, 20]))
def test_nothing_that_a_job_says_can_steer_a_terminal(said: list[tuple[str, dict[str, object]]], columns: int) -> None:
    whole = told(*said, columns=columns)
    for own in ("\r\x1b[K", "\n", "\t"):
        whole = whole.replace(own, "")
    assert whole.isprintable() or not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in whole)


@pytest.mark.parametrize("end", [b"", b"data: {}"])
def test_half_a_frame_is_kept_until_it_is_whole(end: bytes) -> None:
    assert list(told_in(iter([end]))) == []
