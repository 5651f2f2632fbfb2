"""Streams over the fast lane and over a generator each: the same bytes, and HTTP and SSE as the standards have them."""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trustme
from httpx_sse import EventSource
from openai._streaming import SSEDecoder

from jobs.store import Store
from tests.harness import JOBS, KEY, Server, wait_for

MIX = '''"""A job that says something of every kind."""

import time
from pathlib import Path

from jobs import Progress, job


@job(title="Mix")
def mix(progress: Progress, turns: int = 50, rate: float = 100, size: int = 10, begin: str = "", gate: str = "") -> int:
    """Say an update, a log line, some output and a row each turn; wait for two files: before the turns, and after."""
    progress.plan("Turning", "Waiting")
    progress.update(0, "Ready")
    while begin and not Path(begin).exists():
        progress.check()
        time.sleep(0.01)
    for turn in range(turns):
        progress.update(99 * turn / turns, f"turn {turn} \\u00fc \\u2028")
        progress.log(f"log {turn} " + "l" * size)
        progress.output(f"output {turn} " + "o" * size + "\\n")
        progress.row({"turn": turn, "text": "r" * size})
        if rate:
            time.sleep(1 / rate)
    while gate and not Path(gate).exists():
        progress.check()
        time.sleep(0.01)
    return turns
'''
KINDS = ("update", "plan", "log", "output", "row")
OWN_FRAMES = {"hello", "heartbeat", "bye", "busy"}


class Frame(NamedTuple):
    """One frame as a WHATWG parser gives it; ``id`` and ``retry`` where the frame itself has them."""

    event: str
    data: str
    id: str | None = None
    retry: int | None = None


class Client:
    """A socket that asks for one stream and keeps every byte with the time it came. Read by :func:`pump`."""

    def __init__(
        self,
        server: Server,
        run: str,
        *,
        version: str = "1.1",
        method: str = "GET",
        credentials: str = f"Authorization: Bearer {KEY}",
        query: str = "",
        cursor: str | None = None,
        buffer: int | None = None,
        segment: int | None = None,
        most: int = 1 << 20,
        every_s: float = 0.0,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """``buffer`` is SO_RCVBUF, ``segment`` TCP_MAXSEG: loopback's of 64 KiB is like no network's. The client
        reads at most ``most`` bytes every ``every_s`` seconds."""
        self.run = run
        self.cursor = cursor
        self.raw = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        self.most, self.every_s = most, every_s
        self.read_at = 0.0
        self.open = True
        self.was_reset = False
        plain = socket.socket()
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if segment is not None:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        plain.settimeout(10)
        plain.connect(("127.0.0.1", server.port))
        self.socket = plain if trust is None else trust.wrap_socket(plain, server_hostname="127.0.0.1")
        lines = [
            f"{method} /api/v1/runs/{run}/events{query} HTTP/{version}",
            f"Host: 127.0.0.1:{server.port}",
            *([credentials] if credentials else []),
            *([f"Last-Event-ID: {cursor}"] if cursor else []),
        ]
        self.ask("\r\n".join(lines) + "\r\n\r\n")
        self.socket.setblocking(False)

    def __del__(self) -> None:
        self.socket.close()

    def ask(self, request: str) -> None:
        """Send a request."""
        self.socket.sendall(request.encode())

    def fileno(self) -> int:
        """For ``select.poll``."""
        return self.socket.fileno()

    def read(self) -> None:
        """Read what is there, once."""
        self.read_at = time.monotonic()
        try:
            read = self.socket.recv(self.most)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ConnectionResetError:
            self.was_reset, read = True, b""
        if read:
            self.raw += read
            self.arrivals.append((self.read_at, len(self.raw)))
        else:
            self.close()

    def close(self) -> None:
        """Close in order (FIN)."""
        self.open = False
        self.socket.close()

    def reset(self) -> None:
        """Close without a word (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    @property
    def head(self) -> bytes:
        """Status line and headers of the first answer."""
        return bytes(self.raw).partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """The body as it was sent, without its chunks; strict about these where there are any."""
        body = bytes(self.raw).partition(b"\r\n\r\n")[2]
        return dechunked(body)[0] if b"\r\ntransfer-encoding: chunked" in self.head.lower() else body

    @property
    def finished(self) -> bool:
        """Whether the answer has ended as HTTP/1.1 ends it: with the last chunk."""
        return self.raw.endswith(b"0\r\n\r\n") and dechunked(bytes(self.raw).partition(b"\r\n\r\n")[2])[1]

    @property
    def frames(self) -> list[Frame]:
        """All whole frames so far."""
        return parsed(self.body)

    @property
    def seqs(self) -> list[int]:
        """The numbers of all events so far."""
        return seqs_of(self.frames)

    @property
    def last_id(self) -> str | None:
        """The cursor to go on from."""
        return next((frame.id for frame in reversed(self.frames) if frame.id), self.cursor)


def pump(clients: Sequence[Client], done: Callable[[], object], limit_s: float = 20, what: str = "") -> None:
    """Read for all clients until ``done``; fail after ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while not done():
        now = time.monotonic()
        assert now < deadline, f"waited {limit_s} s in vain for {what or done}"
        poll = select.poll()
        asked = {
            one.fileno(): one for one in clients if one.open and one.every_s >= 0 and now - one.read_at >= one.every_s
        }
        for number in asked:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(10):
            asked[number].read()


def all_finished(clients: Sequence[Client]) -> Callable[[], bool]:
    """A condition for :func:`pump`: every client has had the last chunk, or the server has closed."""
    return lambda: all(not one.open or one.finished for one in clients)


def all_have(clients: Sequence[Client], said: bytes) -> Callable[[], bool]:
    """A condition for :func:`pump`: every client has had these bytes."""
    return lambda: all(said in one.raw for one in clients)


def dechunked(body: bytes) -> tuple[bytes, bool]:
    """A chunked body (RFC 9112, section 7.1) without its chunks, and whether the last chunk was there.

    Strict: no leading zeros, no extensions, nothing behind the last chunk. One that is cut off at the end is left out.
    """
    said, at = bytearray(), 0
    while at < len(body):
        end = body.find(b"\r\n", at, at + 20)
        if end < 0:
            assert re.fullmatch(rb"[0-9A-Fa-f]*\r?", body[at:]), body[at : at + 40]
            break
        assert re.fullmatch(rb"0|[1-9A-Fa-f][0-9A-Fa-f]*", body[at:end]), body[at : at + 40]
        size = int(body[at:end], 16)
        whole = body[end + 2 : end + 2 + size + 2]
        if len(whole) < size + 2:
            assert size or b"\r\n".startswith(whole)
            break
        assert whole[size:] == b"\r\n", (size, whole[-40:])
        if size == 0:
            assert at + 5 == len(body), "something stands behind the last chunk"
            return bytes(said), True
        said += whole[:size]
        at = end + 2 + size + 2
    return bytes(said), False


def parsed(body: bytes) -> list[Frame]:
    """Whole frames, read as the WHATWG has it (HTML, section 9.2.6) but strict: only what Headway writes."""
    frames = []
    for text in body.decode("ascii").split("\n\n")[:-1]:
        lines = [re.fullmatch(r"(event|retry|data|id): ([^\r\n\0]+)", line) for line in text.split("\n")]
        assert all(lines), text
        names = [line[1] for line in lines if line]
        assert names == sorted(set(names), key=["event", "retry", "data", "id"].index), names
        fields = {line[1]: line[2] for line in lines if line}
        retry = int(fields["retry"]) if "retry" in fields else None
        frames.append(Frame(fields.get("event", "message"), fields["data"], fields.get("id"), retry))
    return frames


def seqs_of(frames: Sequence[Frame]) -> list[int]:
    """The numbers of the events among frames."""
    return [int((frame.id or "").rpartition("-")[2]) for frame in frames if frame.event not in OWN_FRAMES]


def stored(server: Server, run: str) -> list[tuple[int, str, int, str]]:
    """All events of a run as they stand in the database: number, kind, time, body."""
    rows: list[tuple[int, str, int, str]] = []
    with closing(Store(server.data / "headway.db")) as store:
        while True:
            page = store.events_after(run, rows[-1][0] if rows else 0)
            rows += page.rows
            if not page.rows:
                return rows


def told(body: bytes) -> bytes:
    """The bytes of a stream but for the server's own frames, which differ: random retries, times."""
    texts = body.split(b"\n\n")
    assert texts.pop() == b""
    own = tuple(f"event: {name}\n".encode() for name in OWN_FRAMES)
    return b"".join(text + b"\n\n" for text in texts if not text.startswith(own))


def mix_jobs(folder: Path) -> str:
    """A HEADWAY_JOBS with the mix job beside those of the tests."""
    folder.mkdir(exist_ok=True)
    (folder / "mix.py").write_text(MIX)
    return f"{JOBS}:{folder}"


class Beside(Server):
    """Another server on the data of the first, which keeps the runner."""

    def __init__(self, first: Server, workers: int, trust: ssl.SSLContext | None = None) -> None:
        """``workers`` are all web workers on these data, this one's among them: they are counted by their sockets."""
        settings = {"HEADWAY_JOBS": first.environment["HEADWAY_JOBS"], "HEADWAY_WEB_WORKERS": "1"}
        super().__init__(first.data, workers=workers, **settings)
        self.trust = trust

    def _ready(self) -> bool:
        if self.trust is None:
            return super()._ready()
        try:
            return httpx.get(f"https://127.0.0.1:{self.port}/readyz", verify=self.trust).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def mixing(new_server: Callable[..., Server], tmp_path: Path) -> Server:
    """A server with two workers and the mix job."""
    return new_server(HEADWAY_JOBS=mix_jobs(tmp_path / "jobs"))


@contextmanager
def stopped_after(server: Server) -> Iterator[Server]:
    """A server that is stopped in order after the block."""
    try:
        yield server
    finally:
        server.stop()


def test_every_way_to_serve_a_run_gives_the_same_bytes(mixing: Server, tmp_path: Path) -> None:
    """The lane, HTTP/1.0, TLS and the development server at once; from the start and from the middle."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    secure = Beside(mixing, 3, trust)
    tls = ("-m", "gunicorn", "--certfile", str(tmp_path / "cert.pem"), "--keyfile", str(tmp_path / "key.pem"))
    simple = Beside(mixing, 4)
    with stopped_after(secure.start((*tls, "wsgi:app"))), stopped_after(simple):
        simple.start(("-m", "flask", "--app", "app", "run", "--port", str(simple.port)))
        begin, gate = tmp_path / "begin", tmp_path / "gate"
        run = mixing.launch("mix", turns=150, rate=100, size=300, begin=str(begin), gate=str(gate))
        clients = [
            *(Client(mixing, run) for _ in range(8)),
            *(Client(mixing, run, version="1.0") for _ in range(4)),
            Client(secure, run, trust=trust),
            Client(secure, run, trust=trust, version="1.0"),
            Client(simple, run),
            Client(simple, run, version="1.0"),
        ]
        pump(clients, all_have(clients, b"Ready"), what="all to be there")
        begin.touch()
        pump(clients, lambda: all(len(one.raw) > 20_000 for one in clients))
        late = [Client(mixing, run, version=version) for version in ("1.0", "1.1") for _ in range(3)]
        resumed = [Client(mixing, run, cursor=f"{run}-40", version=version) for version in ("1.0", "1.1")]
        clients += late + resumed
        pump(clients, all_have(clients, b"log 149 "), what="the last turn")
        gate.touch()
        pump(clients, all_finished(clients), what="the end of all")
    rows = stored(mixing, run)
    assert {kind for _, kind, _, _ in rows} == set(KINDS)
    whole = told(clients[0].body)
    for one in clients:
        assert one.head.split()[1] == b"200"
        assert one.finished or not one.open
        if one in resumed:
            assert one.seqs == [row[0] for row in rows if row[0] > 40]
            assert whole.endswith(told(one.body))
        else:
            assert told(one.body) == whole, one.head
    assert [(frame.event, frame.id) for frame in parsed(whole)] == [
        ("message" if kind == "update" else kind, f"{run}-{seq}") for seq, kind, _, _ in rows
    ]
    for frame, (_, _, _, body) in zip(parsed(whole), rows, strict=True):
        assert frame.data.startswith(body[:-1])


def test_three_parsers_read_the_same(mixing: Server) -> None:
    """httpx-sse, the reader of the openai package and a strict one of the tests agree, whatever the pieces."""
    run = mixing.launch("mix", turns=80, rate=100, size=50)
    client = Client(mixing, run)
    pump([client], all_finished([client]))
    body = client.body
    ours = client.frames
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body)
    theirs = list(EventSource(answer).iter_sse())
    assert [(one.event, one.data, one.retry) for one in theirs] == [(one.event, one.data, one.retry) for one in ours]
    assert [one.id for one in theirs] == [one.id for one in ours]  # every frame of this stream has its own
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    others = list(SSEDecoder().iter_bytes(iter(pieces)))
    assert [(one.event or "message", one.data, one.retry) for one in others] == [
        (one.event, one.data, one.retry) for one in ours
    ]
    assert [one.id for one in others] == [one.id for one in ours]
    assert seqs_of(ours) == [row[0] for row in stored(mixing, run)]


def test_a_head_request_has_no_body_and_takes_no_slot(new_server: Callable[..., Server]) -> None:
    """The connection is usable after it, again and again; the only slot of this server stays free."""
    server = new_server(workers="1", HEADWAY_STREAMS="1")
    run = server.launch("hold")
    client = Client(server, run, method="HEAD")
    for count in range(1, 6):
        pump([client], lambda count=count: client.raw.count(b"\r\n\r\n") == count)  # type: ignore[misc]
        assert client.raw.endswith(b"\r\n\r\n")
        assert b"HTTP/1.1 200" in client.head and b"text/event-stream" in client.head
        if count < 5:
            client.ask(
                f"HEAD /api/v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
            )
    client.raw.clear()
    client.ask(f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n")
    pump([client], lambda: b"Holding" in client.raw)
    assert [frame.event for frame in client.frames][0] == "hello"
    client.close()
    server.cancel(run)


def test_a_connection_ends_in_order_with_its_stream(mixing: Server, tmp_path: Path) -> None:
    """It says so in the first lines; not a byte comes after the last chunk, and no reset, also where the client has
    said more meanwhile."""
    gate = tmp_path / "gate"
    run = mixing.launch("mix", turns=30, rate=100, gate=str(gate))
    client, talking = Client(mixing, run), Client(mixing, run)
    pump([client, talking], all_have([client, talking], b"log 10 "))
    talking.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + "x" * 100_000)
    pump([client, talking], all_have([client, talking], b"log 29 "))
    gate.touch()
    pump([client, talking], lambda: not (client.open or talking.open))
    for one in (client, talking):
        assert not one.was_reset and b"\r\nConnection: close\r\n" in one.raw
        assert one.raw.endswith(b"\r\n0\r\n\r\n") and one.raw.count(b"HTTP/1.1 ") == 1
        assert one.seqs == [row[0] for row in stored(mixing, run)]


def test_a_client_that_says_something_and_closes_frees_its_slot_at_once(new_server) -> None:  # type: ignore[no-untyped-def]
    server: Server = new_server(workers="1", HEADWAY_STREAMS_PER_OWNER="1")
    run = server.launch("hold")
    for _ in range(3):
        client = Client(server, run)
        pump([client], all_have([client], b"event: hello"), 5, "a slot")
        client.ask("x")
        client.close()
        wait_for(lambda: not _watched(server), 5, "the slot to be free")
    server.cancel(run)


def test_a_client_that_talks_without_end_is_cut(new_server) -> None:  # type: ignore[no-untyped-def]
    """What a stream's client says is read and dropped; nobody shall keep a worker busy with it."""
    server: Server = new_server(workers="1")
    run = server.launch("hold")
    client = Client(server, run)
    pump([client], all_have([client], b"event: hello"))
    client.socket.settimeout(10)
    with pytest.raises(OSError):
        while True:
            client.socket.sendall(b"x" * 65_536)
    wait_for(lambda: not _watched(server), 5, "the slot to be free")
    client.close()
    server.cancel(run)


def _watched(server: Server) -> int:
    return sum(any(path.read_bytes()) for path in (server.data / "bus").glob("*.watched"))


def test_lines_of_fifty_kilobytes_come_whole(mixing: Server) -> None:
    """Pieces that the socket takes in parts, on both ways."""
    run = mixing.launch("emit", n=120, rate=100, size=50_000)
    fast = [Client(mixing, run, buffer=buffer) for buffer in (None, 8192, None, 100_000)]
    plain = [Client(mixing, run, version="1.0", buffer=buffer) for buffer in (None, 8192)]
    pump(fast + plain, all_finished(fast + plain), 40)
    rows = [row for row in stored(mixing, run) if row[1] != "update"]
    for one in fast + plain:
        events = [frame for frame in one.frames if frame.event == "row"]
        assert [frame.id for frame in events] == [f"{run}-{row[0]}" for row in rows if row[1] == "row"]
        assert all(frame.data.startswith(row[3][:-1]) for frame, row in zip(events, rows, strict=True))
        assert one.frames[-1].event == "message" and '"status":"completed"' in one.frames[-1].data
    wait_for(lambda: mixing.run(run)["status"] == "completed")
