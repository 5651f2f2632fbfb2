"""What a request for a stream asks for: the form, and where to go on."""

from __future__ import annotations

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import NotAcceptable
from werkzeug.test import EnvironBuilder

from web.stream import Cursor, cursor_of, form_of, wants_stream

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


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "text/event-stream;q=0", "image/*"])
def test_a_form_that_there_is_not_is_a_406_that_names_those_there_are(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/event-stream"):
        form_of(asked(Accept=accept))


@pytest.mark.parametrize(
    ("accept", "streams"),
    [("text/event-stream", True), ("application/json", False), ("*/*", False), ("text/html,*/*;q=0.8", False)],
)
def test_a_launch_streams_only_for_who_asks_for_it(accept: str, streams: bool) -> None:
    assert wants_stream(asked(Accept=accept)) is streams
    assert wants_stream(asked()) is False


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
