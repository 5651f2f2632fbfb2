"""What a run has finished is finished: attempts, restarts and runs that go on repeat none of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.harness import Server, numbered, wait_for

SUM = sum(n * n for n in range(20))


def written(journal: Path) -> list[int]:
    """The numbers that a job has worked off, in order, repeated ones repeated."""
    return [int(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def begun(server: Server, tmp_path: Path) -> tuple[str, Path, Path]:
    """A run that stands in its middle, its journal, and the gate that lets it go on."""
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    run = server.launch("count_on", journal=str(journal), gate=str(gate))
    wait_for(lambda: len(written(journal)) == 10, what="half of the work")
    return run, journal, gate


def test_after_a_kill_the_next_attempt_goes_on(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server()
    run, journal, gate = begun(server, tmp_path)
    os.kill(server.runner_pid(), signal.SIGKILL)
    gate.touch()
    found = server.wait_ended(run)
    assert (found["attempt"], found["result"]) == (2, {"begun_with": 10, "sum": SUM})
    assert written(journal) == list(range(20))


def test_after_a_stop_of_the_server_the_next_start_goes_on(new_server: Callable[..., Server], tmp_path: Path) -> None:
    """The run waits over the stop, with its numbers in order, and is begun again."""
    server = new_server()
    run, journal, gate = begun(server, tmp_path)
    server.stop()
    gate.touch()
    again = Server(server.data).start()
    found = again.wait_ended(run)
    assert (found["attempt"], found["result"]) == (2, {"begun_with": 10, "sum": SUM})
    assert written(journal) == list(range(20))
    numbers = [data["seq"] for data in numbered(again.events(run))]
    assert numbers == list(range(1, len(numbers) + 1))
    again.stop()


def test_run_again_goes_on_after_an_error_and_from_the_start_after_success(server: Server, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    failed = server.launch("count_on", journal=str(journal), fail_at=7)
    assert server.wait_ended(failed)["error"]["message"] == "It failed, as it was told to."
    page = server.http.get(f"/runs/{failed}", headers={"Accept": "text/html"}).text
    assert "Go on where it stopped" in page
    second = server.http.post(f"/api/v1/runs/{failed}/retry").json()["id"]
    assert server.wait_ended(second)["error"]["code"] == "failed"
    assert written(journal) == list(range(7)), "it failed at once, having nothing else to do"
    (server.data / "runs" / second / "checkpoints" / "checkpoint.db").stat()

    done = server.launch("count_on", journal=str(journal), n=5)
    assert server.wait_ended(done)["result"] == {"begun_with": 0, "sum": 30}
    wait_for(lambda: not (server.data / "runs" / done / "checkpoints").exists(), what="the checkpoint to be forgotten")
    assert "Run again" in server.http.get(f"/runs/{done}", headers={"Accept": "text/html"}).text
    repeated = server.http.post(f"/api/v1/runs/{done}/retry").json()["id"]
    assert server.wait_ended(repeated)["result"] == {"begun_with": 0, "sum": 30}


def test_a_cancelled_run_can_go_on(server: Server, tmp_path: Path) -> None:
    run, journal, gate = begun(server, tmp_path)
    server.cancel(run)
    assert server.wait_ended(run)["error"]["code"] == "cancelled"
    gate.touch()
    again = server.http.post(f"/api/v1/runs/{run}/retry").json()["id"]
    assert server.wait_ended(again)["result"] == {"begun_with": 10, "sum": SUM}
    assert written(journal) == list(range(20))


def test_a_job_without_its_settings_says_which(server: Server) -> None:
    """On its card, in the API, and when it is launched: the same sentence."""
    sentence = (
        "Not set up yet: set `HEADWAY_NEEDED_URL` and `HEADWAY_NEEDED_KEY`, then restart."
        " For example `HEADWAY_NEEDED_URL=http://x`."
    )
    described = server.http.get("/api/v1/jobs/needs_settings").json()
    assert (described["setup"], described["available"], described["problem"]) == (sentence, False, None)
    refused = server.http.post("/api/v1/jobs/needs_settings/runs", json={})
    assert (refused.status_code, refused.json()["detail"]) == (409, sentence)
    for address in ("/", "/jobs/needs_settings"):
        page = server.http.get(address, headers={"Accept": "text/html"}).text
        assert "<code>HEADWAY_NEEDED_URL</code> and <code>HEADWAY_NEEDED_KEY</code>" in page


def test_a_job_with_its_settings_is_launched_and_its_secret_stays_one(new_server: Callable[..., Server]) -> None:
    server = new_server(HEADWAY_NEEDED_URL="http://x", HEADWAY_NEEDED_KEY="canary-11")
    assert server.http.get("/api/v1/jobs/needs_settings").json()["available"] is True
    assert server.wait_ended(server.launch("needs_settings"))["result"] == "http://x ***"
    assert "canary-11" not in server.log()
