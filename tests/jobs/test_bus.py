"""Wake-ups between processes: unix datagrams that may be lost, and numbers that are not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bus import MAX_DATAGRAM_BYTES, Bus, Ear, News, read
from jobs.events import Event
from tests.harness import ROOT, wait_for
from tests.jobs.workbench import in_threads


def events_of(run: str, first: int, last: int, body: str = '{"text":"x"}') -> list[Event]:
    """Numbered events of one run."""
    return [Event(run, seq, "log", 1000 + seq, body, last=False) for seq in range(first, last + 1)]


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    """A web worker's ear."""
    bound = Ear(tmp_path / "bus", "web-1")
    yield bound
    bound.close()


def all_heard(ear: Ear) -> list[News]:
    """Every message that waits in the socket."""
    heard = []
    while (news := ear.hear(0.05)) is not None:
        heard.append(news)
    return heard


def test_events_arrive_as_they_were_told(bus: Bus, ear: Ear) -> None:
    events = [*events_of("a", 1, 3), *events_of("b", 7, 7, '{"text":"\\u00fc\\ud800"}')]
    events.append(Event("b", 8, "update", 5, '{"status":"completed"}', last=True))
    bus.tell(events)
    assert all_heard(ear) == [News("a", 3, tuple(events[:3])), News("b", 8, tuple(events[3:]))]


def test_every_ear_hears(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    bus.tell(events_of("a", 1, 1))
    late = Ear(tmp_path / "bus", "web-2")
    bus.tell(events_of("a", 2, 2))
    assert [news.head for news in all_heard(ear)] == [1, 2]
    assert [news.head for news in all_heard(late)] == [2]
    late.close()
    bus.tell(events_of("a", 3, 3))
    assert [news.head for news in all_heard(ear)] == [3]


def test_a_nudge_is_for_runners_and_events_are_for_web_workers(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    runner = Ear(tmp_path / "bus", "runner-1")
    bus.nudge()
    bus.tell(events_of("a", 1, 1))
    assert all_heard(runner) == [News()] and [news.head for news in all_heard(ear)] == [1]
    runner.close()


def test_no_news_in_time_is_none(ear: Ear) -> None:
    assert ear.hear(0.01) is None


@pytest.mark.parametrize("size", [1000, 20_000, 60_000])
def test_events_too_large_for_a_datagram_are_told_by_their_number(bus: Bus, ear: Ear, size: int) -> None:
    events = events_of("a", 1, 5, '{"text":"' + "x" * size + '"}')
    bus.tell(events)
    (news,) = all_heard(ear)
    assert (news.run, news.head) == ("a", 5)
    assert news.events in ((), tuple(events)) and (size > 1000) == (news.events == ())


def test_what_a_full_socket_has_no_room_for_is_told_later(bus: Bus, ear: Ear) -> None:
    for seq in range(1, 101):
        bus.tell(events_of("a", seq, seq))
        bus.tell(events_of("b", seq, seq))
    assert bus.flush() is True
    heads = {"a": 0, "b": 0}

    def drained() -> bool:
        for news in all_heard(ear):
            heads[news.run or ""] = max(heads[news.run or ""], news.head)
        return not bus.flush() and heads == {"a": 100, "b": 100}

    wait_for(drained, 5)
    assert all_heard(ear) == [] and bus.flush() is False


def test_a_sender_never_waits_for_a_reader_that_sleeps(bus: Bus, ear: Ear) -> None:
    in_threads(4, lambda thread: [bus.tell(events_of(f"{thread}", seq, seq)) for seq in range(2000)])
    assert bus.flush() is True


def test_the_ear_of_a_dead_process_is_removed_and_owes_nothing(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from jobs.bus import Ear\n"
        "Ear(Path(sys.argv[1]), 'web-9'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "bus")], check=True, cwd=ROOT)
    dead = tmp_path / "bus" / "web-9.sock"
    assert dead.exists()
    bus.tell(events_of("a", 1, 1))
    assert not dead.exists() and bus.flush() is False
    assert [news.head for news in all_heard(ear)] == [1]


def test_an_ear_that_dies_while_something_is_owed_to_it_is_forgotten(bus: Bus, tmp_path: Path) -> None:
    ear = Ear(tmp_path / "bus", "web-9")
    for seq in range(100):
        bus.tell(events_of("a", seq, seq))
    assert bus.flush() is True
    ear.socket.close()
    assert bus.flush() is False
    assert not ear.path.exists()


def test_an_ear_is_bound_again_where_a_dead_one_left_its_file(bus: Bus, tmp_path: Path) -> None:
    first = Ear(tmp_path / "bus", "web-1")
    first.socket.close()
    second = Ear(tmp_path / "bus", "web-1")
    bus.tell(events_of("a", 1, 1))
    assert [news.head for news in all_heard(second)] == [1]
    second.close()
    assert list((tmp_path / "bus").glob("*.sock")) == []


@pytest.mark.parametrize("length", [90, 108, 150, 230])
def test_a_long_path_to_the_data_folder_works(tmp_path: Path, length: int) -> None:
    """A socket's address has 108 bytes on Linux, a path may have 4096."""
    folder = tmp_path / ("d" * (length - len(str(tmp_path)) - 1) if length > len(str(tmp_path)) + 1 else "d")
    bus, ear = Bus(folder), Ear(folder, "web-1")
    bus.tell(events_of("a", 1, 1))
    assert [news.head for news in all_heard(ear)] == [1]
    assert ear.path.exists()
    ear.close()
    assert not ear.path.exists()
    bus.close()


def test_only_the_owner_may_speak_on_the_bus(bus: Bus, tmp_path: Path) -> None:
    assert (tmp_path / "bus").stat().st_mode & 0o777 == 0o700


RUNS = st.from_regex(r"\A[0-9a-z]{1,26}\Z")
BODIES = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers() | st.booleans(), max_size=4)


@given(told=st.lists(st.tuples(RUNS, BODIES, st.booleans()), min_size=1, max_size=8))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_events_come_out_as_they_went_in(
    bus: Bus, ear: Ear, told: list[tuple[str, dict[str, object], bool]]
) -> None:
    events = [Event(run, seq, "row", seq, json.dumps(body), last) for seq, (run, body, last) in enumerate(told, 1)]
    bus.tell(events)
    assert [event for news in all_heard(ear) for event in news.events] == events


def test_a_message_is_never_longer_than_a_datagram_may_be(tmp_path: Path) -> None:
    """Bodies full of quotes grow when they are quoted again."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    (tmp_path / "bus").mkdir()
    receiver.bind(os.path.relpath(tmp_path / "bus" / "web-1.sock"))
    bus = Bus(tmp_path / "bus")
    for count in range(1, 60):
        bus.tell(events_of("a", 1, count, '{"text":"' + '\\"' * 500 + '"}'))
        message = receiver.recv(1 << 20)
        assert len(message) <= MAX_DATAGRAM_BYTES and read(message).head == count
    receiver.close()
    bus.close()
