"""An event to bytes: exactly these bytes, which every reader takes for the same event."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.events import MAX_BODY_BYTES, Event, to_json
from web import frame
from web.frame import MAX_FRAME_BYTES, event_frame

EVENT = Event("01jd2m", 57, "update", 1_795_341_600_123, '{"status":"processing","progress":42.5}')


# Two readers that are not ours.


@dataclass
class Message:
    """What an EventSource dispatches."""

    type: str
    data: str
    last_event_id: str


class WhatwgReader:
    """An EventSource's parser, word by word from WHATWG HTML, 9.2.5 and 9.2.6 (written for these tests)."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.reconnection_ms: int | None = None
        self.last_event_id = ""
        self._data, self._type, self._id = "", "", ""

    def read(self, stream: bytes) -> None:
        """Interpret a whole stream; an incomplete event at its end is discarded, as the standard says."""
        text = codecs.decode(stream, "utf-8", "replace")  # "decoded using the UTF-8 decode algorithm"
        text = text.removeprefix("\ufeff")  # "which strips one leading BOM"
        *lines, _incomplete = re.split("\r\n|\r|\n", text)
        for line in lines:
            if line == "":
                self._dispatch()
            elif line.startswith(":"):
                continue
            elif ":" in line:
                name, value = line.split(":", 1)
                self._field(name, value[1:] if value.startswith(" ") else value)
            else:
                self._field(line, "")

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry":
            if re.fullmatch("[0-9]+", value):
                self.reconnection_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data == "":
            self._type = ""
            return
        data = self._data.removesuffix("\n")
        self.messages.append(Message(self._type or "message", data, self.last_event_id))
        self._data, self._type = "", ""


def whatwg(stream: bytes) -> list[Message]:
    """What a browser dispatches."""
    reader = WhatwgReader()
    reader.read(stream)
    return reader.messages


def httpx_sse(stream: bytes, piece: int = 7) -> list[Message]:
    """What httpx-sse gives, fed in small pieces."""
    lines, events = SSELineDecoder(), SSEDecoder()
    text = stream.decode()
    found = []
    for start in range(0, len(text), piece):
        for line in lines.decode(text[start : start + piece]):
            if (event := events.decode(line)) is not None:
                found.append(Message(event.event, event.data, event.id))
    return found


def test_the_reader_written_here_does_what_the_standard_s_examples_say() -> None:
    """WHATWG HTML, 9.2.6: the four example streams."""
    assert [one.data for one in whatwg(b"data: YHOO\ndata: +2\ndata: 10\n\n")] == ["YHOO\n+2\n10"]
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert whatwg(stream) == [
        Message("message", "first event", "1"),
        Message("message", "second event", ""),
        Message("message", " third event", ""),
    ]
    assert [one.data for one in whatwg(b"data\n\ndata\ndata\n\ndata:")] == ["", "\n"]
    assert [one.data for one in whatwg(b"data:test\n\ndata: test\n\n")] == ["test", "test"]


# The bytes.


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (frame.frame("{}"), b"data: {}\n\n"),
        (frame.frame("{}", event="log"), b"event: log\ndata: {}\n\n"),
        (frame.frame("{}", retry_ms=1500), b"retry: 1500\ndata: {}\n\n"),
        (frame.frame("{}", id="a-1"), b"data: {}\nid: a-1\n\n"),
        (
            frame.frame('{"a":1}', event="row", retry_ms=0, id="A" * 64),
            b'event: row\nretry: 0\ndata: {"a":1}\nid: ' + b"A" * 64 + b"\n\n",
        ),
        (
            event_frame(EVENT),
            b'data: {"status":"processing","progress":42.5,"run":"01jd2m","seq":57,"time":"2026-11-22T10:00:00.123Z"}\n'
            b"id: 01jd2m-57\n\n",
        ),
        (
            event_frame(Event("r", 1, "log", 0, '{"level":"info","message":"\\u00fc\\n"}')),
            b"event: log\n"
            b'data: {"level":"info","message":"\\u00fc\\n","run":"r","seq":1,"time":"1970-01-01T00:00:00.000Z"}\n'
            b"id: r-1\n\n",
        ),
        (
            frame.hello("r", 3, 9, reset=False, heartbeat_s=15.0, retry_ms=1234),
            b"event: hello\nretry: 1234\n"
            b'data: {"run":"r","from":3,"head":9,"reset":false,"heartbeat_s":15.0}\nid: r-3\n\n',
        ),
        (frame.heartbeat(1), b'event: heartbeat\ndata: {"time":"1970-01-01T00:00:00.001Z"}\n\n'),
        (frame.bye("restart", 2000), b'event: bye\nretry: 2000\ndata: {"reason":"restart"}\n\n'),
        (frame.busy("full", 20_000), b'event: busy\nretry: 20000\ndata: {"reason":"full"}\n\n'),
    ],
)
def test_a_frame_has_exactly_these_bytes(made: bytes, expected: bytes) -> None:
    """In the order event, retry, data, id; LF only; the id last."""
    assert made == expected


@pytest.mark.parametrize("kind", ["plan", "log", "output", "row"])
def test_everything_but_updates_has_its_kind_as_name(kind: Any) -> None:
    (message,) = whatwg(event_frame(Event("r", 1, kind, 0, '{"x":1}')))
    assert message.type == kind
    assert whatwg(event_frame(EVENT))[0].type == "message"


@pytest.mark.parametrize(
    "data", ["", "a\nb", "a\rb", "a\r\nb", "a\0b", "\n", "ü", "\u2028", "\ud800", "\ufeff{}"], ids=ascii
)
def test_data_that_would_break_out_of_its_line_or_is_not_ascii_is_refused(data: str) -> None:
    with pytest.raises(ValueError):
        frame.frame(data)


@pytest.mark.parametrize(
    "name",
    ["error", "open", "message", "", "a b", "a\nb", "a\r", "a\0", "done\n\nevent", "Log", "ü", "a:b", "log\n", "l1"],
    ids=ascii,
)
def test_a_name_that_is_taken_or_breaks_the_frame_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        frame.frame("{}", event=name)


@pytest.mark.parametrize("id", ["", "a\nb", "a\r", "a\0b", "a b", "a_b", "ü", "a" * 65, "1\n", "a:b", "٣"], ids=ascii)
def test_an_id_that_a_client_could_not_give_back_is_refused(id: str) -> None:
    with pytest.raises(ValueError):
        frame.frame("{}", id=id)


@given(st.text(max_size=70))
def test_any_name_or_id_is_refused_or_read_back_as_it_is(text: str) -> None:
    for field in ({"event": text}, {"id": text}):
        try:
            made = frame.frame("{}", **field)  # type: ignore[arg-type]
        except ValueError:
            continue
        (message,) = whatwg(made)
        assert (message.type if "event" in field else message.last_event_id) == text


ANY_TEXT = st.text(st.characters()) | st.text(st.sampled_from("\r\n\0\u2028\u2029\ufeff\x85\ud800\udc00: d"))
BODIES = st.dictionaries(
    st.sampled_from(["text", "message", "row"]), ANY_TEXT | st.lists(ANY_TEXT, max_size=3), min_size=1
)
KINDS = st.sampled_from(["update", "plan", "log", "output", "row"])
EVENTS = st.builds(
    lambda seq, kind, time_ms, body: Event("01jd2m", seq, kind, time_ms, to_json(body)),
    st.integers(1, 2**53), KINDS, st.integers(0, 4_000_000_000_000), BODIES,
)  # fmt: skip


@given(events=st.lists(EVENTS, min_size=1, max_size=5), piece=st.integers(1, 50))
@settings(deadline=None)
def test_any_text_is_the_same_event_for_two_readers(events: list[Event], piece: int) -> None:
    """One frame is one event, whatever a job says: nothing in it ends the frame or begins another."""
    stream = b"".join(map(event_frame, events))
    browser = whatwg(stream)
    assert browser == httpx_sse(stream, piece)
    assert len(browser) == len(events)
    for message, event in zip(browser, events, strict=True):
        assert message.type == ("message" if event.kind == "update" else event.kind)
        assert message.last_event_id == f"{event.run}-{event.seq}"
        data = json.loads(message.data)
        assert data.items() >= json.loads(event.body).items()
        assert (data["run"], data["seq"]) == (event.run, event.seq)


@given(EVENTS)
def test_a_frame_is_ascii_with_lf_only_and_one_blank_line_at_its_end(event: Event) -> None:
    made = event_frame(event)
    assert made.isascii() and b"\r" not in made and b"\0" not in made
    assert made.endswith(b"\n\n") and made.index(b"\n\n") == len(made) - 2
    assert re.fullmatch(rb"(event: [a-z]+\n)?data: \{[^\n]+\}\nid: [A-Za-z0-9-]+\n\n", made)


@given(st.lists(EVENTS, max_size=8))
def test_many_frames_at_once_are_the_frames_one_by_one(events: list[Event]) -> None:
    rows = [(event.seq, event.kind, event.time_ms, event.body) for event in events]
    assert frame.event_frames("01jd2m", rows) == b"".join(map(event_frame, events))
    assert frame.event_frames("01jd2m", rows, ids=False) == b"".join(frame.without_id(event_frame(e)) for e in events)


@given(EVENTS)
def test_a_frame_without_id_is_the_same_event_without_one(event: Event) -> None:
    (message,), (bare,) = whatwg(event_frame(event)), whatwg(frame.without_id(event_frame(event)))
    assert (bare.type, bare.data, bare.last_event_id) == (message.type, message.data, "")


@pytest.mark.parametrize("body", ['{"a":1\n}', '{"a":1\r}', '{"a":"\0"}', '{"a":"ü"}', '{"a":1}\n\ndata: {}'])
def test_one_bad_body_among_good_ones_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        frame.event_frames("r", [(1, "log", 0, "{}"), (2, "update", 0, body), (3, "row", 0, "{}")])


def test_the_greeting_of_a_stream_of_all_runs_has_no_id() -> None:
    made = frame.hello_all({"r": {"from": 5, "head": 9, "reset": False}}, ["gone"], heartbeat_s=15.0, retry_ms=1234)
    assert made == (
        b"event: hello\nretry: 1234\n"
        b'data: {"follow":{"r":{"from":5,"head":9,"reset":false}},"gone":["gone"],"heartbeat_s":15.0}\n\n'
    )


def test_the_longest_event_fits_a_frame() -> None:
    body = to_json({"text": "x" * (MAX_BODY_BYTES - 11)})
    assert len(body) == MAX_BODY_BYTES
    assert len(event_frame(Event("0" * 26, 2**53, "output", 4_000_000_000_000, body))) <= MAX_FRAME_BYTES == 64 * 1024


@given(st.integers(0, 253_402_300_799_999))
def test_times_are_utc_to_the_millisecond(time_ms: int) -> None:
    text = frame.iso_time(time_ms)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == time_ms
