"""The load client: many streams held open by one small program in C (``benchmarks/peers/watch.c``)."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.cores import CLIENT
from benchmarks.machine import pinned
from benchmarks.programs import compiled

GREETED_WITHIN_S = 60.0
STEP_WITHIN_S = 10.0
STOPPED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the load client says at its end, of all its streams together. The fields are those of watch.c.

    ``chunks`` are about as many as the server's writes. ``events`` are frames with a number, ``stamped`` those with a
    time in them, which the latencies are of. ``gaps`` are numbers that did not follow on the one before. ``lowest`` is
    how far the stream came that came least far.
    """

    streams: int
    greeted: int
    reached: int
    ended: int
    cut: int
    chunks: int
    frames: int
    events: int
    gaps: int
    resets: int
    goodbyes: int
    lowest: int
    wire_bytes: int
    frame_bytes: int
    connect_ns: int
    hello_ns: int
    first_ns: int
    last_ns: int
    stamped: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    cpu_s: float

    @property
    def seconds(self) -> float:
        """From the first event that any stream had to the last."""
        return (self.last_ns - self.first_ns) / 1e9

    def check(self, **expected: int) -> None:
        """Fail unless everything came, in order and without an unexpected word of the server."""
        expected |= {"greeted": self.streams, "gaps": 0, "resets": 0, "goodbyes": 0, "cut": 0}
        wrong = {name: (getattr(self, name), wanted) for name, wanted in expected.items()}
        wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
        assert not wrong, f"heard and expected: {wrong}; all of it: {self}"


class Watchers:
    """The running load client."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._stdout = process.stdout.fileno()
        self._read = b""
        self.pid = process.pid
        self.greeted_s = 0.0
        """From the first connect to the last stream's first frame."""

    def wait_greeted(self) -> None:
        """Wait until every stream has had its first frame."""
        said = json.loads(self._line(GREETED_WITHIN_S))
        self.greeted_s = (said["hello_ns"] - said["connect_ns"]) / 1e9

    def wait_step(self) -> None:
        """Wait until every stream has had one more event."""
        assert self._line(STEP_WITHIN_S) == b"", "a step"

    def finish(self, limit_s: float) -> Heard:
        """Wait until every stream has had the event that was named, or has ended."""
        return Heard(**json.loads(self._line(limit_s)))

    def stop(self) -> Heard:
        """Close all streams now."""
        self._process.terminate()
        return Heard(**json.loads(self._line(STOPPED_WITHIN_S)))

    def _line(self, limit_s: float) -> bytes:
        while b"\n" not in self._read:
            if not select.select([self._stdout], [], [], limit_s)[0]:
                self._process.terminate()
                raise AssertionError(f"the load client was not done in {limit_s} s: {os.read(self._stdout, 4096)!r}")
            if not (got := os.read(self._stdout, 4096)):
                raise AssertionError("the load client has failed; its words are above")
            self._read += got
        line, _, self._read = self._read.partition(b"\n")
        return line


@contextmanager
def watching(
    port: int, paths: Sequence[str], *, until: int = 0, in_step: bool = False, headers: Sequence[str] = ()
) -> Iterator[Watchers]:
    """Open a stream for each path, all at once; goes on when all are greeted. Raises Missing without a compiler.

    A stream is done with event number ``until``, or when the server ends it. With ``in_step`` there is a step to wait
    for after each event (:meth:`Watchers.wait_step`). The client is on the second core.
    """
    with pinned(CLIENT):
        process = subprocess.Popen(
            [*compiled("watch.c"), str(port), str(-until if in_step else until), *headers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    with process:
        try:
            assert process.stdin is not None
            process.stdin.write("".join(f"{path}\n" for path in paths).encode())
            process.stdin.close()
            watchers = Watchers(process)
            watchers.wait_greeted()
            yield watchers
        finally:
            process.kill()


def allow_many_files() -> None:
    """Let this process and those that it starts have as many sockets as the system allows them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
