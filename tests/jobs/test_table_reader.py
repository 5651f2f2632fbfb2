"""Whatever file somebody has, its rows come out: told by its content, in flat memory, as often as one asks."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import clevercsv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import File, JobError, TableReader, TableRow, TableWriter
from jobs.tables.columns import MAX_COLUMNS
from jobs.tables.reader import MAX_ARRAY_BYTES, MAX_ROWS, TableError
from jobs.tables.text import CHUNK, MAX_CELL, MAX_ROW
from tests.harness import ROOT

MEGABYTE = 2**20


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., TableReader]:
    """A reader of a file with this content."""

    def opened(content: str | bytes, column: str | None = None, encoding: str = "utf-8") -> TableReader:
        path = tmp_path / "table"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return TableReader(path, "my table.csv", column)

    return opened


Opener = Callable[..., TableReader]


def values(reader: TableReader) -> list[list[object]]:
    """The values of all rows, which have all columns and nothing else."""
    rows = list(reader)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all(list(row.values) == list(reader.columns) for row in rows)
    assert [row.problem for row in rows] == [None] * len(rows)
    assert reader.count() == len(rows)
    return [list(row.values.values()) for row in rows]


# --- encodings

TEXTS = {
    "german": "Suchbegriff;Volumen\nschuhe für männer;10\nküche günstig;20\nsüße äpfel;30\n",
    "french": "mot;volume\nchaussures été;10\nhôtel à paris;20\ncréer un site;30\n",
    "russian": "ключевое слово;частота\nкупить обувь;100\nкрасные кроссовки;50\n",
    "japanese": "キーワード;検索数\n赤い靴;100\nランニングシューズ;50\n",
    "chinese": "关键词;搜索量\n红色运动鞋;100\n北京酒店预订;50\n",
    "taiwanese": "關鍵字;搜尋量\n紅色運動鞋;100\n臺北飯店;50\n",
    "korean": "키워드;검색량\n빨간 운동화;100\n서울 호텔 예약;50\n",
    "polish": "słowo;ilość\nbuty męskie;10\nłódź hotel;20\nzażółć gęślą jaźń;30\n",
    "greek": "λέξη;όγκος\nκόκκινα παπούτσια;100\nξενοδοχεία αθήνα;50\n",
    "turkish": "kelime;hacim\nkırmızı ayakkabı;10\nışıklı şehir oteli;20\n",
    "hebrew": "מילה;נפח\nנעליים אדומות;100\nמלונות בתל אביב;50\n",
    "arabic": "كلمة;الحجم\nأحذية حمراء;100\nفنادق القاهرة;50\n",
    "thai": "คำหลัก;จำนวน\nรองเท้าสีแดง;100\nโรงแรมกรุงเทพ;50\n",
}
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
ENCODINGS = [(language, encoding) for language in TEXTS for encoding in UNICODE] + [
    ("german", "cp1252"),
    ("german", "latin-1"),
    ("german", "mac-roman"),
    ("german", "cp850"),
    ("french", "cp1252"),
    ("french", "latin-1"),
    ("russian", "cp1251"),
    ("russian", "koi8-r"),
    ("japanese", "shift_jis"),
    ("japanese", "euc_jp"),
    ("chinese", "gb18030"),
    ("taiwanese", "big5"),
    ("korean", "euc_kr"),
    ("polish", "cp1250"),
    ("greek", "cp1253"),
    ("turkish", "cp1254"),
    ("hebrew", "cp1255"),
    ("arabic", "cp1256"),
    ("thai", "cp874"),
]


@pytest.mark.parametrize(("language", "encoding"), ENCODINGS)
def test_the_encoding_is_found(table: Opener, language: str, encoding: str) -> None:
    """The texts come out as they were, with no mark left in front of the first column's name."""
    header, *rows = [line.split(";") for line in TEXTS[language].splitlines()]
    reader = table(TEXTS[language], encoding=encoding)
    assert reader.columns == tuple(header)
    assert values(reader) == rows


def test_marks_of_both_byte_orders_are_read(table: Opener) -> None:
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        reader = table(mark + "keyword;n\nä;1\n".encode(encoding))
        assert reader.encoding == "utf-16"
        assert values(reader) == [["ä", "1"]]


def test_the_first_umlaut_may_stand_far_behind(table: Opener) -> None:
    """What is told from a sample is told from the place where the file stops being UTF-8."""
    rows = [f"shoes {number}" for number in range(100_000)]
    reader = table("\n".join([*rows, "schuhe für männer", "küche günstig", *rows]), encoding="cp1252")
    assert [row.values["text"] for row in reader if "ü" in row.values["text"]] == ["schuhe für männer", "küche günstig"]


def test_a_few_broken_bytes_do_not_make_utf8_another_encoding(table: Opener) -> None:
    """A file that was cut within a character, say: it loses that character and no other."""
    content = "für Männer und Frauen, süß\n".encode() * 50
    reader = table(content + "für".encode()[:2])
    assert reader.encoding == "utf-8"
    assert [row.values["text"] for row in reader][-2:] == ["für Männer und Frauen, süß", "f\ufffd"]


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=400), mark=st.sampled_from([b"", b"a,b\n1,2\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
)
def test_no_bytes_make_reading_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes, mark: bytes) -> None:
    """Any file gives rows, or a sentence that says that it is no table."""
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(mark + content)
    try:
        reader = TableReader(path)
        rows = list(reader)
    except TableError as error:
        assert str(error).endswith(".")
    else:
        assert reader.count() == len(rows)
        assert all(set(row.values) >= set(reader.columns) for row in rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(100), "an Excel workbook or a ZIP archive"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "an old Excel workbook"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\x89PNG\r\n", "an image"),
        (b"\0\xff\xfe\0\x80\0\0\x01abc" * 50, "not text"),
    ],
)
def test_what_is_no_text_is_refused_with_a_sentence(table: Opener, content: bytes, said: str) -> None:
    """And the sentence is a job's error: raised in a job it ends the run without a traceback."""
    with pytest.raises(JobError, match=said):
        table(content)


def test_nul_bytes_are_characters_like_others(table: Opener) -> None:
    assert values(table("name,n\nx\0y,1\nz,2\n")) == [["x\0y", "1"], ["z", "2"]]


# --- kinds and delimiters

KINDS = {
    "commas": ("keyword,volume\nshoes,10\nred,20\n", "csv", ",", [["shoes", "10"], ["red", "20"]]),
    "decimal commas": ("a;b\n1,5;2,5\n1,7;2,8\n", "csv", ";", [["1,5", "2,5"], ["1,7", "2,8"]]),
    "bars": ("id|name|x\n1|foo|2\n2|bar|3\n", "csv", "|", [["1", "foo", "2"], ["2", "bar", "3"]]),
    "tabs": ("id\tname\n1\tx, y\n2\tz; w\n", "tsv", "\t", [["1", "x, y"], ["2", "z; w"]]),
    "quoted": ('title,text\nA,"x, ""y"""\nB,"1\n2"\n', "csv", ",", [["A", 'x, "y"'], ["B", "1\n2"]]),
    "blanks behind commas": ('"name", "b"\n"x, y", "z"\n', "csv", ",", [["x, y", "z"]]),
    "blanks around bars": ("id | name\n1 | foo\n2 | bar\n", "csv", "|", [["1", "foo"], ["2", "bar"]]),
    "sep line": ("sep=;\r\na;b\r\n1,2;2\r\n", "csv", ";", [["1,2", "2"]]),
    "sep line in quotes": ('"sep=|"\na|b\n1|2\n', "csv", "|", [["1", "2"]]),
    "CR": ("a,b\r1,2\r3,4\r", "csv", ",", [["1", "2"], ["3", "4"]]),
    "CR LF": ("a,b\r\n1,2\r\n3,4\r\n", "csv", ",", [["1", "2"], ["3", "4"]]),
    "no last line end": ("a,b\n1,2\n3,4", "csv", ",", [["1", "2"], ["3", "4"]]),
    "other separators": ("a,b\nx\u2028y\x0bz\x85,1\nw,2\n", "csv", ",", [["x\u2028y\x0bz\x85", "1"], ["w", "2"]]),
    "blank lines": ("\n\nid,name\n\n1,a\n  \n,\n2,b\n\n", "csv", ",", [["1", "a"], ["2", "b"]]),
    "a report's title": (
        "Keyword Stats\nJan - Dec\nKeyword\tCurrency\tVolume\nshoes\tEUR\t5\nred\tEUR\t1\n",
        "tsv",
        "\t",
        [["shoes", "EUR", "5"], ["red", "EUR", "1"]],
    ),
    "TSV that never quotes": ('id\tname\n1\t"hello\n2\tworld" x\n', "tsv", "\t", [["1", '"hello'], ["2", 'world" x']]),
    "one quoted column": ('"a"\r\n"x, y"\r\n"z"\r\n', "csv", ",", [["x, y"], ["z"]]),
    "one column quoted where needed": ('Begriff\nrot\n"rot, ""blau"""\n', "csv", ",", [["rot"], ['rot, "blau"']]),
    "lines": ("shoes\nred shoes\n\n  blue  \n", "txt", None, [["shoes"], ["red shoes"], ["blue"]]),
    "sentences": ("Hello, world\nHow are you, friend\n", "txt", None, [["Hello, world"], ["How are you, friend"]]),
    "titles": ("Red | Shop\nBlue | Shop\n", "txt", None, [["Red | Shop"], ["Blue | Shop"]]),
    "one column with empty cells": ('Begriff\n""\n"rot, blau"\n', "csv", ",", [["rot, blau"]]),
    "phrases in quotes": ('"red shoes"\nblue\n', "txt", None, [['"red shoes"'], ["blue"]]),
    "links": ("http://a/1;2\nhttp://a/3;4\nhttp://b/\n", "txt", None, [["http://a/1;2"], ["http://a/3;4"], ["http://b/"]]),
    "templates": ("{keyword} is nice\n{name}\n", "txt", None, [["{keyword} is nice"], ["{name}"]]),
    "JSONL": ('{"a": 1, "b": "x"}\r\n\n{"b": null, "c": [1]}\n', "jsonl", None, [[1, "x", None], [None, None, [1]]]),
    "a JSON array": ('\n[{"a": 1},\n {"a": "x", "b": 2}]\n', "jsonl", None, [[1, None], ["x", 2]]),
    "an empty JSON array": ("[ ]", "jsonl", None, []),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_the_kind_is_told_by_the_content(table: Opener, case: str) -> None:
    content, kind, delimiter, rows = KINDS[case]
    reader = table(content)
    assert (reader.kind, reader.delimiter) == (kind, delimiter)
    assert values(reader) == rows


def test_json_over_several_lines_gets_a_sentence(table: Opener) -> None:
    with pytest.raises(TableError, match="one object a line"):
        table('{\n  "a": 1\n}\n')


# --- headers

HEADERS = {
    "named": ("id,name\n1,a\n2,b\n", True, ("id", "name"), 2),
    "texts over numbers": ("foo,bar\n1,x\n2,y\n", True, ("foo", "bar"), 2),
    "texts over texts": ("foo,bar\nx,y\nz,w\n", True, ("foo", "bar"), 2),
    "numbers": ("1,x\n2,y\n", False, ("column_1", "column_2"), 2),
    "links": ("http://a.example/,x\nhttp://b.example/,y\n", False, ("column_1", "column_2"), 2),
    "dates": ("2024-01-01,x\n2024-01-02,y\n", False, ("column_1", "column_2"), 2),
    "e-mail addresses": ("a@b.example;x\nc@d.example;y\n", False, ("column_1", "column_2"), 2),
    "a category": ("Berlin,Germany\nBonn,Germany\nParis,France\n", False, ("column_1", "column_2"), 3),
    "doubled names": ("a,a,b,a_2\n1,2,3,4\n5,6,7,8\n", True, ("a", "a_2", "b", "a_2_2"), 2),
    "an empty name": ("a,,c\n1,2,3\n5,6,7\n", True, ("a", "column_2", "c"), 2),
    "an index without a name": (",name,age\n0,foo,3\n1,bar,4\n", True, ("column_1", "name", "age"), 2),
    "empty columns on the right": ("name,v,,\nfoo,1,,\nbar,2,,\n", True, ("name", "v"), 2),
    "repeated within": ("id,name\n1,a\nid,name\n2,b\n", True, ("id", "name"), 2),
    "repeated at once": ("foo,bar\nfoo,bar\nx,y\n", True, ("foo", "bar"), 1),
    "repeated behind a mark": ("id,name\n1,a\n\ufeffid,name\n2,b\n", True, ("id", "name"), 2),
    "repeated behind a mark, quoted": ('"id","name"\n"1","a"\n\ufeff"id","name"\n"2","b"\n', True, ("id", "name"), 2),
    "of our own, no rows": ('"from","to"\r\n', True, ("from", "to"), 0),
    "a usual name, no rows": ("keyword,volume\n", True, ("keyword", "volume"), 0),
    "blanks around names": (" id ,\ufeffname\n1,a\n", True, ("id", "name"), 1),
    "of lines": ("Keyword\nred\nblue\n", True, ("Keyword",), 2),
    "of lines that are links": ("My pages\nhttp://a.example/\nb.example\nwww.c.example\n", True, ("My pages",), 3),
    "of links with commas": ("url\nhttp://a.example/1,2\nhttp://b.example/3,4\n", True, ("url",), 2),
    "none of lines": ("red\nblue\n", False, ("text",), 2),
    "none of lines that are links": ("http://a.example/\nhttp://b.example/\n", False, ("text",), 2),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_is_told_from_a_row(table: Opener, case: str) -> None:
    content, has_header, columns, rows = HEADERS[case]
    reader = table(content)
    assert (reader.has_header, reader.columns) == (has_header, columns)
    assert len(values(reader)) == rows


def test_a_first_row_with_the_wanted_column_is_a_header(table: Opener) -> None:
    """Whatever else it looks like, in whatever letters it is written."""
    assert not table("Berlin,1\nBonn,2\n").has_header
    assert table("Berlin,1\nBonn,2\n", "berlin").columns == ("Berlin", "1")
    assert table("Suchwort\nrot\n", "suchwort").columns == ("Suchwort",)
    assert table("Wort, Zahl\nrot, blau\n", "Wort").columns == ("Wort", "Zahl")


# --- columns


def test_a_column_is_found_by_its_name(table: Opener) -> None:
    reader = table("id,Keyword,keyword\n1,a,b\n2,c,d\n")
    assert reader.column("keyword") == "keyword"
    assert reader.column("KEYWORD") == "Keyword"
    assert reader.column(" Id ") == "id"


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("id,url,keyword\n1,http://a.example/,red\n2,http://b.example/,blue\n", "keyword"),
        ("1,2\n3,4\n", "column_1"),
        ("red\nblue\n", "text"),
        ('{"n": 1, "text": "red"}\n{"n": 2, "text": "blue"}\n', "text"),
    ],
)
def test_without_a_name_the_first_texts_are_meant(table: Opener, content: str, column: str) -> None:
    reader = table(content)
    assert reader.column() == reader.column(None) == reader.column(" ") == column


def test_an_unknown_column_is_answered_by_those_there_are(table: Opener) -> None:
    with pytest.raises(TableError, match='^"my table.csv" has no column "words". It has the columns "id", "name".$'):
        table("id,name\n1,a\n").column("words")
    wide = ",".join(f"name {number}" for number in range(900))
    with pytest.raises(TableError, match='"name 19" and 880 more'):
        table(f"{wide}\n{wide.replace('name', 'cell')}\n").column("words")


@pytest.mark.parametrize("content", ["", "\n \n\r\n", "\ufeff", "[]"])
def test_an_empty_table_can_be_opened_and_says_so_when_asked(table: Opener, content: str) -> None:
    reader = table(content)
    assert (reader.columns, list(reader), reader.count()) == ((), [], 0)
    for name in (None, "keyword"):
        with pytest.raises(TableError, match="is empty"):
            reader.column(name)


# --- rows with problems


def test_a_row_of_another_width_says_so_and_gives_what_it_has(table: Opener) -> None:
    reader = table("name,b,c\n1,2,3\n1,2\n1,2,3,4\n1,2,3,,\n")
    assert list(reader) == [
        TableRow(1, {"name": "1", "b": "2", "c": "3"}),
        TableRow(2, {"name": "1", "b": "2", "c": ""}, "has 2 cells where the table has 3 columns"),
        TableRow(3, {"name": "1", "b": "2", "c": "3"}, "has 4 cells where the table has 3 columns"),
        TableRow(4, {"name": "1", "b": "2", "c": "3"}),
    ]


def test_rows_of_one_cell_do_not_hide_a_table_that_names_its_columns(table: Opener) -> None:
    rows = list(table("keyword,n\nred,1\nblue\ngreen\n"))
    assert [row.values["keyword"] for row in rows] == ["red", "blue", "green"]
    assert [row.problem for row in rows] == [None] + ["has 1 cell where the table has 2 columns"] * 2


def test_a_quotation_that_never_ends_is_said(table: Opener) -> None:
    """It takes the rows behind it along, which nobody would notice otherwise."""
    rows = list(table('name,b\n1,2\n3,"foo\n5,6\n'))
    assert [row.problem for row in rows] == [None, "begins a quotation that does not end"]
    assert rows[1].values == {"name": "3", "b": "foo\n5,6\n"}


def test_a_line_that_is_no_object_is_a_row_with_a_problem(table: Opener) -> None:
    bad = ["nonsense", "[1]", '{"a": NaN}', '{"a": 1} x', '{"a": ' + "9" * 5000 + "}", '{"a": ' + "[" * 99_999]
    reader = table("\n".join(['{"a": 1}'] * 6 + bad + ['{"a": 2}']))
    rows = list(reader)
    assert [row.problem for row in rows] == [None] * 6 + ["is not a JSON object"] * 6 + [None]
    assert rows[6].values == {"a": None} and rows[-1].values == {"a": 2}
    assert reader.count() == 13


@pytest.mark.parametrize("array", ['[{"a": 1}, 5]', '[{"a": 1}, {"a"', '[{"a": 1} {"a": 2}]'])
def test_an_array_gives_its_objects_up_to_where_it_breaks(table: Opener, array: str) -> None:
    reader = table(array)
    assert [(row.values, row.problem) for row in reader] == [({"a": 1}, None), ({"a": None}, "is not a JSON object")]
    assert reader.count() == 2


# --- round trips

# A surrogate cannot be written as UTF-8, and blank rows are left out.
anything = st.text(st.characters(codec="utf-8"), max_size=30)
spiteful = st.text(st.sampled_from("=+-@'\"\t\r\n\0,;| a1＝\ufeff\u3000"), max_size=8)
texts = anything | spiteful


def written_table(path: Path, rows: list[list[str]]) -> TableReader:
    """A file that TableWriter wrote, opened again."""
    names = ["keyword", "a text", "another"][: len(rows[0]) if rows else 1]
    with TableWriter(path, names) as table:
        for row in rows:
            table.row(row)
    return TableReader(path)


@settings(max_examples=400, deadline=None)
@given(rows=st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(texts, min_size=width, max_size=width))))
def test_what_a_table_writer_wrote_is_read_to_the_letter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """Formulas without their apostrophes too: a table that a run made gives the next run the same texts."""
    reader = written_table(tmp_path_factory.mktemp("round") / "t.csv", rows)
    assert reader.has_header
    assert values(reader) == [row for row in rows if any(row)]


def test_one_column_keeps_its_blanks(tmp_path: Path) -> None:
    """A blank line is none of its rows, a cell with a blank is."""
    assert values(written_table(tmp_path / "t.csv", [[" "], ["\u3000"], ["a"]])) == [[" "], ["\u3000"], ["a"]]


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30).filter(
    lambda text: not text.startswith("'")
)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.tuples(plain, plain, plain).filter(any), min_size=1))
def test_another_parser_reads_the_same_cells(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str]]) -> None:
    """RFC 4180 as clevercsv's parser understands it, with the quotation marks that Python's writer finds needed."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("keyword", "text", "title"), *rows])
    path = tmp_path_factory.mktemp("other") / "t.csv"
    path.write_text(file.getvalue(), encoding="utf-8", newline="")
    other = list(clevercsv.reader(io.StringIO(file.getvalue(), newline="")))[1:]
    assert values(TableReader(path, column="keyword")) == other


def test_an_apostrophe_before_other_text_is_kept(table: Opener) -> None:
    reader = table("id,name\n1,'=1+1\n2,'quoted'\n3,'\n4,''-x\n")
    assert [row[1] for row in values(reader)] == ["=1+1", "'quoted'", "'", "'-x"]


# --- long tables


@pytest.fixture
def long_table(tmp_path: Path) -> Path:
    """300,000 rows, 15 MB."""
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id,keyword,volume\n")
        file.writelines(f"{number},käufliche Schuhe {number},{number % 1000}\n" for number in range(300_000))
    return path


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fails where more than that many bytes are taken at a time."""
    tracemalloc.start()
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < limit, f"{taken / MEGABYTE:.1f} MB"


READ = """
import sys
from pathlib import Path
import psutil
from jobs import TableReader

def taken():
    return psutil.Process().memory_info().rss

reader = TableReader(Path(sys.argv[1]))
before = most = taken()
rows = reader.count(lambda: None)
for row in reader:
    if row.number % 5_000 == 0:
        most = max(most, taken())
print(rows, row, most - before)
"""


def test_a_long_table_takes_no_more_memory_than_a_short_one(long_table: Path) -> None:
    """Its rows would fill more than 100 MB."""
    told = subprocess.run(
        [sys.executable, "-c", READ, long_table], cwd=ROOT, capture_output=True, text=True, check=True
    )
    last = TableRow(300_000, {"id": "299999", "keyword": "käufliche Schuhe 299999", "volume": "999"})
    assert told.stdout.startswith(f"300000 {last} ")
    assert int(told.stdout.split()[-1]) < 10 * MEGABYTE


def test_a_table_is_read_again_and_several_times_at_once(long_table: Path) -> None:
    """Each going through it has a place of its own, in other threads too."""
    reader = TableReader(long_table)
    first, second = iter(reader), iter(reader)
    assert [next(first).number for _ in range(1000)][-1] == 1000
    assert next(second).number == 1
    sums: list[int] = []

    def add() -> None:
        sums.append(sum(int(row.values["id"]) for row in reader))

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(300_000))] * 3
    assert (next(first).number, next(second).number) == (1001, 2)


def test_counting_asks_whether_to_go_on(long_table: Path) -> None:
    """A run that is cancelled meanwhile need not wait for the end of a long file."""

    class Stop(Exception):
        pass

    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Stop

    reader = TableReader(long_table)
    with pytest.raises(Stop):
        reader.count(check)
    assert len(asked) == 3
    assert reader.count() == 300_000


@pytest.mark.parametrize("shift", range(-3, 4))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_no_line_is_lost_where_two_pieces_meet(table: Opener, shift: int, end: str) -> None:
    """Files are read in pieces, whose borders fall anywhere: into a line, a line end, a character, a quoted cell."""
    first = f'id,name{end}1,"'
    filling = "x" * (CHUNK - len(first) - 4 + shift)
    rows = values(table(f'{first}{filling}ä{end}y"{end}2,ö{end}3,é'))
    assert rows == [["1", f"{filling}ä{end}y"], ["2", "ö"], ["3", "é"]]


# --- limits


def test_a_cell_may_have_a_million_characters(table: Opener) -> None:
    """More than Python's csv module takes by itself, whose limit counts for the whole process."""
    assert values(table(f'id,name\n1,"{"x" * MAX_CELL}"\n'))[0][1] == "x" * MAX_CELL
    for content in (
        'id,name\n1,"' + "x\n" * MAX_CELL,
        "keyword\n" + "x" * (MAX_CELL + 1),
        json.dumps({"a": "x" * (MAX_CELL + 1)}),
    ):
        with pytest.raises(TableError, match="1,000,000 characters"):
            list(table(content))


@pytest.mark.parametrize(
    "filling",
    [
        pytest.param('"id","name"\n"1","', id="one cell"),
        pytest.param("", id="one line"),
        pytest.param('{"a": "', id="one object"),
        pytest.param('[{"a": "', id="one array"),
    ],
)
def test_a_gigabyte_without_an_end_ends_in_a_sentence(tmp_path: Path, filling: str) -> None:
    """In flat memory, since nobody looks for the end of the cell further than a cell may reach."""
    path = tmp_path / "gigabyte"
    with path.open("wb") as file:
        file.write(filling.encode() + b"x" * 100_000)
        file.truncate(10**9)
    with memory_below(64 * MEGABYTE), pytest.raises(TableError, match=r"characters|20 MB"):
        list(TableReader(path))


def test_a_row_of_many_long_cells_ends_in_a_sentence(table: Opener) -> None:
    """Each cell is within its limit, and so is each line."""
    cells = ",".join(['"' + "x" * 1000 + '\n"'] * (MAX_ROW // 500))
    with (
        memory_below(100 * MEGABYTE),
        pytest.raises(TableError, match="Row 3 of the file has more than 4,000,000 characters"),
    ):
        list(table(f"id,name\n1,a\n{cells}\n"))


def test_too_many_columns_end_in_a_sentence(table: Opener) -> None:
    header = ",".join(f"name {number}" for number in range(MAX_COLUMNS + 1))
    wide = json.dumps(dict.fromkeys(map(str, range(MAX_COLUMNS + 1))))
    for content in (f"{header}\n{header}\n", f"{header}", f"{wide}\n", ",1" * 500_000):
        with pytest.raises(TableError, match="more than 1,000 columns"):
            table(content)
    assert len(table(f"{header.partition(',')[2]}\n").columns) == MAX_COLUMNS


def test_too_many_rows_end_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with path.open("wb") as file:
        for _ in range(MAX_ROWS // 10_000):
            file.write(b"a\n" * 10_000)
    assert TableReader(path).count() == MAX_ROWS
    with path.open("ab") as file:
        file.write(b"a\n")
    with pytest.raises(TableError, match="more than 10,000,000 rows"):
        TableReader(path).count()


def test_a_large_array_gets_the_advice_to_write_lines(table: Opener) -> None:
    one = '{"a": "' + "x" * 100_000 + '"}'
    with pytest.raises(TableError, match="one object a line"):
        table("[" + ",".join([one] * (MAX_ARRAY_BYTES // 100_000)) + "]")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("content", ["http://" + "a." * 30_000, "1.1." * 16_000, "a" * 64_000, "www." * 16_000])
def test_texts_that_are_hard_to_judge_are_judged_all_the_same(table: Opener, content: str) -> None:
    """The library that finds delimiters takes minutes for them as they are."""
    assert values(table(f"{content},x\n{content},y\n")) == [[content, "x"], [content, "y"]]


def test_the_limit_of_the_csv_module_is_never_lowered(table: Opener) -> None:
    """It is one for the process, so another job may have raised it for itself."""
    before = csv.field_size_limit(50 * MAX_CELL)
    try:
        list(table("id,name\n1,a\n"))
        assert csv.field_size_limit() == 50 * MAX_CELL
    finally:
        csv.field_size_limit(before)


# --- within jobs


def test_a_file_parameter_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text("Suchwort\nrot\n")
    reader = File(path, "words.txt", path.stat().st_size).table("suchwort")
    assert [row.values for row in reader] == [{"Suchwort": "rot"}]
    with pytest.raises(TableError, match=re.escape('"words.txt" has no column "n"')):
        reader.column("n")


def test_importing_jobs_loads_no_library_that_only_reading_needs() -> None:
    """The web workers import the jobs, and read no tables."""
    code = "import sys, jobs; print([name for name in ('clevercsv', 'chardet', 'regex') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
