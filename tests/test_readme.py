"""What the documents show works: settings, routes, event names, code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from jobs.progress import Progress
from jobs.registry import Registry
from jobs.settings import PREFIX, Settings
from tests.harness import JOBS, ROOT, Server

README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The README's block of code that contains a text."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in code]
    assert len(found) == 1
    return str(found[0])


def test_the_settings_table_is_the_code() -> None:
    """Names, defaults and meanings are those of jobs/settings.py."""
    rows = re.findall(r"^\| `(HEADWAY_\w+)` \| (?:`(.*?)`)? ?\| (.*?) \|$", README, re.MULTILINE)
    assert rows == [(PREFIX + one.name.upper(), one.default, one.metadata["help"]) for one in fields(Settings)]


def test_the_calls_are_the_api(server: Server) -> None:
    """Every call of the README's table exists in the OpenAPI document, and every path of it is in the table."""
    described = server.http.get("/api/openapi.json").json()["paths"]
    names = {"<job>": "{name}", "<id>": "{run_id}", "<name>": "{name}"}
    shown = {
        (method.lower(), re.sub("<.*?>", lambda found: names[found[0]], path))
        for method, path in re.findall(r"`(GET|POST|DELETE) (/[^`?]*)", README)
    }
    exist = {(method, path) for path, calls in described.items() for method in calls if method != "parameters"}
    assert shown - {("get", "/api/openapi.json")} == exist


def test_every_event_is_named() -> None:
    """The README names each event that streams have."""
    for name in ("hello", "plan", "log", "output", "row", "heartbeat", "bye", "busy"):
        assert f"`{name}`" in README


def test_the_python_sample_follows_a_run(server: Server) -> None:
    """Ten lines of the standard library, run as they stand but for the job they launch."""
    code = block("python", "urllib.request")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("jobs/crawl/runs", "jobs/emit/runs").replace(
        '{"url": "https://example.org/", "pages": 20}', '{"n": 20}'
    )
    environment = {**os.environ, "HEADWAY_URL": server.url, "HEADWAY_KEY": server.key}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "{'n': 20}"
    assert "100.0 %  Done" in ended.stdout


def test_the_curl_sample_streams_a_run(server: Server) -> None:
    """The shell's lines, run as they stand but for address, key and job."""
    said = _said_to_curl(block("sh", "Accept: text/event-stream"), server)
    assert said.startswith("event: hello")
    assert '"status":"completed","progress":100' in said


def test_the_curl_sample_draws_a_bar(server: Server) -> None:
    """The other one, the same way."""
    said = _said_to_curl(block("sh", "Accept: text/plain"), server)
    assert re.search(r"[\r\n]\x1b\[K +\d+ % \[#* *\] ", said)
    assert said.endswith("100 %  Done\n")


def _said_to_curl(code: str, server: Server) -> str:
    code = code.replace("http://127.0.0.1:8000", server.url).replace("$(cat var/key)", server.key)
    code = code.replace("jobs/crawl/runs", "jobs/emit/runs").replace(
        '{"url": "https://example.org/", "pages": 20}', '{"n": 20}'
    )
    return subprocess.run(["sh", "-c", code], capture_output=True, text=True, timeout=30).stdout


def test_the_sample_job_works_when_it_is_dropped_into_a_folder(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    """It has its form, and counts."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "words.py").write_text(block("python", "def count_words"))
    server = new_server(HEADWAY_JOBS=f"{folder}:{JOBS}", workers="1")
    run = server.launch("count_words", text="b a b c", top=2)
    assert server.wait_ended(run)["result"] == {"words": [["b", 2], ["a", 1]]}


def test_the_calls_of_progress_are_documented() -> None:
    """docs/jobs.md has every public call, and no other."""
    table = (ROOT / "docs" / "jobs.md").read_text().split("## Progress")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    shown = set(re.findall(r"(\w+)\(", " ".join(first_cells)))
    public = {name for name in vars(Progress) if not name.startswith("_")}
    for_the_runner = {"stop", "tick", "note", "finish", "mask", "line", "follow", "moved"}
    assert shown == public - for_the_runner - {"seconds_left"}


def test_the_sample_jobs_of_the_documents_load(tmp_path: Path) -> None:
    """Each is a file of its own that needs no import but those it shows, or those of the sample before it."""
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "jobs.md").read_text(), re.DOTALL)
    door = "from jobs import File, JobError, Param, Progress, TableWriter, job\n"
    for number, code in enumerate(shown):
        (tmp_path / f"sample_{number}.py").write_text(code if "from jobs import" in code else door + code)
    found = [one for one in Registry([tmp_path]) if one.source.startswith(str(tmp_path))]
    assert [one.problem for one in found if one.problem] == []
    assert {one.name for one in found} >= {"count_lines", "lengths", "send_letters", "survey"}


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/jobs.md", "docs/library.md", "docs/operating.md"]
)
def test_links_and_files_that_documents_name_exist(name: str) -> None:
    """Relative links lead somewhere; paths of ARCHITECTURE's tables exist."""
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / name).parent.joinpath(target).exists(), target
    for path in re.findall(r"`((?:jobs|web|static|templates|tests|docs)/[\w/.]*)`", text):
        assert (ROOT / path).exists(), path
