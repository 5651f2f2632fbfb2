"""How many streams there may be, of all and of each."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.workbench import in_threads
from web.slots import Slots


def test_each_has_its_own_limit_and_all_have_one() -> None:
    slots = Slots(5, 3)
    assert [slots.take("a") for _ in range(3)] == [None] * 3
    assert slots.take("a") == "You have 3 streams open already. Close some of them."
    assert [slots.take("b") for _ in range(2)] == [None] * 2
    assert slots.take("b") == slots.take("c") == "This server has as many streams open as it may. Try again later."
    assert slots.taken == 5


def test_what_was_refused_took_nothing_and_what_is_given_back_can_be_taken() -> None:
    slots = Slots(2, 1)
    assert slots.take("a") is None
    for _ in range(10):
        assert slots.take("a") is not None
    slots.give_back("a")
    assert slots.taken == 0 and slots.take("a") is None and slots.take("b") is None


@pytest.mark.parametrize(("most", "each"), [(0, 5), (5, 0)])
def test_none_at_all_may_be_allowed(most: int, each: int) -> None:
    assert Slots(most, each).take("a") is not None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(0, 6), st.integers(0, 4))
def test_never_more_than_allowed_and_never_refused_without_need(
    moves: list[tuple[str, bool]], most: int, each: int
) -> None:
    slots = Slots(most, each)
    open_: Counter[str] = Counter()
    for who, takes in moves:
        if takes:
            allowed = open_.total() < most and open_[who] < each
            assert (slots.take(who) is None) == allowed
            open_[who] += allowed
        elif open_[who]:
            slots.give_back(who)
            open_[who] -= 1
        assert slots.taken == open_.total()
    assert set(slots._taken) == set(+open_), "who has none open is forgotten"


def test_threads_take_and_give_back_at_once() -> None:
    slots = Slots(20, 7)

    def work(number: int) -> None:
        who = "abc"[number % 3]
        dice = random.Random(number)
        held = 0
        for _ in range(3000):
            if held and dice.random() < 0.5:
                slots.give_back(who)
                held -= 1
            elif slots.take(who) is None:
                held += 1
            assert slots.taken <= 20
        for _ in range(held):
            slots.give_back(who)

    in_threads(6, work)
    assert slots.taken == 0 and slots.take("a") is None
