"""A run from the launch to its last frame, over HTTP, on a real server with two web workers."""

from __future__ import annotations

from tests.harness import Server, data_of, numbered, updates


def test_a_run_is_launched_and_followed_to_its_end(server: Server) -> None:
    """The first frame is hello, events are dense from 1, progress never goes back, the last update completes."""
    run = server.launch("emit", n=50, rate=200)
    events = server.events(run)
    assert events[0].event == "hello"
    assert data_of(events[0]) == {"run": run, "from": 0, "head": data_of(events[0])["head"], "reset": False, "heartbeat_s": 15.0}
    assert [data["seq"] for data in numbered(events)] == list(range(1, len(numbered(events)) + 1))
    percents = [update["progress"] for update in updates(events)]
    assert percents == sorted(percents)
    assert all(percent < 100 for percent in percents[:-1])
    assert updates(events)[-1] == updates(events)[-1] | {"status": "completed", "progress": 100, "data": {"n": 50}}
    assert [data["row"]["i"] for data in numbered(events) if "row" in data] == list(range(50))
