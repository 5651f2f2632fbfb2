"""Whose turn it is, at times that the tests make up."""

from __future__ import annotations

from jobs.library.rows.turns import Turns


def all_at(turns: Turns[str], now: float) -> list[str]:
    """What has its turn at that time."""
    found = []
    while (item := turns.take(now)) is not None:
        found.append(item)
    return found


def test_hosts_take_turns() -> None:
    """However much waits for the first, the others come between."""
    turns = Turns[str](100, 50, 0.0)
    for item in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        turns.add(item, item[0])
    assert all_at(turns, 0.0) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    assert turns.waiting == 0 and turns.wait_s(0.0) is None


def test_a_gap_is_left_between_two_turns_of_a_host() -> None:
    """Each host has its own; a turn that comes a little late does not delay all that follow."""
    turns = Turns[str](100, 50, 1.0)
    for item in ("a1", "a2", "a3", "b1"):
        turns.add(item, item[0])
    assert all_at(turns, 10.0) == ["a1", "b1"]
    assert turns.wait_s(10.25) == 0.75
    assert all_at(turns, 10.9) == []
    assert all_at(turns, 11.3) == ["a2"]
    assert all_at(turns, 11.9) == [] and all_at(turns, 12.0) == ["a3"]


def test_a_gap_outlives_the_last_request() -> None:
    """A host that is idle for a moment is not asked sooner, but forgotten when the gap is over."""
    turns = Turns[str](100, 50, 1.0)
    turns.add("a1", "a")
    assert all_at(turns, 10.0) == ["a1"]
    turns.come_back("a", 10.1)
    turns.add("a2", "a")
    assert all_at(turns, 10.5) == [] and all_at(turns, 11.0) == ["a2"]
    turns.come_back("a", 11.1)
    assert all_at(turns, 12.0) == [] and not turns._hosts


def test_one_host_may_have_every_place_only_while_it_is_alone() -> None:
    """Until that is certain, and with others beside it, one that does not answer holds half of the places."""
    turns = Turns[str](8, 4, 0.0)
    for number in range(20):
        turns.add(f"slow{number}", "slow")
    assert len(all_at(turns, 0.0)) == 4
    turns.complete = True
    assert len(all_at(turns, 0.0)) == 4
    turns = Turns[str](8, 4, 0.0)
    for number in range(20):
        turns.add(f"slow{number}", "slow")
        turns.add(f"fast{number}", "fast")
    taken = all_at(turns, 0.0)
    assert sum(item.startswith("slow") for item in taken) == 4
    turns.come_back("fast", 0.0)
    assert [item[:4] for item in all_at(turns, 0.0)] == ["fast"]
    turns.come_back("slow", 0.0)
    assert [item[:4] for item in all_at(turns, 0.0)] == ["slow"]


def test_what_comes_later_goes_first_then() -> None:
    """A row that is tried again is not put behind ten thousand others."""
    turns = Turns[str](100, 50, 0.0)
    turns.add_later("again", "a", 5.0)
    turns.add("a1", "a")
    assert all_at(turns, 4.9) == ["a1"] and turns.waiting == 1 and turns.wait_s(4.9) is not None
    turns.add("a2", "a")
    assert all_at(turns, 5.0) == ["again", "a2"]
    turns = Turns[str](100, 50, 1.0)
    for item in ("a1", "a2", "a3"):
        turns.add(item, "a")
    assert all_at(turns, 0.0) == ["a1"]
    turns.add_later("again", "a", 0.5)
    assert all_at(turns, 1.0) == ["again"] and all_at(turns, 2.0) == ["a2"]


def test_a_pause_holds_all_that_waits_for_a_host() -> None:
    """Also what comes during the pause, when nothing is under way any more; other hosts go on."""
    turns = Turns[str](100, 50, 0.0)
    for item in ("a1", "a2", "b1"):
        turns.add(item, item[0])
    assert turns.take(0.0) == "a1"
    turns.pause("a", 5.0)
    turns.come_back("a", 0.1)
    assert all_at(turns, 1.0) == ["b1"]
    assert turns.wait_s(1.0) == 4.0
    assert all_at(turns, 5.0) == ["a2"]
    turns.pause("a", 9.0)
    turns.come_back("a", 5.1)
    turns.add("a3", "a")
    assert all_at(turns, 8.9) == [] and all_at(turns, 9.0) == ["a3"]


def test_hosts_are_forgotten() -> None:
    """A million hosts of one row each leave nothing behind."""
    for gap_s in (0.0, 0.01):
        turns = Turns[str](8, 4, gap_s)
        for number in range(1000):
            now = number * 0.02
            turns.add(f"row{number}", f"host{number}")
            assert turns.take(now) == f"row{number}"
            turns.come_back(f"host{number}", now)
        turns.take(100.0)
        assert not turns._hosts and not turns._ready and not turns._resting
