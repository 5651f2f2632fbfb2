"""A small web site, served from this machine, that jobs which want a web site can be tried with offline.

Its pages stand in ``samples/site``. Besides them it has what real sites have: a link that leads nowhere, a page that
has moved, two pages of the same title, one that only the sitemap names, and a draft that robots.txt keeps to itself.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SAMPLE = "sample:site"
"""What stands for the site's address in a parameter or a cell; ``sample:site/soups/tomato.html`` is a page of it."""
FOLDER = Path(__file__).parent / "samples" / "site"
WRITTEN_FOR = b"https://cookbook.example"
"""The address that the pages name where they have to name one; the site puts its own in its place."""
MOVED = {"/bread": "/breads/sourdough.html"}
TYPES = {".html": "text/html; charset=utf-8", ".xml": "application/xml", ".txt": "text/plain; charset=utf-8"}
MISSING = b"<!doctype html><title>Not here</title><h1>There is no such page</h1>"


class SampleSite:
    """The site, from the moment that it is made until :meth:`close`, on a free port of loopback."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.url = self.url
        threading.Thread(target=self._server.serve_forever, name="sample-site", daemon=True).start()

    @property
    def allow(self) -> tuple[str, int]:
        """Host and port, as :class:`~jobs.library.fetch.Fetcher` takes exceptions."""
        return "127.0.0.1", int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        host, port = self.allow
        return f"http://{host}:{port}"

    def at(self, text: str) -> str:
        """The URL that ``sample:site`` or ``sample:site/page.html`` means."""
        return f"{self.url}/{text.strip()[len(SAMPLE) :].lstrip('/')}"

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()


def is_sample(text: str) -> bool:
    """Whether a text stands for the sample site or a page of it."""
    text = text.strip()
    return text == SAMPLE or text.startswith(SAMPLE + "/")


@contextmanager
def reachable(text: str, allow: Collection[tuple[str, int]]) -> Iterator[tuple[str, Collection[tuple[str, int]]]]:
    """A URL to start from, and what may be fetched though private; where ``text`` means the sample, it is served."""
    if not is_sample(text):
        yield text, allow
        return
    site = SampleSite()
    try:
        yield site.at(text), {*allow, site.allow}
    finally:
        site.close()


@cache
def _pages() -> dict[str, bytes]:
    """What is served, by path: read once, so that no request is ever made into a file's name."""
    files = {f"/{path.relative_to(FOLDER).as_posix()}": path.read_bytes() for path in FOLDER.rglob("*.*")}
    return {**files, "/": files["/index.html"]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    url: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1  # head and body in one packet
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        page = _pages().get(path)
        if path in MOVED:
            self._answer(301, b"", "text/plain", Location=MOVED[path])
        elif page is None:
            self._answer(404, MISSING, TYPES[".html"])
        else:
            kind = TYPES["." + path.rpartition(".")[2]] if "." in path else TYPES[".html"]
            self._answer(200, page.replace(WRITTEN_FOR, self.server.url.encode()), kind)

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody asks who read the sample."""
