"""What a request for a stream asks for: the form, and where to go on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import NotAcceptable
from werkzeug.test import EnvironBuilder

from jobs.bus import Ear
from jobs.errors import StoreError, UnknownRun
from jobs.store import Store
from tests.jobs.workbench import OWNER, claimed, completed, line, update
from web import lifetime
from web.auth import Principal
from web.feed import Feed
from web.lifetime import Lifetime
from web.reader import Cursor
from web.slots import Slots
from web.stream import ALL_FORMS, WRITE_BYTES, cursor_of, form_of, pieces, stream_response, wanted_form

RUN = "01jd2m8zq4y6x9v3c5b7n0k2hf"
UNUSABLE = Cursor(given=True, usable=False)


def asked(query: str = "", **headers: str) -> Request:
    """A request with this query and these headers (``_`` stands for ``-``)."""
    builder = EnvironBuilder(query_string=query, headers={name.replace("_", "-"): it for name, it in headers.items()})
    environ = builder.get_environ()
    builder.close()
    return Request(environ)


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "*/*", "text/*", "text/html, */*;q=0.1", "text/event-stream;q=0.1"]
)
def test_events_are_the_form_of_all_who_take_them(accept: str) -> None:
    assert form_of(asked(Accept=accept)) == "text/event-stream"


def test_events_are_the_form_of_those_who_do_not_say() -> None:
    """No Accept header means that anything will do (RFC 9110, 12.5.1)."""
    assert form_of(asked()) == "text/event-stream"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/plain; charset=utf-8", "text/plain"),
        ("text/event-stream;charset=utf-8", "text/event-stream"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/*", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/event-stream"),
    ],
)
def test_the_form_is_what_a_client_prefers(accept: str, form: str) -> None:
    """Those of axios and of browsers among them."""
    assert form_of(asked(Accept=accept), ALL_FORMS) == form


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "text/event-stream;q=0", "image/*"])
def test_a_form_that_there_is_not_is_a_406_that_names_those_there_are(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/event-stream"):
        form_of(asked(Accept=accept))


@pytest.mark.parametrize(
    ("accept", "streams"),
    [("text/event-stream", True), ("application/json", False), ("*/*", False), ("text/html,*/*;q=0.8", False)],
)
def test_a_launch_streams_only_for_who_asks_for_it(accept: str, streams: bool) -> None:
    assert (wanted_form(asked(Accept=accept)) is not None) is streams
    assert wanted_form(asked()) is None


@pytest.mark.parametrize(
    ("request_", "cursor"),
    [
        (asked(), Cursor()),
        (asked(Last_Event_ID=f"{RUN}-57"), Cursor(57, given=True)),
        (asked("after=57"), Cursor(57, given=True)),
        (asked("after=0"), Cursor(0, given=True)),
        (asked(f"last_event_id={RUN}-57"), Cursor(57, given=True)),
        (asked("after=3", Last_Event_ID=f"{RUN}-57"), Cursor(57, given=True)),
        (asked(f"after=3&last_event_id={RUN}-57"), Cursor(3, given=True)),
        (asked("last_event_id="), Cursor()),
    ],
    ids=str,
)
def test_a_cursor_is_the_header_else_after_else_last_event_id(request_: Request, cursor: Cursor) -> None:
    assert cursor_of(request_, RUN) == cursor


@pytest.mark.parametrize(
    "text",
    ["57", RUN, f"{RUN}-", f"{RUN}--5", f"{RUN}-5x", f"{RUN}-1e3", f"{RUN}-" + "9" * 19, "x" * 10_000,
     f"other{RUN[5:]}-57",
     f"{RUN.upper()}-57", f" {RUN}-57", "-1", "null", "%00", "🦊"],
)  # fmt: skip
def test_a_cursor_that_says_nothing_usable_is_told_apart_from_none(text: str) -> None:
    assert cursor_of(asked(f"last_event_id={text}"), RUN) == UNUSABLE
    assert cursor_of(asked(f"after={text}x"), RUN) == UNUSABLE
    if text.isascii():
        assert cursor_of(asked(Last_Event_ID=text), RUN) in (UNUSABLE, Cursor(57, given=True))


@given(st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), min_size=1, max_size=40))
def test_no_cursor_is_an_error(text: str) -> None:
    found = cursor_of(asked(Last_Event_ID=text), RUN)
    assert found in (UNUSABLE, Cursor()) or found.given


@given(st.integers(0, 10**18 - 1))
def test_every_number_of_the_log_is_a_cursor(seq: int) -> None:
    assert cursor_of(asked(Last_Event_ID=f"{RUN}-{seq}"), RUN) == Cursor(seq, given=True)


# Streams without a socket: what is said, and what is given back.


@pytest.fixture
def headway(store: Store, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """What a stream needs of the application: room for two streams, one for each."""
    feed = Feed(store, Ear(tmp_path / "bus", "web-1", selective=True))
    yield SimpleNamespace(store=store, feed=feed, slots=Slots(2, 1))
    feed.close()


def opened(headway: SimpleNamespace, run: str, cursor: Cursor = Cursor(), owner: str = OWNER) -> Any:  # noqa: B008
    """The answer to a request for a stream."""
    return stream_response(headway, Principal(owner, "key"), run, cursor, asked())


def numbers(said: bytes) -> list[int]:
    """The numbers of the events."""
    return [int(one) for one in re.findall(rb"\nid: [0-9a-z]+-(\d+)\n", said)][1:]


def nothing_is_open(headway: SimpleNamespace) -> bool:
    """Whether all was given back."""
    return headway.slots.taken == 0 and headway.feed.streams == 0


def test_a_run_that_has_ended_is_told_and_then_the_stream_ends(headway: SimpleNamespace, store: Store) -> None:
    claim = claimed(store)
    store.append([line(claim), completed(claim)])
    response = opened(headway, claim.run)
    said = b"".join(response.response)
    assert numbers(said) == [1, 2, 3, 4] and said.startswith(b"event: hello\nretry: ")
    assert response.status_code == 200 and headway.slots.taken == 1
    response.close()
    response.close()
    assert nothing_is_open(headway)


@pytest.mark.parametrize("began", [False, True])
def test_a_stream_that_is_closed_before_its_end_gives_all_back(
    headway: SimpleNamespace, store: Store, began: bool
) -> None:
    claim = claimed(store)
    response = opened(headway, claim.run)
    if began:
        assert b"event: hello" in next(iter(response.response))
    response.close()
    assert nothing_is_open(headway)


def test_whoever_has_had_the_last_event_gets_a_204_and_takes_no_room(headway: SimpleNamespace, store: Store) -> None:
    claim = claimed(store)
    store.append([completed(claim)])
    assert opened(headway, claim.run, Cursor(3, given=True)).status_code == 204
    assert nothing_is_open(headway)
    for cursor in (Cursor(2, given=True), Cursor(4, given=True), Cursor(given=True, usable=False), Cursor()):
        response = opened(headway, claim.run, cursor)
        said = b"".join(response.response)
        assert numbers(said) == ([3] if cursor.seq == 2 else [1, 2, 3])
        assert (b'"reset":true' in said) == (cursor.seq == 4 or not cursor.usable)
        response.close()


def test_a_second_stream_finds_in_memory_what_the_first_has_read(
    headway: SimpleNamespace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(store)
    headway.slots = Slots(10, 10)
    store.append([line(claim) for _ in range(20)])
    first = opened(headway, claim.run)
    monkeypatch.setattr(store, "events_after", None)
    for after in (0, 5, 22):
        again = opened(headway, claim.run, Cursor(after, given=True))
        assert numbers(next(iter(again.response))) == list(range(after + 1, 23))
        again.close()
    reset = opened(headway, claim.run, Cursor(given=True, usable=False))
    said = next(iter(reset.response))
    assert numbers(said) == list(range(1, 23)) and b'"reset":true' in said
    reset.close()
    first.close()


def test_the_run_of_another_is_unknown_also_when_it_is_in_memory(headway: SimpleNamespace, store: Store) -> None:
    claim = claimed(store)
    mine = opened(headway, claim.run)
    for run, owner in ((claim.run, "mallory"), ("nosuchrun", "mallory")):
        with pytest.raises(UnknownRun):
            opened(headway, run, owner=owner)
    mine.close()
    assert nothing_is_open(headway)


def test_beyond_the_limits_the_answer_is_busy(headway: SimpleNamespace, store: Store) -> None:
    claim = claimed(store)
    open_ = opened(headway, claim.run)
    busy = opened(headway, claim.run)
    said = busy.get_data()
    assert busy.status_code == 200 and said.startswith(b"event: busy\nretry: ") and said.count(b"\n\n") == 1
    assert headway.slots.taken == 1
    open_.close()
    opened(headway, claim.run).close()
    assert nothing_is_open(headway)


def test_a_database_that_cannot_be_read_in_the_middle_is_a_goodbye(
    headway: SimpleNamespace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(store)
    response = opened(headway, claim.run)
    said = iter(response.response)
    next(said)

    def broken(*_: object) -> None:
        raise StoreError("disk I/O error")

    headway.feed._channels[claim.run].hear(store.append([line(claim)]))
    headway.feed._channels[claim.run]._kept.clear()
    monkeypatch.setattr(store, "events_after", broken)
    assert b"".join(said).startswith(b"event: bye\nretry: ")
    response.close()


def test_a_run_that_is_deleted_in_the_middle_ends_its_stream(headway: SimpleNamespace, store: Store) -> None:
    claim = claimed(store)
    response = opened(headway, claim.run)
    said = iter(response.response)
    next(said)
    channel = headway.feed._channels[claim.run]
    channel.hear(store.append([completed(claim)]))
    channel._kept.clear()
    store.delete(claim.run, OWNER)
    assert list(said) == []
    response.close()


def test_history_is_told_in_full_however_long_it_is(headway: SimpleNamespace, store: Store) -> None:
    claim = claimed(store)
    for _ in range(5):
        store.append([one for _ in range(400) for one in (line(claim, "x" * 300), update(claim))])
    store.append([completed(claim)])
    response = opened(headway, claim.run)
    said = list(response.response)
    assert numbers(b"".join(said)) == list(range(1, 4004)) and max(map(len, said)) <= WRITE_BYTES
    response.close()


@given(st.binary(max_size=5), st.integers(0, 4))
def test_pieces_are_the_whole_and_none_is_empty(end: bytes, times: int) -> None:
    said = b"x" * (WRITE_BYTES * times) + end
    found = list(pieces(said))
    assert b"".join(found) == said and all(len(piece) <= WRITE_BYTES for piece in found)
    assert b"" not in found or not said


def test_a_goodbye_says_why_and_comes_once_its_time_is_there(
    headway: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetime, "LIFE_S", 0.0)
    said, leaving = Lifetime(headway.feed).utterance()
    assert leaving and said.startswith(b"event: bye") and b'"rotate"' in said
    monkeypatch.setattr(lifetime, "LIFE_S", 900.0)
    life = Lifetime(headway.feed)
    assert 720 <= life.until - time.monotonic() <= 900 and life.utterance() == (b"", False)
    headway.feed.say_bye()
    life.utterance()
    first = life.until
    assert first <= time.monotonic() + 1.5
    life.utterance()
    assert life.until == first, "one time, not the earliest of many"
    life.limit(time.monotonic() - 1)
    said, leaving = life.utterance()
    assert leaving and b'"restart"' in said and life.rest_s == 0


def test_silence_is_broken_when_it_has_lasted(headway: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Lifetime(headway.feed)
    assert life.utterance() == (b"", False) and 14 < life.rest_s <= 15
    monkeypatch.setattr(lifetime, "HEARTBEAT_S", 0.0)
    said, leaving = life.utterance()
    assert said.startswith(b"event: heartbeat") and not leaving
