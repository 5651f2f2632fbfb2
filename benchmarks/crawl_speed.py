"""The crawl's pages per second, beside bare loops; run as a program it is the bare loop with the crawl's client."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.crawl import PAGES, THREADS, bench_through_headway, serve_site
from benchmarks.figures import Figure
from benchmarks.machine import pinned
from benchmarks.quiet import REPEATS, repeated
from benchmarks.wire import ROOT, server
from jobs.library.fetch import Fetcher, parse_allow
from tests.harness import Server


def measure() -> list[Figure]:
    """A crawl of a local site of 2,000 pages, launched and followed like any other run, beside a bare loop that only
    fetches the same pages with urllib3 and 8 threads: at least 0.8 of its pages per second (issue 2).

    The crawl's client is urllib3 as well, but through ``jobs.library.fetch``, which reads answers itself and costs a
    quarter of ``pool.request()``. So two loops are shown: with urllib3 as somebody would write it without Headway,
    which the limit is for; and with ``fetch`` alone, which shows what reading pages, rows, links and files cost.

    By turns. The site (``benchmarks.crawl``) has the second core. Each loop has the first, and so has the runner, with
    job, parsing, recorder and store in it; the web worker and the client, for which a loop has no part, are not pinned.
    """
    with serve_site() as port, server(HEADWAY_CRAWL_ALLOW=f"127.0.0.1:{port}") as running:
        pin_runner(running)
        found = repeated(lambda: _pages_per_s(running, port))
    crawl, same, plain = (tuple(rates) for rates in zip(*found, strict=True))
    pages = PAGES * REPEATS

    def ratio(loop: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(one / other for one, other in zip(crawl, loop, strict=True))

    return [
        Figure("crawl, of a bare urllib3 loop's pages/s", ratio(plain), "x", pages, 0.8, at_least=True),
        Figure(
            "- of a bare loop with fetch.py alone",
            ratio(same),
            "x",
            pages,
            note="fetches only; below 0.8, should that be meant",
        ),
        Figure("- crawl", crawl, "pages/s", pages),
        Figure("- bare loop, urllib3", plain, "pages/s", pages),
        Figure("- bare loop, fetch.py", same, "pages/s", pages),
    ]


def _pages_per_s(running: Server, port: int) -> tuple[float, float, float]:
    """Of the crawl, of the bare loop with its client, and of the one with urllib3."""
    headers = {"Authorization": f"Bearer {running.key}"}
    crawl = bench_through_headway(running.url, headers, f"http://127.0.0.1:{port}/")
    _check_crawled(running)
    return crawl, _loop("benchmarks.crawl_speed", port), _loop("benchmarks.crawl", port)


def _loop(module: str, port: int) -> float:
    """A bare loop in a process of its own."""
    command = [sys.executable, "-m", module, "bare", str(port)]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def pin_runner(running: Server) -> None:
    """Keep the runner on the first core; threads that it starts inherit that."""
    first = min(os.sched_getaffinity(0))
    for thread in Path(f"/proc/{running.runner_pid()}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {first})


def _check_crawled(running: Server) -> None:
    """Fail unless the newest crawl fetched every page, with status 200."""
    (run,) = running.http.get("/api/v1/runs", params={"job": "crawl", "limit": 1}).json()["runs"]
    result = running.http.get(f"{run['url']}/result").json()
    assert result["pages"] == PAGES and result["statuses"] == {"200": PAGES}, result


def _bare_loop(port: int) -> float:
    """Pages per second of a script that does nothing but fetch, with the crawl's client, on the first core."""
    address = f"127.0.0.1:{port}"
    urls = [f"http://{address}/page/{number}.html" for number in range(PAGES)]
    with pinned(0), Fetcher(parse_allow(address)) as fetcher, ThreadPoolExecutor(THREADS) as threads:
        started = time.perf_counter()
        statuses = list(threads.map(lambda url: fetcher.get(url).status, urls))
        seconds = time.perf_counter() - started
    assert statuses == [200] * PAGES
    return PAGES / seconds


if __name__ == "__main__":
    print(_bare_loop(int(sys.argv[2])))
