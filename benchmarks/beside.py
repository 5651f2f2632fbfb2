"""What the streams of other runs feel of a job of the library beside them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cluster_plain import keywords
from benchmarks.crawl import serve_site
from benchmarks.figures import Figure, spread
from benchmarks.latency import late_ms
from benchmarks.quiet import repeated
from benchmarks.wire import client, launch_with_files, server
from tests.harness import Server, wait_for
from tests.library.chat_server import asking, in_a_process

KEYWORDS, URLS, TOKENS, PAGES = 100_000, 100_000, 50_000, 2000
LIMIT_MS = 25.0


@dataclass(frozen=True)
class Neighbour:
    """A job to go on beside the beats, with its parameters and its uploads."""

    job: str
    parameters: Mapping[str, Any]
    uploads: Mapping[str, str] = field(default_factory=dict)


def measure() -> list[Figure]:
    """From a job's call to the client, while cluster, bulk, generate or site_report goes on in the same server.

    Limit (issue 3): at most 25 ms at p99. The beats are those of ``latency``. The job beside them is launched again as
    soon as it ends: cluster with 100,000 keywords and k = 200, bulk checking 100,000 URLs of a local server, generate
    streaming 50,000 tokens as fast as they are sent, site_report on the local server's 2,000 pages. The local servers,
    too, share the two cores with all of it.
    """
    figures: list[Figure] = []
    with serve_site() as port, in_a_process() as model:
        settings = {
            "HEADWAY_CRAWL_ALLOW": f"127.0.0.1:{port}",
            "HEADWAY_OPENAI_BASE_URL": model,
            "HEADWAY_OPENAI_MODEL": "any",
        }
        with server(**settings) as running:
            for neighbour in _neighbours(f"http://127.0.0.1:{port}"):
                with going(running, neighbour), client(running) as connection:
                    late = repeated(lambda: late_ms(connection))  # noqa: B023 - called before the next turn
                figures += spread(f"job to client beside {neighbour.job}", late, limits={99: LIMIT_MS})
    return figures


def _neighbours(site: str) -> list[Neighbour]:
    urls = "url\n" + "".join(f"{site}/page/{n % PAGES}.html\n" for n in range(URLS))
    words = "keyword\n" + "".join(f"{text}\n" for text in keywords(KEYWORDS))
    return [
        Neighbour("cluster", {"k": 200}, {"texts": words}),
        Neighbour("bulk", {"rate": 0}, {"table": urls}),
        Neighbour("generate", {"prompt": asking(tokens=TOKENS), "length": TOKENS}),
        Neighbour("site_report", {"url": f"{site}/", "pages": PAGES}),
    ]


@contextmanager
def going(running: Server, neighbour: Neighbour) -> Iterator[None]:
    """Keep a run of that job going meanwhile."""
    over = threading.Event()
    runs: list[str] = []

    def launch_again_and_again() -> None:
        while not over.is_set():
            runs.append(launch_with_files(running, neighbour.job, neighbour.parameters, neighbour.uploads))
            running.wait_ended(runs[-1], 600)

    thread = threading.Thread(target=launch_again_and_again, daemon=True)
    thread.start()
    wait_for(lambda: runs and running.run(runs[0])["progress"] > 0, 60, f"{neighbour.job} to be at work")
    yield
    over.set()
    running.cancel(runs[-1])
    thread.join(60)
