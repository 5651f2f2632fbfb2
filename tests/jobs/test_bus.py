"""Wake-ups between processes: unix datagrams that may be lost, and numbers that are not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.bus import COARSE_NS, MAX_DATAGRAM_BYTES, SLOTS, Bus, Ear, News, messages, read
from jobs.events import MAX_BODY_BYTES, Event
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


@pytest.fixture
def choosy(tmp_path: Path) -> Iterator[Ear]:
    """An ear that says what it watches."""
    bound = Ear(tmp_path / "bus", "web-2", selective=True)
    yield bound
    bound.close()


def all_heard(ear: Ear) -> list[News]:
    """Every message that waits in the socket."""
    heard = []
    while (news := ear.hear(0.05)) is not None:
        heard.append(news)
    return heard


def numbers(ear: Ear) -> list[tuple[str, int]]:
    """The run and number of every event that waits in the socket."""
    return [(event.run, event.seq) for news in all_heard(ear) for event in news.events]


def test_events_arrive_as_they_were_told(bus: Bus, ear: Ear) -> None:
    events = [*events_of("a", 1, 3), *events_of("b", 7, 7, '{"text":"\\u00fc\\ud800"}')]
    events.append(Event("b", 8, "update", 5, '{"status":"completed"}', last=True))
    bus.tell(events)
    assert all_heard(ear) == [News(tuple(events))], "several runs, and one message"


def test_every_ear_hears(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    bus.tell(events_of("a", 1, 1))
    late = Ear(tmp_path / "bus", "web-2")
    bus.tell(events_of("a", 2, 2))
    assert numbers(ear) == [("a", 1), ("a", 2)]
    assert numbers(late) == [("a", 2)]
    late.close()
    bus.tell(events_of("a", 3, 3))
    assert numbers(ear) == [("a", 3)]


def test_a_nudge_is_for_runners_and_events_are_for_web_workers(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    runner = Ear(tmp_path / "bus", "runner-1")
    bus.nudge()
    bus.tell(events_of("a", 1, 1))
    assert all_heard(runner) == [News()] and numbers(ear) == [("a", 1)]
    runner.close()


def test_no_news_in_time_is_none(ear: Ear) -> None:
    assert ear.hear(0.01) is None and ear.hear_waiting() is None


def test_what_is_there_is_heard_without_waiting(bus: Bus, ear: Ear) -> None:
    bus.tell(events_of("a", 1, 1))
    bus.tell(events_of("a", 2, 2))
    assert [ear.hear_waiting(), ear.hear_waiting(), ear.hear_waiting()] == [
        News(tuple(events_of("a", 1, 1))),
        News(tuple(events_of("a", 2, 2))),
        None,
    ]
    assert ear.hear(0.01) is None, "the ear can wait again"


@pytest.mark.parametrize("size", [1000, 20_000, MAX_BODY_BYTES - 11])
def test_events_too_large_for_one_message_come_in_several(bus: Bus, ear: Ear, size: int) -> None:
    events = events_of("a", 1, 5, '{"text":"' + "x" * size + '"}')
    bus.tell(events)
    heard = all_heard(ear)
    assert [event for news in heard for event in news.events] == events[: len(numbers_in(heard))]
    while bus.flush():  # four of the longest fill a sender's buffer; the last number is told when there is room
        heard += all_heard(ear)
    heard += all_heard(ear)
    assert max([*numbers_in(heard), *[news.heads.get("a", 0) for news in heard]]) == 5


def numbers_in(heard: list[News]) -> list[int]:
    """The numbers of all events in these messages."""
    return [event.seq for news in heard for event in news.events]


def test_what_a_full_socket_has_no_room_for_is_told_later_by_its_number(bus: Bus, ear: Ear) -> None:
    for seq in range(1, 101):
        bus.tell(events_of("a", seq, seq))
        bus.tell(events_of("b", seq, seq))
    assert bus.flush() is True
    heads = {"a": 0, "b": 0}

    def drained() -> bool:
        for news in all_heard(ear):
            for run, head in [*((event.run, event.seq) for event in news.events), *news.heads.items()]:
                heads[run] = max(heads[run], head)
        return not bus.flush() and heads == {"a": 100, "b": 100}

    wait_for(drained, 5)
    assert all_heard(ear) == [] and bus.flush() is False


def test_owed_numbers_of_very_many_runs_come_in_messages_that_fit(bus: Bus, ear: Ear) -> None:
    while not bus.flush():
        bus.tell(events_of("full", 1, 1))
    runs = [f"{number:026}" for number in range(2500)]
    for run in runs:
        bus.tell(events_of(run, 10**12, 10**12))
    heads: dict[str, int] = {}

    def drained() -> bool:
        for news in all_heard(ear):
            heads.update(news.heads)
        return not bus.flush() and heads.keys() >= set(runs)

    wait_for(drained, 10)
    assert set(heads.values()) <= {1, 10**12}


def test_a_sender_never_waits_for_a_reader_that_sleeps(bus: Bus, ear: Ear) -> None:
    in_threads(4, lambda thread: [bus.tell(events_of(f"{thread}", seq, seq)) for seq in range(2000)])
    assert bus.flush() is True


def test_an_ear_that_sleeps_takes_no_room_from_others(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    """What is unread counts against its sender: each ear has a sending socket of its own."""
    asleep = [Ear(tmp_path / "bus", f"web-{number}") for number in range(10, 14)]
    big = '{"text":"' + "x" * 50_000 + '"}'
    for seq in range(1, 31):
        bus.tell(events_of("a", seq, seq, big))
        assert numbers(ear) == [("a", seq)]
    for one in asleep:
        one.close()


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
    assert numbers(ear) == [("a", 1)]


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
    assert numbers(second) == [("a", 1)]
    second.close()
    assert list((tmp_path / "bus").iterdir()) == []


@pytest.mark.parametrize("selective", [False, True])
def test_a_name_that_is_bound_again_while_the_sender_knows_the_dead_one_hears(
    bus: Bus, tmp_path: Path, selective: bool
) -> None:
    """The number of a dead process is given again: the sender must neither talk to the dead nor go by its table."""
    first = Ear(tmp_path / "bus", "web-1", selective=selective)
    bus.tell(events_of("a", 1, 1))
    time.sleep(2 * COARSE_NS / 1e9)
    bus.tell(events_of("a", 2, 2))
    first.socket.close()  # killed: its files stay
    second = Ear(tmp_path / "bus", "web-1", selective=selective)
    if second.watched is not None:
        second.watched.add("a")
    bus.tell(events_of("a", 3, 3))
    with closing(second):
        assert numbers(second) == [("a", 3)]


def test_what_is_owed_to_a_dead_ear_does_no_harm_to_who_has_its_name_now(bus: Bus, tmp_path: Path) -> None:
    first = Ear(tmp_path / "bus", "web-1", selective=True)
    assert first.watched is not None
    first.watched.add("a")
    for seq in range(100):
        bus.tell(events_of("a", seq, seq))
    first.socket.close()
    second = Ear(tmp_path / "bus", "web-1", selective=True)
    assert second.watched is not None
    second.watched.add("b")
    with closing(second):
        bus.flush()
        assert second.path.exists(), "the new one's socket was taken for the dead one's"
        bus.tell([*events_of("a", 100, 100), *events_of("b", 1, 1)])
        assert numbers(second) == [("b", 1)]


# What an ear watches.


def test_a_choosy_ear_hears_only_of_what_it_watches(bus: Bus, ear: Ear, choosy: Ear) -> None:
    assert choosy.watched is not None
    told = [*events_of("a", 1, 2), *events_of("b", 1, 1), *events_of("a", 3, 3)]
    bus.tell(told)
    assert all_heard(choosy) == [] and bus.flush() is False, "nor is anything owed to it"
    choosy.watched.add("a")
    bus.tell(told)
    assert numbers(choosy) == [("a", 1), ("a", 2), ("a", 3)]
    choosy.watched.remove("a")
    bus.tell(told)
    assert all_heard(choosy) == [] and len(numbers(ear)) == 12


def test_what_is_watched_twice_is_watched_until_both_have_left(bus: Bus, choosy: Ear) -> None:
    assert choosy.watched is not None
    for _ in range(2):
        choosy.watched.add("a")
    choosy.watched.remove("a")
    bus.tell(events_of("a", 1, 1))
    assert numbers(choosy) == [("a", 1)]
    choosy.watched.remove("a")
    bus.tell(events_of("a", 2, 2))
    assert numbers(choosy) == []


def test_everything_can_be_watched_beside_single_runs(bus: Bus, choosy: Ear) -> None:
    assert choosy.watched is not None
    choosy.watched.add(None)
    choosy.watched.add("a")
    bus.tell([*events_of("a", 1, 1), *events_of("b", 1, 1)])
    assert numbers(choosy) == [("a", 1), ("b", 1)]
    choosy.watched.remove(None)
    bus.tell([*events_of("a", 2, 2), *events_of("b", 2, 2)])
    assert numbers(choosy) == [("a", 2)]


def test_runs_whose_hashes_meet_do_not_hide_each_other(bus: Bus, choosy: Ear) -> None:
    """One byte stands for many runs: who watches one of them may hear of the others, and leaves none behind."""
    assert choosy.watched is not None
    met: dict[int, str] = {}
    for number in range(SLOTS + 1):
        slot = crc32(f"{number}".encode()) % SLOTS
        if slot in met:
            one, other = met[slot], f"{number}"
            break
        met[slot] = f"{number}"
    choosy.watched.add(one)
    choosy.watched.add(other)
    choosy.watched.remove(one)
    bus.tell(events_of(other, 1, 1))
    assert (other, 1) in numbers(choosy)
    choosy.watched.remove(other)
    bus.tell([*events_of(one, 1, 1), *events_of(other, 2, 2)])
    assert numbers(choosy) == []


def test_what_a_choosy_ear_has_no_room_for_is_owed_only_where_it_watches(bus: Bus, choosy: Ear) -> None:
    assert choosy.watched is not None
    choosy.watched.add("a")
    for seq in range(1, 101):
        bus.tell([*events_of("a", seq, seq), *events_of("b", seq, seq)])
    heard: list[News] = []

    def drained() -> bool:
        heard.extend(all_heard(choosy))
        return not bus.flush()

    wait_for(drained, 5)
    heard += all_heard(choosy)
    assert heard[-1].heads == {"a": 100}
    assert {run for news in heard for run in [*news.heads, *(event.run for event in news.events)]} == {"a"}


def test_an_ear_without_a_table_hears_everything(bus: Bus, choosy: Ear) -> None:
    """One of another release may have none; hearing too much does no harm."""
    choosy.path.with_suffix(".watched").unlink()
    bus.tell(events_of("a", 1, 1))
    assert numbers(choosy) == [("a", 1)]


def test_a_sender_in_another_process_sees_at_once_what_is_watched(choosy: Ear, tmp_path: Path) -> None:
    assert choosy.watched is not None
    code = (
        "import sys; from pathlib import Path; from jobs.bus import Bus; from jobs.events import Event\n"
        "bus = Bus(Path(sys.argv[1]))\n"
        "for seq, _ in enumerate(sys.stdin, 1):\n"
        "    bus.tell([Event('a', seq, 'log', 1, '{}', False)]); print(seq, flush=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bus")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdin is not None and sender.stdout is not None
        for seq in range(1, 101):
            (choosy.watched.add if seq % 2 else choosy.watched.remove)("a")
            sender.stdin.write("\n")
            sender.stdin.flush()
            assert sender.stdout.readline() == f"{seq}\n"
            assert choosy.hear_waiting() == (News((Event("a", seq, "log", 1, "{}", False),)) if seq % 2 else None)
        sender.stdin.close()


def test_a_sender_survives_the_table_of_a_worker_that_is_killed(bus: Bus, ear: Ear, tmp_path: Path) -> None:
    """The map of a file that shrank would end the process with SIGBUS."""
    code = (
        "import os, sys, time; from pathlib import Path; from jobs.bus import Ear\n"
        "ear = Ear(Path(sys.argv[1]), 'web-9', selective=True); ear.watched.add('a'); print(1, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bus")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline()
        bus.tell(events_of("a", 1, 1))
        worker.kill()
    for seq in range(2, 20):
        bus.tell(events_of("a", seq, seq))
    heard = numbers(ear)
    assert len(heard) >= 10 and heard == [("a", seq) for seq in range(1, len(heard) + 1)]
    assert not list((tmp_path / "bus").glob("web-9*"))


def test_an_ear_leaves_no_file_and_a_sender_no_socket(bus: Bus, tmp_path: Path) -> None:
    bus.tell(events_of("a", 1, 1))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        passing = Ear(tmp_path / "bus", f"web-{number}", selective=True)
        bus.tell(events_of("a", 1, 1))
        passing.close()
    bus.tell(events_of("a", 1, 1))
    assert list((tmp_path / "bus").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_ear_that_is_closed_can_be_told_of_what_is_no_longer_watched(tmp_path: Path) -> None:
    """A server that ends has streams open whose readers leave after the ear has closed."""
    ear = Ear(tmp_path / "bus", "web-1", selective=True)
    assert ear.watched is not None
    ear.watched.add("a")
    ear.close()
    ear.watched.remove("a")


@pytest.mark.parametrize("length", [90, 108, 150, 230])
def test_a_long_path_to_the_data_folder_works(tmp_path: Path, length: int) -> None:
    """A socket's address has 108 bytes on Linux, a path may have 4096."""
    folder = tmp_path / ("d" * (length - len(str(tmp_path)) - 1) if length > len(str(tmp_path)) + 1 else "d")
    bus, ear = Bus(folder), Ear(folder, "web-1")
    bus.tell(events_of("a", 1, 1))
    assert numbers(ear) == [("a", 1)]
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
    """Bodies full of quotes do not grow: they are not quoted again."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    (tmp_path / "bus").mkdir()
    receiver.bind(os.path.relpath(tmp_path / "bus" / "web-1.sock"))
    receiver.setblocking(False)
    bus = Bus(tmp_path / "bus")
    for count in range(1, 200, 3):
        bus.tell(events_of("a", 1, count, '{"text":"' + '\\"' * 500 + '"}'))
        told = 0
        while told < count:
            message = receiver.recv(1 << 20)
            assert len(message) <= MAX_DATAGRAM_BYTES
            told = read(message).events[-1].seq
    receiver.close()
    bus.close()


def test_the_longest_event_fits_a_message() -> None:
    longest = Event("0" * 40, 2**53, "output", 4_000_000_000_000, '{"text":"' + "x" * (MAX_BODY_BYTES - 11) + '"}')
    (message,) = messages([longest])
    assert len(message) <= MAX_DATAGRAM_BYTES and read(message).events == (longest,)
    assert messages([longest] * 3) == [message] * 3 and messages([]) == []
