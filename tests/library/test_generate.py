"""Generating text, for one prompt and for the rows of a table, with a real endpoint on loopback."""

from __future__ import annotations

import csv
import io
import json
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import File, JobError, Progress, TableReader
from jobs.errors import Cancelled, StopRun
from jobs.events import Draft
from jobs.library.endpoint.client import SETTINGS, Endpoint
from jobs.library.endpoint.tries import Patience
from jobs.library.generate import OUTPUT, Text, generate
from jobs.library.generate_rows import WINDOW, RowOptions, generate_rows
from jobs.library.prompt_template import PromptTemplate, conversation
from jobs.registry import LIBRARY
from tests.harness import wait_for
from tests.library.chat_server import PLAIN, ChatServer, asking

TEXT = "".join(PLAIN)
KEY = "sk-canary-0cc175b9c0f1b6a8"
PRODUCTS = LIBRARY / "samples" / "products.csv"


class Run:
    """The job called with a real Progress, and all that it said."""

    def __init__(self, folder: Path, url: str, model: str = "tiny") -> None:
        self.drafts: list[Draft] = []
        self.folder = folder / "files"
        settings = dict(zip(SETTINGS, (url, KEY, model, ""), strict=True))
        self.progress = Progress("r1", 1, self.drafts.append, folder=self.folder, settings=settings)

    def generate(self, prompt: str, **more: Any) -> dict[str, Any]:
        try:
            result = generate(self.progress, prompt, **more)
        finally:
            self.progress.finish()
        json.dumps(result, allow_nan=False)
        return result

    def rows(self, table: Path, prompt: str, **more: Any) -> dict[str, Any]:
        """The batch form."""
        return self.generate(prompt, table=File(table, table.name, table.stat().st_size), **more)

    def impatient(self) -> Endpoint:
        """An endpoint that does not wait long between tries."""
        url, key, model, _ = (self.progress.setting(name) for name in SETTINGS)
        assert url is not None
        return Endpoint(self.progress, url, key, model, patience=Patience(wait_s=0.001, tries=2))

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(draft.body) for draft in self.drafts if draft.kind == kind]

    @property
    def log(self) -> list[str]:
        return [said["message"] for said in self.said("log")]

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows that were said."""
        return [said["row"] for said in self.said("row")]

    @property
    def output(self) -> str:
        return "".join(said["text"] for said in self.said("output"))

    def file(self, name: str) -> str:
        return (self.folder / name).read_text()

    def csv(self, name: str) -> list[dict[str, str]]:
        """A file, read by somebody else's parser."""
        return list(csv.DictReader(io.StringIO(self.file(name))))


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as chat:
        yield chat


@pytest.fixture
def new_run(chat: ChatServer, tmp_path: Path) -> Callable[..., Run]:
    return lambda folder="run", **more: Run(tmp_path / folder, chat.url, **more)


@pytest.fixture
def run(new_run: Callable[..., Run]) -> Run:
    return new_run()


@pytest.fixture
def new_table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table of one column "ask" with these cells."""

    def write(*cells: str) -> Path:
        path = tmp_path / "table.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["id", "ask"], *([f"r{n}", cell] for n, cell in enumerate(cells, 1))])
        return path

    return write


# One text.


def test_a_text_stands_on_the_page_in_the_result_and_in_a_file(chat: ChatServer, run: Run) -> None:
    result = run.generate(asking(tokens=20), system="Be brief.", temperature=0.0, length=40)
    text = "".join(chat.asked[0].sent)
    assert run.output == run.file(OUTPUT) == result["text"]["text"] == text
    assert result["text"]["$headway"] == "markdown"
    assert result["usage"] == {
        "prompt_tokens": 7, "completion_tokens": 20, "reasoning_tokens": 0, "estimated": False
    }  # fmt: skip
    assert (result["model"], result["finish_reason"], result["retries"]) == ("tiny", "stop", 0)
    assert result["tokens_per_second"] > 0 and result["first_token_ms"] >= 0
    body = chat.asked[0].body
    assert body["messages"] == conversation(asking(tokens=20), "Be brief.")
    assert (body["temperature"], body["max_tokens"]) == (0.0, 40)
    assert run.log == []


def test_the_bar_counts_tokens_of_the_length(run: Run) -> None:
    """With the speed beside it, once there is one; before the first token nothing is known."""
    run.generate(asking(tokens=20, pause_ms=10), length=40)
    updates = run.said("update")
    assert updates[0]["message"] == "Waiting for the first token" and updates[0]["indeterminate"]
    assert updates[-1]["progress"] == 50.0
    assert updates[-1]["message"].startswith("20 tokens · ") and updates[-1]["message"].endswith(" tokens/s")


def test_what_a_model_only_thinks_shows_beside_the_bar(run: Run) -> None:
    result = run.generate(asking(reasoning=5, pieces=[], finish="length"), length=5)
    assert run.said("update")[-1]["message"].startswith("thinking · 5 tokens")
    assert result["text"]["text"] == "" and not (run.folder / OUTPUT).exists()
    assert run.log == ["The text ends at the 5 tokens that it may have; allow more length for a whole one."]


def test_a_failure_keeps_the_text_so_far(run: Run) -> None:
    with pytest.raises(JobError, match="^The endpoint broke the connection off.$"):
        run.generate(asking(cut_after=3))
    assert run.output == run.file(OUTPUT) == "".join(PLAIN[:3])
    assert [file["name"] for file in run.progress.finish()] == [OUTPUT]


def test_a_text_is_not_begun_again_on_top_of_another(chat: ChatServer, new_run: Callable[..., Run]) -> None:
    """The attempt after a restart finds what the one before it had shown."""
    with pytest.raises(JobError):
        new_run().generate(asking(cut_after=3))
    second = new_run()
    with pytest.raises(JobError, match="restarted in mid-text.* run it again"):
        second.generate(asking(cut_after=3))
    assert second.output == "" and second.file(OUTPUT) == "".join(PLAIN[:3])
    assert len(chat.asked) == 1


@pytest.mark.parametrize(
    ("prompt", "remark"),
    [
        (asking(finish="length"), "The text ends at the 30 tokens"),
        (asking(finish="content_filter"), "The endpoint's content filter has ended the text."),
        (asking(endless=True), "The endpoint sent more than the 30 tokens that it was asked for"),
        (asking(pieces=[]), "The model wrote nothing."),
    ],
)
def test_an_end_that_is_none_is_remarked_on(run: Run, prompt: str, remark: str) -> None:
    run.generate(prompt, length=30)
    (line,) = run.log
    assert line.startswith(remark)


def test_without_an_endpoint_it_says_how_to_set_one_up(new_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(JobError, match="HEADWAY_OPENAI_BASE_URL=http://127.0.0.1:11434/v1"):
        Run(tmp_path, "").generate("Hello")


def test_hostile_output_reaches_the_file_as_it_is(run: Run) -> None:
    """1 MB in one chunk is more than the length allows; the rest is text like any other."""
    hostile = "<img src=x onerror=alert(1)>\x1b[2J\n\nevent: done\ndata: {}\n\n=1+1"
    run.generate(asking(pieces=[hostile, "x" * 1_000_000]), length=2000)
    with (run.folder / OUTPUT).open(newline="") as file:
        text = file.read()
    assert text.startswith(hostile + "xxx") and len(text) == 20 * 2000 + 10_000
    assert run.output == text


# A template.


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("Say {name}!", "Say {x}!"),
        ("{name}{name}", "{x}{x}"),
        ("{ NAME } and {Price (€)}", "{x} and 3"),
        ('{{"a": "{name}"}}', '{"a": "{x}"}'),
        ("a } b { c {name}", "a } b { c {x}"),
        ("{{{name}}}", "{{x}}"),
        ("{none}{name}", "{x}"),
        ("{list} {name}", '["ä", 1] {x}'),
    ],
)
def test_braces_name_columns(template: str, filled: str) -> None:
    """What a row holds is text: braces in it mean nothing."""
    values = {"name": "{x}", "Price (€)": 3, "none": None, "list": ["ä", 1]}
    assert PromptTemplate(template, tuple(values)).fill(values) == filled


@pytest.mark.parametrize("template", ["{nmae}", "{name.upper}", "{name[0]}", "{name!r}", "{name:>9}", "{0}", "{}"])
def test_what_is_no_column_is_refused_with_those_that_are(template: str) -> None:
    """Attributes, indexes and formats are no columns: nothing of a row is reached but its cells."""
    with pytest.raises(JobError, match=r"has no such column. There are: \{name\}, \{price\}"):
        PromptTemplate(template, ("name", "price"))


def test_a_prompt_that_is_the_same_for_each_row_is_refused() -> None:
    with pytest.raises(JobError, match="names no column"):
        PromptTemplate('{{"a": 1}}', ("name",))


@given(st.lists(st.sampled_from(["{", "}", "{{", "}}", "{a}", "a", "\n", "%s"]), max_size=12).map("".join), st.text())
def test_a_cell_stands_in_the_prompt_as_it_is(template: str, value: str) -> None:
    try:
        filled = PromptTemplate(template, ("a",)).fill({"a": value})
    except JobError:
        return
    assert value in filled


# The rows of a table.


def test_each_row_becomes_a_row_with_its_text(chat: ChatServer, run: Run) -> None:
    """The sample's ten products; the table's columns first, in the table's order."""
    result = run.rows(PRODUCTS, "Sell {name} made of {material}.", system="Be brief.", length=50)
    products = list(csv.DictReader(io.StringIO(PRODUCTS.read_text())))
    assert sorted(chat.prompts) == sorted(f"Sell {one['name']} made of {one['material']}." for one in products)
    assert run.csv("results.csv") == [
        {**one, "output": TEXT, "finish_reason": "stop", "tokens": "8", "error": ""} for one in products
    ]
    assert sorted(row["name"] for row in run.table) == sorted(one["name"] for one in products)
    assert list(run.table[0]) == ["name", "material", "price", "output", "finish_reason", "tokens", "error"]
    assert not (run.folder / "failed.csv").exists()
    assert {name: result[name] for name in ("rows", "written", "failed", "kept_from_before", "model", "errors")} == {
        "rows": 10, "written": 10, "failed": 0, "kept_from_before": 0, "model": "tiny", "errors": {}
    }  # fmt: skip
    assert result["usage"] == {"prompt_tokens": 70, "completion_tokens": 80}
    assert result["finish_reasons"] == {"stop": 10}


def test_a_bad_row_is_a_row_with_its_error(chat: ChatServer, run: Run, new_table: Callable[..., Path]) -> None:
    """It ends no other; it keeps what text it had, and failed.csv holds it as it came, to be fed in again."""
    bad = asking(always=400, error="Too long.")
    table = new_table("one", bad, "=2+3 three")
    with table.open("a") as file:
        file.write("r4,one,too many\r\n")
    result = run.rows(table, "{ask}", concurrency=1)
    good, refused, formula, wide = run.csv("results.csv")
    assert (good["error"], good["output"], formula["output"]) == ("", TEXT, TEXT)
    assert (refused["output"], refused["tokens"]) == ("", "")
    assert refused["error"] == "The endpoint refuses the request (400). It says: “Too long”."
    assert wide["error"] == "The row has 3 cells where the table has 2 columns."
    assert (result["written"], result["failed"], sum(result["errors"].values())) == (2, 2, 2)
    again = TableReader(run.folder / "failed.csv")
    assert again.columns == ("id", "ask")
    assert [row.values for row in again] == [{"id": "r2", "ask": bad}, {"id": "r4", "ask": "one"}]
    assert run.said("update")[-1]["message"].startswith("4 of 4 rows · 2 failed")


def test_a_row_that_breaks_off_is_tried_again_and_then_keeps_its_text(
    chat: ChatServer, run: Run, new_table: Callable[..., Path]
) -> None:
    table = TableReader(new_table(asking(cut_after=2, times=1), asking(cut_after=2)))
    generate_rows(run.progress, run.impatient(), table, RowOptions("{ask}", concurrency=1))
    mended, broken = run.csv("results.csv")
    assert mended["output"] == TEXT
    assert broken["output"] == "".join(PLAIN[:2]) and "broke the connection off" in broken["error"]
    assert run.log[0].startswith("Row 1: The endpoint broke the connection off; trying again")


def test_columns_of_the_table_keep_their_names(chat: ChatServer, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("output,error,name\r\na,b,c\r\n")
    run.rows(table, "{name}")
    assert list(run.csv("results.csv")[0].items()) == [
        ("output", "a"), ("error", "b"), ("name", "c"), ("output_2", TEXT), ("finish_reason", "stop"),
        ("tokens", "8"), ("error_2", ""),
    ]  # fmt: skip


def test_json_lines_are_a_table_too(chat: ChatServer, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text('{"name": "a", "tags": ["x", 1]}\n{"name": 7, "tags": null}\n{"name": 1e999, "tags": {}}\nno\n')
    run.rows(table, "{name} {tags}", concurrency=1)
    assert chat.prompts == ['a ["x", 1]', "7 ", "Infinity {}"]
    assert [row["name"] for row in run.csv("results.csv")] == ["a", "7", "Infinity", ""]
    assert run.csv("results.csv")[3]["error"] == "The row is not a JSON object."


def test_formulas_of_a_model_are_disarmed_in_the_file(run: Run, new_table: Callable[..., Path]) -> None:
    run.rows(new_table(asking(pieces=["=HYPERLINK(1)"])), "{ask}")
    assert run.csv("results.csv")[0]["output"] == "'=HYPERLINK(1)"
    assert run.table[0]["output"] == "=HYPERLINK(1)"


def test_rows_are_asked_at_the_same_time(chat: ChatServer, run: Run, new_table: Callable[..., Path]) -> None:
    """As many as was said, and the files keep the table's order all the same."""
    cells = [asking(id=number, tokens=3, pause_ms=30 if number % 5 == 0 else 1) for number in range(40)]
    busiest = 0

    def watch() -> None:
        nonlocal busiest
        while not chat.release.wait(0.001):
            busiest = max(busiest, sum(not asked.complete for asked in chat.asked))

    threading.Thread(target=watch, daemon=True).start()
    run.rows(new_table(*cells), "{ask}", concurrency=5)
    assert [row["id"] for row in run.csv("results.csv")] == [f"r{number}" for number in range(1, 41)]
    assert 1 < busiest <= 5


def test_rows_do_not_pile_up_behind_one_that_hangs(chat: ChatServer, run: Run, new_table: Callable[..., Path]) -> None:
    """Files keep the table's order, so what is finished waits in memory for what is not."""
    table = new_table(asking(mute=True), *(asking(id=number, pieces=["a"]) for number in range(WINDOW + 200)))

    def stop_when_it_waits() -> None:
        wait_for(lambda: len(run.table) == WINDOW - 1, 30)
        run.progress.stop(Cancelled)

    threading.Thread(target=stop_when_it_waits, daemon=True).start()
    with pytest.raises(StopRun):
        run.rows(table, "{ask}", concurrency=8)
    assert len(chat.asked) == WINDOW
    assert len(run.csv("results.csv")) == WINDOW - 1


@pytest.mark.parametrize("prompt", [asking(always=401), asking(always=404), asking(always=302)])
def test_an_endpoint_that_takes_nobody_ends_the_run(
    chat: ChatServer, run: Run, new_table: Callable[..., Path], prompt: str
) -> None:
    """A thousand rows would say the same."""
    with pytest.raises(JobError, match="^The endpoint .*1 rows are finished: run it again to go on"):
        run.rows(new_table("good", *[prompt] * 1000), "{ask}", concurrency=1)
    assert len(chat.asked) == 2 and len(run.csv("results.csv")) == 1


def test_an_endpoint_that_breaks_down_ends_the_run(chat: ChatServer, run: Run, new_table: Callable[..., Path]) -> None:
    """After as many rows in a row as cannot be chance."""
    table = TableReader(new_table("good", *[asking(always=503)] * 100))
    with pytest.raises(JobError, match="^10 rows in a row failed, the last so: 503 from the endpoint"):
        generate_rows(run.progress, run.impatient(), table, RowOptions("{ask}", concurrency=1))
    assert len(run.csv("results.csv")) == 1 + 10 and len(chat.asked) == 1 + 10 * 2


def test_whoever_goes_on_asks_for_no_finished_row_again(
    chat: ChatServer, new_run: Callable[..., Run], new_table: Callable[..., Path]
) -> None:
    """The files hold all rows, those of before among them; failed rows are tried again."""
    passing = asking(statuses=[400, 400])
    table = new_table(*[f"good {number}" for number in range(5)], passing, *[asking(always=401, times=1)] * 9)
    first = new_run()
    with pytest.raises(JobError, match="5 rows are finished"):
        first.rows(table, "{ask}", concurrency=1)
    assert [row["error"] == "" for row in first.csv("results.csv")] == [True] * 5 + [False]
    chat.asked.clear()
    text = table.read_text().replace('""always"": 401', '""tokens"": 3')
    table.write_text(text)
    second = new_run()
    result = second.rows(table, "{ask}", concurrency=1)
    assert [asked.prompt for asked in chat.asked][:1] == [passing] and len(chat.asked) == 10
    assert (result["written"], result["kept_from_before"], result["failed"]) == (15, 5, 0)
    assert [row["id"] for row in second.csv("results.csv")] == [f"r{number}" for number in range(1, 16)]
    assert not (second.folder / "failed.csv").exists()
    assert len(second.table) == 10, "the rows of before were said by the attempt before"


def test_a_run_that_goes_on_with_another_says_all_rows(
    chat: ChatServer, new_run: Callable[..., Run], new_table: Callable[..., Path]
) -> None:
    """ "Run again" hands over the checkpoint, and not the files."""
    table = new_table("a", "b", asking(always=401))
    first = new_run()
    with pytest.raises(JobError):
        first.rows(table, "{ask}", concurrency=1)
    again = new_run("again")
    again.folder.parent.mkdir()
    (first.folder.parent / "checkpoints").rename(again.folder.parent / "checkpoints")
    with pytest.raises(JobError):
        again.rows(table, "{ask}", concurrency=1)
    assert [row["output"] for row in again.table] == [TEXT, TEXT]
    assert Counter(chat.prompts)["a"] == 1


@pytest.mark.parametrize(
    "phase", [{"mute": True}, {"stall_after": 2}, {"endless": True, "pause_ms": 5}], ids=["sent", "text", "tokens"]
)
def test_a_stop_closes_every_request_and_keeps_the_finished_rows(
    chat: ChatServer, run: Run, new_table: Callable[..., Path], phase: dict[str, Any]
) -> None:
    table = new_table("one", "two", *[asking(**phase, id=number) for number in range(8)])

    def stop_when_busy() -> None:
        wait_for(lambda: len(chat.asked) == 6 and len(run.table) == 2, 10)
        run.progress.stop(Cancelled)

    threading.Thread(target=stop_when_busy, daemon=True).start()
    with pytest.raises(StopRun):
        run.rows(table, "{ask}", concurrency=4)
    wait_for(lambda: all(asked.complete or asked.left_ns for asked in chat.asked), 5, "all requests to be closed")
    assert len(chat.asked) == 6
    assert [row["output"] for row in run.csv("results.csv")] == [TEXT, TEXT]


@pytest.mark.parametrize(("content", "sentence"), [("name\r\n", "no rows"), ("", "empty|no rows|no such column")])
def test_an_empty_table_is_refused(run: Run, tmp_path: Path, content: str, sentence: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content)
    with pytest.raises(JobError, match=sentence):
        run.rows(table, "{name}")


def test_memory_does_not_grow_with_the_table(chat: ChatServer, new_run: Callable[..., Run], tmp_path: Path) -> None:
    """Rows that need no asking, since thousands that do would take minutes: what is kept of a row is the same."""

    def peak_of(count: int) -> int:
        table = tmp_path / "table.csv"
        table.write_text("name,about\r\n" + f"{'a' * 300},b,c\r\n" * count)
        run = new_run(f"of {count}")
        run.progress = Progress("r1", 1, lambda draft: None, folder=run.folder, settings=run.progress._settings)
        tracemalloc.start()
        assert run.rows(table, "{name}")["failed"] == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_of(100)
    assert peak_of(10_000) < 1.2 * peak_of(2_000)


def test_the_key_is_nowhere(chat: ChatServer, run: Run, new_table: Callable[..., Path]) -> None:
    """Whatever the server does with it."""
    echoes = [asking(echo_key=True), asking(always=400, error="bad: <key>"), asking(error_after=1, error="<key>")]
    table = TableReader(new_table(*echoes))
    generate_rows(run.progress, run.impatient(), table, RowOptions("{ask}"))
    Text(run.progress, run.impatient()).write(conversation(asking(echo_key=True), ""), None, 99)
    run.progress.finish()
    assert KEY in chat.asked[0].headers["authorization"]
    written = [draft.body.encode() for draft in run.drafts]
    written += [path.read_bytes() for path in run.folder.parent.rglob("*") if path.is_file()]
    assert len(written) > 5 and not any(KEY.encode() in one for one in written)
