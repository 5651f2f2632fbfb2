"""Every run ends once, and says honestly how: cancelled, failed, timed out, crashed."""

from __future__ import annotations

import pytest

from tests.harness import Server, numbered, updates, wait_for


def ended(server: Server, run: str) -> tuple[str, str]:
    """The code and message of a run that failed, checked to be the same in the run, the list and the last event."""
    found = server.wait_ended(run)
    last = updates(server.events(run))[-1]
    assert found["status"] == last["status"] == "error"
    assert found["error"] == last["error"]
    assert found["progress"] == last["progress"] < 100
    assert last["seq"] == found["cursor"]
    assert found["cancelling"] is False
    return found["error"]["code"], found["error"]["message"]


@pytest.mark.parametrize("job", ["hold", "hold_in_child", "deaf"])
def test_cancel_stops_a_run_in_a_thread_and_in_a_child(server: Server, job: str) -> None:
    """202 at once; the run says that it is cancelling, then that it is cancelled. One that is deaf is killed."""
    run = server.launch(job)
    wait_for(lambda: server.run(run)["message"] not in ("Starting", "Waiting to start"))
    answer = server.cancel(run)
    assert answer.status_code == 202
    assert answer.json()["cancelling"] is True
    code, message = ended(server, run)
    assert code == "cancelled"
    assert ("killed" in message) == (job == "deaf")
    assert server.cancel(run).status_code == 409


def test_cancel_of_a_waiting_run_ends_it_at_once(new_server) -> None:  # type: ignore[no-untyped-def]
    """It never starts, and who watches it is told."""
    server = new_server(HEADWAY_THREADS="1")
    blocking = server.launch("hold")
    wait_for(lambda: server.run(blocking)["status"] == "processing")
    waiting = server.launch("hold")
    with server.stream(waiting) as events:
        assert next(events).event == "hello"
        assert server.cancel(waiting).json()["status"] == "error"
        assert updates(list(events))[-1]["error"]["code"] == "cancelled"
    assert server.run(waiting)["started_at"] is None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "ValueError: the cat ate it"),
        ("job_error", "The list is empty. Give at least one line."),
        ("exit", "The job ended itself with exit code 3."),
        ("set", "The job returned a value of type set at result['found'], which JSON cannot hold."),
        ("nan", "The job returned nan at result['mean'], which JSON cannot hold."),
    ],
)
def test_a_job_that_fails_says_why(server: Server, how: str, message: str) -> None:
    """The message is the error's; the percent stays where it was."""
    run = server.launch("fail", how=how)
    code, found = ended(server, run)
    assert code == "failed"
    assert found.startswith(message)
    assert server.run(run)["progress"] == 40


def test_the_traceback_of_a_job_is_in_its_log(server: Server) -> None:
    """It shows the job's own lines, and none of Headway's."""
    run = server.launch("fail", how="raise")
    (log,) = [data["message"] for data in numbered(server.events(run)) if data.get("level") == "error"]
    assert 'raise ValueError("the cat ate it")' in log
    assert "execution.py" not in log


def test_a_careless_except_does_not_swallow_a_cancellation(server: Server) -> None:
    """What stops a run is a BaseException."""
    run = server.launch("fail", how="swallow")
    wait_for(lambda: server.run(run)["progress"] == 50)
    server.cancel(run)
    assert ended(server, run)[0] == "cancelled"


def test_a_run_that_takes_too_long_is_stopped(server: Server) -> None:
    """Its code says so."""
    assert ended(server, server.launch("overtime"))[0] == "timeout"


@pytest.mark.parametrize(
    ("how", "number", "said"), [("signal", 9, "SIGKILL"), ("signal", 11, "SIGSEGV"), ("exit", 7, "exit code 7")]
)
def test_the_death_of_a_child_process_is_told(server: Server, how: str, number: int, said: str) -> None:
    """Signal or exit code; the runner and its other runs live on."""
    runner = server.runner_pid()
    code, message = ended(server, server.launch("die", how=how, number=number))
    assert code == "crashed"
    assert said in message
    assert server.runner_pid() == runner


def test_a_run_can_be_launched_again(server: Server) -> None:
    """Retry makes a new run with the same parameters, once the first has ended."""
    run = server.launch("hold")
    assert server.http.post(f"/api/v1/runs/{run}/retry").status_code == 409
    server.cancel(run)
    server.wait_ended(run)
    answer = server.http.post(f"/api/v1/runs/{run}/retry")
    assert answer.status_code == 202
    again = answer.json()
    assert (again["retry_of"], again["params"]) == (run, server.run(run)["params"])
    assert answer.headers["Location"] == again["url"]
    server.cancel(again["id"])
    server.wait_ended(again["id"])


def test_an_ended_run_can_be_forgotten(server: Server) -> None:
    """After DELETE it is gone, with its stream; one that goes on cannot be deleted."""
    run = server.launch("hold")
    assert server.http.delete(f"/api/v1/runs/{run}").status_code == 409
    server.cancel(run)
    server.wait_ended(run)
    assert server.http.delete(f"/api/v1/runs/{run}").status_code == 204
    for path in ("", "/events", "/result", "/files/note.txt"):
        assert server.http.get(f"/api/v1/runs/{run}{path}").status_code == 404
