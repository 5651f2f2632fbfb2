"""Tells other processes of this machine that the store has something new: unix datagrams in the data folder.

Every process that wants to hear binds a socket in ``DATA/bus``; whoever has news sends it to all of them. The bus may
lose a message (a socket queues only ``net.unix.max_dgram_qlen`` datagrams, usually 10, and a sender never waits). So
a message carries numbers, and its reader goes to the store where they do not join up. What did not fit is sent again,
shortened to the numbers, by :meth:`Bus.flush`.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jobs.errors import SettingsError
from jobs.events import Event, to_json

MAX_DATAGRAM_BYTES = 64 * 1024
"""Longest message with the events in it; longer ones carry the numbers only. Linux takes up to 208 KiB."""
COARSE_NS = 50_000_000
"""A folder that changed within these nanoseconds may change again and show the same time."""
MAX_SOCKET_PATH = 100
"""Longest path of a unix socket, in bytes (``sun_path`` has 108 on Linux, 104 on BSD)."""


@dataclass(frozen=True, slots=True)
class News:
    """What a message says: run ``run`` has events up to ``head``; ``events`` are the newest of them, or none.

    Without a run it is a nudge for runners: something waits, or is to be cancelled.
    """

    run: str | None = None
    head: int = 0
    events: tuple[Event, ...] = ()


class Ear:
    """A bound socket that hears the bus. ``recv`` on :attr:`socket` gives one message; see :func:`read`."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / f"{name}.sock"
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(_address(self.path))

    def hear(self, timeout_s: float) -> News | None:
        """Wait for the next message; None when there was none in time."""
        self.socket.settimeout(timeout_s)
        try:
            return read(self.socket.recv(MAX_DATAGRAM_BYTES * 2))
        except TimeoutError:
            return None

    def close(self) -> None:
        """Stop hearing."""
        self.path.unlink(missing_ok=True)
        self.socket.close()


class Bus:
    """The sending side; may be used from any thread of its process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._lock = threading.Lock()
        self._ears: list[Path] = []
        self._seen_ns = -1
        self._owed: dict[Path, dict[str, int]] = {}

    def tell(self, events: Iterable[Event]) -> None:
        """Tell the web workers of new events (numbered, and committed to the store)."""
        with self._lock:
            for run, group in groupby(events, key=lambda event: event.run):
                told = list(group)
                message = _message(run, told)
                for ear in self._listening("web-"):
                    if not self._send(ear, message):
                        self._owed.setdefault(ear, {})[run] = told[-1].seq

    def nudge(self) -> None:
        """Wake the runners: a run waits, or one is to be cancelled. They look every second without it too."""
        with self._lock:
            for ear in self._listening("runner-"):
                self._send(ear, b"{}")

    def flush(self) -> bool:
        """Send again what sockets had no room for; True while something is still owed."""
        with self._lock:
            for ear, runs in list(self._owed.items()):
                for run, head in list(runs.items()):
                    if not self._send(ear, to_json({"run": run, "head": head}).encode()):
                        break
                    runs.pop(run)
                if not runs:
                    self._owed.pop(ear)
            return bool(self._owed)

    def close(self) -> None:
        """Close the sending socket."""
        self._socket.close()

    def _listening(self, prefix: str) -> list[Path]:
        changed_ns = self._folder.stat().st_mtime_ns  # a listing costs more; binding a socket changes the folder
        if changed_ns != self._seen_ns:
            # The clock of a file system is coarse: a change just after a fresh one would have the same time.
            self._seen_ns = changed_ns if time.time_ns() - changed_ns > COARSE_NS else -1
            self._ears = sorted(self._folder.glob("*.sock"))
        return [ear for ear in self._ears if ear.name.startswith(prefix)]

    def _send(self, ear: Path, message: bytes) -> bool:
        """Send without waiting. False when there was no room; True also when nobody is there any more."""
        try:
            self._socket.sendto(message, _address(ear))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE):
                return False
            if error.errno == errno.ECONNREFUSED:  # its process was killed and left the file behind
                ear.unlink(missing_ok=True)
        return True


def read(message: bytes) -> News:
    """The news in a message of the bus."""
    found: dict[str, Any] = json.loads(message)
    if "run" not in found:
        return News()
    run = found["run"]
    events = tuple(Event(run, *fields) for fields in found.get("events", ()))
    return News(run, found["head"], events)


def _message(run: str, events: list[Event]) -> bytes:
    if sum(len(event.body) for event in events) < MAX_DATAGRAM_BYTES * 3 // 4:
        fields = [[event.seq, event.kind, event.time_ms, event.body, event.last] for event in events]
        message = to_json({"run": run, "head": events[-1].seq, "events": fields}).encode()
        if len(message) <= MAX_DATAGRAM_BYTES:
            return message
    return to_json({"run": run, "head": events[-1].seq}).encode()


def _address(path: Path) -> str:
    """The address of a socket in the bus folder; through /proc where the path is too long for a socket's."""
    text = str(path)
    if len(os.fsencode(text)) <= MAX_SOCKET_PATH:
        return text
    if not Path("/proc/self/fd").is_dir():
        raise SettingsError(f"The path {path.parent} is too long for sockets. Set HEADWAY_DATA to a shorter folder.")
    return f"/proc/self/fd/{_folder_fd(path.parent)}/{path.name}"


_folder_fds: dict[Path, int] = {}


def _folder_fd(folder: Path) -> int:
    if folder not in _folder_fds:
        _folder_fds[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return _folder_fds[folder]
