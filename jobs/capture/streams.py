"""sys.stdout and sys.stderr for many runs at once: what a run prints goes to its log, all else where it always went.

Each run has its own ``sys.stdout``: where a job puts something else in its place (contextlib.redirect_stdout does so),
other runs and the server go on as before. For that the module ``sys`` gets properties. ``print`` does not use them but
looks into the module's dictionary; a :class:`_Asked` stands there, which does.
"""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any, TextIO

from jobs.capture.speaker import speaking

NAMES = ("stdout", "stderr")


class Stream(io.TextIOBase):
    """A standard stream: of the run that writes to it, else the real one."""

    def __init__(self, name: str, real: TextIO) -> None:
        self._name = name
        self._real = real
        self._bytes = _Bytes(name, real)

    def write(self, text: str, /) -> int:
        """Write text; raises StopRun where a run has to stop."""
        speaker = speaking()
        if speaker is None:
            return self._real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        speaker.print(self._name, text)
        return len(text)

    def flush(self) -> None:
        """Flush the real stream; a run's lines wait for their newline."""
        if speaking() is None:
            self._real.flush()

    def close(self) -> None:
        """Close the real stream; a run cannot, it is not its own."""
        if speaking() is None and not self._real.closed:
            self._real.close()

    def reconfigure(self, **options: Any) -> None:
        """As io.TextIOWrapper.reconfigure; nothing in a run, whose text is not encoded."""
        if speaking() is None:
            self._real.reconfigure(**options)  # type: ignore[attr-defined]

    def isatty(self) -> bool:
        """Whether it is a terminal; a run's is none, so that libraries spare their colours and redraws."""
        return speaking() is None and self._real.isatty()

    def fileno(self) -> int:
        """The real stream's descriptor: faulthandler and child processes write to it."""
        return self._real.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def closed(self) -> bool:
        """Whether the real stream is closed; never in a run."""
        return speaking() is None and self._real.closed

    @property
    def buffer(self) -> Any:
        """The stream of bytes below; it takes UTF-8 in a run."""
        return self._bytes

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The real stream's, UTF-8 in a run."""
        return self._real.encoding if speaking() is None else "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What is done with text that cannot be encoded."""
        return self._real.errors if speaking() is None else "replace"

    def __getattr__(self, name: str) -> Any:
        return _public(self._real, name)

    def __del__(self) -> None:
        """Close nothing."""


class _Bytes(io.BufferedIOBase):
    def __init__(self, name: str, real: TextIO) -> None:
        self._name = name
        self._real = real

    def write(self, data: Any, /) -> int:
        speaker = speaking()
        if speaker is None:
            return self._real.buffer.write(data)
        taken = bytes(data)
        speaker.print_bytes(self._name, taken)
        return len(taken)

    def flush(self) -> None:
        if speaking() is None:
            self._real.flush()

    def close(self) -> None:
        """Never: an io.TextIOWrapper that a job lays around it closes it when it is thrown away."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._real.fileno()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return _public(self._real.buffer, name)


def _public(stream: object, name: str) -> Any:
    """What else a stream has; io.TextIOWrapper would use the private ones to warn of a file that is left open."""
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(stream, name)


class _Asked:
    """What print() finds: it asks for sys.stdout as Python code would, and gives on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(_given(self._name), name)


class _Sys(ModuleType):
    """The module ``sys``, whose streams depend on who asks."""

    @property
    def stdout(self) -> Any:
        return _given("stdout")

    @stdout.setter
    def stdout(self, stream: Any) -> None:
        _assign("stdout", stream)

    @property
    def stderr(self) -> Any:
        return _given("stderr")

    @stderr.setter
    def stderr(self, stream: Any) -> None:
        _assign("stderr", stream)


_streams: dict[str, Stream] = {}
_assigned: dict[str, Any] = {}


def install() -> None:
    """Put the streams in their places."""
    if isinstance(sys, _Sys):
        return
    for name in NAMES:
        real = getattr(sys, name)
        _streams[name] = Stream(name, real if real is not None else io.StringIO())
        sys.__dict__[name] = _Asked(name)
    sys.__class__ = _Sys


def is_ours(stream: object) -> bool:
    """Whether what is written to ``stream`` becomes a run's log lines. Asks by ``==``: tqdm wraps its file."""
    return any(stream == one for one in _streams.values())


def _given(name: str) -> Any:
    """``sys.<name>`` for whoever asks."""
    speaker = speaking()
    return (_assigned if speaker is None else speaker.assigned).get(name, _streams[name])


def _assign(name: str, stream: Any) -> None:
    speaker = speaking()
    assigned = _assigned if speaker is None else speaker.assigned
    real = speaker is not None and stream is getattr(sys, f"__{name}__")  # how scripts put it back
    if real or stream is _streams[name] or isinstance(stream, _Asked):
        assigned.pop(name, None)
    else:
        assigned[name] = stream
