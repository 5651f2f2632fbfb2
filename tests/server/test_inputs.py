"""Files as the input of runs, through the real server: by curl, by JSON, by the pages' forms."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.runs import new_run_id
from jobs.store import NewRun, Store
from tests.harness import JOBS, Server, wait_for

FRUITS = (JOBS / "samples" / "fruits.csv").read_text()
PAGES = "url,status\nhttps://example.org/,200\n"
HOSTILE = "<img src=x onerror=alert(1)>\"'&.csv"


def curl(server: Server, *options: str) -> Any:
    """The answer to a launch of ``read_file`` by curl, as JSON."""
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {server.key}", *options]
    ended = subprocess.run(
        [*command, f"{server.url}/api/v1/jobs/read_file/runs"], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def found_by(server: Server, answer: Any) -> dict[str, Any]:
    """What the launched run read."""
    assert "id" in answer, answer
    assert server.wait_ended(answer["id"])["status"] == "completed"
    result: dict[str, Any] = server.http.get(f"/api/v1/runs/{answer['id']}/result").json()
    return result


def made(server: Server, **how: Any) -> str:
    """A run that has ended and has rows and files."""
    run = server.launch("make_files", **how)
    assert server.wait_ended(run)["status"] == "completed"
    return run


def foreign_run(server: Server) -> str:
    """A run of somebody else that has ended, put into the server's own database."""
    store = Store(server.data / "headway.db")
    new = NewRun(id=new_run_id(), job="make_files", owner="mallory", lane="elsewhere", params={}, secrets={})
    store.accept(new)
    store.cancel(new.id, "mallory")
    store.close()
    return new.id


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """A logged-in session, as a browser has it."""
    with httpx.Client(base_url=server.url, headers={"Origin": server.url, "Accept": "text/html"}, timeout=30) as client:
        assert client.post("/login", data={"key": server.key}).status_code == 303
        yield client


# By curl and JSON.


def test_curl_uploads_a_file_by_multipart(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("one\ntwo\n" * 100_000)
    found = found_by(server, curl(server, "-F", f"texts=@{path}", "-F", "times=0"))
    assert found["texts"] == ["words.txt", 800_000, ""]


def test_json_pastes_a_text_where_a_file_is_wanted(server: Server) -> None:
    body = json.dumps({"texts": "one\ntwo", "also": "ü"})
    found = found_by(server, curl(server, "--json", body))
    assert found == {"texts": ["pasted.txt", 7, "one\ntwo"], "also": ["pasted.txt", 2, "ü"]}


def test_a_form_pastes_a_text_too(server: Server) -> None:
    assert found_by(server, curl(server, "-F", "texts=one"))["texts"] == ["pasted.txt", 3, "one"]
    assert found_by(server, curl(server, "--data-urlencode", "texts=one"))["texts"] == ["pasted.txt", 3, "one"]


def test_a_file_of_an_earlier_run_is_an_input(server: Server) -> None:
    run = made(server)
    for options in (("-F", f"texts=run:{run}/pages.csv"), ("--json", json.dumps({"texts": f"run:{run}/pages.csv"}))):
        answer = curl(server, *options)
        assert answer["params"]["texts"]["from"] == f"run:{run}/pages.csv"
        assert found_by(server, answer)["texts"] == ["pages.csv", len(PAGES), PAGES]


def test_the_rows_of_an_earlier_run_are_an_input(server: Server) -> None:
    run = made(server, rows=2000, size=300)
    name, size, text = found_by(server, curl(server, "-F", f"texts=run:{run}/rows"))["texts"]
    assert (name, size) == ("rows.jsonl", len(text))
    assert [json.loads(line)["number"] for line in text.splitlines()] == list(range(2000))


def test_a_file_goes_from_run_to_run_to_run(server: Server) -> None:
    first = made(server)
    second = curl(server, "-F", f"texts=run:{first}/pages.csv")
    server.wait_ended(second["id"])
    assert found_by(server, curl(server, "-F", f"texts=run:{second['id']}/inputs/texts"))["texts"][2] == PAGES


def test_a_foreign_run_is_answered_like_one_that_does_not_exist(server: Server) -> None:
    foreign = foreign_run(server)
    for name in ("pages.csv", "rows", "inputs/texts"):
        theirs = curl(server, "-F", f"texts=run:{foreign}/{name}")
        nobodys = curl(server, "-F", f"texts=run:{new_run_id()}/{name}")
        assert theirs["status"] == 422 and theirs["errors"]["texts"]
        assert {**theirs, "request": ""} == {**nobodys, "request": ""}


@pytest.mark.parametrize(
    "name", ["../../../key", "../inputs/0", "/etc/hostname", "%2e%2e/key", "..\\key", "inputs/../files/pages.csv"]
)
def test_no_name_leads_out_of_the_run(server: Server, name: str) -> None:
    answer = curl(server, "--json", json.dumps({"texts": f"run:{made(server)}/{name}"}))
    assert answer["status"] == 422 and list(answer["errors"]) == ["texts"]
    assert str(server.data) not in json.dumps(answer) and server.key not in json.dumps(answer)


@pytest.mark.parametrize("name", ["../file_jobs.py", "/etc/hostname", "..", "nothing"])
def test_no_sample_leads_elsewhere(server: Server, name: str) -> None:
    answer = curl(server, "-F", f"texts=sample:{name}")
    assert answer["status"] == 422 and "It has fruits.csv." in answer["errors"]["texts"][0]


def test_a_refused_launch_leaves_nothing_on_the_disk(server: Server) -> None:
    before = set((server.data / "runs").glob("*"))
    upload = ("-F", f"texts=@{JOBS / 'samples' / 'fruits.csv'}")
    assert curl(server, *upload, "-F", "also=sample:nothing")["status"] == 422
    assert set((server.data / "runs").glob("*")) == before


def test_an_upload_that_breaks_off_starts_nothing_and_leaves_nothing(server: Server) -> None:
    before = set((server.data / "runs").glob("*"))
    runs = len(server.http.get("/api/v1/runs?limit=200").json()["runs"])
    head = (
        "POST /api/v1/jobs/read_file/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {server.key}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="texts"; filename="big.csv"\r\n\r\n'
    )
    lines = len(server.log().splitlines())
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + b"x" * 3_000_000)
    wait_for(lambda: any('"status":4' in line for line in server.log().splitlines()[lines:]), what="the answer's line")
    assert set((server.data / "runs").glob("*")) == before
    assert len(server.http.get("/api/v1/runs?limit=200").json()["runs"]) == runs


# The pages' samples of code.


def code_of(browser: httpx.Client, job: str, label: str) -> str:
    """A sample of code as it stands on a job's page."""
    page = browser.get(f"/jobs/{job}").text
    found = re.search(rf'aria-label="{label} sample"><code>(.*?)</code>', page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def run_by(server: Server, code: str) -> dict[str, Any]:
    """The last update of what a shell's command streams."""
    environment = {**os.environ, "HEADWAY_KEY": server.key}
    ended = subprocess.run(["sh", "-c", code], env=environment, capture_output=True, text=True, timeout=30)
    updates = re.findall(r"^data: (\{.*\"status\":.*\})$", ended.stdout, re.MULTILINE)
    assert updates, ended.stdout + ended.stderr
    last: dict[str, Any] = json.loads(updates[-1])
    assert last["status"] == "completed", last
    return last


def test_the_curl_sample_works_as_it_stands(server: Server, browser: httpx.Client) -> None:
    code = code_of(browser, "read_file", "curl")
    assert code.endswith("-F texts=sample:fruits.csv")
    assert run_by(server, code)["data"]["texts"] == ["fruits.csv", len(FRUITS), FRUITS]


def test_a_sample_that_curl_would_read_otherwise_works_as_it_stands(server: Server, browser: httpx.Client) -> None:
    """``-F`` reads a file after an @, and takes a ``;`` for the end of the value."""
    assert run_by(server, code_of(browser, "two_samples", "curl"))["data"] == ["@a; b \"c\" 'd'", "one\ntwo"]


@pytest.mark.skipif(shutil.which("node") is None, reason="NO NODE")
def test_the_javascript_sample_launches_as_it_stands(server: Server, browser: httpx.Client, tmp_path: Path) -> None:
    """But for what a page of this server brings along: its address, its session, its EventSource."""
    code = code_of(browser, "read_file", "JavaScript")
    around = (
        "globalThis.EventSource = class {}; const real = fetch;\n"
        f"globalThis.fetch = (path, options) => real({server.url!r} + path,"
        f" {{...options, headers: {{...options.headers, Authorization: 'Bearer {server.key}'}}}});\n"
    )
    (tmp_path / "sample.mjs").write_text(around + code + "\nconsole.log(run.id);\n")
    ended = subprocess.run(["node", tmp_path / "sample.mjs"], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert server.wait_ended(ended.stdout.strip())["result"]["texts"][0] == "fruits.csv"


# The form, without a browser around it.


def test_the_form_s_three_ways_launch(server: Server, browser: httpx.Client) -> None:
    run = made(server)
    ways: list[tuple[dict[str, str], dict[str, Any], str]] = [
        ({"texts.way": "upload"}, {"texts": ("a.txt", b"uploaded")}, "uploaded"),
        ({"texts.way": "paste", "texts.paste": "pasted"}, {"texts": ("", b"")}, "pasted"),
        ({"texts.way": "choice", "texts.choice": f"run:{run}/pages.csv"}, {"texts": ("", b"")}, PAGES),
        ({"texts.way": "choice", "texts.choice": "sample:fruits.csv"}, {"texts": ("", b"")}, FRUITS),
    ]
    for data, files, text in ways:
        answer = browser.post("/jobs/read_file", data=data, files=files)
        assert answer.status_code == 303, answer.text
        assert server.wait_ended(answer.headers["Location"].rpartition("/")[2])["result"]["texts"][2] == text


def test_a_refused_form_comes_back_filled_in(server: Server, browser: httpx.Client) -> None:
    data = {"texts.way": "paste", "texts.paste": f"<kept> {HOSTILE}", "texts.choice": "sample:fruits.csv", "times": "x"}
    answer = browser.post("/jobs/read_file", data=data, files={"texts": (HOSTILE, b"x")})
    assert answer.status_code == 422
    shown = html.unescape(answer.text)
    assert "<img src=x" not in answer.text
    assert f"<kept> {HOSTILE}</textarea>" in shown and f"Choose {HOSTILE} once more" in shown
    assert re.search(r'value="paste" checked', answer.text)
    assert re.search(r'value="sample:fruits.csv" selected', answer.text)


def test_a_choice_that_cannot_be_had_comes_back_with_its_reason(server: Server, browser: httpx.Client) -> None:
    chosen = f"run:{new_run_id()}/{HOSTILE}"
    answer = browser.post("/jobs/read_file", data={"texts.way": "choice", "texts.choice": chosen})
    assert answer.status_code == 422 and "There is no such run." in answer.text and "<img src=x" not in answer.text
    assert (
        f'value="{html.escape(chosen).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")}" selected' in answer.text
    )


def test_an_upload_beyond_the_limit_is_refused_before_it_is_read(new_server: Any) -> None:
    server = new_server(HEADWAY_MAX_UPLOAD="1", workers="1")
    answer = server.http.post("/jobs/read_file", files={"texts": b"x" * 1_000_001}, headers={"Accept": "text/html"})
    assert answer.status_code == 413 and "HEADWAY_MAX_UPLOAD" in answer.text
    assert "at most 1.0 MB" in server.http.get("/jobs/read_file", headers={"Accept": "text/html"}).text
    long = server.http.post("/jobs/read_file", data={"texts.paste": "x" * 600_000}, files={"also": b""})
    assert long.status_code == 413 and "500 kB" in long.text
    run = server.launch("make_files", size=1_000_001, rows=0)
    server.wait_ended(run)
    large = curl(server, "-F", f"texts=run:{run}/large.txt")
    assert large["status"] == 422 and "more than 1 MB" in large["errors"]["texts"][0]


# One click.


def test_one_click_launches_with_the_job_s_samples(server: Server, browser: httpx.Client) -> None:
    assert 'action="/jobs/read_file/sample"' in browser.get("/").text
    assert 'action="/jobs/read_file/sample"' in browser.get("/jobs/read_file").text
    answer = browser.post("/jobs/read_file/sample")
    assert answer.status_code == 303
    run = server.wait_ended(answer.headers["Location"].rpartition("/")[2])
    assert run["result"]["texts"][0] == "fruits.csv" and run["params"]["texts"]["from"] == "sample:fruits.csv"
    assert "the job&#39;s sample" in browser.get(f"/runs/{run['id']}").text.replace("'", "&#39;")


def test_a_job_that_needs_more_than_its_samples_has_no_such_button(browser: httpx.Client) -> None:
    """And the call itself brings the form, with what is missing."""
    assert "/jobs/kinds/sample" not in browser.get("/").text + browser.get("/jobs/kinds").text
    answer = browser.post("/jobs/kinds/sample")
    assert answer.status_code == 422 and "Nothing was started" in answer.text


def test_only_the_own_pages_start_a_sample(server: Server, browser: httpx.Client) -> None:
    assert httpx.post(f"{server.url}/jobs/read_file/sample").status_code == 401
    assert browser.post("/jobs/read_file/sample", headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.get("/jobs/read_file/sample").status_code == 405
    assert browser.post("/jobs/nothing/sample").status_code == 404


# A file on its way to a job.


def test_a_file_of_a_run_finds_the_jobs_that_take_one(server: Server, browser: httpx.Client) -> None:
    run = made(server)
    page = browser.get(f"/?input=run:{run}/pages.csv").text
    assert "Pick a job for pages.csv" in page
    cards = re.findall(r'<h2><a href="(.*?)">', page)
    assert f"/jobs/read_file?input=run%3A{run}/pages.csv" in cards
    assert not any(card.startswith("/jobs/emit") for card in cards)
    form = browser.get(html.unescape(next(card for card in cards if "read_file" in card))).text
    assert re.search(rf'value="run:{run}/pages.csv" selected>pages.csv · Make files, ', form)
    assert form.count("selected") == 1, "in the first file field alone"


def test_rows_and_inputs_of_a_run_are_called_by_what_they_are(server: Server, browser: httpx.Client) -> None:
    run = made(server)
    assert "Pick a job for the rows of “Make files”" in browser.get(f"/?input=run:{run}/rows").text
    form = browser.get(f"/jobs/read_file?input=run:{run}/rows").text
    assert re.search(rf'value="run:{run}/rows" selected>Rows · Make files, ', form)


@pytest.mark.parametrize("text", ["", "x", HOSTILE, f"run:short/{HOSTILE}", f"sample:{HOSTILE}", "sample:x", "run:"])
def test_an_input_that_is_no_file_of_a_run_changes_nothing(browser: httpx.Client, text: str) -> None:
    for path in ("/", "/jobs/read_file"):
        answer = browser.get(path, params={"input": text})
        assert answer.status_code == 200 and "<img src=x" not in answer.text and "selected" not in answer.text
    assert "What would you like to run?" in browser.get("/", params={"input": text}).text


def test_a_hostile_name_of_an_input_is_text(server: Server, browser: httpx.Client) -> None:
    chosen = f"run:{made(server)}/{HOSTILE}"
    for path in ("/", "/jobs/read_file"):
        answer = browser.get(path, params={"input": chosen})
        assert answer.status_code == 200 and "<img src=x" not in answer.text and HOSTILE in html.unescape(answer.text)


def test_an_input_of_a_foreign_run_is_not_found(server: Server, browser: httpx.Client) -> None:
    for run in (foreign_run(server), new_run_id()):
        assert browser.get(f"/?input=run:{run}/rows").status_code == 404
        assert browser.get(f"/jobs/read_file?input=run:{run}/rows").status_code == 404


def test_the_newest_tables_of_earlier_runs_can_be_chosen(new_server: Any) -> None:
    """No file of another kind, none of a run that goes on, and no more than a list can hold."""
    server = new_server(workers="1")
    for _ in range(12):
        newest = made(server, rows=0)
    going = server.launch("make_files", gate="never")
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}) as http:
        page = http.get("/jobs/read_file", headers={"Accept": "text/html"}).text.partition("texts.choice")[2]
    offered = re.findall(r'<option value="run:(\w+)/(.*?)"', page.partition("</select>")[0])
    assert len(offered) == 20 and {name for _, name in offered} == {"pages.csv", "large.txt"}
    assert offered[0][0] == newest and going not in {run for run, _ in offered}
    server.cancel(going)
    server.wait_ended(going)


def test_change_and_run_needs_no_second_upload(server: Server, browser: httpx.Client) -> None:
    launched = curl(server, "-F", f"texts=@{JOBS / 'samples' / 'fruits.csv'}", "-F", "times=2")
    server.wait_ended(launched["id"])
    page = browser.get(f"/jobs/read_file?run={launched['id']}").text
    chosen = re.search(r'value="([^"]+)" selected>(fruits.csv · Read a file, [^<]*)<', page)
    assert chosen is not None and chosen[1] == f"run:{launched['id']}/inputs/texts"
    data = {"texts.way": "choice", "texts.choice": chosen[1], "times": "1"}
    answer = browser.post("/jobs/read_file", data=data)
    run = server.wait_ended(answer.headers["Location"].rpartition("/")[2])
    assert run["result"]["texts"] == ["fruits.csv", len(FRUITS), FRUITS]
    assert f'from <a href="/runs/{launched["id"]}">an earlier run</a>' in browser.get(f"/runs/{run['id']}").text


# Jobs that are not set up.


def test_a_job_that_is_not_set_up_says_what_to_set_and_starts_nothing(server: Server, browser: httpx.Client) -> None:
    launched = server.http.post("/api/v1/jobs/not_set_up/runs", json={"prompt": "x"})
    assert launched.status_code == 409
    sentence = launched.json()["detail"]
    assert "`HEADWAY_OPENAI_BASE_URL`" in sentence and "For Ollama" in sentence
    assert server.http.get("/api/v1/jobs/not_set_up").json()["setup"] == sentence
    shown = html.escape(sentence, quote=False)
    for part in shown.split("`"):
        assert part in browser.get("/").text and part in browser.get("/jobs/not_set_up").text
    assert "<code>HEADWAY_OPENAI_BASE_URL</code>" in browser.get("/").text
    page = browser.get("/jobs/not_set_up").text
    assert "Start run" not in page and "/jobs/not_set_up/sample" not in page
    for path in ("/jobs/not_set_up", "/jobs/not_set_up/sample"):
        refused = browser.post(path, data={"prompt": "x"})
        assert refused.status_code == 409 and "HEADWAY_OPENAI_BASE_URL" in refused.text
