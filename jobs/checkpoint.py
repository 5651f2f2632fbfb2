"""What a run has finished, kept so that whoever goes on with it repeats none of it.

A small SQLite file in the run's folder: it finds one of a million keys at once, holds none of them in memory, and loses
nothing to kill -9. A write is in the file when it returns, though not synced to the disk: a power cut may cost the
last seconds.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pysqlite3

from jobs.errors import JobError
from jobs.events import to_json

CHECKPOINTS = "checkpoints"
"""The folder in a run's folder."""
PAGE = 500
"""Items read at a time: an iteration holds no more, and no lock while its reader is at work."""
MAX_INTEGER = 2**63 - 1

Key = int | str

# A column without a type keeps numbers and texts apart: 1 is not "1". Numbers sort before texts.
_CREATE = "CREATE TABLE IF NOT EXISTS items (key PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_GET = "SELECT value FROM items WHERE key = ?"
_PUT = "INSERT INTO items (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM items WHERE key = ?"
_COUNT = "SELECT COUNT(*) FROM items"
_FIRST = "SELECT key, value FROM items ORDER BY key LIMIT ?"
_AFTER = "SELECT key, value FROM items WHERE key > ? ORDER BY key LIMIT ?"


class Checkpoint(MutableMapping[Key, Any]):
    """A dict that outlives its run: whole numbers or texts to JSON values, in the order of the keys.

    May be used from any thread of the job. Keys of other types raise TypeError, values that JSON cannot hold TypeError
    or ValueError; a full disk raises JobError.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = pysqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=30)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_CREATE)

    def __getitem__(self, key: Key) -> Any:
        row = self._first(_GET, (_key(key),))
        if row is None:
            raise KeyError(key)
        return json.loads(row[0])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int | str) and self._first(_GET, (_key(key),)) is not None

    def __setitem__(self, key: Key, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: Key) -> None:
        if key not in self:
            raise KeyError(key)
        self._write(_DELETE, [(_key(key),)])

    def __len__(self) -> int:
        row = self._first(_COUNT, ())
        assert row is not None
        return int(row[0])

    def __iter__(self) -> Iterator[Key]:
        return (key for key, _ in self._pages())

    def update(self, other: Mapping[Key, Any], /) -> None:  # type: ignore[override]  # keys are no keywords here
        """Add all of a dict in one transaction: all of it is kept, or none."""
        self._write(_PUT, [(_key(key), to_json(value)) for key, value in other.items()])

    def items(self) -> Iterator[tuple[Key, Any]]:  # type: ignore[override]  # a view would ask the file for each key
        """Keys and values, in the order of the keys; what is added meanwhile may or may not come."""
        return ((key, json.loads(value)) for key, value in self._pages())

    def close(self) -> None:
        """Close the file. The runner does it at the run's end."""
        with self._lock:
            self._database.close()

    def _pages(self) -> Iterator[tuple[Key, str]]:
        page = self._all(_FIRST, (PAGE,))
        while page:
            yield from page
            page = self._all(_AFTER, (page[-1][0], PAGE))

    def _first(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        with self._lock:
            found: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
            return found

    def _all(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, Any]]:
        with self._lock:
            found: list[tuple[Any, Any]] = self._database.execute(query, values).fetchall()
            return found

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(statement, rows)
                self._database.execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:  # a full disk has rolled it back already
                    self._database.execute("ROLLBACK")
                if isinstance(error, pysqlite3.OperationalError):
                    raise JobError(
                        f"The checkpoint cannot be written: {error}. Free some space, then run again."
                    ) from None
                raise


def _key(key: Key) -> Key:
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise TypeError(f"a checkpoint's key is a whole number or a text, not {key!r}")
    if isinstance(key, int) and abs(key) > MAX_INTEGER:
        raise TypeError(f"{key} is too large for a checkpoint's key")
    return key
