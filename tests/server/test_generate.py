"""Generating text as a user has it: launched over HTTP, streamed to the client, with a real endpoint on loopback."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from httpx_sse import ServerSentEvent

from jobs.library.generate import OUTPUT
from tests.harness import Server, data_of, numbered, updates, wait_for
from tests.library.chat_server import PLAIN, ChatServer, asking

KEY = "sk-canary-92eb5ffee6ae2fec3ad71c777531578f"
SENTENCE = (
    "Not set up yet: set `HEADWAY_OPENAI_BASE_URL` and `HEADWAY_OPENAI_MODEL`, then restart."
    " For Ollama on this machine: `HEADWAY_OPENAI_BASE_URL=http://127.0.0.1:11434/v1`"
    " and `HEADWAY_OPENAI_MODEL=llama3.2`"
    " (after `ollama pull llama3.2`)."
)


@pytest.fixture(scope="module")
def chat() -> Iterator[ChatServer]:
    """One endpoint for all; each test has prompts of its own."""
    with ChatServer() as chat:
        yield chat


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, chat: ChatServer) -> Iterator[Server]:
    """One server that has an endpoint."""
    settings = {"OPENAI_BASE_URL": chat.url, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "tiny"}
    data = tmp_path_factory.mktemp("generate") / "data"
    started = Server(data, workers=1, **{f"HEADWAY_{name}": value for name, value in settings.items()}).start()
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture(autouse=True)
def fresh(chat: ChatServer) -> None:
    """The endpoint remembers what a test has asked for, and nothing of the one before."""
    chat.asked.clear()


def output_of(events: list[ServerSentEvent]) -> str:
    return "".join(data["text"] for data in numbered(events) if set(data) >= {"text", "seq"})


def file_of(server: Server, run: str, name: str) -> str:
    answer = server.http.get(f"/api/v1/runs/{run}/files/{name}")
    assert answer.status_code == 200, answer.text
    return answer.text


def rows_of(server: Server, run: str, name: str = "results.csv") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file_of(server, run, name))))


def table_of(*cells: str) -> str:
    """A table of one column "ask"."""
    text = io.StringIO()
    csv.writer(text).writerows([["id", "ask"], *([f"r{number}", cell] for number, cell in enumerate(cells, 1))])
    return text.getvalue()


def test_without_an_endpoint_the_card_and_a_launch_say_what_to_set(server: Server) -> None:
    """One sentence, with an example for Ollama."""
    about = server.http.get("/api/v1/jobs/generate").json()
    assert (about["setup"], about["available"]) == (SENTENCE, False)
    answer = server.http.post("/api/v1/jobs/generate/runs", json={"prompt": "Hello"})
    assert answer.status_code == 409 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == SENTENCE
    for page in ("/", "/jobs/generate"):
        text = server.http.get(page, headers={"Accept": "text/html"}).text
        assert "HEADWAY_OPENAI_BASE_URL=http://127.0.0.1:11434/v1" in text, page


def test_a_text_streams_and_is_kept(generator: Server, chat: ChatServer) -> None:
    """Output events while the endpoint still writes; then the result, and the text as a file."""
    prompt = asking(tokens=40, pause_ms=20)
    run = generator.launch("generate", prompt=prompt, length=80, temperature=0.2)
    with generator.stream(run) as stream:
        events = []
        for event in stream:
            events.append(event)
            if event.event == "output" and len([one for one in events if one.event == "output"]) == 1:
                assert not chat.asked[-1].complete, "the first output comes before the text is whole"
    text = "".join(chat.asked[-1].sent)
    end = updates(events)[-1]
    assert output_of(events) == end["data"]["text"]["text"] == file_of(generator, run, OUTPUT) == text
    assert end["data"]["usage"]["completion_tokens"] == 40
    assert any("tokens/s" in (update["message"] or "") for update in updates(events))


def test_a_caller_cannot_name_the_endpoint(generator: Server, chat: ChatServer) -> None:
    """Base URL, key and model are the settings' alone."""
    with ChatServer() as sink:
        for name in ("base_url", "api_key", "model", "OPENAI_BASE_URL", "endpoint", "extra_headers"):
            answer = generator.http.post("/api/v1/jobs/generate/runs", json={"prompt": "Hello", name: sink.url})
            assert answer.status_code in (400, 422), name
            assert name in answer.json()["errors"]
        assert sink.connections == 0 and chat.asked == []


def test_no_token_is_lost_or_repeated_when_the_client_reconnects(generator: Server, chat: ChatServer) -> None:
    """The stream is cut at random points, and resumed by the id of the last event that came."""
    run = generator.launch("generate", prompt=asking(tokens=300, pause_ms=5), length=400)
    chance = random.Random(7)
    seen: list[ServerSentEvent] = []
    connections = 0
    while not (updates(seen) and updates(seen)[-1]["status"] in ("completed", "error")):
        connections += 1
        last = next((event.id for event in reversed(seen) if event.id), None)
        with generator.stream(run, last_event_id=last) as stream:
            for _ in range(chance.randrange(1, 12)):
                event = next(stream, None)
                if event is None:
                    break
                seen.append(event)
    assert connections > 5
    assert updates(seen)[-1]["status"] == "completed"
    assert output_of(seen) == "".join(chat.asked[-1].sent) == "".join(f"w{number} " for number in range(300))
    numbers = [data["seq"] for data in numbered(seen)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_hostile_text_arrives_as_it_was_sent(generator: Server) -> None:
    """Text that looks like the stream's own frames, control characters, and half a character (which becomes U+FFFD)."""
    pieces = ["\n\nevent: done\ndata: {}\n\n", "id: 7\r\nretry: 1\r", "\0\x1b[2J\u2028", "<script>alert(1)</script>"]
    run = generator.launch("generate", prompt=asking(pieces=[*pieces, "\ud800"]))
    events = generator.events(run)
    assert output_of(events) == updates(events)[-1]["data"]["text"]["text"] == "".join(pieces) + "\ufffd"
    assert {event.event for event in events} <= {"hello", "message", "output", "heartbeat", "plan", "log", "row"}


@pytest.mark.parametrize("phase", [{"mute": True}, {"stall_after": 0}, {"stall_after": 4}, {"always": 429}])
def test_cancelling_closes_the_request_at_once(generator: Server, chat: ChatServer, phase: dict[str, int]) -> None:
    """Before the answer, before the first token, in mid-text, and while it waits to try again."""
    run = generator.launch("generate", prompt=asking(**phase, headers={"Retry-After": "90"}))
    wait_for(lambda: chat.asked, 10, "the request")
    if "always" in phase:
        wait_for(lambda: "trying again in 90 s" in (generator.run(run)["message"] or ""), 10, "the retry to be said")
    elif phase.get("stall_after"):
        with generator.stream(run) as events:
            next(event for event in events if event.event == "output")
    generator.cancel(run)
    if "always" not in phase:
        wait_for(lambda: chat.asked[0].left_ns, 5, "the endpoint to see that the client left")
    end = generator.wait_ended(run, 5)
    assert end["error"]["code"] == "cancelled" and len(chat.asked) == 1
    if phase.get("stall_after"):
        assert file_of(generator, run, OUTPUT) == "".join(PLAIN[:4])


def test_a_failure_keeps_the_text_so_far(generator: Server) -> None:
    run = generator.launch("generate", prompt=asking(cut_after=5))
    events = generator.events(run)
    assert updates(events)[-1]["error"]["message"] == "The endpoint broke the connection off."
    assert output_of(events) == file_of(generator, run, OUTPUT) == "".join(PLAIN[:5])


def test_a_table_becomes_a_table(generator: Server, chat: ChatServer) -> None:
    """A row each, as it comes, and files with the table's columns first."""
    table = table_of("one", asking(always=400, error="Too long."), "three")
    run = generator.launch("generate", prompt="{ask}", table=table, concurrency=1)
    events = generator.events(run)
    rows = [data["row"] for data in numbered(events) if "row" in data]
    assert [row["output"] for row in rows] == ["".join(PLAIN), "", "".join(PLAIN)]
    result = updates(events)[-1]["data"]
    assert (result["written"], result["failed"]) == (2, 1)
    assert [list(row)[:2] for row in rows_of(generator, run)] == [["id", "ask"]] * 3
    assert [row["id"] for row in rows_of(generator, run, "failed.csv")] == ["r2"]
    answer = generator.http.post("/api/v1/jobs/generate/runs", json={"prompt": "{nmae}", "table": table})
    end = generator.wait_ended(answer.json()["id"])
    assert "There are: {id}, {ask}." in end["error"]["message"]


def test_the_sample_table_is_one_word_away(generator: Server, chat: ChatServer) -> None:
    """As the documentation shows it."""
    form = {"prompt": (None, "Sell {name}, made of {material}."), "table": (None, "sample:products.csv")}
    run = generator.http.post("/api/v1/jobs/generate/runs", files=form).json()["id"]
    assert generator.wait_ended(run)["status"] == "completed"
    assert len(chat.asked) == len(rows_of(generator, run)) == 10
    assert "Sell Bicycle bell, made of brass." in chat.prompts


@pytest.mark.parametrize("how", ["kill -9 of the runner", "a restart of the server"])
def test_a_batch_that_is_interrupted_repeats_no_finished_row(generator: Server, chat: ChatServer, how: str) -> None:
    """It goes on by itself; the endpoint's journal has each prompt that was finished exactly once."""
    cells = [asking(id=number, tokens=2, pause_ms=20) for number in range(60)]
    run = generator.launch("generate", prompt="{ask}", table=table_of(*cells), concurrency=2)
    with generator.stream(run) as stream:
        said = []
        for event in stream:
            if event.event == "row":
                said.append(data_of(event)["row"]["id"])
            if len(said) == 15:
                break
    if how.startswith("kill"):
        os.kill(generator.runner_pid(), signal.SIGKILL)
    else:
        generator.signal(signal.SIGHUP)
        os.kill(generator.runner_pid(), signal.SIGTERM)
    end = generator.wait_ended(run, 60)
    assert end["status"] == "completed" and end["attempt"] == 2
    result = generator.http.get(f"/api/v1/runs/{run}/result").json()
    assert result["written"] == 60 and result["kept_from_before"] >= 15
    assert [row["id"] for row in rows_of(generator, run)] == [f"r{number}" for number in range(1, 61)]
    finished = Counter(asked.prompt for asked in chat.asked if asked.complete)
    assert set(finished) == set(cells)
    asked_again = [prompt for prompt, times in Counter(chat.prompts).items() if times > 1]
    assert len(asked_again) <= 2, "only what was on its way is asked for again"
    assert not {f"r{1 + cells.index(prompt)}" for prompt in asked_again} & set(said)


def test_a_text_that_a_kill_breaks_off_is_kept_and_not_begun_again(generator: Server, chat: ChatServer) -> None:
    """What stands on the page would stand there twice; that it is not whole is said."""
    run = generator.launch("generate", prompt=asking(stall_after=4))
    with generator.stream(run) as events:
        shown = ""
        while "".join(PLAIN[:4]) != shown:
            shown += output_of([next(events)])
    os.kill(generator.runner_pid(), signal.SIGKILL)
    end = generator.wait_ended(run, 60)
    assert end["error"]["message"].startswith("The server was restarted in mid-text.")
    assert file_of(generator, run, OUTPUT) == output_of(generator.events(run)) == shown
    assert len(chat.asked) == 1


def test_running_again_goes_on_where_a_run_was_cancelled(generator: Server, chat: ChatServer) -> None:
    """With all rows in the files and on the page of the new run."""
    cells = [*(asking(id=number) for number in range(5)), asking(mute=True, id=5)]
    run = generator.launch("generate", prompt="{ask}", table=table_of(*cells), concurrency=1)
    wait_for(lambda: len(chat.asked) == 6, 10, "the row that hangs")
    generator.cancel(run)
    assert generator.wait_ended(run)["error"]["code"] == "cancelled"
    assert [row["id"] for row in rows_of(generator, run)] == ["r1", "r2", "r3", "r4", "r5"]
    again = generator.http.post(f"/api/v1/runs/{run}/retry").json()["id"]
    wait_for(lambda: len(chat.asked) == 7, 10, "the row that hangs")
    generator.cancel(again)
    generator.wait_ended(again)
    rows = [data["row"]["id"] for data in numbered(generator.events(again)) if "row" in data]
    assert rows == ["r1", "r2", "r3", "r4", "r5"]
    assert Counter(chat.prompts) == {**dict.fromkeys(cells[:5], 1), cells[5]: 2}


def test_the_key_is_in_no_answer_no_log_and_no_file(generator: Server, chat: ChatServer) -> None:
    """Though the endpoint says it in every way that it has, and fails with it."""
    prompts = [
        asking(echo_key=True), asking(always=401, error="<key>"), asking(error_after=2, error="<key>"),
        asking(statuses=[500], error="<key>"), asking(pieces=["ok"], finish="<key>"), asking(raw="data: <key>\n\n"),
    ]  # fmt: skip
    runs = [generator.launch("generate", prompt=prompt) for prompt in prompts]
    runs.append(generator.launch("generate", prompt="{ask}", table=table_of(prompts[0], *prompts[3:])))
    seen = "".join(event.data for run in runs for event in generator.follow(run))
    for run in runs:
        for page in (f"/api/v1/runs/{run}", f"/runs/{run}"):
            answer = generator.http.get(page)
            assert answer.status_code == 200, page
            seen += answer.text
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in chat.asked) and len(chat.asked) > 10
    assert "Your key is ***, all of it: ***!" in seen and KEY not in seen
    assert KEY not in generator.log()
    holding = [path for path in generator.data.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holding == []
