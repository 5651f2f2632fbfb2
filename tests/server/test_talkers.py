"""An unmodified function speaks the same through the real server, in a thread of the runner and in a child process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, numbered, updates, wait_for


def lines(server: Server, run: str) -> list[tuple[str, str]]:
    """The levels and lines of a run's log."""
    return [(data["level"], data["message"]) for data in numbered(server.events(run)) if "level" in data]


def without_places(text: str) -> str:
    """A line without the folders of a traceback or a warning."""
    return re.sub(r"/\S+/(\w+\.py)", r"\1", text)


def converse(server: Server, job: str, name: str) -> list[tuple[str, str]]:
    """The log of a run that has conversed to its end."""
    run = server.launch(job, name=name)
    assert server.wait_ended(run)["status"] == "completed", lines(server, run)
    return [(level, without_places(text)) for level, text in lines(server, run)]


def test_the_same_function_says_the_same_in_both_lanes(server: Server) -> None:
    said = converse(server, "converse_in_thread", "anna")
    assert [(level, text.splitlines()[0]) for level, text in said] == [
        ("info", "anna begins"),
        ("info", "anna on stderr"),
        ("info", "anna logs"),
        ("warning", "anna is worried"),
        ("warning", "talkers.py:27: UserWarning: anna warns"),
        ("error", "anna failed"),
        ("info", "anna in a thread"),
        ("info", "anna in a pool"),
        ("info", "anna in bytes: ü"),
        ("info", "anna ends"),
    ]
    assert "ValueError: anna stumbled" in said[5][1]
    assert converse(server, "converse_in_child", "anna") == said
    assert converse(server, "converse_in_thread", "anna") == said, "a second run in the same process"
    assert "anna" not in server.log(), "what a run says is not the server's"


@pytest.mark.parametrize("job", ["count_in_thread", "count_in_child"])
def test_a_bar_moves_the_run_s_while_it_goes_on(server: Server, tmp_path: Path, job: str) -> None:
    run = server.launch(job, name="Encoding", gate=str(tmp_path / "gate"))

    def there() -> dict[str, Any] | None:
        found = server.run(run)
        return found if found["progress"] == 50 and "7/10" in (found["message"] or "") else None

    shown = wait_for(there)
    assert re.fullmatch(r"Encoding: 2/4 \[.+/it\]|Encoding: 2/4 \[.+it/s\] › part: 7/10 \[.+\]", shown["message"])
    (tmp_path / "gate").touch()
    assert server.wait_ended(run)["status"] == "completed"
    told = [update["message"] for update in updates(server.events(run))]
    assert any(re.match(r"Encoding: 4/4 \[", message) for message in told if message)
    assert lines(server, run) == []


@pytest.mark.parametrize("how", ["print", "log", "count"])
@pytest.mark.parametrize("job", ["go_on_in_thread", "go_on_in_child"])
def test_a_run_that_only_prints_logs_or_counts_can_be_cancelled(server: Server, job: str, how: str) -> None:
    run = server.launch(job, how=how)
    wait_for(lambda: server.run(run)["cursor"] > 3)
    server.cancel(run)
    found = server.wait_ended(run)
    assert found["error"] == {"code": "cancelled", "message": "The run was cancelled."}


def test_runs_at_once_in_one_runner_keep_their_words_apart(server: Server) -> None:
    names = [f"speaker{number}" for number in range(6)]
    runs = {name: server.launch("converse_in_thread", name=name) for name in names}
    for name, run in runs.items():
        assert server.wait_ended(run)["status"] == "completed"
        said = lines(server, run)
        assert len(said) == 10 and all(name in text for _, text in said)


def test_flask_run_tells_runs_and_server_apart(tmp_path: Path) -> None:
    """The runner is inside the server there, and its requests' log lines go on."""
    server = Server(tmp_path / "data", workers=1)
    server.start(("-m", "flask", "--app", "app", "run", "--port", str(server.port)))
    try:
        assert converse(server, "converse_in_thread", "anna") == converse(server, "converse_in_child", "anna")
        assert "Running on" in server.log() and '"GET /readyz HTTP/1.1" 200' in server.log()
        assert "anna" not in server.log()
    finally:
        server.stop()
