"""Bulk as a user has it: launched over HTTP, in a child process, killed in the middle, gone on with."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness import Server, alive, numbered, updates, wait_for
from tests.library.site import Site

ROWS = 200
HELD_FROM = 120
"""Pages from here on do not answer until the test lets them: the run stands in its middle."""


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of so many pages, of which the last are held back."""
    with Site() as site:
        for number in range(ROWS):
            site.html(f"/p{number}", f"Page {number}")
            if number >= HELD_FROM:
                site.stuck(f"/p{number}")
        yield site


def table(site: Site) -> str:
    return "n,url\n" + "".join(f"{number},{site.url}/p{number}\n" for number in range(ROWS))


def let_go(site: Site) -> None:
    """Have all pages answer from now on."""
    for number in range(HELD_FROM, ROWS):
        site.html(f"/p{number}", f"Page {number}")


def rows_of(server: Server, run: str) -> list[dict[str, Any]]:
    """The rows that were told so far: those are finished, whatever happens next."""
    lines = server.http.get(f"/api/v1/runs/{run}/rows", params={"format": "jsonl"}).text.splitlines()
    return [json.loads(line) for line in lines]


def file_of(server: Server, run: str, name: str) -> list[dict[str, str]]:
    answer = server.http.get(f"/api/v1/runs/{run}/files/{name}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))


def begun(server: Server, site: Site) -> tuple[str, Counter[str]]:
    """A run in its middle; with how often each page had been asked for when all before the held ones were finished."""
    run = server.launch("bulk", table=table(site), operation="extract", rate=0, concurrency=4, timeout=60)
    wait_for(lambda: len(rows_of(server, run)) == HELD_FROM, 20, "the first rows to be finished")
    wait_for(lambda: len(site.seen) > HELD_FROM, 10, "a row that is under way")
    return run, Counter(one.path for one in site.seen)


def child_of(server: Server) -> int:
    (pid,) = subprocess.run(
        ["pgrep", "-P", str(server.runner_pid())], capture_output=True, text=True, check=True
    ).stdout.split()
    return int(pid)


def check_whole(server: Server, site: Site, run: str) -> None:
    """The run has ended well, its file holds every row in order, and no finished page was asked for twice."""
    found = server.wait_ended(run, 30)
    assert found["status"] == "completed", found
    results = file_of(server, run, "results.csv")
    assert [row["n"] for row in results] == [str(number) for number in range(ROWS)]
    assert [row["title"] for row in results] == [f"Page {number}" for number in range(ROWS)]
    assert {row["error"] for row in results} == {""}
    asked = Counter(one.path for one in site.seen)
    assert {asked[f"/p{number}"] for number in range(HELD_FROM)} == {1}
    assert all(asked[f"/p{number}"] >= 1 for number in range(HELD_FROM, ROWS))
    assert {"failed.csv"}.isdisjoint(file["name"] for file in found["files"])


def test_the_sample_needs_nothing_but_a_click(server: Server) -> None:
    """Offline: the site that it checks comes with it. Rows come one by one, files at the end."""
    run = server.launch("bulk", table="sample:urls.csv", rate=0)
    events = server.events(run)
    assert [data["steps"] for data in numbered(events) if "steps" in data] == [["Reading the table", "Checking URLs"]]
    assert len([data for data in numbered(events) if "row" in data]) == 13
    percents = [update["progress"] for update in updates(events)]
    assert percents == sorted(percents) and percents[-1] == 100
    result = updates(events)[-1]["data"]
    assert (result["rows"], result["failed"]) == (13, 1)
    assert [row["name"] for row in file_of(server, run, "failed.csv")] == ["Leek soup"]
    again = server.launch("bulk", table=f"run:{run}/failed.csv", rate=0)
    assert server.wait_ended(again)["result"]["rows"] == 1
    assert list(file_of(server, again, "failed.csv")[0]) == ["name", "url", "failed_because"]


def test_after_a_kill_of_the_runner_the_run_goes_on(new_server: Callable[..., Server], site: Site) -> None:
    """By itself, under a new runner: a second attempt of the same run, which tells every row once."""
    server = new_server(HEADWAY_CRAWL_ALLOW=site.host, workers="1")
    run, _ = begun(server, site)
    child = child_of(server)
    os.kill(server.runner_pid(), signal.SIGKILL)
    wait_for(lambda: not alive(child), 15, "the child to leave")
    let_go(site)
    check_whole(server, site, run)
    assert server.run(run)["attempt"] == 2
    assert sorted(row["row"] for row in rows_of(server, run)) == list(range(1, ROWS + 1))


def test_after_a_kill_of_the_child_run_again_goes_on(new_server: Callable[..., Server], site: Site) -> None:
    """The run has crashed; one that repeats it has what was done."""
    server = new_server(HEADWAY_CRAWL_ALLOW=site.host, workers="1")
    run, _ = begun(server, site)
    os.kill(child_of(server), signal.SIGKILL)
    assert server.wait_ended(run)["error"]["code"] == "crashed"
    let_go(site)
    again = server.http.post(f"/api/v1/runs/{run}/retry").json()["id"]
    check_whole(server, site, again)
    assert server.run(again)["result"]["done_before"] == HELD_FROM
    assert len(rows_of(server, again)) == ROWS - HELD_FROM


def test_a_cancelled_run_has_files_and_can_go_on(new_server: Callable[..., Server], site: Site) -> None:
    """What was done is in them when the run has ended, though most of its requests hang."""
    server = new_server(HEADWAY_CRAWL_ALLOW=site.host, workers="1")
    run, _ = begun(server, site)
    server.cancel(run)
    assert server.wait_ended(run)["error"]["code"] == "cancelled"
    assert [row["n"] for row in file_of(server, run, "results.csv")] == [str(number) for number in range(HELD_FROM)]
    let_go(site)
    check_whole(server, site, server.http.post(f"/api/v1/runs/{run}/retry").json()["id"])


def test_rows_are_sent_where_the_setting_allows_it(new_server: Callable[..., Server], site: Site) -> None:
    """Also to an address in here; every row once, under keys that stay the same when the run goes on."""
    site.stuck("/hook")
    server = new_server(HEADWAY_WEBHOOK_ALLOW=f"{site.url}/hook", workers="1")
    refused = server.launch("bulk", table="a,b\n1,2\n", operation="post", webhook=f"{site.url}/other")
    assert "HEADWAY_WEBHOOK_ALLOW" in server.wait_ended(refused)["error"]["message"]
    launched = server.http.post(
        "/api/v1/jobs/bulk/runs",
        data={"operation": "post", "webhook": f"{site.url}/hook", "rate": "0", "concurrency": "2", "timeout": "60"},
        files={"table": ("rows.jsonl", "".join(f'{{"n": {number}}}\n' for number in range(30)))},
    )
    run = launched.json()["id"]
    wait_for(lambda: len(site.seen) == 2, 20, "two rows under way")
    os.kill(child_of(server), signal.SIGKILL)
    assert server.wait_ended(run)["error"]["code"] == "crashed"
    site.add("/hook", b'{"ok": true}')
    again = server.http.post(f"/api/v1/runs/{run}/retry").json()["id"]
    assert server.wait_ended(again)["result"]["failed"] == 0
    sent = Counter((one.headers["Idempotency-Key"], json.loads(one.body)["n"]) for one in site.seen)
    assert sorted(n for _, n in sent) == list(range(30)), "one key for each row"
    assert sent.total() == 32 and len(file_of(server, again, "results.csv")) == 30


def test_without_the_setting_nothing_is_sent(server: Server, site: Site) -> None:
    """The sentence says what to set."""
    run = server.launch("bulk", table="a,b\n1,2\n", operation="post", webhook=f"{site.url}/hook")
    assert "Set HEADWAY_WEBHOOK_ALLOW" in server.wait_ended(run)["error"]["message"]
    assert site.connections == 0
