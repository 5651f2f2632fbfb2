"""What one web process knows live: never a gap, never a repeat, whatever the bus loses."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bus import Bus, Ear, News
from jobs.events import Event
from jobs.store import Store
from tests.harness import wait_for
from tests.jobs.workbench import OWNER, claimed, completed, line
from web.feed import KEPT_BYTES, KEPT_EVENTS, Channel, Feed
from web.frame import event_frame


def event(seq: int, size: int = 1, last: bool = False) -> Event:
    """A numbered event."""
    return Event("r", seq, "output", seq, '{"text":"' + "x" * size + '"}', last)


def news(first: int, last: int, *, bodies: bool = True, size: int = 1) -> News:
    """A message of the bus about the events first to last."""
    return News("r", last, tuple(event(seq, size) for seq in range(first, last + 1)) if bodies else ())


def read(channel: Channel, seq: int, head: int) -> list[int]:
    """What a stream reads after ``seq``: from the channel, and from the store where the channel cannot tell."""
    kept = channel.after(seq)
    if kept is None:
        return list(range(seq + 1, head + 1))  # the store has everything that was told
    for number, encoded, last in kept:
        assert encoded == event_frame(event(number)) and last is False
    return [number for number, _, _ in kept]


MOVES = st.one_of(
    st.tuples(st.just("tell"), st.integers(1, 4)),
    st.tuples(st.just("lose"), st.integers(1, 4)),
    st.tuples(st.just("number"), st.integers(1, 4)),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("overlap"), st.integers(0, 5)),
    st.tuples(st.just("advance"), st.integers(-3, 0)),
    st.tuples(st.just("read"), st.integers(0, 2)),
)


@given(st.lists(MOVES, max_size=60))
def test_no_interleaving_makes_a_gap_or_a_repeat(moves: list[tuple[str, int]]) -> None:
    """Against a model: the log is 1..head; three readers follow it from different moments."""
    channel, head, told = Channel(), 0, [news(1, 0)]
    positions = [0, 0, 0]

    def follow(reader: int) -> None:
        got = read(channel, positions[reader], head)
        assert got == list(range(positions[reader] + 1, positions[reader] + 1 + len(got))), "a gap or a repeat"
        positions[reader] += len(got)

    for verb, number in moves:
        if verb in ("tell", "lose", "number"):
            message = news(head + 1, head + number, bodies=verb == "tell")
            head += number
            if verb != "lose":
                told.append(message)
                channel.hear(message)
        elif verb == "again":  # datagrams are not sent twice, but nothing depends on it
            channel.hear(told[number % len(told)])
        elif verb == "overlap" and head:
            channel.hear(news(max(1, head - number), head))
        elif verb == "advance":  # the poll of the store, perhaps an old one
            channel.advance(max(0, head + number))
        elif verb == "read":
            follow(number)
    channel.advance(head)  # the poll mends what the bus has lost
    for reader in range(3):
        while positions[reader] < head:
            before = positions[reader]
            follow(reader)
            assert positions[reader] > before, "the reader is stuck"
    assert positions == [head] * 3


def test_a_reader_far_behind_is_sent_to_the_store() -> None:
    channel = Channel()
    for seq in range(1, KEPT_EVENTS + 101):
        channel.hear(news(seq, seq))
    assert channel.after(99) is None
    assert [number for number, _, _ in channel.after(100) or []] == list(range(101, KEPT_EVENTS + 101))


def test_a_channel_keeps_a_bounded_number_of_bytes() -> None:
    channel = Channel()
    for seq in range(1, 30):
        channel.hear(news(seq, seq, size=60_000))
    kept = channel.after(29 - KEPT_BYTES // 61_000) or []
    assert kept and sum(len(encoded) for _, encoded, _ in kept) <= KEPT_BYTES
    assert channel.after(0) is None


def test_a_head_without_events_sends_the_reader_to_the_store() -> None:
    channel = Channel()
    assert channel.after(0) == []
    channel.hear(news(1, 3, bodies=False))
    assert channel.after(0) is None and channel.after(3) == [] and channel.after(9) == []


def test_the_last_event_is_marked() -> None:
    channel = Channel()
    channel.hear(News("r", 2, (event(1), event(2, last=True))))
    assert [last for _, _, last in channel.after(0) or []] == [False, True]


def test_a_frame_is_encoded_once_for_all_readers() -> None:
    channel = Channel()
    channel.hear(news(1, 1))
    first, second = channel.after(0) or [], channel.after(0) or []
    assert first[0][1] is second[0][1]


def test_a_wait_ends_with_news_with_a_wake_and_with_the_time() -> None:
    channel = Channel()
    channel.wait(0, 0.01)
    for stir in (lambda: channel.hear(news(1, 1)), channel.wake, lambda: channel.advance(5)):
        woken = threading.Event()
        waiting = threading.Thread(target=lambda done=woken: (channel.wait(99, 20), done.set()))  # type: ignore[misc]
        waiting.start()
        wait_for(lambda: bool(channel._changed._waiters))  # type: ignore[attr-defined]
        stir()
        assert woken.wait(5)
        waiting.join()
    channel.wait(4, 60)  # there is something after 4 already: no wait at all


def test_threads_that_read_while_the_channel_hears_miss_nothing() -> None:
    """``flask run`` and tests have real threads; a channel that is full drops its oldest while others read."""
    channel, head, failures = Channel(), 20_000, []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def follow() -> None:
        position = 0
        try:
            while position < head:
                for number, _, _ in channel.after(position) or []:
                    assert number == position + 1, f"{number} after {position}"
                    position = number
                if channel.after(position) is None:
                    position = max(position, channel._head - 100)  # as if it had read the store
        except (AssertionError, IndexError) as error:
            failures.append(repr(error))

    readers = [threading.Thread(target=follow) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seq in range(1, head + 1):
        channel.hear(news(seq, seq))
    for reader in readers:
        reader.join(30)
    sys.setswitchinterval(interval)
    assert failures == []


# The feed with a real bus and a real store.


@pytest.fixture
def feed(store: Store, tmp_path: Path) -> Iterator[Feed]:
    """A feed that hears the bus."""
    opened = Feed(store, Ear(tmp_path / "bus", "web-1"))
    yield opened
    opened.close()


@pytest.fixture
def bus(tmp_path: Path, feed: Feed) -> Iterator[Bus]:
    """The sending side."""
    opened = Bus(tmp_path / "bus")
    yield opened
    opened.close()


def test_what_is_told_on_the_bus_is_in_the_channel(feed: Feed, bus: Bus, store: Store) -> None:
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        bus.tell(store.append([line(claim, "heard")]))
        channel.wait(2, 5)
        assert [number for number, _, _ in channel.after(2) or []] == [3]


def test_what_the_bus_has_lost_is_found_in_the_store(feed: Feed, store: Store) -> None:
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        store.append([line(claim), completed(claim)])
        channel.wait(2, 10)
        assert channel.after(2) is None
        assert [found.seq for found in store.events_after(claim.run, 2).events] == [3, 4]


def test_a_channel_lives_as_long_as_somebody_reads_it(feed: Feed) -> None:
    first, second = feed.join("r"), feed.join("r")
    other = feed.join("s")
    assert first is second and other is not first and feed.streams == 3
    feed.leave("r", first)
    assert feed.join("r") is first
    for _ in range(2):
        feed.leave("r", first)
    feed.leave("s", other)
    assert feed.streams == 0 and feed.join("r") is not first


def test_goodbye_wakes_every_reader(feed: Feed) -> None:
    channels = [feed.join(f"{number}") for number in range(3)]
    woken: list[int] = []
    readers = [
        threading.Thread(target=lambda it=number: (channels[it].wait(0, 30), woken.append(it)))  # type: ignore[misc]
        for number in range(3)
    ]
    for reader in readers:
        reader.start()
    wait_for(lambda: all(bool(channel._changed._waiters) for channel in channels))  # type: ignore[attr-defined]
    feed.say_bye()
    for reader in readers:
        reader.join(5)
    assert sorted(woken) == [0, 1, 2] and feed.closing


@given(batches=st.lists(st.integers(1, 40), min_size=1, max_size=15))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reader_of_channel_and_store_gets_every_event_once(
    feed: Feed, bus: Bus, store: Store, batches: list[int]
) -> None:
    """As a stream does it: join, read the store, then the channel, and the store where the channel cannot tell."""
    claim = claimed(store)
    seen: list[int] = []

    def stream(channel: Channel) -> None:
        ended = False
        while not ended:
            kept: list[Any] | None = channel.after(len(seen))
            if kept is None:
                page = store.events_after(claim.run, len(seen))
                seen.extend(found.seq for found in page.events)
                ended = bool(page.events) and page.events[-1].last
            elif kept:
                seen.extend(number for number, _, _ in kept)
                ended = kept[-1][2]
            else:
                channel.wait(len(seen), 1)

    with feed.channel(claim.run) as channel:
        seen.extend(found.seq for found in store.events_after(claim.run, 0).events)
        reader = threading.Thread(target=stream, args=(channel,))
        reader.start()
        for size in batches:
            bus.tell(store.append([line(claim) for _ in range(size)]))
        bus.tell(store.append([completed(claim)]))
        reader.join(20)
    assert seen == list(range(1, sum(batches) + 4)) and store.run(claim.run, OWNER).ended
