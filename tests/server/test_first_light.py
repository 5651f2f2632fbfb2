"""A run from the launch to its last frame, over HTTP, on a real server with two web workers."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.harness import Server, data_of, numbered, updates, wait_for


def test_a_run_is_launched_and_followed_to_its_end(server: Server) -> None:
    """The first frame is hello, events are dense from 1, progress never goes back, the last update completes."""
    run = server.launch("emit", n=50, rate=200)
    events = server.events(run)
    assert events[0].event == "hello"
    hello = data_of(events[0])
    assert hello == {"run": run, "from": 0, "head": hello["head"], "reset": False, "heartbeat_s": 15.0}
    assert [data["seq"] for data in numbered(events)] == list(range(1, len(numbered(events)) + 1))
    percents = [update["progress"] for update in updates(events)]
    assert percents == sorted(percents)
    assert all(percent < 100 for percent in percents[:-1])
    assert updates(events)[-1] == updates(events)[-1] | {"status": "completed", "progress": 100, "data": {"n": 50}}
    assert [data["row"]["i"] for data in numbered(events) if "row" in data] == list(range(50))


def test_a_post_that_accepts_a_stream_launches_and_streams_in_one_call(server: Server) -> None:
    """200 with the run's address, then all frames from hello to the last update."""
    with server.http.stream(
        "POST", "/api/v1/jobs/emit/runs", json={"n": 3}, headers={"Accept": "text/event-stream"}
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        text = answer.read().decode()
    run = answer.headers["Content-Location"].removeprefix("/api/v1/runs/")
    assert text.startswith("event: hello\nretry: ")
    assert text.endswith(f"\nid: {run}-{server.run(run)['cursor']}\n\n")


def test_the_plainest_client_is_complete(server: Server) -> None:
    """Someone who reads only unnamed frames sees the bar fill and the result."""
    frames = [data_of(event) for event in server.events(server.launch("tell")) if event.event == "message"]
    assert all({"status", "progress", "message", "step"} <= frame.keys() for frame in frames)
    assert frames[-1]["data"] == {"told": "hello"}


def test_two_clients_on_different_workers_see_the_same_bytes(server: Server) -> None:
    """Each worker follows the store and the bus; an event's frame is the same everywhere."""
    run = server.launch("emit", n=200, rate=400)
    bodies = {}
    with httpx.Client(base_url=server.url, timeout=30) as one:
        for _ in range(8):  # the kernel spreads connections over the workers
            with one.stream(
                "GET", f"/api/v1/runs/{run}/events", headers={"Authorization": f"Bearer {server.key}"}
            ) as answer:
                body = answer.read().split(b"\n\n", 1)[1]
            bodies[answer.headers["X-Request-ID"]] = body
    assert len(set(bodies.values())) == 1

    def logged() -> int:
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith('{"time"')]
        return len([line for line in lines if line["request"] in bodies])

    wait_for(lambda: logged() == 8, what="a line in the log for each")


def test_all_workers_stream_a_run_that_goes_on(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Streams opened while the run holds, on whichever worker, all see its end."""
    gate = tmp_path_factory.mktemp("gate") / "open"
    run = server.launch("hold", gate=str(gate))
    clients = [httpx.Client(base_url=server.url, timeout=30) for _ in range(10)]
    requests = [
        client.build_request("GET", f"/api/v1/runs/{run}/events", headers={"Authorization": f"Bearer {server.key}"})
        for client in clients
    ]
    answers = [client.send(request, stream=True) for client, request in zip(clients, requests, strict=True)]
    gate.touch()
    ends = [answer.read().decode().strip().splitlines()[-2] for answer in answers]
    assert {json.loads(end.removeprefix("data: "))["data"] for end in ends} == {"released"}
    for client in clients:
        client.close()


def test_a_dropped_stream_resumes_in_the_middle(server: Server) -> None:
    """With Last-Event-ID, ?after= or ?last_event_id= everything after it comes, once, and nothing before it."""
    run = server.launch("emit", n=300, rate=500)
    seen = []
    with server.stream(run) as events:
        for event in events:
            seen.append(event)
            if len(numbered(seen)) >= 40:
                break
    rest = server.events(run, last_event_id=seen[-1].id)
    assert data_of(rest[0])["from"] == numbered(seen)[-1]["seq"]
    assert rest[0].id == seen[-1].id
    numbers = [data["seq"] for data in numbered(seen) + numbered(rest)]
    assert numbers == list(range(1, server.run(run)["cursor"] + 1))
    assert [data["seq"] for data in numbered(server.events(run, after=300))] == [n for n in numbers if n > 300]
    answer = server.http.get(f"/api/v1/runs/{run}/events", params={"last_event_id": f"{run}-{numbers[-1] - 1}"})
    assert answer.text.count("\nid: ") == 2


@pytest.mark.parametrize(
    "cursor",
    ["garbage", "x-5", "-1", "{run}--3", "{run}-99999999", "{run}-9223372036854775808999", "{run}-", "0" * 4000],
)
def test_an_unusable_cursor_is_told_and_starts_again(server: Server, cursor: str) -> None:
    """hello says reset, and everything comes from the start; never an error, never silence."""
    run = server.launch("emit", n=3)
    server.wait_ended(run)
    events = server.events(run, last_event_id=cursor.replace("{run}", run))
    assert data_of(events[0])["reset"] is True
    assert [data["seq"] for data in numbered(events)] == list(range(1, server.run(run)["cursor"] + 1))


def test_the_cursor_of_another_run_starts_again(server: Server) -> None:
    """A cursor belongs to its run."""
    run, other = server.launch("emit", n=3), server.launch("emit", n=3)
    server.wait_ended(run)
    server.wait_ended(other)
    assert data_of(server.events(run, last_event_id=f"{other}-3")[0])["reset"] is True


def test_a_latecomer_gets_everything_and_then_the_end(server: Server) -> None:
    """A run of many pages of events is replayed whole, and the server closes."""
    run = server.launch("emit", n=3000)
    head = server.wait_ended(run)["cursor"]
    events = server.events(run)
    assert [data["seq"] for data in numbered(events)] == list(range(1, head + 1))
    assert updates(events)[-1]["status"] == "completed"


def test_a_reconnect_exactly_at_the_end_gets_204(server: Server) -> None:
    """204 makes EventSource stop; the last event is not sent again."""
    run = server.launch("emit", n=3)
    head = server.wait_ended(run)["cursor"]
    for where in ({"headers": {"Last-Event-ID": f"{run}-{head}"}}, {"params": {"after": str(head)}}):
        answer = server.http.get(f"/api/v1/runs/{run}/events", **where)  # type: ignore[arg-type]
        assert (answer.status_code, answer.content) == (204, b"")


def test_a_stream_has_the_headers_that_keep_it_flowing(server: Server) -> None:
    """No cache and no proxy may hold it back, and the app sets nothing hop-by-hop."""
    run = server.launch("emit", n=1)
    answer = server.http.get(f"/api/v1/runs/{run}/events")
    assert answer.headers["Cache-Control"] == "no-store, no-transform"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Content-Encoding" not in answer.headers


def test_a_form_that_there_is_not_is_refused_in_words(server: Server) -> None:
    """406 names what is served."""
    run = server.launch("emit", n=1)
    answer = server.http.get(f"/api/v1/runs/{run}/events", headers={"Accept": "application/xml"})
    assert answer.status_code == 406
    assert "text/event-stream" in answer.json()["detail"]


def test_progress_is_throttled_and_the_newest_always_comes(server: Server) -> None:
    """100,000 calls become a handful of updates, the last of which is the last said."""
    run = server.launch("chatter", calls=100_000)
    found = updates(server.events(run))
    assert len(found) < 20
    assert found[-2]["progress"] == 99.9


def test_a_large_result_is_named_by_its_address(server: Server) -> None:
    """No frame exceeds 64 KiB; the result is whole at its URL."""
    run = server.launch("big", size=200_000)
    last = updates(server.events(run))[-1]
    assert last["data"] is None
    assert server.http.get(last["result_url"]).json() == "x" * 200_000
    assert server.run(run)["result"] is None


def test_text_of_every_kind_arrives_as_it_was_said(server: Server) -> None:
    """Line ends, NUL, U+2028 and emoji neither break a frame nor get lost; a lone surrogate, no text, is U+FFFD."""
    message = "a\nb\r\n\n\nevent: done\ndata: x\0\u2028\U0001f63a \ud83d end"
    answer = server.http.post(
        "/api/v1/jobs/tell/runs", content=json.dumps({"message": message}), headers={"Content-Type": "application/json"}
    )
    events = server.events(answer.json()["id"])
    message = message.replace("\ud83d ", "\ufffd ")
    assert {data["message"] for data in numbered(events) if "level" in data} == {message}
    assert "".join(data["text"] for data in numbered(events) if "text" in data) == message
    assert updates(events)[-1]["data"] == {"told": message}
    assert {event.event for event in events} == {"hello", "message", "plan", "log", "output", "row"}


def test_runs_wait_in_order_and_know_their_place(new_server) -> None:  # type: ignore[no-untyped-def]
    """With one thread, the second and third wait as 1 and 2, and run in that order."""
    server = new_server(HEADWAY_THREADS="1")
    gate = server.data.parent / "gate"
    first = server.launch("hold", gate=str(gate))
    wait_for(lambda: server.run(first)["status"] == "processing")
    second, third = server.launch("emit", n=1), server.launch("emit", n=1)
    assert [server.run(run)["queue_position"] for run in (first, second, third)] == [None, 1, 2]
    listed = {run["id"]: run["queue_position"] for run in server.http.get("/api/v1/runs").json()["runs"]}
    assert listed == {first: None, second: 1, third: 2}
    gate.touch()
    ends = [server.wait_ended(run) for run in (second, third)]
    assert ends[0]["started_at"] <= ends[1]["started_at"]
    assert all(end["queue_position"] is None for end in ends)


def test_an_idle_stream_gets_heartbeats(server: Server) -> None:
    """After 15 s without a frame one comes, so that both sides know the connection lives."""
    run = server.launch("hold")
    with server.stream(run) as events:
        beat = next(event for event in events if event.event == "heartbeat")
    assert data_of(beat)["time"].endswith("Z")
    assert beat.retry is None
    server.cancel(run)
    server.wait_ended(run)
