"""A real web site on loopback, whose pages may do everything that pages on the web do."""

from __future__ import annotations

import gzip
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import brotli

Answer = Callable[["Handler"], None]


@dataclass(frozen=True)
class Seen:
    """A request as it came, and when (``time.monotonic``)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass
class Site:
    """``with Site() as site``: answers 404 until told otherwise. ``requests`` are those that came, in order."""

    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    """The same with all that is known of them."""
    connections: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    """Set at the end, and by tests: what :meth:`stuck` waits for."""

    def __enter__(self) -> Site:
        self._server = _Server((self.address, 0), Handler)
        self._server.site = self
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
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
    def host(self) -> str:
        """``host:port``, as CRAWL_ALLOW wants it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for path, _ in self.requests]

    def add(self, path: str, body: bytes | str = b"", status: int = 200, **headers: str) -> None:
        """Answer ``path`` so; header names with ``_`` for ``-``."""
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = lambda handler: handler.answer(status, data, named)

    def html(
        self, path: str, title: str = "", links: Iterable[str] = (), head: str = "", text: str = "", **more: str
    ) -> None:
        """Answer ``path`` with a page."""
        anchors = "".join(f'<a href="{link}">link</a> ' for link in links)
        page = f"<!doctype html><html><head><title>{title}</title>{head}</head><body>{text} {anchors}</body></html>"
        self.add(path, page, content_type="text/html; charset=utf-8", **more)

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.add(path, b"", status, location=location)

    def packed(self, path: str, body: bytes, encoding: str) -> None:
        """Answer with a body packed as ``encoding`` says: layers of gzip and br, separated by commas."""
        for layer in encoding.split(","):
            body = gzip.compress(body) if layer.strip() == "gzip" else brotli.compress(body)
        self.add(path, body, content_type="text/html", content_encoding=encoding)

    def raw(self, path: str, *pieces: bytes) -> None:
        """Answer with exactly these bytes, then close."""
        self.answers[path] = lambda handler: handler.raw(pieces)

    def endless(self, path: str, start: bytes, piece: bytes, pause_s: float = 0) -> None:
        """Answer with ``start`` and then ``piece`` again and again until the other side goes."""
        self.answers[path] = lambda handler: handler.endless(start, piece, pause_s)

    def stuck(self, path: str) -> None:
        """Never answer."""
        self.answers[path] = lambda handler: handler.stuck()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    site: Site

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def process_request(self, request: object, client_address: object) -> None:
        self.site.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what many tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection to a :class:`Site`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: _Server

    def do_GET(self) -> None:
        headers = dict(self.headers)
        body = self.rfile.read(int(headers.get("Content-Length", "0")))
        self.server.site.requests.append((self.path, headers))
        self.server.site.seen.append(Seen(self.command, self.path, headers, body, time.monotonic()))
        found = self.server.site.answers.get(self.path)
        if found is None:
            self.answer(404, b"not here", {})
        else:
            found(self)

    do_HEAD = do_GET
    do_POST = do_GET

    def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, pieces: Iterable[bytes]) -> None:
        self.close_connection = True
        for piece in pieces:
            self.wfile.write(piece)

    def endless(self, start: bytes, piece: bytes, pause_s: float) -> None:
        self.close_connection = True
        self.wfile.write(start)
        while not self.server.site.release.wait(pause_s):
            self.wfile.write(piece)
            self.wfile.flush()

    def stuck(self) -> None:
        self.close_connection = True
        self.server.site.release.wait()

    def log_message(self, format: str, *args: object) -> None:
        """The requests are in ``site.requests``."""
