"""What one web process knows live: never a gap, never a repeat, whatever the bus loses."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bus import Bus, Ear
from jobs.events import Event
from jobs.store import Page, Store
from tests.harness import wait_for
from tests.jobs.workbench import OWNER, claimed, completed, line
from web.feed import KEPT_BYTES, KEPT_EVENTS, PAGE_EVENTS, Channel, Feed, Kept
from web.frame import event_frame
from web.reader import Cursor, Reader


def event(seq: int, size: int = 1, last: bool = False) -> Event:
    """A numbered event."""
    return Event("r", seq, "output", seq, '{"text":"' + "x" * size + '"}', last)


def events(first: int, last: int, size: int = 1) -> list[Event]:
    """The events first to last."""
    return [event(seq, size) for seq in range(first, last + 1)]


def page(after: int, head: int, ended: bool = False) -> Page:
    """What the store would give."""
    rows = [(one.seq, one.kind, one.time_ms, one.body) for one in events(after + 1, head)]
    return Page("r", OWNER, rows, head, ended)


def begun(head: int = 0, kept_bytes: int = KEPT_BYTES, gaps: list[Channel] | None = None) -> Channel:
    """A channel that knows how far the store is; its gaps are noted."""
    noted: list[Channel] = [] if gaps is None else gaps
    channel = Channel("r", noted.append, lambda: kept_bytes, lambda _run, after: page(after, head))
    channel.begin(page(head, head))
    return channel


def read(channel: Channel, seq: int, head: int) -> list[int]:
    """What a stream reads after ``seq``: from the channel, and from the store where the channel cannot tell."""
    kept = channel.after(seq)
    if kept is None:
        return list(range(seq + 1, head + 1))  # the store has everything that was told
    for one in kept:
        assert one.frame == event_frame(event(one.seq)) and one.last is False and one.update is False
    return [one.seq for one in kept]


MOVES = st.one_of(
    st.tuples(st.just("tell"), st.integers(1, 4)),
    st.tuples(st.just("lose"), st.integers(1, 4)),
    st.tuples(st.just("number"), st.integers(1, 4)),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("overlap"), st.integers(0, 5)),
    st.tuples(st.just("advance"), st.integers(-3, 0)),
    st.tuples(st.just("read"), st.integers(0, 2)),
    st.tuples(st.just("join"), st.integers(0, 30)),
    st.tuples(st.just("fill"), st.integers(1, 5)),
)


@given(st.lists(MOVES, max_size=60), st.integers(0, 5))
def test_no_interleaving_makes_a_gap_or_a_repeat(moves: list[tuple[str, int]], before: int) -> None:
    """Against a model: the log is 1..head; three readers follow it from different moments."""
    gaps: list[Channel] = []
    channel, head, told = begun(before, gaps=gaps), before, [events(1, 0)]
    positions = [0, before, before]

    def follow(reader: int) -> None:
        got = read(channel, positions[reader], head)
        assert got == list(range(positions[reader] + 1, positions[reader] + 1 + len(got))), "a gap or a repeat"
        positions[reader] += len(got)

    for verb, number in moves:
        if verb in ("tell", "lose", "number"):
            message = events(head + 1, head + number)
            head += number
            if verb == "tell":
                told.append(message)
                channel.hear(message)
            elif verb == "number":
                channel.advance(head)
        elif verb == "again":  # datagrams are not sent twice, but nothing depends on it
            channel.hear(told[number % len(told)])
        elif verb == "overlap" and head:
            channel.hear(events(max(1, head - number), head))
        elif verb == "advance":  # the poll of the store, perhaps an old one
            channel.advance(max(0, head + number))
        elif verb == "join":  # somebody has read the store, perhaps a while ago
            channel.begin(page(min(number, head), head))
        elif verb == "fill":
            channel.hear(page(channel.newest, min(head, channel.newest + number)).events)
        elif verb == "read":
            follow(number)
        assert channel.newest <= head and (not channel.gap or channel in gaps), "a gap that nobody was told of"
        kept = channel.after(channel.newest - len(channel._kept))
        assert [one.seq for one in kept or []] == [one.seq for one in channel._kept], "what is kept is the newest"
    channel.advance(head)  # the poll mends what the bus has lost
    channel.hear(page(channel.newest, head).events)
    for reader in range(3):
        follow(reader)
    assert positions == [head] * 3 and not channel.gap


def test_a_channel_that_has_not_begun_knows_nothing_and_forgets_nothing() -> None:
    """Between joining and reading the store: what is told then is found in the store, or known to be missing."""
    gaps: list[Channel] = []
    channel = Channel("r", gaps.append, lambda: KEPT_BYTES, lambda _run, after: page(after, 9))
    channel.hear(events(4, 5))
    channel.advance(5)
    assert channel.after(0) is None and channel.after(9) is None and not channel.gap and gaps == []
    channel.begin(page(0, 3))  # read before 4 was committed
    assert channel.gap and gaps == [channel] and channel.newest == 3
    channel.hear(events(4, 5))
    assert not channel.gap and read(channel, 0, 5) == [1, 2, 3, 4, 5]


def test_who_joins_late_finds_in_memory_what_somebody_has_read_from_the_store() -> None:
    channel = begun(20)
    assert channel.after(0) is None
    channel.begin(page(5, 20))
    assert channel.after(4) is None and read(channel, 5, 20) == list(range(6, 21))
    channel.hear(events(21, 22))
    channel.begin(page(0, 20))  # an old one: there is more by now
    assert read(channel, 5, 22) == list(range(6, 23))
    channel.begin(page(0, 22))
    assert read(channel, 0, 22) == list(range(1, 23)) and channel.after(0) is not None


def test_a_part_of_what_is_missing_is_not_taken_for_all_of_it() -> None:
    channel = begun(20)
    channel.begin(Page("r", OWNER, page(0, 10).rows, 20, False))
    assert channel.after(0) is None and channel.after(20) == []


def test_a_reader_far_behind_is_sent_to_the_store() -> None:
    channel = begun()
    for seq in range(1, KEPT_EVENTS + 101):
        channel.hear([event(seq)])
    assert channel.after(99) is None
    assert [one.seq for one in channel.after(100) or []] == list(range(101, KEPT_EVENTS + 101))


def test_a_channel_keeps_a_bounded_number_of_bytes() -> None:
    channel = begun()
    for seq in range(1, 30):
        channel.hear([event(seq, size=60_000)])
    kept = channel.after(29 - KEPT_BYTES // 61_000) or []
    assert kept and sum(len(one.frame) for one in kept) <= KEPT_BYTES
    assert channel.after(0) is None


def test_an_event_that_is_larger_than_a_channel_s_share_is_read_from_the_store() -> None:
    channel = begun(kept_bytes=100)
    channel.hear([event(1, size=1000)])
    assert channel.after(0) is None and channel.after(1) == []
    channel.hear([event(2, size=1)])
    assert channel.newest == 2


def test_a_head_without_events_is_a_gap_until_they_have_come() -> None:
    gaps: list[Channel] = []
    channel = begun(gaps=gaps)
    assert channel.after(0) == []
    channel.advance(3)
    assert channel.gap and gaps == [channel] and channel.after(0) == [] and channel.after(9) == []
    channel.hear(events(1, 3))
    assert not channel.gap and read(channel, 0, 3) == [1, 2, 3]


def test_what_comes_behind_a_gap_waits_for_what_is_missing() -> None:
    channel = begun()
    channel.hear(events(3, 4))
    channel.advance(4)
    assert channel.newest == 0 and channel.gap
    channel.hear(events(1, 4))
    assert read(channel, 0, 4) == [1, 2, 3, 4]


def test_the_last_event_is_marked() -> None:
    channel = begun()
    channel.hear([event(1), event(2, last=True)])
    assert [one.last for one in channel.after(0) or []] == [False, True] and channel.is_end(2)
    ended = Channel("r", print, lambda: KEPT_BYTES, lambda _run, after: page(after, 2))
    ended.begin(page(0, 2, ended=True))
    assert [one.last for one in ended.after(0) or []] == [False, True] and ended.is_end(2)


def test_a_frame_is_encoded_once_for_all_readers() -> None:
    channel = begun()
    channel.hear([event(1)])
    first, second = channel.after(0) or [], channel.after(0) or []
    assert first[0].frame is second[0].frame


def test_a_wait_ends_with_news_with_a_wake_and_with_the_time() -> None:
    channel = begun()
    channel.wait(0, 0.01)
    for stir in (lambda: channel.hear(events(1, 5)), channel.wake):
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
    channel, head, failures = begun(), 20_000, []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def follow() -> None:
        position = 0
        try:
            while position < head:
                for one in channel.after(position) or []:
                    assert one.seq == position + 1, f"{one.seq} after {position}"
                    position = one.seq
                if channel.after(position) is None:
                    position = max(position, channel.newest - 100)  # as if it had read the store
        except (AssertionError, IndexError) as error:
            failures.append(repr(error))

    readers = [threading.Thread(target=follow) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seq in range(1, head + 1):
        channel.hear([event(seq)])
    for reader in readers:
        reader.join(30)
    sys.setswitchinterval(interval)
    assert failures == []


# The feed with a real bus and a real store.


@pytest.fixture
def feed(store: Store, tmp_path: Path) -> Iterator[Feed]:
    """A feed that hears the bus."""
    opened = Feed(store, Ear(tmp_path / "bus", "web-1", selective=True))
    yield opened
    opened.close()


@pytest.fixture
def bus(tmp_path: Path, feed: Feed) -> Iterator[Bus]:
    """The sending side."""
    opened = Bus(tmp_path / "bus")
    yield opened
    opened.close()


def begin(channel: Channel, store: Store, after: int) -> None:
    """Read the store as a stream does that has joined."""
    channel.begin(store.events_after(channel.run, after))


def test_what_is_told_on_the_bus_is_in_the_channel(feed: Feed, bus: Bus, store: Store) -> None:
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        begin(channel, store, 2)
        bus.tell(store.append([line(claim, "heard")]))
        channel.wait(2, 5)
        assert [one.seq for one in channel.after(2) or []] == [3]


def test_what_the_bus_has_lost_is_found_in_the_store(feed: Feed, store: Store) -> None:
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        begin(channel, store, 2)
        store.append([line(claim), completed(claim)])
        channel.wait(2, 10)
        wait_for(lambda: channel.newest == 4, 1)
        assert [(one.seq, one.last) for one in channel.after(2) or []] == [(3, False), (4, True)]


@pytest.mark.parametrize("lost", [1, 3 * PAGE_EVENTS + 7])
def test_a_gap_is_filled_at_once_and_not_at_the_next_poll(feed: Feed, bus: Bus, store: Store, lost: int) -> None:
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        begin(channel, store, 2)
        store.append([line(claim) for _ in range(lost)])
        bus.tell(store.append([line(claim)]))
        wait_for(lambda: channel.newest == lost + 3, 0.8, "the gap to be filled")
        assert not channel.gap


def test_what_is_told_between_joining_and_reading_the_store_is_not_lost(feed: Feed, bus: Bus, store: Store) -> None:
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        page = store.events_after(claim.run, 2)
        bus.tell(store.append([line(claim)]))
        wait_for(lambda: channel.heard_at > 0)
        channel.begin(page)
        wait_for(lambda: channel.newest == 3, 0.8, "what was told too early")


def test_a_channel_lives_as_long_as_somebody_reads_it(feed: Feed) -> None:
    first, second = feed.join("r"), feed.join("r")
    other = feed.join("s")
    assert first is second and other is not first and feed.streams == 3
    feed.leave(first)
    assert feed.join("r") is first
    for _ in range(2):
        feed.leave(first)
    feed.leave(other)
    assert feed.streams == 0 and feed.join("r") is not first


def test_a_worker_is_told_only_of_runs_that_somebody_reads(feed: Feed, bus: Bus, store: Store) -> None:
    claim, stranger = claimed(store), claimed(store)
    heard: list[str] = []
    tell, feed._tell = feed._tell, lambda told, heads: (heard.extend(one.run for one in told), tell(told, heads))  # type: ignore[method-assign]
    with feed.channel(claim.run), feed.channel(claim.run) as channel:
        begin(channel, store, 2)
        bus.tell(store.append([line(stranger), line(claim), line(stranger)]))
        wait_for(lambda: channel.newest == 3, 0.8)
    bus.tell(store.append([line(claim)]))
    with feed.channel(stranger.run) as channel:
        begin(channel, store, 4)
        bus.tell(store.append([line(stranger)]))
        wait_for(lambda: channel.newest == 5, 0.8)
    assert heard == [claim.run, stranger.run]


def test_readers_may_leave_after_the_feed_was_closed(store: Store, tmp_path: Path) -> None:
    """A process that ends has streams open: their slots and what else they hold is given back behind this."""
    closed = Feed(store, Ear(tmp_path / "bus", "web-9", selective=True))
    channel = closed.join("r")
    closed.close()
    closed.leave(channel)


def test_a_message_that_makes_no_sense_does_not_end_the_hearing(feed: Feed, bus: Bus, store: Store) -> None:
    """At an upgrade the old release's runner still tells the new one's workers of its runs."""
    claim = claimed(store)
    with feed.channel(claim.run) as channel, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        begin(channel, store, 2)
        other.sendto(b"one day a line may have another form\n", str(tmp_ear(feed)))
        time.sleep(0.1)
        bus.tell(store.append([line(claim)]))
        wait_for(lambda: channel.newest == 3, 0.5, "live events after nonsense")


def tmp_ear(feed: Feed) -> Path:
    """Where a feed hears."""
    return feed._ear.path


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
            kept = channel.after(len(seen))
            if kept is None:
                found = store.events_after(claim.run, len(seen))
                seen.extend(one.seq for one in found.events)
                ended = bool(found.events) and found.events[-1].last
            elif kept:
                seen.extend(one.seq for one in kept)
                ended = kept[-1].last
            else:
                channel.wait(len(seen), 1)

    with feed.channel(claim.run) as channel:
        channel.begin(page := store.events_after(claim.run, 0))
        seen.extend(found.seq for found in page.events)
        reader = threading.Thread(target=stream, args=(channel,))
        reader.start()
        for size in batches:
            bus.tell(store.append([line(claim) for _ in range(size)]))
        bus.tell(store.append([completed(claim)]))
        reader.join(20)
    assert seen == list(range(1, sum(batches) + 4)) and store.run(claim.run, OWNER).ended


def test_an_event_that_comes_while_a_stream_opens_is_not_skipped(feed: Feed, store: Store) -> None:
    """``flask run`` has real threads: between two looks at the channel there may be more in it."""
    claim = claimed(store)
    with feed.channel(claim.run) as channel:
        channel.begin(store.events_after(claim.run, 0))
        reader = Reader(store, feed, claim.run, OWNER)
        after = channel.after

        def interrupted(seq: int) -> list[Kept] | None:
            found = after(seq)
            channel.after = after  # type: ignore[method-assign]
            channel.hear(store.append([line(claim)]))
            return found

        channel.after = interrupted  # type: ignore[method-assign]
        said = reader.open(Cursor(2, given=True)).said + reader.news()
        assert f"id: {claim.run}-3\n".encode() in said
        reader.close()
