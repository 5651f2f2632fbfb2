"""What bulk is measured against: a server that answers at once, and bare loops over the same URLs.

Run as a program it is one of them: ``serve``, or a loop that prints its requests per second.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.machine import pinned
from benchmarks.wire import ROOT

THREADS = 8
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/html; charset=utf-8\r\nETag: 1\r\n"
    b"Cache-Control: no-cache\r\nContent-Length: 4096\r\n\r\n"
)
"""To a HEAD."""


def url_of(port: int, number: int) -> str:
    """The URL of a row."""
    return f"http://127.0.0.1:{port}/row/{number}.html"


def loop(client: str, port: int, rows: int) -> float:
    """Rows per second of a bare loop in a process of its own, on the first core."""
    command = [sys.executable, "-m", "benchmarks.bulk_loops", client, str(port), str(rows)]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@contextmanager
def serving() -> Iterator[int]:
    """The server, in a process of its own on the second core; gives its port."""
    command = [sys.executable, "-m", "benchmarks.bulk_loops", "serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _with_urllib3(port: int, rows: int) -> float:
    """As somebody would write it without Headway: the shortest loop, and no more work than it needs."""
    import urllib3

    pool = urllib3.PoolManager(maxsize=THREADS)
    return _in_threads(lambda url: pool.request("HEAD", url, redirect=False).status, port, rows)


def _with_fetch(port: int, rows: int) -> float:
    """With the client that bulk has."""
    from jobs.library.fetch import Fetcher, parse_allow

    with Fetcher(parse_allow(f"127.0.0.1:{port}")) as fetcher:
        return _in_threads(lambda url: fetcher.head(url, follow=False).status, port, rows)


def _in_threads(ask: Callable[[str], int], port: int, rows: int) -> float:
    """Each thread has its share of the URLs, so that handing out costs nothing."""
    answered = [0] * THREADS

    def work(share: int) -> None:
        for number in range(share, rows, THREADS):
            assert ask(url_of(port, number)) == 200
            answered[share] += 1

    threads = [threading.Thread(target=work, args=(share,)) for share in range(THREADS)]
    with pinned(0):
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
    assert sum(answered) == rows
    return rows / seconds


class _Protocol(asyncio.Protocol):
    """Answers every request alike: the server must not be what is measured."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._rest = transport, b""

    def data_received(self, data: bytes) -> None:
        requests = (self._rest + data).split(b"\r\n\r\n")
        self._rest = requests.pop()
        self._transport.write(ANSWER * len(requests))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _main(what: str, *arguments: str) -> None:
    if what == "serve":
        with pinned(1):
            asyncio.run(_serve())
    else:
        print({"urllib3": _with_urllib3, "fetch": _with_fetch}[what](*map(int, arguments)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
