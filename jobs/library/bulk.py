"""The bulk job: one operation over the rows of a table, however long it is.

One thread, the run's own, knows everything: it reads the table, hands out requests (:mod:`~jobs.library.rows.turns`),
and writes down what came back. A crew of threads only asks (:mod:`~jobs.library.rows.operations`). Of the table no
more is in memory than the rows on their way: between the first that has no result yet and the last that was read. What
is finished stands in the run's checkpoint before anybody hears of it, so that a run that goes on repeats none of it.
"""

from __future__ import annotations

import math
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from marshmallow.validate import Length, Range

from jobs import File, JobError, Param, Progress, TableReader, TableRow, job
from jobs.library.crawl import crawl_allow
from jobs.library.crew import Crew
from jobs.library.exchange import Limits
from jobs.library.fetch import Fetcher, Response
from jobs.library.fetch_errors import BadURL, Closed, FetchError
from jobs.library.page_text import BadSelector, parse_selectors
from jobs.library.rows.addresses import Addresses, url_column
from jobs.library.rows.before import DoneBefore
from jobs.library.rows.files import REASON, ResultFiles, added_names, as_cell
from jobs.library.rows.operations import Check, Extract, Operation, Post, Result, Row
from jobs.library.rows.tally import Tally
from jobs.library.rows.turns import Turns
from jobs.library.rows.verdict import Done, judge_answer, judge_error
from jobs.library.rows.webhooks import NotAllowed, allowed_webhook

OperationName = Literal["check", "extract", "post"]

LOOK_AHEAD = 10_000
"""Rows that are read while the first of them has no result yet: how far a slow host lets the others go ahead."""
LOOK_AHEAD_CHARS = 32_000_000
"""And the characters that they may have."""
READ_AT_ONCE = 200
"""Rows that are read before the run looks after its crew again."""
TICK_S = 0.1
"""Longest wait before the run looks whether it was cancelled."""
SAVE_S, SAVE_ROWS = 0.1, 500
"""How long a result waits, and how many of them, until they are saved together: what a kill -9 can cost."""
REREAD_S = 1.0
"""What a run that has to stop takes to write down again what earlier attempts have done: it is killed after 5 s."""
GRACE_S = 1.5
"""What a run that has to stop waits for answers to what it has sent: what was received is not to be sent again."""
CLOSE_S = 0.5
"""What its threads have to end, whose connections are closed then."""
WRITTEN_AT_ONCE = 200
MAX_WAITING_CHARS = 1000
"""Longest result that waits in memory for those before it."""
ASIDE: Result = []
"""In place of a longer one."""
MAX_SAID = 10_000
"""Rows that are told one by one; more stand in the file only, since the run's log is kept in the database."""
MAX_SAID_COLUMNS, MAX_SAID_CHARS = 8, 300
"""Of the input's columns and of a cell's text in such a row."""
MAX_TRACEBACKS = 5
CHECKPOINT = "rows"
BEGUN = 0
"""The key in the checkpoint, where rows are numbered from 1, of what all attempts have in common."""

READ = "Reading the table"
DOING = {"check": "Checking URLs", "extract": "Fetching pages", "post": "Sending rows"}


@job(title="Work through a table", timeout="24h", isolated=True, retries=2, settings=["CRAWL_ALLOW", "WEBHOOK_ALLOW"])
def bulk(
    progress: Progress,
    table: Annotated[
        File,
        Param("Table", help="CSV, TSV, JSON lines, or a URL a line; up to millions of rows.", sample="sample:urls.csv"),
    ],
    operation: Annotated[
        OperationName,
        Param(
            "Operation",
            help="check: status, redirects, time and certificate of each URL. extract: fetch each page and take out its"
            " text. post: send each row as JSON to a webhook.",
        ),
    ] = "check",
    column: Annotated[
        str | None,
        Param("URL column", help="Its name. If empty, the first column that holds URLs.", placeholder="url"),
        Length(max=200),
    ] = None,
    selectors: Annotated[
        list[str] | None,
        Param(
            "CSS selectors",
            help="For extract, one a line: name = selector. With ::attr(href) behind it an attribute is taken.",
            placeholder="price = .product .price",
        ),
    ] = None,
    webhook: Annotated[
        str | None,
        Param(
            "Webhook",
            help="For post: where the rows go. The server's setting HEADWAY_WEBHOOK_ALLOW has to allow it.",
            placeholder="https://example.com/hooks/rows",
        ),
        Length(max=2000),
    ] = None,
    concurrency: Annotated[int, Param("Concurrency", help="Requests at the same time."), Range(1, 32)] = 8,
    rate: Annotated[
        float, Param("Rate", help="Requests per second to one host; 0 for no limit."), Range(0, 10_000)
    ] = 5.0,
    retries: Annotated[
        int,
        Param("Retries", help="Further attempts where a connection breaks or a server asks to come later."),
        Range(0, 10),
    ] = 2,
    timeout: Annotated[float, Param("Time limit", help="Seconds for one request."), Range(0.5, 120)] = 15.0,
) -> dict[str, Any]:
    """Check, fetch or send every row of a table, and get the table back with what came of each row.

    `results.csv` has the columns of the input first. What goes wrong with a row is that row's error, never the end of
    the run; failed rows stand once more in a file that can be the table of another run. A run that was interrupted or
    cancelled goes on where it stopped when it is run again. Addresses that are not on the public internet are refused.
    """
    options = Options(operation, concurrency, rate, retries)
    try:
        allow = set(crawl_allow(progress))
        chosen = parse_selectors(selectors or ())
        hook = allowed_webhook(webhook, progress.setting("WEBHOOK_ALLOW")) if operation == "post" else None
    except (BadSelector, NotAllowed) as error:
        raise JobError(str(error)) from error
    except ValueError as error:
        raise JobError(f"The server's settings are wrong: {error}.") from error
    limits = Limits(connect_s=min(5.0, timeout), read_s=timeout, total_s=timeout)
    reader = table.table(column)
    if hook is not None:
        reader.column(column)  # raises where there is none
        with Fetcher({hook.allow}, limits) as fetcher:
            return Bulk(progress, reader, options, Post(fetcher, hook), fetcher, lambda row: hook.url).run()
    with Fetcher(allow, limits) as fetcher, Addresses(url_column(reader, column), allow) as addresses:
        reading = Check(fetcher) if operation == "check" else Extract(fetcher, chosen)
        return Bulk(progress, reader, options, reading, fetcher, addresses.url).run()


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose; :func:`bulk` says what each means."""

    operation: OperationName = "check"
    concurrency: int = 8
    rate: float = 5.0
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: an answer, or an error."""

    row: Row
    response: Response | None
    error: Exception | None
    elapsed_s: float


class Bulk:
    """One bulk run. All but :meth:`_work` runs in the thread that called :meth:`run`.

    ``url_of`` gives the URL that a row means, and raises BadURL where it means none.
    """

    def __init__(
        self,
        progress: Progress,
        reader: TableReader,
        options: Options,
        operation: Operation,
        fetcher: Fetcher,
        url_of: Callable[[TableRow], str],
    ) -> None:
        self._progress = progress
        self._reader = reader
        self._options = options
        self._operation = operation
        self._fetcher = fetcher
        self._url_of = url_of
        self._columns = [column for column in reader.columns if column != REASON]
        self._added = added_names([*operation.columns, "attempts", "error"], self._columns)
        self._checkpoint = progress.checkpoint(CHECKPOINT)
        # Where nothing holds it back, each thread has a request in store; but none where the time of asking counts, or
        # what a run that has to stop has in its hands.
        self._places = options.concurrency * (1 if options.rate or operation.sends else 2)
        share = (options.concurrency + 1) // 2
        self._turns = Turns[Row](self._places, share, 1 / options.rate if options.rate else 0.0)
        self._under_way: dict[int, Row] = {}
        """Rows that were read and are not written yet, in order."""
        self._chars = 0
        self._finished: list[Row] = []
        """Rows that have their result and are not saved yet."""
        self._saved_at = 0.0
        self._said = 0
        self._traces = 0
        self._read_all = False
        self._stopping = False
        self._token: str
        self._before: DoneBefore
        self._rows: Iterator[TableRow]
        self._tally: Tally
        self._files: ResultFiles
        self._crew: Crew[Row, Answer]

    def run(self) -> dict[str, Any]:
        """Work off the table and give the result. Raises JobError where it cannot be read."""
        progress, doing = self._progress, DOING[self._options.operation]
        progress.plan(READ, doing)
        with progress.step(READ, weight=2):
            progress.update(message="Counting the rows")
            self._token, total = self._begun()
            self._tally = Tally(total)
        self._before = DoneBefore(self._checkpoint, len(self._added))
        self._said = min(self._before.left, MAX_SAID)
        if self._before.left:
            progress.log(f"{self._before.left:,} rows were done before: results.csv has them, none is done again.")
        self._rows = iter(self._reader)
        self._open_files()
        self._crew = Crew(self._options.concurrency, self._work, "bulk")
        try:
            with progress.step(doing, weight=98):
                self._work_off()
        finally:
            self._wind_up()
        return self._tally.result()

    def _begun(self) -> tuple[str, int]:
        """A text that no other run's rows have, and how many rows there are; the same for all attempts."""
        begun = self._checkpoint.get(BEGUN)
        if begun is None:
            begun = {"token": secrets.token_hex(8), "rows": self._reader.count(self._progress.check)}
            self._checkpoint[BEGUN] = begun
        return begun["token"], begun["rows"]

    def _open_files(self) -> None:
        as_json = self._reader.kind == "jsonl"
        failed = self._progress.file("failed.jsonl" if as_json else "failed.csv")
        results = self._progress.file("results.csv")
        self._files = ResultFiles(results, failed, self._columns, self._added, as_json=as_json)

    def _work_off(self) -> None:
        """Hand out and take back until every row has its result."""
        while True:
            more = self._hand_out()
            if self._crew.busy or self._turns.waiting:
                for answer in self._crew.results(0 if more else self._wait_s()):
                    self._take(answer)
            self._save_if_due()
            self._progress.update(self._tally.percent, self._tally.message)
            if self._read_all and not self._under_way:
                break

    def _wait_s(self) -> float:
        wait_s = self._turns.wait_s(time.monotonic())
        return TICK_S if wait_s is None else min(TICK_S, wait_s or TICK_S)

    # Out.

    def _hand_out(self) -> bool:
        """Give the crew what it can work on, reading on where nothing is due; whether there is more to read at once."""
        room = READ_AT_ONCE
        while self._crew.busy < self._places:
            row = self._turns.take(time.monotonic())
            if row is not None:
                self._crew.give(row)
            elif self._turns.complete:
                break
            elif room == 0:
                return True
            else:
                self._turns.complete = not self._read_row()
                room -= 1
        return False

    def _read_row(self) -> bool:
        """Read a row and have it asked; whether there was one, and room for it."""
        if self._read_all or len(self._under_way) >= LOOK_AHEAD or self._chars >= LOOK_AHEAD_CHARS:
            return False
        read = next(self._rows, None)
        if read is None:
            self._read_all = True
            return False
        row = self._row(read)
        self._under_way[row.number] = row
        self._chars += row.weight
        if row.result is None:
            self._begin(row, read)
        return True

    def _row(self, read: TableRow) -> Row:
        """A row on its way, or at its end where it was done before."""
        read.values.pop(REASON, None)
        result = self._before.result(read.number)
        if result is not None:
            self._tally.count(result, resumed=True)
        return Row(read.number, read.values, f"{self._token}-{read.number}", _chars_of(read.values), result=result)

    def _begin(self, row: Row, read: TableRow) -> None:
        if read.problem is not None:
            self._finish(row, None, read.problem)
            return
        try:
            row.lead_to(self._url_of(read))
        except BadURL as error:
            self._finish(row, None, str(error))
        else:
            row.attempts = 1
            self._turns.add(row, row.host)

    # In the threads of the crew.

    def _work(self, row: Row) -> Answer:
        """Send a row's request. Whatever goes wrong is that row's error, and no other's."""
        started = time.perf_counter()
        try:
            if self._stopping:
                raise Closed
            return Answer(row, self._operation.ask(row), None, time.perf_counter() - started)
        except Exception as error:
            return Answer(row, None, error, time.perf_counter() - started)

    # Back.

    def _take(self, answer: Answer) -> None:
        """Decide what becomes of a row, now that its request is over."""
        row, error, now = answer.row, answer.error, time.monotonic()
        host = row.host
        row.elapsed_s += answer.elapsed_s
        if isinstance(error, Closed):
            return
        if answer.response is not None:
            row.see(answer.response)
            verdict = judge_answer(row, answer.response, self._operation, self._options.retries)
        elif isinstance(error, FetchError):
            verdict = judge_error(row, error, self._operation, self._options.retries)
        else:
            verdict = Done(self._unexpected(row, "asked", error))
        if isinstance(verdict, Done):
            self._finish(row, answer.response, verdict.error)
        else:
            # Even where it goes on at once it goes before what waits: a row that is begun is to come to its end.
            self._turns.add_later(row, row.host, now + verdict.wait_s)
            if verdict.pause:
                self._turns.pause(host, now + verdict.wait_s)
        self._turns.come_back(host, now)

    def _finish(self, row: Row, response: Response | None, error: str | None) -> None:
        """Give a row its result."""
        cells: list[Any] = [None] * len(self._operation.columns)
        if row.attempts:
            try:
                cells, found = self._operation.read(row, response)
                error = error or found
            except Exception as problem:
                error = self._unexpected(row, "read", problem)
        row.result = [*cells, row.attempts, error]
        self._tally.count(row.result)
        self._finished.append(row)

    def _unexpected(self, row: Row, what: str, error: Exception | None) -> str:
        """The sentence for an error that nobody foresaw; the first few are logged."""
        self._traces += 1
        if self._traces <= MAX_TRACEBACKS and not self._stopping:
            trace = "".join(traceback.format_exception(error))
            self._progress.log(f"Row {row.number} could not be {what}:\n{trace}", "error")
        return f"could not be {what} ({type(error).__name__})"

    # Down.

    def _save_if_due(self) -> None:
        now = time.monotonic()
        due = len(self._finished) >= SAVE_ROWS or now - self._saved_at >= SAVE_S
        if due or not self._crew.busy:
            self._saved_at = now
            finished = self._save()
            self._write()
            self._say(finished)
            self._put_aside(finished)

    def _save(self) -> list[Row]:
        """Keep what is finished for whoever goes on with this run."""
        finished, self._finished = self._finished, []
        if finished:
            self._checkpoint.update({row.number: row.result for row in finished})
        return finished

    def _write(self, *, beyond: bool = False) -> None:
        """Write rows in the table's order, up to the first without a result; with ``beyond`` those behind it too."""
        ready: list[Row] = []
        for row in list(self._under_way.values()):
            if row.result is not None:
                ready.append(row)
            elif not beyond:
                break
            if len(ready) == WRITTEN_AT_ONCE:
                self._write_rows(ready)
                ready = []
        self._write_rows(ready)
        self._turns.complete = self._read_all

    def _write_rows(self, rows: list[Row]) -> None:
        for row in rows:
            if row.result is ASIDE:
                row.result = self._checkpoint[row.number]
            del self._under_way[row.number]
            self._chars -= row.weight
        self._files.write(rows)

    def _put_aside(self, rows: list[Row]) -> None:
        """Keep in memory no long results that wait for a row before them: the checkpoint has them."""
        for row in rows:
            if row.number in self._under_way and len(str(row.result)) > MAX_WAITING_CHARS:
                row.result = ASIDE

    def _say(self, rows: list[Row]) -> None:
        """Tell the first rows one by one."""
        for row in rows[: MAX_SAID - self._said]:
            assert row.result is not None
            inputs = {column: _shown(row.values.get(column)) for column in self._columns[:MAX_SAID_COLUMNS]}
            self._progress.row(
                {"row": row.number, **inputs, **dict(zip(self._added, map(_shown, row.result), strict=True))}
            )
        if rows and self._said < MAX_SAID <= self._said + len(rows) and self._tally.total > MAX_SAID:
            self._progress.log(f"{MAX_SAID:,} rows are shown one by one; results.csv has all.")
        self._said = min(MAX_SAID, self._said + len(rows))

    def _wind_up(self) -> None:
        """Take what has come back, and write down what is done: whatever ended the run."""
        self._stopping = True
        try:
            if self._operation.sends:
                self._take_back(GRACE_S)
            self._fetcher.close()  # first, so that no thread of the crew waits for the network
            self._crew.close(CLOSE_S)
            self._take_back(0)
            self._save()
            self._read_what_was_done()
            self._write(beyond=True)
        finally:
            self._files.close()

    def _take_back(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while self._crew.busy and (answers := self._crew.results(max(0.0, until - time.monotonic()))):
            for answer in answers:
                self._take(answer)

    def _read_what_was_done(self) -> None:
        """Where a run stops before it has read all rows that were done before, have those in the file as well."""
        until = time.monotonic() + REREAD_S
        while self._before.left and time.monotonic() < until and (read := next(self._rows, None)) is not None:
            row = self._row(read)
            if row.result is not None:
                self._under_way[row.number] = row


def _chars_of(values: Mapping[str, Any]) -> int:
    return sum(len(value) if isinstance(value, str) else len(str(value)) for value in values.values())


def _shown(value: Any) -> Any:
    """A value as a row shows it."""
    cell = as_cell(value)
    if isinstance(cell, float) and not math.isfinite(cell):
        return str(cell)
    return cell if not isinstance(cell, str) or len(cell) <= MAX_SAID_CHARS else cell[: MAX_SAID_CHARS - 1] + "…"
