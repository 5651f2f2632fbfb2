"""From the language model's endpoint to the client, and what a reconnect costs."""

from __future__ import annotations

import random
import re

from benchmarks.figures import Figure, spread
from benchmarks.quiet import REPEATS, repeated
from benchmarks.wire import Client, client, server
from tests.harness import Server, data_of, numbered, updates
from tests.library.chat_server import asking, in_a_process

TEXTS = 60
TOKENS, PAUSE_MS = 12, 15
LONG_TOKENS, LONG_PAUSE_MS, CUTS = 600, 4, 25

_STAMP = re.compile(rb"\d{19}")


def measure() -> list[Figure]:
    """From the moment in which the endpoint writes the first token to the client's first ``output`` frame.

    Limits (issue 3): at most 50 ms; no token lost or repeated across a reconnect.

    The endpoint is a local server in a process of its own whose tokens are the time at which each is sent. Texts of 12
    tokens, 15 ms apart, one at a time on a keep-alive connection. Of the tokens after the first, one is shown with what
    came during the 50 ms after the one before it, which is the pace of all output: those are shown without a limit.
    For the reconnects, a text of 600 tokens is read by a client that leaves after a few events, 25 times and more, and
    comes back with the last id that it has.
    """
    with in_a_process() as url, server(HEADWAY_OPENAI_BASE_URL=url, HEADWAY_OPENAI_MODEL="stamps") as running:
        with client(running) as connection:
            _late_tokens_ms(connection)  # the first child reads the openai package from the disk
            texts = repeated(lambda: [_late_tokens_ms(connection) for _ in range(TEXTS)])
        wrong = [_lost_or_repeated(running, seed) for seed in range(REPEATS)]
    first = [[late[0] for late in repeat] for repeat in texts]
    rest = [[one for late in repeat for one in late[1:]] for repeat in texts]
    return [
        *spread("endpoint's first token to first output", first, limits={50: 50.0, 99: 50.0}),
        *spread("- later tokens, at the pace of output", rest),
        Figure("tokens lost or repeated by reconnects", tuple(map(float, wrong)), "tokens", LONG_TOKENS * REPEATS, 0.0),
    ]


def _late_tokens_ms(connection: Client) -> list[float]:
    """How late each token of a text came, in order."""
    connection.post("generate", {"prompt": asking(stamps=TOKENS, pause_ms=PAUSE_MS), "length": TOKENS})
    heard = [(connection.heard_ns, frame) for frame in connection.frames()]
    late = [
        (heard_ns - int(stamp[0])) / 1e6
        for heard_ns, frame in heard
        if frame.startswith(b"event: output")
        for stamp in _STAMP.finditer(frame.partition(b'"text"')[2])
    ]
    assert len(late) == TOKENS, "every token arrives"
    return late


def _lost_or_repeated(running: Server, seed: int) -> int:
    """How many tokens a client that reconnects all the time has not seen exactly once, in their order."""
    chance = random.Random(seed)
    run = running.launch("generate", prompt=asking(tokens=LONG_TOKENS, pause_ms=LONG_PAUSE_MS), length=LONG_TOKENS)
    text, last, cuts, status = "", None, 0, ""
    while status not in ("completed", "error"):
        with running.stream(run, last_event_id=last) as stream:
            for _ in range(chance.randrange(1, 4)):
                event = next(stream, None)
                if event is None:
                    break
                last = event.id or last
                text += "".join(data["text"] for data in numbered([event]) if event.event == "output")
                status = data_of(event)["status"] if updates([event]) else status
        cuts += 1
    assert status == "completed" and cuts >= CUTS, (status, cuts)
    sent = [f"w{number}" for number in range(LONG_TOKENS)]
    seen = text.split()
    return sum(one != other for one, other in zip(sent, seen, strict=False)) + abs(len(sent) - len(seen))
