"""A checkpoint is a dict that nothing but its run's completion ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jobs.checkpoint import PAGE, Checkpoint
from tests.harness import ROOT

KEYS = st.integers(-(2**63) + 1, 2**63 - 1) | st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a checkpoint lies, in a folder that does not exist yet."""
    return tmp_path / "checkpoints" / "rows.db"


def test_what_was_put_is_found_by_the_next_to_open_it(path: Path) -> None:
    first = Checkpoint(path)
    first[1] = {"status": 200}
    first.update({"one": [1, None], 2: "two"})
    first.close()
    again = Checkpoint(path)
    assert 1 in again and "one" in again and 3 not in again
    assert (again[1], again["one"], again.get(3, "none"), len(again)) == ({"status": 200}, [1, None], "none", 3)
    del again[1]
    assert list(again) == [2, "one"]


def test_a_number_is_not_its_text(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.update({1: "number", "1": "text"})
    assert (checkpoint[1], checkpoint["1"], len(checkpoint)) == ("number", "text", 2)


def test_keys_come_in_order_numbers_before_texts(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.update(dict.fromkeys([10, 9, "b", -1, "a", 2**62], None))
    assert list(checkpoint) == [-1, 9, 10, 2**62, "a", "b"]


@pytest.mark.parametrize("key", [1.5, None, True, b"x", (1,), 2**63])
def test_other_keys_are_refused(path: Path, key: Any) -> None:
    with pytest.raises(TypeError):
        Checkpoint(path)[key] = 1


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
def test_a_value_that_is_no_json_is_refused_and_takes_its_batch_with_it(path: Path, value: Any) -> None:
    checkpoint = Checkpoint(path)
    with pytest.raises((TypeError, ValueError)):
        checkpoint.update({1: "good", 2: value})
    assert len(checkpoint) == 0


def test_what_is_not_there_is_a_key_error(path: Path) -> None:
    checkpoint = Checkpoint(path)
    with pytest.raises(KeyError):
        checkpoint["x"]
    with pytest.raises(KeyError):
        del checkpoint["x"]


def test_a_reader_may_write_while_it_reads(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.update({n: n for n in range(3 * PAGE)})
    for key, value in checkpoint.items():
        checkpoint[key] = value + 1
    assert sum(value for _, value in checkpoint.items()) == sum(range(3 * PAGE)) + 3 * PAGE


def test_threads_may_share_it(path: Path) -> None:
    checkpoint = Checkpoint(path)
    threads = [
        threading.Thread(target=lambda n=n: [checkpoint.update({n * 1000 + i: i}) for i in range(200)])  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(checkpoint) == 1600


def test_nothing_that_was_put_is_lost_to_kill_9(path: Path) -> None:
    """A process puts numbers and says each when it is kept; it is killed in the middle of it."""
    code = (
        "import sys, itertools; from pathlib import Path; from jobs.checkpoint import Checkpoint\n"
        "checkpoint = Checkpoint(Path(sys.argv[1]))\n"
        "for n in itertools.count():\n    checkpoint[n] = n\n    print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(500)]
        os.kill(process.pid, signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
    kept = Checkpoint(path)
    assert list(kept)[: len(said)] == said == list(range(len(said)))
    assert len(kept) - len(said) in (0, 1)


def test_its_memory_does_not_grow_with_what_it_holds(path: Path) -> None:
    checkpoint = Checkpoint(path)
    for start in range(0, 200_000, 10_000):
        checkpoint.update({n: "a value of some length" for n in range(start, start + 10_000)})
    tracemalloc.start()
    assert sum(1 for _ in checkpoint.items()) == 200_000 and 123_456 in checkpoint
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


class AgainstADict(RuleBasedStateMachine):
    """Whatever is done to it, closing and opening again included, it holds what a dict would."""

    folder: Path
    number = 0

    def __init__(self) -> None:
        super().__init__()
        AgainstADict.number += 1
        self.path = self.folder / f"{AgainstADict.number}.db"
        self.checkpoint = Checkpoint(self.path)
        self.model: dict[int | str, Any] = {}

    @rule(items=st.dictionaries(KEYS, VALUES, max_size=5))
    def put(self, items: dict[int | str, Any]) -> None:
        self.checkpoint.update(items)
        self.model.update(items)

    @rule(key=KEYS)
    def take(self, key: int | str) -> None:
        assert self.checkpoint.pop(key, "none") == self.model.pop(key, "none")

    @rule()
    def open_again(self) -> None:
        self.checkpoint.close()
        self.checkpoint = Checkpoint(self.path)

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.checkpoint) == len(self.model)
        assert {key: json.dumps(value) for key, value in self.checkpoint.items()} == {
            key: json.dumps(value) for key, value in self.model.items()
        }

    def teardown(self) -> None:
        self.checkpoint.close()


def test_it_holds_what_a_dict_would(tmp_path: Path) -> None:
    AgainstADict.folder = tmp_path
    case = AgainstADict.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
    case().runTest()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=KEYS, value=VALUES)
def test_every_key_and_value_comes_back(path: Path, key: int | str, value: Any) -> None:
    checkpoint = Checkpoint(path)
    checkpoint[key] = value
    assert key in checkpoint and json.dumps(checkpoint[key]) == json.dumps(value)
    checkpoint.close()
