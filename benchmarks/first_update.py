"""POST to the first updates at the client."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, spread
from benchmarks.quiet import repeated
from benchmarks.wire import Client, client, message_of, server

LAUNCHES = 150


def measure() -> list[Figure]:
    """From before the POST is sent to the first update of its stream (at most 9 ms, issue 2: Gradio 6.31 needs 9.2).

    Launched and streamed in one call (``Accept: text/event-stream``), a job that says something at once, one launch at
    a time on a keep-alive connection. Three updates are looked at: the first of all (usually "queued", synced to the
    disk), the first with the status ``processing``, and the first that the job's own code said. Updates that are
    written together arrive together.
    """
    with server() as running, client(running) as connection:
        repeats = repeated(lambda: [_times_ms(connection) for _ in range(LAUNCHES)])
    first, processing, said = ([[times[kind] for times in repeat] for repeat in repeats] for kind in range(3))
    return [
        *spread("POST to first update", first, limits={50: 9.0}, note="Gradio 6.31: 9.2 ms, not synced (issue 2)"),
        *spread("POST to first 'processing'", processing, limits={50: 9.0}),
        *spread("POST to first word of the job", said),
    ]


def _times_ms(connection: Client) -> tuple[float, float, float]:
    """When the first update came, the first that says processing, and the first of the job's."""
    began = time.time_ns()
    connection.post("emit", {"n": 0})
    updates = list(_updates(connection))
    first = updates[0][0]
    processing = next(heard for heard, update in updates if update["status"] == "processing")
    said = next(heard for heard, update in updates if update["step"] == "Emitting")
    return tuple((heard - began) / 1e6 for heard in (first, processing, said))  # type: ignore[return-value]


def _updates(connection: Client) -> Iterator[tuple[int, dict[str, object]]]:
    heard = [(connection.heard_ns, frame) for frame in connection.frames()]  # looked at when the stream has ended
    return ((heard_ns, message_of(frame)) for heard_ns, frame in heard if not frame.startswith(b"event:"))
