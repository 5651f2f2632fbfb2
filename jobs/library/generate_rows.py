"""A text for each row of a table: several at the same time, in the table's order in the files, none written twice.

One coroutine hands rows out, takes what came of them and says it; the others only ask. What is finished goes into the
checkpoint before it is said, so that whoever goes on with the run asks for none of it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from jobs import JobError, Progress, TableReader, TableRow, TableWriter
from jobs.library.endpoint.client import Endpoint
from jobs.library.endpoint.completion import Completion, Tally
from jobs.library.endpoint.errors import EndpointError
from jobs.library.prompt_template import PromptTemplate, conversation

WINDOW = 500
"""Rows that may be finished before one that goes on: they wait in memory, since files keep the table's order."""
MIN_FAILURES = 10
"""Rows that fail one after the other because the endpoint is out of order end the run; at least two for each asker."""
MAX_COUNTED = 20
"""Different errors, models or finish reasons in the result; what comes after them is counted as the rest."""
REST = "(others)"
RESULTS, FAILED = "results.csv", "failed.csv"
OWN_COLUMNS = ("output", "finish_reason", "tokens", "error")

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What the user chose; :func:`~jobs.library.generate.generate` says what each means."""

    prompt: str
    system: str = ""
    temperature: float | None = None
    length: int = 2000
    concurrency: int = 4


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a row. With an ``error`` the output is what had come until then."""

    output: str = ""
    finish_reason: str | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    error: str | None = None


def generate_rows(progress: Progress, endpoint: Endpoint, table: TableReader, options: RowOptions) -> dict[str, Any]:
    """Fill the prompt in for each row and have a text written for it; gives the result.

    Raises JobError for a prompt or table that does not fit, and where the endpoint itself is of no use.
    """
    template = PromptTemplate(options.prompt, table.columns)
    progress.update(message="Counting rows")
    total = table.count(progress.check)
    if not total:
        raise JobError("The table has no rows.")
    # An earlier attempt of this very run has said its rows; a run that goes on with another one has said none yet.
    told_before = progress.file(RESULTS).exists()
    with RowFiles(progress, table.columns) as files:
        rows = Rows(progress, endpoint, template, options, files, total, told_before)
        return rows.run(table)


class Rows:
    """The rows of a run on their way."""

    def __init__(
        self,
        progress: Progress,
        endpoint: Endpoint,
        template: PromptTemplate,
        options: RowOptions,
        files: RowFiles,
        total: int,
        told_before: bool,
    ) -> None:
        self._progress = progress
        self._endpoint = endpoint
        self._template = template
        self._options = options
        self._files = files
        self._total = total
        self._told_before = told_before
        self._finished = progress.checkpoint()
        self._running: dict[asyncio.Task[Completion], TableRow] = {}
        self._kept = self._good = self._failed = 0
        self._in_a_row = 0
        """Rows that failed one after the other since the endpoint is out of order."""
        self._tokens = self._prompt_tokens = 0
        self._chunks = 0
        self._models: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._began = time.monotonic()

    def run(self, table: TableReader) -> dict[str, Any]:
        """Go through the table; gives the result."""
        try:
            self._endpoint.run(self._hand_out(iter(table)))
        except EndpointError as error:
            if not self._good + self._kept:
                raise
            raise JobError(f"{error} {self._good + self._kept} rows are finished: run it again to go on.") from None
        return self._result()

    async def _hand_out(self, rows: Iterator[TableRow]) -> None:
        """Keep as many rows on their way as were asked for, until none is left."""
        try:
            more = True
            while more or self._running:
                while more and len(self._running) < self._options.concurrency and self._files.waiting < WINDOW:
                    row = next(rows, None)
                    more = row is not None
                    if row is not None:
                        await self._begin(row)
                if self._running:
                    done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        self._end(self._running.pop(task), task)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _begin(self, row: TableRow) -> None:
        self._files.expect(row)
        kept = self._finished.get(row.number)
        if kept is not None:
            self._kept += 1
            self._take(row, Written(**kept), said=self._told_before)
        elif row.problem is not None:
            self._fail(row, Written(error=f"The row {row.problem}."))
        else:
            self._running[asyncio.ensure_future(self._ask(row))] = row
        await asyncio.sleep(0)  # there may be thousands that need no asking, and the others wait for their tokens

    async def _ask(self, row: TableRow) -> Completion:
        options = self._options
        return await self._endpoint.complete(
            conversation(self._template.fill(row.values), options.system),
            on_token=self._count,
            temperature=options.temperature,
            max_tokens=options.length,
            about=f"Row {row.number}: ",
        )

    def _count(self, _tally: Tally) -> None:
        self._chunks += 1
        self._tell()

    def _end(self, row: TableRow, task: asyncio.Task[Completion]) -> None:
        """Take what came of a row that was asked for. Raises EndpointError where the others would fare no better."""
        try:
            completion = task.result()
        except EndpointError as error:
            if error.lasting:
                raise
            self._fail(row, Written(output=error.text, error=str(error)))
            self._in_a_row = 0 if error.refused else self._in_a_row + 1
            if self._in_a_row >= max(MIN_FAILURES, 2 * self._options.concurrency):
                raise EndpointError(f"{self._in_a_row} rows in a row failed, the last so: {error}") from None
            return
        usage = completion.usage
        written = Written(completion.text, completion.finish_reason, usage.completion_tokens, usage.prompt_tokens or 0)
        self._finished[row.number] = asdict(written)
        self._in_a_row = 0
        self._good += 1
        _count_in(self._models, completion.model)
        self._take(row, written)

    def _fail(self, row: TableRow, written: Written) -> None:
        """Take a row that failed. It is in no checkpoint: whoever goes on with the run tries it again."""
        self._failed += 1
        _count_in(self._errors, written.error or "")
        self._take(row, written)

    def _take(self, row: TableRow, written: Written, said: bool = False) -> None:
        self._files.take(row, written)
        self._tokens += written.tokens
        self._prompt_tokens += written.prompt_tokens
        if written.finish_reason is not None:
            _count_in(self._reasons, written.finish_reason)
        if not said:
            self._progress.row(self._files.named(row, written))
        self._tell()

    def _tell(self) -> None:
        done = self._kept + self._good + self._failed
        parts = [f"{done} of {self._total} rows"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._chunks:
            parts.append(f"{self._chunks / (time.monotonic() - self._began):.0f} tokens/s")
        self._progress.update(100 * done / self._total, " · ".join(parts))

    def _result(self) -> dict[str, Any]:
        seconds = time.monotonic() - self._began
        return {
            "rows": self._total,
            "written": self._good + self._kept,
            "failed": self._failed,
            "kept_from_before": self._kept,
            "model": ", ".join(self._models),
            "finish_reasons": dict(self._reasons),
            "errors": dict(self._errors.most_common()),
            "usage": {"prompt_tokens": self._prompt_tokens, "completion_tokens": self._tokens},
            "tokens_per_second": round(self._chunks / seconds, 1),
            "seconds": round(seconds, 3),
        }


class RowFiles:
    """``results.csv`` and ``failed.csv``, in the order of the table though rows end in any order.

    What came of the rows so far is in the files however this ends.
    """

    def __init__(self, progress: Progress, columns: Sequence[str]) -> None:
        self.own = tuple(_unlike(name, columns) for name in OWN_COLUMNS)
        """Our columns, by names that the table has not."""
        self._paths = progress.file(RESULTS), progress.file(FAILED)
        self._columns = tuple(columns)
        self._open = contextlib.ExitStack()
        self._results: TableWriter | None = None
        self._failed: TableWriter | None = None
        self._waiting: dict[int, tuple[TableRow, Written | None]] = {}

    def __enter__(self) -> RowFiles:
        results, failed = self._paths
        failed.unlink(missing_ok=True)  # an earlier attempt's: its rows are tried again
        self._results = self._open.enter_context(TableWriter(results, [*self._columns, *self.own]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for row, written in self._waiting.values():
                if written is not None:
                    self._write(row, written)
        finally:
            self._open.close()

    @property
    def waiting(self) -> int:
        """Rows that wait for one before them, and those that go on."""
        return len(self._waiting)

    def expect(self, row: TableRow) -> None:
        """The next row of the table is on its way."""
        self._waiting[row.number] = (row, None)

    def take(self, row: TableRow, written: Written) -> None:
        """Write what came of a row, once all before it are written."""
        self._waiting[row.number] = (row, written)
        while self._waiting:
            number, (first, ready) = next(iter(self._waiting.items()))
            if ready is None:
                break
            self._write(first, ready)
            del self._waiting[number]

    def named(self, row: TableRow, written: Written) -> dict[str, Cell]:
        """The row as it is shown: the table's columns first."""
        values = {column: _cell(row.values.get(column)) for column in self._columns}
        tokens = written.tokens if written.error is None else None
        own = (written.output, written.finish_reason, tokens, written.error)
        return {**values, **dict(zip(self.own, own, strict=True))}

    def _write(self, row: TableRow, written: Written) -> None:
        cells = self.named(row, written)
        assert self._results is not None
        self._results.row(cells.values())
        if written.error is not None:
            if self._failed is None:
                self._failed = self._open.enter_context(TableWriter(self._paths[1], self._columns))
            self._failed.row(cells[column] for column in self._columns)


def _count_in(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < MAX_COUNTED else REST] += 1


def _unlike(name: str, columns: Sequence[str]) -> str:
    """``name``, or one like it that is no column yet."""
    number, found = 1, name
    while found in columns:
        number += 1
        found = f"{name}_{number}"
    return found


def _cell(value: Any) -> Cell:
    """What a cell of a JSONL table may be, as text where it is more than that."""
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return json.dumps(value, ensure_ascii=False)
