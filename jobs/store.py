"""The database of runs and their events: the truth that every process agrees on.

SQLAlchemy Core over SQLite in WAL mode. Three ways in, by what they promise:

- ``reads`` never waits for a writer and cannot write;
- ``quick`` commits without a sync (``synchronous=NORMAL``): progress. Survives kill -9, not a power cut;
- ``durable`` syncs before it returns (``FULL``): a run accepted, a run ended. It syncs the quick commits before it too.

Events of a run are numbered here, inside the transaction that writes them, densely from 1. Every write names the
attempt that it belongs to; what a superseded attempt still says is refused.

SQLite comes from the pysqlite3 package: versions before 3.51.3 can lose a WAL checkpoint beside another connection's
commit (sqlite.org/wal.html#walresetbug), and Debian 12 has 3.40.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pysqlite3
import sqlalchemy as sa

from jobs.errors import KeyReused, QueueFull, RunEnded, RunNotEnded, StoreBusy, StoreError, UnknownRun
from jobs.events import ENDED, Draft, Ending, ErrorCode, Event, Kind, ProgressUpdate, last_update, now_ms, to_json
from jobs.runs import Claim, Run, run_url

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another process's transaction before it gives up with StoreBusy."""
MAX_RUNS_LISTED = 200
MAX_PAGE_BYTES = 256 * 1024
"""Of bodies read at a time: what a stream holds for a client that takes its time."""
PORTION = 100
"""Rows between two looks at how long the page is by now: the last of them may exceed it."""
SHORT_RESULT_CHARS = 64 * 1024
"""A longer result is not given along with its run, only by itself."""

_metadata = sa.MetaData()
_meta = sa.Table(
    "meta", _metadata, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)
)
_runs = sa.Table(
    "runs",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("head", sa.Integer, nullable=False),
    sa.Column("latest", sa.Text, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("secrets", sa.Text),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("started_ms", sa.BigInteger),
    sa.Column("ended_ms", sa.BigInteger),
    sa.Column("cancelling", sa.Boolean, nullable=False),
    sa.Column("runner", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("files", sa.Text, nullable=False),
    sa.Column("retry_of", sa.Text),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("idempotency_hash", sa.Text),
    sa.UniqueConstraint("owner", "idempotency_key"),
    sa.Index("runs_waiting", "status", "lane", "created_ms", "id"),
    sqlite_with_rowid=False,
)
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_spent = sa.Table(
    "spent_tokens",
    _metadata,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)

_SHOWN = [column for column in _runs.c if column.name not in ("secrets", "result", "idempotency_hash")]

# What is executed for every launch or batch is built once: building a statement costs more than SQLite needs for it.
_SHOWN_RUN = sa.select(*_SHOWN).where(_runs.c.id == sa.bindparam("run"))
_WAITING = sa.select(sa.func.count()).select_from(_runs).where(_runs.c.status == "queued")
_EVENT_FIELDS = sa.select(_events.c.seq, _events.c.kind, _events.c.time_ms, _events.c.body)
_OWNER_AND_HEAD = sa.select(_runs.c.owner, _runs.c.head, _runs.c.status).where(_runs.c.id == sa.bindparam("run"))
_LOG = (
    _EVENT_FIELDS.where(
        _events.c.run == sa.bindparam("run"),
        _events.c.seq > sa.bindparam("after"),
        _events.c.seq <= sa.bindparam("head"),
    )
    .order_by(_events.c.seq)
    .limit(sa.bindparam("most"))
)
_ADD_RUN = _runs.insert()
_ADD_EVENTS = _events.insert()

# What the recorder does for each batch is one statement each, and rows travel as JSON: the driver gives the GIL away
# at every row that it reads or writes, and beside a thousand job threads it waits each time to get it back.
_HEADS = (
    "SELECT json_group_array(json_array(id, attempt, head, latest)) FROM runs"
    " WHERE id IN (SELECT value FROM json_each(?)) AND +status = 'processing'"
)
_APPEND_EVENTS = (
    "INSERT INTO events (run, seq, kind, time_ms, body)"
    " SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)"
)
_MOVE_HEADS = (
    "UPDATE runs SET head = said.value ->> 1, latest = said.value ->> 2"
    " FROM json_each(?) AS said WHERE runs.id = said.value ->> 0"
)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to accept. ``params`` are safe to show; ``secrets`` are the real values of what is masked there."""

    id: str
    job: str
    owner: str
    lane: str
    params: Mapping[str, Any]
    secrets: Mapping[str, str]
    retries: int = 0
    retry_of: str | None = None
    idempotency_key: str | None = None
    idempotency_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a run's log, in order, and how the run was when they were read.

    ``rows`` are events as (seq, kind, time in ms, body): who reads a hundred thousand of them needs no objects.
    ``head`` is the number of the run's newest event.
    """

    run: str
    owner: str
    rows: Sequence[tuple[int, Kind, int, str]]
    head: int
    ended: bool

    @property
    def events(self) -> tuple[Event, ...]:
        """The rows as events."""
        last = self.head if self.ended else None
        return tuple(Event(self.run, *row, last=row[0] == last) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Latest:
    """A run's newest update (its body), as of event number ``head``."""

    run: str
    owner: str
    head: int
    body: str


class Store:
    """Runs and events in one SQLite file. Every method is one transaction and may be called from any thread.

    Raises StoreBusy when the database stays locked or the disk is full, StoreError when it is damaged.
    """

    def __init__(self, path: Path, *, checkpoints: bool = False) -> None:
        """Open ``path``, making the file and its tables where they are missing.

        ``checkpoints`` is for the process that has the recorder: only its commits move the WAL into the database.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        pages = 1000 if checkpoints else 0
        self._reads = _engine(path, synchronous="NORMAL", wal_autocheckpoint=0, query_only=1, autocommit=True)
        # secure_delete: the secrets of a run that has ended must not linger in the file's free space.
        self._quick = _engine(path, synchronous="NORMAL", wal_autocheckpoint=pages, secure_delete="ON")
        self._durable = _engine(path, synchronous="FULL", wal_autocheckpoint=pages, secure_delete="ON")
        for engine in (self._durable, self._quick, self._reads):
            with _translated(path), engine.connect():
                pass  # an engine's first connection is made under a lock: not later, by several threads
        self._create()

    def close(self) -> None:
        """Close all connections."""
        for engine in (self._reads, self._quick, self._durable):
            engine.dispose()

    def check(self) -> None:
        """Raise StoreError, in one sentence, unless the whole file is sound (``PRAGMA quick_check``)."""
        with self._reading() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise StoreError(_damaged(self.path, str(found)))

    def ping(self) -> None:
        """Raise StoreError unless the database answers."""
        with self._reading() as connection:
            connection.execute(sa.select(_meta.c.value)).first()

    # A run's way: accepted, claimed, written to, ended.

    def accept(self, new: NewRun, *, max_queue: int = 10_000) -> tuple[Run, tuple[Event, ...]]:
        """Record a run as queued, synced to the disk; gives it and its first event.

        With the idempotency key of an earlier run of this owner it gives that run and no event. Raises KeyReused when
        that one had other parameters, QueueFull when ``max_queue`` runs wait already.
        """
        body = ProgressUpdate("queued", 0, "Waiting to start").body()
        now = now_ms()
        with self._writing(self._durable) as connection:
            if new.idempotency_key is not None and (known := self._known(connection, new)) is not None:
                return known, ()
            if connection.execute(_WAITING).scalar_one() >= max_queue:
                raise QueueFull(f"{max_queue} runs are waiting already. Try again later.")
            row = {
                "id": new.id,
                "job": new.job,
                "owner": new.owner,
                "lane": new.lane,
                "status": "queued",
                "attempt": 0,
                "retries": new.retries,
                "head": 1,
                "latest": body,
                "params": to_json(new.params),
                "secrets": to_json(new.secrets) if new.secrets else None,
                "created_ms": now,
                "cancelling": False,
                "files": "[]",
                "retry_of": new.retry_of,
                "idempotency_key": new.idempotency_key,
                "idempotency_hash": new.idempotency_hash,
            }
            connection.execute(_ADD_RUN, row)
            event = Event(new.id, 1, "update", now, body)
            connection.execute(_ADD_EVENTS, [_event_row(event)])
            return self._shown(connection, new.id), (event,)

    def claim(self, runner: str, lane: str, most: int) -> list[tuple[Claim, Event]]:
        """Take up to ``most`` of a lane's waiting runs, oldest first, for ``runner``; they are processing from now."""
        oldest = (
            sa.select(_runs)
            .where(_runs.c.status == "queued", _runs.c.lane == lane)
            .order_by(_runs.c.created_ms, _runs.c.id)
            .limit(most)
        )
        with self._reading() as connection:
            if connection.execute(oldest.with_only_columns(_runs.c.id)).first() is None:
                return []
        taken = []
        with self._writing(self._quick) as connection:
            for row in connection.execute(oldest).mappings().all():
                event = Event(
                    row["id"], row["head"] + 1, "update", now_ms(), ProgressUpdate("processing", 0, "Starting").body()
                )
                self._advance(
                    connection,
                    event,
                    status="processing",
                    attempt=row["attempt"] + 1,
                    runner=runner,
                    started_ms=event.time_ms,
                )
                claim = Claim(
                    run=row["id"],
                    job=row["job"],
                    owner=row["owner"],
                    attempt=row["attempt"] + 1,
                    params=json.loads(row["params"]),
                    secrets=json.loads(row["secrets"] or "{}"),
                )
                taken.append((claim, event))
        return taken

    def append(self, said: Sequence[Draft | Ending]) -> list[Event]:
        """Number and write what runs said, in order. With an Ending among it, all of it is synced to the disk.

        What belongs to a run that is not processing, or to another attempt of it, is refused: it is missing from the
        events that come back. Nothing after an Ending is written.
        """
        engine = self._durable if any(type(one) is Ending for one in said) else self._quick
        with self._writing(engine) as connection:
            runs = json.dumps(list({one.run for one in said}))
            found = connection.exec_driver_sql(_HEADS, (runs,)).scalar_one()
            heads = {run: known for run, *known in json.loads(found)}
            events: list[Event] = []
            endings: list[tuple[Ending, Event]] = []
            again: list[str] = []
            for one in said:
                known = heads.get(one.run)
                if known is None or known[0] != one.attempt:
                    continue
                known[1] += 1
                if isinstance(one, Ending) and one.code == "interrupted" and self._has_retries(connection, one.run):
                    known[2] = _queued_again(one.message or "")
                    event = Event(one.run, known[1], "update", one.time_ms, known[2])
                    again.append(one.run)
                    known[0] = None  # what this attempt still says comes too late
                elif isinstance(one, Ending):
                    body = last_update(one, known[2], run_url(one.run))
                    event = Event(one.run, known[1], "update", one.time_ms, body, last=True)
                    endings.append((one, event))
                    del heads[one.run]
                else:
                    event = Event(one.run, known[1], one.kind, one.time_ms, one.body)
                    if one.kind == "update":
                        json.loads(one.body)["progress"]  # what runs are read by: a broken one is refused here
                        known[2] = one.body
                events.append(event)
            if events:
                rows = [(one.run, one.seq, one.kind, one.time_ms, one.body) for one in events]
                connection.exec_driver_sql(_APPEND_EVENTS, (json.dumps(rows),))
            if heads:
                moved = [(run, head, latest) for run, (_, head, latest) in heads.items()]
                connection.exec_driver_sql(_MOVE_HEADS, (json.dumps(moved),))
            for run in again:
                connection.execute(_runs.update().where(_runs.c.id == run).values(status="queued", runner=None))
            for ending, event in endings:
                self._finish(connection, ending, event)
        return events

    def cancel(self, run: str, owner: str) -> tuple[Run, tuple[Event, ...]]:
        """Ask for a run's end. One that waits ends here (its last event comes back); one that runs is marked.

        Raises UnknownRun, and RunEnded when there is nothing left to cancel.
        """
        with self._writing(self._durable) as connection:
            found = self._shown(connection, run, owner)
            events: tuple[Event, ...] = ()
            if found.ended:
                raise RunEnded("The run has ended already; there is nothing to cancel.")
            if found.status == "queued":
                ending = Ending(run, found.attempt, "error", now_ms(), "Cancelled before it started.", "cancelled")
                events = (self._end_now(connection, found, ending),)
            else:
                connection.execute(_runs.update().where(_runs.c.id == run).values(cancelling=True))
            return self._shown(connection, run), events

    def interrupt(self, runner: str, message: str) -> list[Event]:
        """End every run that ``runner``, which is dead, had: as ``interrupted``, or waiting again as its job allows."""
        with self._writing(self._durable) as connection:
            lost = connection.execute(
                sa.select(*_SHOWN).where(_runs.c.status == "processing", _runs.c.runner == runner)
            ).mappings()
            return [self._interrupted(connection, row, message) for row in lost.all()]

    def delete(self, run: str, owner: str) -> None:
        """Forget a run that has ended, and its events. Raises UnknownRun, RunNotEnded."""
        with self._writing(self._durable) as connection:
            if not self._shown(connection, run, owner).ended:
                raise RunNotEnded("The run has not ended. Cancel it first.")
            connection.execute(_events.delete().where(_events.c.run == run))
            connection.execute(_runs.delete().where(_runs.c.id == run))

    # Reading.

    def run(self, run: str, owner: str) -> Run:
        """One run, with its place in the queue, and its result unless that is long. Raises UnknownRun."""
        with self._reading() as connection:
            found = replace(self._shown(connection, run, owner), result=self._short_result(connection, run))
            return _placed(found, self._positions(connection)) if found.status == "queued" else found

    def launched(self, owner: str, idempotency_key: str) -> Run | None:
        """The run that was launched under an idempotency key, None where there is none."""
        query = sa.select(*_SHOWN).where(_runs.c.owner == owner, _runs.c.idempotency_key == idempotency_key)
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _run(row)

    def runs(
        self,
        owner: str,
        *,
        job: str | None = None,
        status: str | None = None,
        text: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs, newest first: of a job, in a status, with ``text`` in id, job or parameters, older than ``before``."""
        query = sa.select(*_SHOWN).where(_runs.c.owner == owner)
        if job is not None:
            query = query.where(_runs.c.job == job)
        if status is not None:
            query = query.where(_runs.c.status == status)
        if before is not None:
            query = query.where(_runs.c.id < before)
        if text:
            named = (column.contains(text, autoescape=True) for column in (_runs.c.id, _runs.c.job))
            # Parameters are stored as ASCII JSON: what is looked for stands there in the same spelling.
            query = query.where(sa.or_(*named, _runs.c.params.contains(to_json(text)[1:-1], autoescape=True)))
        query = query.order_by(_runs.c.id.desc()).limit(min(limit, MAX_RUNS_LISTED))
        with self._reading() as connection:
            found = [_run(row) for row in connection.execute(query).mappings()]
            if any(run.status == "queued" for run in found):
                positions = self._positions(connection)
                found = [_placed(run, positions) for run in found]
            return found

    def result(self, run: str, owner: str) -> str | None:
        """The result as JSON text, None where there is none. Raises UnknownRun."""
        with self._reading() as connection:
            query = sa.select(_runs.c.result).where(_runs.c.id == run, _runs.c.owner == owner)
            row = connection.execute(query).first()
        if row is None:
            raise UnknownRun("There is no such run.")
        result: str | None = row.result
        return result

    def events_after(self, run: str, seq: int, limit: int = 500) -> Page:
        """Events numbered above ``seq``: up to ``limit``, and about MAX_PAGE_BYTES. Raises UnknownRun."""
        with self._reading() as connection:
            known = connection.execute(_OWNER_AND_HEAD, {"run": run}).first()
            if known is None:
                raise UnknownRun("There is no such run.")
            owner, head, status = known
            rows: list[tuple[int, Kind, int, str]] = []
            if seq < head:
                found = connection.execute(_LOG, {"run": run, "after": seq, "head": head, "most": limit})
                size = 0
                while size < MAX_PAGE_BYTES and (portion := found.fetchmany(PORTION)):
                    rows += portion
                    size += sum([len(row[3]) for row in portion])
                found.close()
                while size > MAX_PAGE_BYTES and len(rows) > 1:
                    size -= len(rows.pop()[3])
        return Page(run, owner, rows, head, status in ENDED)

    def newest_events(self, run: str, head: int, limit: int, max_bytes: int) -> tuple[Event, ...]:
        """The events up to number ``head``, in order: the last ``limit`` of them, or as many as ``max_bytes`` hold."""
        query = (
            _EVENT_FIELDS.where(_events.c.run == run, _events.c.seq <= head).order_by(_events.c.seq.desc()).limit(limit)
        )
        with self._reading() as connection:
            return tuple(_fitting_events(run, connection.execute(query), max_bytes))[::-1]

    def rows_of(self, run: str, after: int = 0, max_bytes: int = MAX_PAGE_BYTES) -> tuple[Event, ...]:
        """The run's rows after event number ``after``, in order: as many as ``max_bytes`` of bodies hold, at least one.

        The next page comes after the last one's number; an empty page is the end.
        """
        query = (
            _EVENT_FIELDS.where(_events.c.run == run, _events.c.seq > after, _events.c.kind == "row")
            .order_by(_events.c.seq)
            .execution_options(stream_results=True)
        )
        with self._reading() as connection:
            return tuple(_fitting_events(run, connection.execute(query), max_bytes))

    def heads(self, runs: Iterable[str]) -> dict[str, int]:
        """The number of the newest event of each of these runs; one that does not exist is missing."""
        with self._reading() as connection:
            query = sa.select(_runs.c.id, _runs.c.head).where(_runs.c.id.in_(list(runs)))
            return {row.id: row.head for row in connection.execute(query)}

    def latest(self, most: int) -> list[Latest]:
        """The newest update of the ``most`` newest runs and of all that still go on."""
        newest = sa.select(_runs.c.id).order_by(_runs.c.id.desc()).limit(most)
        wanted = sa.or_(_runs.c.id.in_(newest), _runs.c.status.in_(("queued", "processing")))
        query = sa.select(_runs.c.id, _runs.c.owner, _runs.c.head, _runs.c.latest).where(wanted)
        with self._reading() as connection:
            return [Latest(*row) for row in connection.execute(query.order_by(_runs.c.id))]

    def owners(self, runs: Iterable[str]) -> dict[str, str]:
        """Whose each of these runs is; one that does not exist is missing."""
        with self._reading() as connection:
            query = sa.select(_runs.c.id, _runs.c.owner).where(_runs.c.id.in_(list(runs)))
            return {row.id: row.owner for row in connection.execute(query)}

    def runners(self) -> set[str]:
        """The runners that have processing runs, alive or not."""
        with self._reading() as connection:
            query = sa.select(_runs.c.runner).where(_runs.c.status == "processing").distinct()
            return set(connection.execute(query).scalars())

    def cancelling(self, runner: str) -> set[str]:
        """The runs of ``runner`` that somebody asked to cancel."""
        with self._reading() as connection:
            query = sa.select(_runs.c.id).where(
                _runs.c.status == "processing", _runs.c.cancelling, _runs.c.runner == runner
            )
            return set(connection.execute(query).scalars())

    def checkpoint(self) -> bool:
        """Move the WAL into the database and empty it; False where readers or writers are in the way.

        What was deleted is overwritten in the database (secure_delete), but stands in the WAL until this has been done.
        """
        with _translated(self.path), self._quick.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            return bool(raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)

    def spend(self, token: str, expires_ms: int) -> bool:
        """Use up a one-time token: True the first time, False ever after (until it has expired anyway)."""
        with self._writing(self._durable) as connection:
            connection.execute(_spent.delete().where(_spent.c.expires_ms < now_ms()))
            if connection.execute(sa.select(_spent.c.token).where(_spent.c.token == token)).first():
                return False
            connection.execute(_spent.insert(), {"token": token, "expires_ms": expires_ms})
            return True

    # Inside a transaction.

    def _known(self, connection: sa.Connection, new: NewRun) -> Run | None:
        query = sa.select(_runs.c.id, _runs.c.idempotency_hash).where(
            _runs.c.owner == new.owner, _runs.c.idempotency_key == new.idempotency_key
        )
        row = connection.execute(query).first()
        if row is None:
            return None
        if row.idempotency_hash != new.idempotency_hash:
            raise KeyReused("This Idempotency-Key was used for another launch. Use a new key.")
        return self._shown(connection, row.id)

    def _shown(self, connection: sa.Connection, run: str, owner: str | None = None) -> Run:
        row = connection.execute(_SHOWN_RUN, {"run": run}).mappings().first()
        if row is None or owner not in (None, row["owner"]):
            raise UnknownRun("There is no such run.")
        return _run(row)

    def _short_result(self, connection: sa.Connection, run: str) -> str | None:
        short = sa.func.length(_runs.c.result) <= SHORT_RESULT_CHARS
        return connection.execute(sa.select(_runs.c.result).where(_runs.c.id == run, short)).scalar()

    def _advance(self, connection: sa.Connection, event: Event, **values: Any) -> None:
        """Write one event and what it changes in its run."""
        connection.execute(_events.insert(), [_event_row(event)])
        connection.execute(
            _runs.update().where(_runs.c.id == event.run).values(head=event.seq, latest=event.body, **values)
        )

    def _finish(self, connection: sa.Connection, ending: Ending, event: Event) -> None:
        connection.execute(
            _runs.update()
            .where(_runs.c.id == ending.run)
            .values(
                status=ending.status,
                head=event.seq,
                latest=event.body,
                ended_ms=ending.time_ms,
                result=ending.result,
                files=to_json(list(ending.files)),
                cancelling=False,
                secrets=None,
            )
        )

    def _end_now(self, connection: sa.Connection, run: Run, ending: Ending) -> Event:
        previous = ProgressUpdate("processing", run.progress, run.message, run.step).body()
        body = last_update(ending, previous, run_url(run.id))
        event = Event(run.id, run.head + 1, "update", ending.time_ms, body, last=True)
        connection.execute(_events.insert(), [_event_row(event)])
        self._finish(connection, ending, event)
        return event

    def _interrupted(self, connection: sa.Connection, row: Mapping[Any, Any], message: str) -> Event:
        run = _run(row)
        if not _begun_again(row):
            code: ErrorCode = "cancelled" if run.cancelling else "interrupted"
            return self._end_now(connection, run, Ending(run.id, run.attempt, "error", now_ms(), message, code))
        event = Event(run.id, run.head + 1, "update", now_ms(), _queued_again(message))
        self._advance(connection, event, status="queued", runner=None)
        return event

    def _has_retries(self, connection: sa.Connection, run: str) -> bool:
        query = sa.select(_runs.c.attempt, _runs.c.retries, _runs.c.cancelling).where(_runs.c.id == run)
        return _begun_again(connection.execute(query).mappings().one())

    def _positions(self, connection: sa.Connection) -> dict[str, int]:
        """The place of every waiting run in the queue of its lane, from 1."""
        order = sa.func.row_number().over(partition_by=_runs.c.lane, order_by=(_runs.c.created_ms, _runs.c.id))
        query = sa.select(_runs.c.id, order).where(_runs.c.status == "queued")
        return {run: position for run, position in connection.execute(query)}

    # Connections.

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _translated(self.path), self._reads.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with _translated(self.path), engine.begin() as connection:
            yield connection

    def _create(self) -> None:
        with self._writing(self._durable) as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if tables and not {"meta", "runs", "events"} <= tables:
                raise StoreError(f"{self.path} is a database of another program. Choose another data folder.")
            _metadata.create_all(connection)
            found = connection.execute(sa.select(_meta.c.value).where(_meta.c.name == "schema")).scalar()
            if found is None:
                connection.execute(_meta.insert(), {"name": "schema", "value": str(SCHEMA_VERSION)})
            elif found != str(SCHEMA_VERSION):
                raise StoreError(
                    f"{self.path} has the schema version {found}, and this program knows {SCHEMA_VERSION}."
                    " Use the version of Headway that wrote it, or another data folder."
                )


class _FreePool(sa.Pool):
    """Connections that are free lie on a list; where there is none one is made. No locks: each is one thread's at a
    time, and taking from a list is atomic.

    SQLAlchemy's own pool waits with ``threading``'s locks. Where a server has patched those to switch greenlets, as
    gevent does, native threads that wait for each other with them may wait for ever.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._free: list[Any] = []

    def _do_get(self) -> Any:
        try:
            return self._free.pop()
        except IndexError:
            return self._create_connection()

    def _do_return_conn(self, record: Any) -> None:
        self._free.append(record)

    def dispose(self) -> None:
        """Close the connections that are free."""
        while self._free:
            self._free.pop().close()

    def recreate(self) -> _FreePool:
        """A pool like this one, empty."""
        return self.__class__(self._creator, recycle=self._recycle, reset_on_return=self._reset_on_return)

    def status(self) -> str:
        """For those who look into it."""
        return f"{len(self._free)} connections are free"


def _engine(path: Path, *, autocommit: bool = False, **pragmas: object) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        module=pysqlite3.dbapi2,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        poolclass=_FreePool,
        pool_reset_on_return=None if autocommit else "rollback",
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute("PRAGMA journal_mode=WAL")
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that will write takes the lock first: an upgrade in the middle cannot wait, it fails at once.
        if not autocommit:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the driver's errors into ours, in words that help."""
    try:
        yield
    except sa.exc.OperationalError as error:
        text = str(error.orig)
        if "locked" in text or "busy" in text:
            raise StoreBusy("The database is busy. Try again in a moment.") from error
        if "full" in text:
            raise StoreBusy("The disk is full. Free some space, then try again.") from error
        raise StoreError(f"The database {path} cannot be used: {text}.") from error
    except sa.exc.DatabaseError as error:
        if isinstance(error, sa.exc.IntegrityError):
            raise
        raise StoreError(_damaged(path, str(error.orig))) from error


def _damaged(path: Path, reason: str) -> str:
    reason = " ".join(reason.split())
    return f"The database {path} is damaged ({reason}). 'make recover' sets it aside, deleting nothing."


def _fitting_events(run: str, rows: Iterable[Any], max_bytes: int) -> Iterator[Event]:
    """The events of rows until their bodies have ``max_bytes``, at least one."""
    for number, kind, time_ms, body in rows:
        yield Event(run, number, kind, time_ms, body)
        max_bytes -= len(body)
        if max_bytes <= 0:
            return


def _begun_again(row: Mapping[Any, Any]) -> bool:
    """Whether an interrupted run waits again, as its job allows, or ends here."""
    return row["attempt"] <= row["retries"] and not row["cancelling"]


def _queued_again(message: str) -> str:
    return ProgressUpdate("queued", 0, message + " It will be begun again.").body()


def _event_row(event: Event) -> dict[str, object]:
    return {
        "run": event.run,
        "seq": event.seq,
        "kind": event.kind,
        "time_ms": event.time_ms,
        "body": event.body,
    }


def _run(row: Mapping[Any, Any]) -> Run:
    latest = json.loads(row["latest"])
    return Run(
        id=row["id"],
        job=row["job"],
        owner=row["owner"],
        status=row["status"],
        attempt=row["attempt"],
        head=row["head"],
        created_ms=row["created_ms"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        progress=latest["progress"],
        message=latest["message"],
        step=latest["step"],
        indeterminate=latest.get("indeterminate", False),
        eta_s=latest.get("eta_s"),
        cancelling=row["cancelling"],
        error=latest.get("error"),
        params=json.loads(row["params"]),
        files=tuple(json.loads(row["files"])),
        retry_of=row["retry_of"],
    )


def _placed(run: Run, positions: Mapping[str, int]) -> Run:
    return replace(run, queue_position=positions.get(run.id)) if run.status == "queued" else run
