"""A real endpoint on loopback that speaks streaming chat completions and embeddings, and fails on demand.

What it does is chosen by the prompt: the last user message, where that holds the JSON that :func:`asking` writes (text
around it is left alone, so that it may stand in a template). Any other prompt is answered with :data:`PLAIN`.

Run as a program it prints its port and serves until its stdin ends: ``python -m tests.library.chat_server``.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.harness import ROOT

PLAIN = ("The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "dog.")
DIMENSIONS = 8
"""Of the embeddings: how often each of the letters a-h stands in the text."""


def asking(**what: Any) -> str:
    """A prompt that makes the server do so. The keys:

    - ``pieces``: the texts to send, one a chunk; or ``tokens``: so many short words; or ``stamps``: so many times of
      their own sending, in ns since 1970. ``pause_ms`` comes before each. ``reasoning``: so many thoughts before them.
    - ``statuses``: answer with these first, one a request, then go on; ``always``: answer with this each time;
      ``headers`` and ``error`` (a text, or any JSON) go with them.
    - ``cut_after``, ``stall_after``, ``error_after``: after so many pieces close the connection in the middle, say
      nothing any more, or send an error object; ``times`` (default: each time) limits that to the first requests.
    - ``usage`` false: no usage chunk; ``finish`` null: no finish reason; ``done`` false: no [DONE].
    - ``<key>`` in an ``error`` stands for the key that came with the request.
    - ``endless``: send the pieces again and again; ``echo_key``: the pieces are the request's key, in halves.
    - ``refuse``: fields of the request that are answered with 400, as by a server that does not know them.
    - ``raw``: bytes (as Latin-1) to send as they are instead of a stream; ``type`` is their content type.
    - ``wire``: the whole answer, head included, as Latin-1; ``again`` follows it without end.
    - ``mute``: accept the request and never answer. ``id`` is for the test, and makes prompts differ.
    """
    return json.dumps(what)


@dataclass
class Asked:
    """A request that came. Times in ns since 1970 (wall clock), 0 for what did not happen."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    prompt: str
    came_ns: int
    first_ns: int = 0
    """When the first text was written."""
    left_ns: int = 0
    """When the other side was seen to have gone before the answer was complete."""
    sent: list[str] = field(default_factory=list)
    """The texts that were written."""
    complete: bool = False


@dataclass
class ChatServer:
    """``with ChatServer() as chat``: ``asked`` are the requests that came, in order."""

    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    """Set at the end: what stalls goes on then."""

    def __enter__(self) -> ChatServer:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.chat = self
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def prompts(self) -> list[str]:
        """The prompts that came, in order."""
        return [asked.prompt for asked in self.asked]

    def note(self, asked: Asked) -> int:
        """Keep a request; gives how often its prompt had come before."""
        with self._lock:
            self.asked.append(asked)
            self._counts[asked.prompt] += 1
            return self._counts[asked.prompt] - 1


@contextmanager
def in_a_process() -> Iterator[str]:
    """The server in a process of its own, for measurements; gives what OPENAI_BASE_URL is set to."""
    command = [sys.executable, "-m", "tests.library.chat_server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.stdin.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    chat: ChatServer

    def process_request(self, request: object, client_address: object) -> None:
        self.chat.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        came_ns = time.time_ns()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = _prompt(body)
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body, prompt, came_ns)
        before = self.server.chat.note(asked)
        what = _wish(prompt.replace("<key>", self.headers.get("Authorization", "").removeprefix("Bearer ")))
        try:
            if self._refused(what, body, before):
                asked.complete = True
            elif "wire" in what:
                self._put(what)
            elif "mute" in what:
                self._wait_until_gone()
            elif "raw" in what:
                self._answer(
                    200, what["raw"].encode("latin-1"), {"Content-Type": what.get("type", "text/event-stream")}
                )
                asked.complete = True
            elif self.path.endswith("/embeddings"):
                self._embed(body)
                asked.complete = True
            else:
                self._stream(what, asked, before)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        if not asked.complete and not self.server.chat.release.is_set():
            asked.left_ns = asked.left_ns or time.time_ns()

    def do_GET(self) -> None:
        self.server.chat.note(Asked(self.path, dict(self.headers), {}, "", time.time_ns()))
        self._answer(404, b"not here", {})

    def _refused(self, what: dict[str, Any], body: dict[str, Any], before: int) -> bool:
        """Answer with an error where one was asked for."""
        for name in what.get("refuse", []):
            if name in body:
                instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                self._error(400, f"Unsupported parameter: '{name}' is not supported with this model.{instead}", {})
                return True
        statuses = what.get("statuses", [])
        status = what.get("always") or (statuses[before] if before < len(statuses) else None)
        if status is not None:
            self._error(status, what.get("error", "No."), what.get("headers", {}))
        return status is not None

    def _error(self, status: int, error: Any, headers: Mapping[str, str]) -> None:
        if isinstance(error, str):
            error = {"error": {"message": error, "type": "error", "code": None}}
        self._answer(status, json.dumps(error).encode(), {"Content-Type": "application/json", **headers})

    def _put(self, what: Mapping[str, Any]) -> None:
        """Write bytes; where some follow without end, until the other side goes."""
        self.close_connection = True
        self.wfile.write(what["wire"].encode("latin-1"))
        while "again" in what and not self.server.chat.release.is_set():
            self.wfile.write(what["again"].encode("latin-1") * 10_000)

    def _embed(self, body: dict[str, Any]) -> None:
        vectors = [[float(text.count(letter)) for letter in "abcdefgh"] for text in body["input"]]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        answer = {"object": "list", "data": data[::-1], "model": body["model"], "usage": {"total_tokens": 1}}
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _stream(self, what: dict[str, Any], asked: Asked, before: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._event({**_chunk(asked.body), "choices": [_choice({"role": "assistant", "content": ""})]})
        for _ in range(what.get("reasoning", 0)):
            self._event({**_chunk(asked.body), "choices": [_choice({"reasoning_content": "hmm "})]})
        faulty = before < what.get("times", 1_000_000)
        for number, piece in enumerate(_pieces(what, self.headers.get("Authorization", ""))):
            if faulty and self._faulted(what, number):
                return
            if self.server.chat.release.wait(what.get("pause_ms", 0) / 1000):
                return
            piece = piece or f"{time.time_ns()} "
            asked.first_ns = asked.first_ns or time.time_ns()
            self._event({**_chunk(asked.body), "choices": [_choice({"content": piece})]})
            asked.sent.append(piece)
        if faulty and self._faulted(what, len(asked.sent)):
            return
        self._end(what, asked)

    def _faulted(self, what: dict[str, Any], number: int) -> bool:
        if what.get("cut_after") == number:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif what.get("stall_after") == number:
            self._wait_until_gone()
        elif what.get("error_after") == number:
            self._event(_error_event(what.get("error", "The model fell over.")))
            self._write(b"")
        else:
            return False
        return True

    def _end(self, what: dict[str, Any], asked: Asked) -> None:
        if what.get("finish", "stop"):
            self._event({**_chunk(asked.body), "choices": [_choice({}, what.get("finish", "stop"))]})
        if what.get("usage", True) and (asked.body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 7, "completion_tokens": len(asked.sent), "total_tokens": 7 + len(asked.sent)}
            self._event({**_chunk(asked.body), "choices": [], "usage": usage})
        if what.get("done", True):
            self._write(b"data: [DONE]\n\n")
        self._write(b"")
        asked.complete = True

    def _wait_until_gone(self) -> None:
        """Say nothing until the other side closes."""
        self.close_connection = True
        while not self.server.chat.release.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and self.connection.recv(1, socket.MSG_PEEK) == b"":
                return

    def _event(self, data: Mapping[str, Any]) -> None:
        self._write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _write(self, data: bytes) -> None:
        """One chunk of the body; the empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The requests are in ``chat.asked``."""


def _prompt(body: Mapping[str, Any]) -> str:
    messages = body.get("messages") or [{"content": "\n".join(body.get("input", []))}]
    return str(messages[-1]["content"])


def _wish(prompt: str) -> dict[str, Any]:
    """The JSON object that the prompt holds, if any."""
    begin = prompt.find("{")
    try:
        found = json.JSONDecoder().raw_decode(prompt, begin)[0] if begin >= 0 else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _pieces(what: Mapping[str, Any], authorization: str) -> Iterable[str]:
    """The texts to send; an empty one stands for the time of its sending."""
    if what.get("echo_key"):
        key = authorization.removeprefix("Bearer ")
        return ["Your key is ", key[: len(key) // 2], key[len(key) // 2 :], ", all of it: ", key, "!"]
    if "stamps" in what:
        return [""] * what["stamps"]
    pieces = [f"w{number} " for number in range(what["tokens"])] if "tokens" in what else what.get("pieces", PLAIN)
    return _again_and_again(pieces) if what.get("endless") else pieces


def _again_and_again(pieces: Iterable[str]) -> Iterable[str]:
    pieces = list(pieces)
    while True:
        yield from pieces


def _chunk(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": body["model"]}


def _choice(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _error_event(error: Any) -> dict[str, Any]:
    return {"error": {"message": error, "type": "server_error", "code": None} if isinstance(error, str) else error}


if __name__ == "__main__":
    with ChatServer() as serving:
        print(serving.port, flush=True)
        sys.stdin.read()
