"""Tells other processes of this machine that the store has something new: unix datagrams in the data folder.

Every process that wants to hear binds a socket in ``DATA/bus``; whoever has news sends it to all of them. The bus may
lose a message (a socket queues only ``net.unix.max_dgram_qlen`` datagrams, usually 10, and a sender never waits). So
events carry numbers, and a reader goes to the store where they do not join up. What did not fit is sent again,
shortened to the numbers, by :meth:`Bus.flush`.

A web worker hears only of the runs that it watches. It says which by a table in a file beside its socket, which both
sides map into their memory: so a run that nobody watches costs one look at a byte, and no message about watching can be
lost or late. Whoever begins to watch marks the table first and reads the store then; so what was committed before the
mark was seen is found in the store, and what came later is told.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from jobs.errors import SettingsError
from jobs.events import Event
from jobs.locks import native_lock

MAX_DATAGRAM_BYTES = 64 * 1024
"""Longest message. Linux takes up to 208 KiB, and a sender may have twice that unread; several shorter ones fit."""
COARSE_NS = 50_000_000
"""A folder that changed within these nanoseconds may change again and show the same time."""
MAX_SOCKET_PATH = 100
"""Longest path of a unix socket, in bytes (``sun_path`` has 108 on Linux, 104 on BSD)."""
SLOTS = 64 * 1024
"""Bytes in a table of watched runs, one for all runs whose hash it is; who hears of a stranger's run ignores it."""
_EVERYTHING = SLOTS
"""The byte behind them: every run is watched."""


@dataclass(frozen=True, slots=True)
class News:
    """What a message says: new events, in order, and for some runs only how far their events go by now.

    One that says nothing is a nudge for runners: something waits, or is to be cancelled.
    """

    events: tuple[Event, ...] = ()
    heads: Mapping[str, int] = field(default_factory=dict)


class Ear:
    """A bound socket that hears the bus."""

    def __init__(self, folder: Path, name: str, *, selective: bool = False) -> None:
        """Bind ``name`` in ``folder``. A ``selective`` ear hears only of the runs that it says it watches."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for other in folder.glob("*.sock"):  # a dead ear that had watched nothing is told nothing, and so not found out
            if (listener := _Listener.at(other)) is not None:
                listener.close()
        self.path = folder / f"{name}.sock"
        self.path.unlink(missing_ok=True)
        self.watched = WatchTable(self.path) if selective else None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(_address(self.path))

    def hear(self, timeout_s: float) -> News | None:
        """Wait for the next message; None when there was none in time."""
        self.socket.settimeout(timeout_s)
        try:
            return read(self.socket.recv(MAX_DATAGRAM_BYTES))
        except TimeoutError:
            return None

    def hear_waiting(self) -> News | None:
        """The next message if it is there already, else None."""
        self.socket.settimeout(0)
        try:
            return read(self.socket.recv(MAX_DATAGRAM_BYTES))
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Stop hearing."""
        self.path.unlink(missing_ok=True)
        self.socket.close()
        if self.watched is not None:
            self.watched.close()


class WatchTable:
    """Which runs an ear wants to hear of, for all processes to see. Used by one thread at a time."""

    def __init__(self, ear: Path) -> None:
        """Make the table of the ear at this path."""
        self._path = _table_path(ear)
        self._path.unlink(missing_ok=True)  # who has mapped a dead one's must not see it shrink
        self._path.write_bytes(bytes(SLOTS + 1))
        with self._path.open("r+b") as file:
            self._marks = mmap.mmap(file.fileno(), SLOTS + 1)
        self._watchers: Counter[int] = Counter()

    def add(self, run: str | None) -> None:
        """Watch a run; None watches all."""
        slot = _slot(run)
        self._watchers[slot] += 1
        if not self._marks.closed:
            self._marks[slot] = 1

    def remove(self, run: str | None) -> None:
        """Undo one :meth:`add`."""
        slot = _slot(run)
        self._watchers[slot] -= 1
        if self._watchers[slot] == 0:
            del self._watchers[slot]
            if not self._marks.closed:
                self._marks[slot] = 0

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._marks.close()


class Bus:
    """The sending side; may be used from any thread of its process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._lock = native_lock()
        self._ears: dict[str, _Listener] = {}
        self._seen_ns = -1

    def tell(self, events: Iterable[Event]) -> None:
        """Tell the web workers of new events (numbered, and committed to the store)."""
        told = list(events)
        lines: list[bytes] | None = None
        with self._lock:
            for ear in self._listening("web-"):
                wanted = ear.wanted(told)
                if not wanted:
                    continue
                lines = lines or [_line(event) for event in told]
                ear.tell(told, lines, wanted)

    def nudge(self) -> None:
        """Wake the runners: a run waits, or one is to be cancelled. They look every second without it too."""
        with self._lock:
            for ear in self._listening("runner-"):
                ear.send(b"")

    def flush(self) -> bool:
        """Send again what sockets had no room for; True while something is still owed."""
        with self._lock:
            return any([ear.flush() for ear in self._ears.values() if not ear.dead])

    def close(self) -> None:
        """Close the sending sockets."""
        with self._lock:
            for ear in self._ears.values():
                ear.close()
            self._ears.clear()

    def _listening(self, prefix: str) -> list[_Listener]:
        changed_ns = self._folder.stat().st_mtime_ns  # a listing costs more; binding a socket changes the folder
        if changed_ns != self._seen_ns or any([ear.dead for ear in self._ears.values()]):
            # The clock of a file system is coarse: a change just after a fresh one would have the same time.
            self._seen_ns = changed_ns if time.time_ns() - changed_ns > COARSE_NS else -1
            self._list()
        return [ear for name, ear in self._ears.items() if name.startswith(prefix)]

    def _list(self) -> None:
        found = {path.name: path for path in sorted(self._folder.glob("*.sock"))}
        for name in [name for name, ear in self._ears.items() if not ear.is_at(found.get(name))]:
            self._ears.pop(name).close()
        for name, path in found.items():
            if name not in self._ears and (ear := _Listener.at(path)) is not None:
                self._ears[name] = ear


class _Listener:
    """Another process's ear, as the sender knows it.

    Each has a sending socket of its own, since what is unread fills the sender's buffer: an ear that sleeps must not
    use up the room of those that are awake.
    """

    def __init__(self, path: Path, identity: _Identity, sending: socket.socket, marks: mmap.mmap | None) -> None:
        self._path = path
        self._identity = identity
        self._socket = sending
        self._marks = marks
        self._owed: dict[str, int] = {}
        self.dead = False
        """Its process was killed; its files may be another's by now."""

    @classmethod
    def at(cls, path: Path) -> _Listener | None:
        """The ear at this path; None where its process is dead, and then its files are removed."""
        sending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sending.setblocking(False)
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # the kernel gives what it allows
        try:
            identity = _identity(path)
            sending.connect(_address(path))
            table = _table_path(path)
            marks = _mapped(table) if table.exists() else None
        except OSError as error:
            sending.close()
            if error.errno == errno.ECONNREFUSED:
                _remove(path, identity)
            return None
        return cls(path, identity, sending, marks)

    def is_at(self, path: Path | None) -> bool:
        """Whether the ear at ``path`` is still this one: a new process may have bound the same name."""
        return not self.dead and path is not None and _identity(path) == self._identity

    def wanted(self, events: Sequence[Event]) -> list[int]:
        """Which of these it wants to hear of."""
        marks = self._marks
        if marks is None or marks[_EVERYTHING]:
            return list(range(len(events)))
        return [index for index, event in enumerate(events) if marks[_slot(event.run)]]

    def tell(self, events: Sequence[Event], lines: Sequence[bytes], wanted: Sequence[int]) -> None:
        """Send these events in as few messages as hold them; owe the numbers of what there was no room for."""
        for first, last in _portions([len(lines[index]) for index in wanted]):
            portion = wanted[first:last]
            if not self.send(b"".join([lines[index] for index in portion])):
                self._owed.update((events[index].run, events[index].seq) for index in portion)

    def flush(self) -> bool:
        """Send the numbers that are owed; True while there are more."""
        while self._owed:
            runs = list(self._owed.items())[:1000]
            if not self.send(b"".join([f"{run} {head}\n".encode() for run, head in runs])):
                return True
            for run, _ in runs:
                del self._owed[run]
        return False

    def send(self, message: bytes) -> bool:
        """Send without waiting. False when there was no room; True also when nobody is there any more."""
        try:
            self._socket.send(message)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE):
                return False
            if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):  # its process was killed, and left its files
                self.dead = True
                _remove(self._path, self._identity)
        return True

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
        if self._marks is not None:
            self._marks.close()


def messages(events: Sequence[Event]) -> list[bytes]:
    """Events as messages of the bus, as few as hold them."""
    lines = [_line(event) for event in events]
    return [b"".join(lines[first:last]) for first, last in _portions([len(line) for line in lines])]


def read(message: bytes) -> News:
    """The news in a message of the bus."""
    events: list[Event] = []
    heads: dict[str, int] = {}
    for line in message.decode("ascii").split("\n")[:-1]:
        run, seq, *said = line.split(" ", 5)
        if said:
            kind, time_ms, last, body = said
            events.append(Event(run, int(seq), kind, int(time_ms), body, last == "1"))  # type: ignore[arg-type]
        else:
            heads[run] = int(seq)
    return News(tuple(events), heads)


def _line(event: Event) -> bytes:
    """An event as a line: its body is ASCII JSON without line breaks, and stands last."""
    return f"{event.run} {event.seq} {event.kind} {event.time_ms} {event.last:d} {event.body}\n".encode("ascii")


def _portions(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """How to divide lines of these sizes among messages: first (included) and last (not included) of each."""
    first, size = 0, 0
    for index, one in enumerate(sizes):
        if size and size + one > MAX_DATAGRAM_BYTES:
            yield first, index
            first, size = index, 0
        size += one
    if size:
        yield first, len(sizes)


def _slot(run: str | None) -> int:
    return _EVERYTHING if run is None else crc32(run.encode()) % SLOTS


def _table_path(ear: Path) -> Path:
    return ear.with_suffix(".watched")


def _mapped(table: Path) -> mmap.mmap:
    with table.open("rb") as file:
        return mmap.mmap(file.fileno(), SLOTS + 1, prot=mmap.PROT_READ)


_Identity = tuple[int, int] | None


def _identity(path: Path) -> _Identity:
    """What tells a socket's file from a later one of the same name: some file systems give an inode again at once."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _remove(ear: Path, identity: _Identity) -> None:
    """Remove the files of a dead ear, unless somebody else has bound its name since."""
    if identity is not None and _identity(ear) == identity:
        ear.unlink(missing_ok=True)
        _table_path(ear).unlink(missing_ok=True)


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
