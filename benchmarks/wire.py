"""A server of its own for a benchmark, and a client on a raw socket that costs next to nothing.

The client is this process, which does nothing else meanwhile and collects no garbage. What arrives is stamped as soon
as ``recv`` returns, before it is looked at. The clock is the wall clock (``time.time_ns``): it is the one that two
processes share, and the job says it too.
"""

from __future__ import annotations

import gc
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.harness import Server

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
"""Where the data folders of the measured servers are for a moment: on the project's disk, since /tmp may be memory."""
SSE = "text/event-stream"


@contextmanager
def server(before: Callable[[Server], None] = lambda server: None, **settings: str) -> Iterator[Server]:
    """A fresh server as ``make run`` starts it (one web worker), on a data folder that is deleted afterwards.

    ``before`` is called with it before it starts, ``settings`` go into its environment.
    """
    OUT.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=OUT) as folder:
        found = Server(Path(folder) / "data", workers=1, **settings)
        before(found)
        try:
            yield found.start()
        finally:
            found.stop()


def launch_with_files(server: Server, job: str, parameters: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Launch as a form does, where uploads may be longer than a JSON body; gives the run's id."""
    named = {name: (f"{name}.csv", content) for name, content in files.items()}
    data = {name: str(value) for name, value in parameters.items()}
    answer = server.http.post(f"/api/v1/jobs/{job}/runs", data=data, files=named or None)
    assert answer.status_code == 202, answer.text
    run: str = answer.json()["id"]
    return run


@contextmanager
def client(server: Server) -> Iterator[Client]:
    """A connection to the server, warmed up, in a process that does not stop to collect garbage."""
    gc.collect()
    gc.disable()
    connection = Client(server)
    try:
        for _ in range(20):
            connection.finish(connection.launch("emit", {"n": 0}))
        yield connection
    finally:
        gc.enable()
        connection.close()


class Client:
    """One keep-alive connection; another one after each stream. One answer at a time: read it to its end before the
    next request."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._connect()
        self._head = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.key}\r\n"
        self._got = b""
        self.heard_ns = 0
        """When the newest bytes came."""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def launch(self, job: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """POST, and the run of the 202; :attr:`heard_ns` is then when its last byte came."""
        self.post(job, parameters, "application/json")
        answer: dict[str, Any] = json.loads(self._body(self._headers(202)))
        return answer

    def post(self, job: str, parameters: Mapping[str, Any], accept: str = SSE) -> None:
        """Send a launch; with ``accept`` as it is, :meth:`frames` are the answer."""
        body = json.dumps(parameters)
        about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._request("POST", f"/api/v1/jobs/{job}/runs", accept, about, body)

    def finish(self, run: Mapping[str, Any]) -> bytes:
        """Follow a run to its end; gives its last frame."""
        self._request("GET", run["events_url"], SSE)
        return list(self.frames())[-1]

    def frames(self) -> Iterator[bytes]:
        """The frames of a stream as they come, to the end of the answer; :attr:`heard_ns` is when each one came."""
        self._headers(200)
        text = b""
        while chunk := self._chunk():
            *whole, text = (text + chunk).split(b"\n\n")
            yield from whole
        self._socket.close()
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _request(self, method: str, path: str, accept: str, more: str = "", body: str = "") -> None:
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\n{self._head}Accept: {accept}\r\n{more}\r\n{body}".encode())

    def _headers(self, status: int) -> bytes:
        headers = self._until(b"\r\n\r\n")
        if int(headers[9:12]) != status:
            raise RuntimeError(f"an answer {status} was expected, not:\n{headers.decode()}\n{self._got.decode()}")
        return headers.lower()

    def _body(self, headers: bytes) -> bytes:
        return self._exactly(int(headers.partition(b"content-length:")[2].split(b"\r\n")[0]))

    def _chunk(self) -> bytes:
        size = int(self._until(b"\r\n"), 16)
        return self._exactly(size + 2)[:-2]

    def _until(self, end: bytes) -> bytes:
        while end not in self._got:
            self._receive()
        found, _, self._got = self._got.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._got) < size:
            self._receive()
        found, self._got = self._got[:size], self._got[size:]
        return found

    def _receive(self) -> None:
        got = self._socket.recv(65536)
        self.heard_ns = time.time_ns()
        if not got:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        self._got += got


def message_of(frame: bytes) -> dict[str, Any]:
    """The data of a frame."""
    line = next(line for line in frame.split(b"\n") if line.startswith(b"data: "))
    found: dict[str, Any] = json.loads(line[6:])
    return found
