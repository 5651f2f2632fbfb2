"""Cluster: seconds and memory beside the same scikit-learn calls in a plain script, and how both grow."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.cluster_plain import keywords
from benchmarks.figures import Figure
from benchmarks.peak import peak_bytes
from benchmarks.quiet import repeated
from benchmarks.wire import OUT, ROOT, launch_with_files, server
from tests.harness import Server

KEYWORDS, K = 100_000, 200
SIZES = (10_000, 50_000, 100_000, 200_000)
LONGEST_S = 600
LOOK_S = 0.02


def measure() -> list[Figure]:
    """100,000 different keywords of 200 topics, k = 200: at most 1.3 times the seconds and 1.2 times the peak memory of
    the same scikit-learn calls in a plain script (issue 3).

    By turns. Ours is an upload, launched and followed to its end like any other run: the child's start, its imports,
    progress, labels, files and result are in it. The script reads the same file and writes the clusters; its process is
    measured from start to end, too. The libraries have as many threads in each as it lets them. Memory is the highest
    resident memory of the child and of the script.

    Growth: from 10,000 to 200,000 keywords the seconds grow no faster than n log n (issue 3).
    """
    with TemporaryDirectory(dir=_out()) as folder, server() as running:
        files = {size: _written(Path(folder), size) for size in SIZES}
        _clustered(running, files[SIZES[0]])  # the first child reads its libraries from the disk
        found = repeated(lambda: (_clustered(running, files[KEYWORDS]), _plain(files[KEYWORDS])))
        growth = {size: _clustered(running, files[size])[0] for size in SIZES}
    ours, plain = zip(*found, strict=True)
    (seconds, peaks), (plain_seconds, plain_peaks) = zip(*ours, strict=True), zip(*plain, strict=True)
    return [
        Figure("cluster, of a plain script's seconds", _ratios(seconds, plain_seconds), "x", KEYWORDS, 1.3),
        Figure("cluster, of a plain script's memory", _ratios(peaks, plain_peaks), "x", KEYWORDS, 1.2),
        Figure("- cluster", seconds, "s", KEYWORDS),
        Figure("- plain script", plain_seconds, "s", KEYWORDS),
        Figure("- cluster's peak", peaks, "MB", KEYWORDS),
        Figure("- plain script's peak", plain_peaks, "MB", KEYWORDS),
        *_growth(growth),
    ]


def _growth(seconds: dict[int, float]) -> list[Figure]:
    """The seconds of each size, beside what they would be had they grown from the size before as n log n."""
    grown = {
        size: seconds[size] / (seconds[before] * size * math.log(size) / (before * math.log(before)))
        for before, size in zip(SIZES, SIZES[1:], strict=False)
    }
    return [
        Figure("cluster, growth of n log n's, at the worst", (max(grown.values()),), "x", SIZES[-1], 1.0),
        *(
            Figure(
                f"- {size:,} keywords",
                (seconds[size],),
                "s",
                size,
                note=f"{grown[size]:.2f} of n log n from the size before" if size in grown else "",
            )
            for size in SIZES
        ),
    ]


def _clustered(running: Server, table: Path) -> tuple[float, float]:
    """Seconds from the launch to the end of a run, and its child's peak in MB."""
    with _peak_mb(lambda: psutil.Process(running.runner_pid()).children()) as peak:
        started = time.perf_counter()
        with table.open("rb") as file:
            run = launch_with_files(running, "cluster", {"column": "keyword", "k": K}, {"texts": file})
        end = running.wait_ended(run, LONGEST_S)
        seconds = time.perf_counter() - started
    assert end["status"] == "completed", end
    return seconds, peak()


def _plain(table: Path) -> tuple[float, float]:
    """Seconds of the plain script, and its peak in MB."""
    command = [sys.executable, "-m", "benchmarks.cluster_plain", str(table), str(K), str(table.with_suffix(".out"))]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT) as process, _peak_mb(lambda: [psutil.Process(process.pid)]) as peak:
        process.wait(LONGEST_S)
        seconds = time.perf_counter() - started
    assert process.returncode == 0
    return seconds, peak()


@contextmanager
def _peak_mb(processes: Callable[[], list[psutil.Process]]) -> Iterator[Callable[[], float]]:
    """The highest resident memory that any of the processes has had meanwhile, by the kernel's own mark."""
    highest = [0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            try:
                highest.append(max([peak_bytes(process.pid) for process in processes()], default=0))
            except psutil.NoSuchProcess:
                continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: max(highest) / 1e6
    finally:
        over.set()
        thread.join()


def _written(folder: Path, size: int) -> Path:
    path = folder / f"{size}.csv"
    path.write_text("keyword,volume\n" + "".join(f"{text},{len(text)}\n" for text in keywords(size)))
    return path


def _ratios(ours: tuple[float, ...], plain: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(ours, plain, strict=True))


def _out() -> Path:
    OUT.mkdir(exist_ok=True)
    return OUT
