"""The crawl's pages per second, beside a bare loop that only fetches the same pages.

The site: 2,000 pages of about 4 kB with 20 links each, ready-made, served by a process of its own on the second core.
On the first core, by turns: a plain script that fetches them all with a urllib3 pool and 8 threads, and the crawl.
Medians. ``python -m benchmarks.crawl`` calls the job's function by itself; :func:`run_benchmark` with ``headway`` given
launches it through a server.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

PAGES = 2000
LINKS = 20
THREADS = 8
REPEATS = 3
WORDS = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor".split()

Headway = Callable[[Mapping[str, str]], AbstractContextManager[tuple[str, Mapping[str, str]]]]
"""Starts a server with these settings; gives its address and the headers that let a script in."""


def run_benchmark(headway: Headway | None = None, repeats: int = REPEATS) -> dict[str, float]:
    """Pages per second of the bare loop and of the crawl, and how the crawl compares (1 is as fast)."""
    bare: list[float] = []
    crawl: list[float] = []
    with serve_site() as port:
        if headway is None:
            for _ in range(repeats):
                bare.append(_in_own_process("bare", port))
                crawl.append(_in_own_process("direct", port))
        else:
            with headway({"HEADWAY_CRAWL_ALLOW": f"127.0.0.1:{port}"}) as (base_url, headers):
                for _ in range(repeats):
                    # A server is several processes, which use both cores: so may the loop.
                    bare.append(_in_own_process("bare", port, pinned=False))
                    crawl.append(bench_through_headway(base_url, headers, f"http://127.0.0.1:{port}/"))
    rates = {"bare": statistics.median(bare), "crawl": statistics.median(crawl)}
    return {
        "bare_pages_per_s": rates["bare"],
        "crawl_pages_per_s": rates["crawl"],
        "ratio": rates["crawl"] / rates["bare"],
    }


def bench_through_headway(base_url: str, headers: Mapping[str, str], site_url: str) -> float:
    """Pages per second of a crawl that is launched, and followed to its last event, like any other run."""
    body = json.dumps({"url": site_url, "pages": PAGES, "concurrency": THREADS}).encode()
    accept = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    request = urllib.request.Request(f"{base_url}/api/v1/jobs/crawl/runs", body, {**headers, **accept})
    started = time.perf_counter()
    with urllib.request.urlopen(request) as stream:
        update = _last_update(stream)
    seconds = time.perf_counter() - started
    if update["status"] != "completed":
        raise RuntimeError(f"the crawl ended as {update}")
    return PAGES / seconds


def _last_update(stream: Iterator[bytes]) -> dict[str, Any]:
    """The update that ends a run; every other frame is read past."""
    named = False
    for line in stream:
        if line.startswith(b"event:"):
            named = True
        elif not line.strip():
            named = False
        elif line.startswith(b"data:") and not named and b'"status": "processing"' not in line:
            update: dict[str, Any] = json.loads(line[5:])
            if update["status"] in ("completed", "error"):
                return update
    raise RuntimeError("the stream ended before the run")


def bare_loop(port: int) -> float:
    """Pages per second of a script that does nothing but fetch."""
    import urllib3

    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=THREADS)
    paths = [f"/page/{number}.html" for number in range(PAGES)]
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        fetched = sum(1 for body in threads.map(lambda path: pool.request("GET", path).data, paths) if body)
    assert fetched == PAGES
    return PAGES / (time.perf_counter() - started)


def direct_crawl(port: int) -> float:
    """Pages per second of the job's function with a progress that keeps its events."""
    from jobs import Progress
    from jobs.library.crawl import crawl

    with tempfile.TemporaryDirectory() as folder:
        events: list[object] = []
        settings = {"CRAWL_ALLOW": f"127.0.0.1:{port}"}
        progress = Progress("bench", 1, events.append, folder=Path(folder), settings=settings)
        started = time.perf_counter()
        result = crawl(progress, f"http://127.0.0.1:{port}/", pages=PAGES, concurrency=THREADS)
        seconds = time.perf_counter() - started
    assert result["pages"] == PAGES and result["statuses"] == {"200": PAGES}, result["statuses"]
    return PAGES / seconds


@contextmanager
def serve_site() -> Iterator[int]:
    """The site in a process of its own; gives its port."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.crawl", "serve"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _in_own_process(what: str, port: int, pinned: bool = True) -> float:
    command = [sys.executable, "-m", "benchmarks.crawl", what, str(port), *(["0"] if pinned else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _page(number: int) -> bytes:
    choose = random.Random(number)
    near = [(number * 10 + step) % PAGES for step in range(1, LINKS // 2 + 1)]
    far = [choose.randrange(PAGES) for _ in range(LINKS - len(near))]
    links = "".join(
        f'<li><a href="/page/{one}.html">{" ".join(choose.choices(WORDS, k=3))}</a></li>' for one in near + far
    )
    text = "".join(f"<p>{' '.join(choose.choices(WORDS, k=60))}.</p>\n" for _ in range(6))
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Page {number} of the site</title>'
        f'<meta name="description" content="About page {number}"><link rel="canonical" href="/page/{number}.html">'
        f'<link rel="stylesheet" href="/s.css"></head><body><h1>Page {number}</h1>{text}<ul>{links}</ul></body></html>'
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/html; charset=utf-8\r\nETag: {number}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _SiteProtocol(asyncio.Protocol):
    """Answers with ready-made bytes: the server must not be what is measured."""

    answers: dict[bytes, bytes] = {}
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            method, path, _ = request.split(b" ", 2)
            answer = self.answers.get(path, self.missing)
            self._transport.write(answer if method == b"GET" else answer[: answer.index(b"\r\n\r\n") + 4])


async def _serve() -> None:
    _SiteProtocol.answers = {f"/page/{number}.html".encode(): _page(number) for number in range(PAGES)}
    # The start page is page 0 under its short name, so that 2,000 pages are fetched in all.
    _SiteProtocol.answers[b"/"] = _SiteProtocol.answers[b"/page/0.html"]
    server = await asyncio.get_running_loop().create_server(_SiteProtocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _pin(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[min(core, len(cores) - 1)]})


def _main(what: str, *arguments: str) -> None:
    if what == "serve":
        _pin(1)
        asyncio.run(_serve())
    else:
        port, *core = (int(one) for one in arguments)
        if core:
            _pin(core[0])
        print({"bare": bare_loop, "direct": direct_crawl}[what](port))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _main(*sys.argv[1:])
    else:
        for name, value in run_benchmark().items():
            print(f"{name:20} {value:8.2f}")
