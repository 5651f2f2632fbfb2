"""The way to a language model, over real HTTP to a server that fails on demand."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import JobError, Progress
from jobs.errors import Cancelled, Interrupted, StopRun, TimedOut
from jobs.events import Draft
from jobs.library.endpoint.client import SETTINGS, Endpoint
from jobs.library.endpoint.completion import CUT, Completion, Usage
from jobs.library.endpoint.errors import EndpointError
from jobs.library.endpoint.safe_text import MASK, SafeText, safe
from jobs.library.endpoint.tries import Patience
from jobs.library.retry_after import retry_after_s
from jobs.progress import Pace
from tests.harness import ROOT, wait_for
from tests.library.chat_server import PLAIN, ChatServer, asking

KEY = "sk-canary-5d41402abc4b2a76"
SOON = Patience(first_s=0.5, silence_s=0.5, wait_s=0.01)
"""Enough for a server on loopback, when the test is about what comes of waiting."""


class Asker:
    """An endpoint with a real Progress, and all that was said and shown."""

    def __init__(self, folder: Path, url: str, key: str | None = KEY, **more: Any) -> None:
        self.drafts: list[Draft] = []
        self.shown: list[str] = []
        self.progress = Progress("r1", 1, self.drafts.append, folder=folder, timeout_s=more.pop("timeout_s", None))
        more = {"model": "tiny", "embedding_model": "tiny-embed", "patience": Patience(wait_s=0.01), **more}
        self.endpoint = Endpoint(self.progress, url, key, **more)

    def ask(self, prompt: str = "Hello", *, quiet: bool = False, **more: Any) -> Completion:
        """Have it answered; the pieces are in ``shown``, unless nobody looks (``quiet``)."""
        on_text = None if quiet else self.shown.append
        return self.endpoint.run(self.endpoint.complete(_user(prompt), on_text=on_text, **more))

    def fails(self, prompt: str, **more: Any) -> EndpointError:
        """The error that it ends with."""
        with pytest.raises(EndpointError) as caught:
            self.ask(prompt, **more)
        return caught.value

    @property
    def log(self) -> list[str]:
        """The lines of the run's log."""
        return [json.loads(draft.body)["message"] for draft in self.drafts if draft.kind == "log"]


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as chat:
        yield chat


@pytest.fixture
def new_asker(chat: ChatServer, tmp_path: Path) -> Callable[..., Asker]:
    return lambda **more: Asker(tmp_path, chat.url, **more)


@pytest.fixture
def asker(new_asker: Callable[..., Asker]) -> Asker:
    return new_asker()


# A text.


def test_a_text_comes_piece_by_piece(chat: ChatServer, asker: Asker) -> None:
    """What was asked, what was shown, and what is known in the end."""
    messages = [{"role": "system", "content": "Be brief."}, *_user("Hello")]
    work = asker.endpoint.complete(messages, on_text=asker.shown.append, temperature=0.5, max_tokens=20)
    completion = asker.endpoint.run(work)
    assert asker.shown == list(PLAIN)
    assert (completion.text, completion.finish_reason, completion.model) == ("".join(PLAIN), "stop", "tiny")
    assert completion.usage == Usage(prompt_tokens=7, completion_tokens=8)
    assert completion.retries == 0 and completion.first_token_ms is not None and completion.tokens_per_second > 0
    (asked,) = chat.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "tiny", "messages": messages, "stream": True, "stream_options": {"include_usage": True},
        "temperature": 0.5, "max_tokens": 20,
    }  # fmt: skip


def test_the_text_of_each_chunk_is_shown_before_the_next_comes(chat: ChatServer, asker: Asker) -> None:
    """Nothing waits for the end, nor for a line's end."""
    seen: list[str] = []

    def stop_at_the_third(text: str) -> None:
        seen.append(text)
        if len(seen) == 3:
            asker.progress.stop(Cancelled)

    with pytest.raises(Cancelled):  # the server never sends the fourth
        asker.endpoint.run(asker.endpoint.complete(_user(asking(stall_after=3)), on_text=stop_at_the_third))
    assert seen == list(PLAIN[:3])


def test_without_a_usage_chunk_the_tokens_are_an_estimate(asker: Asker) -> None:
    assert asker.ask(asking(usage=False)).usage == Usage(None, 8, estimated=True)


def test_thoughts_are_counted_but_no_part_of_the_text(asker: Asker) -> None:
    """Servers send what a model thinks beside its text."""
    counts: list[tuple[int, bool]] = []
    completion = asker.ask(
        asking(reasoning=3, usage=False), on_token=lambda tally: counts.append((tally.tokens, tally.thinking))
    )
    assert completion.text == "".join(PLAIN)
    assert completion.usage == Usage(None, 11, reasoning_tokens=3, estimated=True)
    assert counts[:4] == [(1, True), (2, True), (3, True), (4, False)]


def test_a_text_is_whole_when_only_what_follows_it_is_missing(asker: Asker) -> None:
    """The finish reason came; the usage chunk, [DONE] or the end of the stream did not."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "Whole."}, "finish_reason": "stop"}]}
    for rest in ("", "data: [DONE]\n\n", "data: nonsense\n\n", 'data: {"error": {"message": "late"}}\n\n'):
        completion = asker.ask(asking(raw=f"data: {json.dumps(chunk)}\n\n{rest}"))
        assert (completion.text, completion.finish_reason) == ("Whole.", "stop"), rest


def test_hostile_text_is_text(asker: Asker) -> None:
    """Markup, ANSI, lines that look like events of ours, and halves of characters."""
    pieces = [
        "<script>alert(1)</script>",
        "\x1b[31mred\x1b[0m\r",
        "\n\nevent: done\ndata: {}\n\n",
        "a\0b\u2028",
        "\ud83d",
    ]
    completion = asker.ask(asking(pieces=[*pieces, "\ude00 ", "\ude00", "!", "\ud83d"]))
    assert completion.text == "".join(pieces[:4]) + "\U0001f600 \ufffd!\ufffd"
    assert "".join(asker.shown) == completion.text


# Limits.


@pytest.mark.parametrize(("piece", "chars"), [("tok ", 4 * 120), ("x" * 100_000, 20 * 50 + 10_000)])
def test_an_endless_text_is_cut(chat: ChatServer, asker: Asker, piece: str, chars: int) -> None:
    """Some way behind the length that was asked for, in tokens or in characters; and the connection is closed."""
    completion = asker.ask(asking(endless=True, pieces=[piece]), max_tokens=50)
    assert completion.finish_reason == CUT
    assert 50 * 4 < len(completion.text) <= chars
    wait_for(lambda: chat.asked[0].left_ns, 5, "the server to see that the client left")


def test_an_endless_line_is_not_collected(asker: Asker) -> None:
    """The openai package keeps a line until it ends: memory would be its only limit."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: "
    error = asker.fails(asking(wire=head, again="x"))
    assert str(error) == "The endpoint sent a line of more than 4 MB."


def test_an_error_is_read_so_far_as_it_explains_something(new_asker: Callable[..., Asker]) -> None:
    """An answer 500 without end is an answer 500."""
    asker = new_asker(patience=Patience(tries=1))
    error = asker.fails(asking(wire="HTTP/1.1 500 No\r\nContent-Type: text/plain\r\n\r\n", again="sorry and "))
    assert str(error).startswith("500 from the endpoint. It says: “sorry and sorry") and len(str(error)) < 500


def test_packed_answers_are_not_unpacked(chat: ChatServer, asker: Asker) -> None:
    """They are not asked for, and could be bombs."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n"
    error = asker.fails(asking(wire=head + "\x1f\x8b"))
    assert str(error) == "The endpoint packs its answers, which was not asked for."
    assert chat.asked[0].headers["accept-encoding"] == "identity"


# Failing and trying again.


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again_visibly(chat: ChatServer, asker: Asker, status: int) -> None:
    """A line of the log and the message beside the bar for each try; the text comes once."""
    completion = asker.ask(asking(statuses=[status, status]))
    assert asker.shown == list(PLAIN) and completion.retries == 2
    assert len(chat.asked) == 3
    assert [line.partition(";")[2] for line in asker.log] == [
        f" trying again in {seconds} s ({number} of 5)"
        for number, seconds in enumerate(_waits(asker.log), 1)
    ]  # fmt: skip
    assert all(line.startswith(f"{status} from the endpoint") for line in asker.log)
    updates = [json.loads(draft.body)["message"] for draft in asker.drafts if draft.kind == "update"]
    assert updates[0] == asker.log[0]


def _waits(lines: list[str]) -> list[str]:
    return [line.partition("again in ")[2].partition(" s ")[0] for line in lines]


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {"retry-after-ms": "1000"}])
def test_the_endpoint_says_how_long_to_wait(chat: ChatServer, asker: Asker, headers: dict[str, str]) -> None:
    asker.ask(asking(statuses=[429], headers=headers))
    first, second = chat.asked
    assert second.came_ns - first.came_ns >= 1e9
    assert asker.log == ["429 from the endpoint (too many requests); trying again in 1 s (1 of 5)"]


def test_a_wait_has_a_longest(new_asker: Callable[..., Asker]) -> None:
    asker = new_asker(patience=Patience(longest_wait_s=0.02))
    asker.ask(asking(statuses=[429], headers={"Retry-After": "86400"}))
    assert asker.shown == list(PLAIN)


def test_what_the_endpoint_says_of_waiting_counts_for_all_requests(chat: ChatServer, asker: Asker) -> None:
    """One that begins meanwhile waits as well, instead of getting its own 429."""

    async def both() -> None:
        first = asyncio.ensure_future(
            asker.endpoint.complete(_user(asking(statuses=[429], headers={"Retry-After": "1"})))
        )
        while not asker.log:
            await asyncio.sleep(0.01)
        await asker.endpoint.complete(_user("second"))
        await first

    asker.endpoint.run(both())
    refused, *others = chat.asked
    assert len(others) == 2 and all(asked.came_ns - refused.came_ns >= 1e9 for asked in others)


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        ({}, None), ({"retry-after": "3"}, 3.0), ({"retry-after": "0.5"}, 0.5), ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25), ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None), ({"retry-after": "inf"}, None), ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 01 Jan 1990 00:00:00 GMT"}, 0.0), ({"retry-after": "1e400"}, None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(asked: dict[str, str], waits: float | None) -> None:
    assert retry_after_s(asked) == waits


def test_retry_after_may_be_a_date_to_come() -> None:
    found = retry_after_s({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert found is not None and 50 < found <= 60


def test_it_gives_up_with_a_sentence(chat: ChatServer, asker: Asker) -> None:
    error = asker.fails(asking(always=503, error="Overloaded.\nCome\x1b back later."))
    assert str(error) == (
        "503 from the endpoint, also at the last of 6 tries. It says: “Overloaded. Come back later”."
    )  # fmt: skip
    assert len(chat.asked) == 6 and not error.lasting and not error.refused


@pytest.mark.parametrize(
    ("prompt", "sentence", "lasting"),
    [
        (asking(always=401), "refuses the key (401)", True),
        (asking(always=403, error="Not in your country."), "It says: “Not in your country”", True),
        (asking(always=404), "Check HEADWAY_OPENAI_BASE_URL, which usually ends with /v1", True),
        (asking(always=429, error={"error": {"code": "insufficient_quota"}}), "quota is used up", True),
        (asking(always=413, error={"detail": [{"msg": "Too long."}]}), "refuses the request (413)", False),
        (asking(always=400, error="Context exceeded."), "It says: “Context exceeded”", False),
        (asking(raw="<html>", type="text/html"), "answers with text/html instead of a stream", False),
        (asking(raw="data: nonsense\n\n"), "no stream of completions", False),
        (asking(raw="data: \xff\xfe\n\n"), "no stream of completions", False),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    chat: ChatServer, asker: Asker, prompt: str, sentence: str, lasting: bool
) -> None:
    """The sentence says what to change. (A 400 is asked once more, without the option that some servers refuse.)"""
    error = asker.fails(prompt)
    assert sentence in str(error) and error.lasting == lasting
    assert len(chat.asked) == (2 if "400" in str(error) else 1) and asker.log == []


def test_a_redirect_is_not_followed(chat: ChatServer, asker: Asker) -> None:
    """Neither the request nor the key go elsewhere."""
    with ChatServer() as sink:
        for status in (301, 302, 303, 307, 308):
            error = asker.fails(asking(always=status, headers={"Location": f"{sink.url}/chat/completions"}))
            assert f"redirect ({status}), which is not followed" in str(error) and error.lasting
        assert sink.connections == 0 and len(chat.asked) == 5


def test_a_server_that_is_not_there_is_named_by_its_setting(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        asker = Asker(
            tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}/v1", patience=Patience(tries=2, wait_s=0.01)
        )
        error = asker.fails("Hello")
    assert "cannot be reached" in str(error) and "Does it run where HEADWAY_OPENAI_BASE_URL says?" in str(error)
    assert len(asker.log) == 1


BREAKS: dict[str, dict[str, Any]] = {
    "a cut": {"cut_after": 3},
    "a stall": {"stall_after": 3},
    "an error object": {"error_after": 3},
    "no finish reason": {"pieces": PLAIN[:3], "finish": None},
}


@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
def test_a_break_in_mid_text_keeps_the_text_and_repeats_none(
    chat: ChatServer, new_asker: Callable[..., Asker], fault: dict[str, Any]
) -> None:
    asker = new_asker(patience=SOON)
    error = asker.fails(asking(**fault))
    assert asker.shown == list(PLAIN[:3]) and error.text == "".join(PLAIN[:3])
    assert len(chat.asked) == 1 and asker.log == []
    assert str(error).startswith("The endpoint ") and str(error).endswith(".")


@pytest.mark.parametrize("fault", ["cut_after", "stall_after", "error_after"])
def test_before_the_first_token_a_break_is_tried_again(
    chat: ChatServer, new_asker: Callable[..., Asker], fault: str
) -> None:
    asker = new_asker(patience=SOON)
    assert asker.ask(asking(**{fault: 0}, times=2)).retries == 2
    assert asker.shown == list(PLAIN) and len(chat.asked) == 3


def test_a_text_that_nobody_has_seen_is_tried_again_after_any_break(chat: ChatServer, asker: Asker) -> None:
    """A row of a table is shown when it is whole."""
    completion = asker.ask(asking(cut_after=3, times=1), quiet=True)
    assert completion.text == "".join(PLAIN) and len(chat.asked) == 2
    error = asker.fails(asking(cut_after=3), quiet=True)
    assert error.text == "".join(PLAIN[:3])


def test_a_server_that_never_answers_is_left(chat: ChatServer, new_asker: Callable[..., Asker]) -> None:
    asker = new_asker(patience=Patience(first_s=0.2, tries=1))
    error = asker.fails(asking(mute=True))
    assert str(error) == "The endpoint said nothing for 0.2 s."
    wait_for(lambda: chat.asked[0].left_ns, 5, "the server to see that the client left")


def test_a_text_that_drips_has_an_end(new_asker: Callable[..., Asker]) -> None:
    asker = new_asker(patience=Patience(whole_s=0.5))
    error = asker.fails(asking(endless=True, pause_ms=20))
    assert str(error) == "The endpoint took longer than 0.5 s for a text."
    assert error.text == "".join(asker.shown) != ""


@pytest.mark.parametrize(
    ("refused", "asked"),
    [
        ("stream_options", {}),
        ("temperature", {"temperature": 0.5}),
        ("max_tokens", {"max_tokens": 9, "max_completion_tokens": 9}),
    ],
)
def test_what_a_server_does_not_know_is_left_out(
    chat: ChatServer, asker: Asker, refused: str, asked: dict[str, Any]
) -> None:
    """And left out from the first in the next request. OpenAI's newer models want max_tokens called otherwise."""
    options = {name: value for name, value in asked.items() if name != "max_completion_tokens"}
    for number in range(2):
        assert asker.ask(asking(refuse=[refused], id=number), **options).text == "".join(PLAIN)
    first, *others = chat.asked
    assert refused in first.body and len(others) == 2
    assert all(refused not in one.body for one in others)
    assert [one.body.get("max_completion_tokens") for one in others] == [asked.get("max_completion_tokens")] * 2


# Stopping.

PHASES: dict[str, dict[str, Any]] = {
    "before the answer": {"mute": True},
    "before the first token": {"stall_after": 0},
    "in mid-text": {"stall_after": 3},
    "while tokens come": {"endless": True, "pause_ms": 10},
    "waiting for the next try": {"always": 429, "headers": {"Retry-After": "60"}},
}


@pytest.mark.parametrize("reason", [Cancelled, Interrupted])
@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
def test_a_stop_closes_the_request_at_once(
    chat: ChatServer, asker: Asker, phase: dict[str, Any], reason: type[StopRun]
) -> None:
    def stop_when_it_has_begun() -> None:
        wait_for(lambda: asker.shown or asker.log or (chat.asked and not phase.get("endless")), 10)
        asker.progress.stop(reason)

    threading.Thread(target=stop_when_it_has_begun, daemon=True).start()
    with pytest.raises(reason):
        asker.ask(asking(**phase))
    if "always" not in phase:
        wait_for(lambda: chat.asked[0].left_ns, 5, "the server to see that the client left")
    assert len(chat.asked) == 1


def test_the_end_of_the_runs_time_closes_the_request(chat: ChatServer, new_asker: Callable[..., Asker]) -> None:
    asker = new_asker(timeout_s=0.3)
    pace = Pace()
    pace.add(asker.progress)
    with pytest.raises(TimedOut):
        asker.ask(asking(stall_after=2))
    pace.close()
    wait_for(lambda: chat.asked[0].left_ns, 5, "the server to see that the client left")


def test_a_stop_does_not_wait_for_a_resolver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing interrupts the thread that looks a name up; it is left behind."""
    looking, hang = threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[Any]:
        looking.set()
        hang.wait(60)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asker = Asker(tmp_path, "http://model.example/v1")
    threading.Thread(target=lambda: looking.wait(10) and asker.progress.stop(Cancelled), daemon=True).start()
    with pytest.raises(Cancelled):
        asker.ask()
    assert not hang.is_set()
    hang.set()


# Keys and settings.


def test_the_environment_changes_nothing(
    chat: ChatServer, asker: Asker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The openai package reads OPENAI_* variables, HTTP clients read proxies and .netrc; none of them counts here."""
    with ChatServer() as sink:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret")
        elsewhere = {name: f"http://127.0.0.1:{sink.port}" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
        for name, value in {
            **elsewhere, **{name.lower(): value for name, value in elsewhere.items()}, "NETRC": str(netrc),
            "OPENAI_BASE_URL": sink.url, "OPENAI_API_KEY": "sk-other", "OPENAI_ADMIN_KEY": "sk-admin",
            "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1", "OPENAI_API_TYPE": "azure",
            "AZURE_OPENAI_ENDPOINT": sink.url, "OPENAI_CUSTOM_HEADERS": "X-Custom: 1\nAuthorization: Bearer sk-x",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        asker.ask()
        asker.endpoint.run(asker.endpoint.embed(["text"]))
        assert sink.connections == 0
    for asked in chat.asked:
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert set(asked.headers) <= {
            "host", "authorization", "user-agent", "accept", "accept-encoding", "content-type", "content-length"
        }  # fmt: skip


def test_without_a_key_none_is_sent(
    chat: ChatServer, new_asker: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    new_asker(key=None).ask()
    assert "authorization" not in chat.asked[0].headers


def test_a_key_that_the_server_repeats_is_masked(asker: Asker) -> None:
    """Also where it comes in halves, as tokens do; in the text, in errors and in what is said of tries."""
    assert asker.ask(asking(echo_key=True)).text == f"Your key is {MASK}, all of it: {MASK}!"
    assert KEY not in "".join(asker.shown)
    error = asker.fails(asking(always=500, error="no such key: <key>"))
    assert MASK in str(error) and KEY not in str(error)
    assert KEY not in asker.fails(asking(error_after=0, error="<key>")).args[0]
    chunk = {"model": KEY, "choices": [{"delta": {"content": "a"}, "finish_reason": KEY}]}
    completion = asker.ask(asking(raw=f"data: {json.dumps(chunk)}\n\n"))
    assert (completion.model, completion.finish_reason) == (MASK, MASK)
    assert not any(KEY in draft.body for draft in asker.drafts)


texts = st.text(alphabet="sk-abc \n\ud83d\ude00", max_size=30)


@given(st.lists(texts, max_size=8), st.sampled_from(["sk-abcabc", "aaaaaaaa", "abababab", None]))
def test_pieces_are_made_safe_as_the_whole_would_be(pieces: list[str], key: str | None) -> None:
    """Wherever they part; and no piece lets a key through that the whole has."""
    if key is not None:
        pieces = [*pieces, key[:3], key[3:], *pieces]
    one_by_one = SafeText(key)
    shown = "".join([*map(one_by_one.add, pieces), one_by_one.end()])
    assert shown == safe("".join(pieces), key)
    assert key is None or key not in shown
    shown.encode()


@pytest.mark.parametrize(
    "url",
    ["localhost:11434", "ftp://host/v1", "http://", "http://me:pass-word@host/v1", "http://host/v1?key=pass-word",
     "http://host:99999/v1", "http://[::1/v1", "file:///etc/passwd", "http://host/v1#x"],
)  # fmt: skip
def test_a_base_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(JobError, match="HEADWAY_OPENAI_BASE_URL has to be a plain http") as caught:
        Asker(tmp_path, url)
    assert "pass-word" not in str(caught.value)


def test_the_endpoint_is_that_of_the_settings(chat: ChatServer, tmp_path: Path) -> None:
    """None where no base URL is set; a model that is missing is asked for when it is needed."""

    def endpoint(**settings: str) -> Endpoint | None:
        known = {**dict.fromkeys(SETTINGS, ""), **settings}
        return Endpoint.from_settings(Progress("r1", 1, lambda draft: None, folder=tmp_path, settings=known))

    assert endpoint(OPENAI_API_KEY=KEY, OPENAI_MODEL="m") is None
    found = endpoint(OPENAI_BASE_URL=f" {chat.url}/ ")
    assert found is not None
    with pytest.raises(EndpointError, match="set HEADWAY_OPENAI_MODEL"):
        found.run(found.complete(_user("Hello")))
    with pytest.raises(EndpointError, match="set HEADWAY_OPENAI_EMBEDDING_MODEL"):
        found.run(found.embed(["Hello"]))
    found.model = "m"
    assert found.run(found.complete(_user("Hello"))).text == "".join(PLAIN)


def test_a_request_leaves_no_line_in_the_server_log(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """HTTP clients log each request with its address."""
    with caplog.at_level(logging.INFO):
        asker.ask()
    assert caplog.records == []


def test_importing_it_loads_no_heavy_library() -> None:
    """Web workers import job files."""
    code = (
        "import sys; import jobs.library.endpoint.client;"
        "print([name for name in ('openai', 'httpx2', 'numpy') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# Embeddings.


def test_texts_become_vectors_in_their_order(chat: ChatServer, asker: Asker) -> None:
    """In batches, several at once; the answers come in any order. An empty text has a vector, too."""
    words = [letter * (1 + number % 7) for number, letter in enumerate("abcdefgh" * 25)]
    done: list[int] = []
    vectors = asker.endpoint.run(asker.endpoint.embed([*words, ""], done.append))
    assert vectors.shape == (201, 8) and vectors.dtype == np.float32
    expected = [[float(word.count(letter)) for letter in "abcdefgh"] for word in [*words, ""]]
    assert vectors.tolist() == expected
    assert done == sorted(done) and done[-1] == 201
    assert {asked.path for asked in chat.asked} == {"/v1/embeddings"}
    assert {asked.body["model"] for asked in chat.asked} == {"tiny-embed"}


def test_no_texts_have_no_vectors(asker: Asker) -> None:
    assert asker.endpoint.run(asker.endpoint.embed([])).shape == (0, 0)


def test_embeddings_are_tried_again_as_well(chat: ChatServer, asker: Asker) -> None:
    vectors = asker.endpoint.run(asker.endpoint.embed([asking(statuses=[503])]))
    assert len(vectors) == 1 and len(asker.log) == 1


@pytest.mark.parametrize(
    "answer",
    ["[]", "{}", '{"data": []}', '{"data": [{"index": 0, "embedding": ["x"]}]}', '{"data": [{"embedding": [1]}]}',
     '{"data": [{"index": 0, "embedding": [NaN]}]}', '{"data": [{"index": 0, "embedding": []}]}', "no JSON"],
)  # fmt: skip
def test_embeddings_that_are_none_are_refused(asker: Asker, answer: str) -> None:
    with pytest.raises(EndpointError, match="^The endpoint sent "):
        asker.endpoint.run(asker.endpoint.embed([asking(raw=answer, type="application/json")]))


def test_a_stop_ends_embedding(chat: ChatServer, asker: Asker) -> None:
    threading.Thread(target=lambda: wait_for(lambda: chat.asked, 10) and asker.progress.stop(Cancelled)).start()
    with pytest.raises(Cancelled):
        asker.endpoint.run(asker.endpoint.embed([asking(mute=True)] * 300))
    wait_for(lambda: all(asked.left_ns for asked in chat.asked), 5, "the server to see that the client left")
