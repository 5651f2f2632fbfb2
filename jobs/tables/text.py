"""From a file's bytes to the lines of its text: which encoding it has, and lines that cannot fill the memory."""

from __future__ import annotations

import codecs
import io
import itertools
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import TableError

MAX_CELL = 1_000_000
"""Characters of one cell. Longer ones are nearly always a quotation mark that is never closed."""
MAX_ROW = 4_000_000
"""Characters of one row, its line ends included: what bounds the memory that a row can take."""
CHUNK = 2**18
"""Bytes read at once."""
HEAD = 4096
"""Bytes at a file's beginning that tell what it is."""

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FOREIGN = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF-", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "an image"),
    (b"GIF8", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
"""How files begin that are taken for tables by mistake."""

LATIN = ["cp1252", "cp1250", "cp1254", "cp1257", "mac-roman", "cp850"]
"""Encodings of Latin alphabets: Windows (western, central European, Turkish, Baltic), Excel on a Mac and for DOS."""
OTHERS = [
    "cp1251", "koi8-r", "koi8-u", "cp1253", "cp1255", "cp1256", "cp1258", "cp874",
    "cp932", "euc_jis_2004", "gb18030", "big5hkscs", "cp949",
]  # fmt: skip
CONTINUATION = bytes(range(0x80, 0xC0))
"""With these no character of UTF-8 begins, so a piece that was cut out may."""
NON_ASCII = re.compile(rb"[\x80-\xff]")
NON_ASCII_PAIR = re.compile(rb"[\x80-\xff]{2}")


def encoding_of(path: Path) -> str:
    """The name of the codec that reads this file as text: by its mark, as UTF-8 where all of it is, or as guessed.

    Raises TableError where the file is no text at all.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    for mark, name in BOMS:
        if head.startswith(mark):
            return name
    for start, what in FOREIGN:
        if head.startswith(start):
            raise TableError(f"The file is {what}, not a table of text. Save it as CSV (UTF-8) and give that file.")
    bad = _first_undecodable(path)
    utf16 = _utf16_without_mark(head)
    if utf16 is not None or bad is None:
        return utf16 or "utf-8"
    if b"\0" in head:
        raise TableError("The file is not text. Give a table as CSV, TSV, JSONL or text, one entry a line.")
    return _older_encoding(path, bad)


def _first_undecodable(path: Path) -> int | None:
    """Where the first byte stands that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                at += len(chunk)
                decoder.decode(chunk)
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        # The bytes it was given end at ``at``, and may begin in the chunk before.
        return at - len(error.object) + error.start
    return None


def _utf16_without_mark(head: bytes) -> str | None:
    """Line ends, digits and Latin letters have a NUL as one of their two bytes, always on the same side."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 50 < len(head) / 2 or min(even, odd) * 10 >= max(even, odd):
        return None
    name = "utf-16-le" if odd > even else "utf-16-be"
    if b"\r\n" in head:
        return None  # where these stand side by side, the NULs are characters of another encoding
    text = head[: len(head) // 2 * 2].decode(name, "replace")
    strange = sum(unicodedata.category(one) in ("Cc", "Cn", "Co") and one not in "\t\r\n" for one in text)
    return name if strange * 50 <= len(text) else None


def _older_encoding(path: Path, bad: int) -> str:
    """UTF-8 all the same where it is nearly that, else what the lines from the first undecodable byte on look like."""
    start = max(0, bad - CHUNK)
    with path.open("rb") as file:
        file.seek(start)
        window = file.read(3 * CHUNK)
    as_utf8 = window.lstrip(CONTINUATION).decode("utf-8", "replace")
    if len(re.findall("[^\0-\x7f\ufffd]", as_utf8)) >= 10 * as_utf8.count("\ufffd"):
        return "utf-8"
    line = max(window.rfind(b"\n", 0, bad - start), window.rfind(b"\r", 0, bad - start)) + 1
    lines = window[line if bad - start - line < HEAD else bad - start :].splitlines()
    return _guessed(b"\n".join(one for one in lines if NON_ASCII.search(one))[: CHUNK // 8])


def _guessed(sample: bytes) -> str:
    """By chardet: charset-normalizer 3.5 takes short western texts for cp775, big5 or mac_iceland."""
    import chardet

    # Where every such byte stands alone between ASCII letters, the alphabet is Latin with accents.
    candidates = LATIN + OTHERS if NON_ASCII_PAIR.search(sample) else LATIN
    found = chardet.detect(sample, prefer_superset=True, compat_names=False, include_encodings=candidates)
    return found["encoding"] or "cp1252"


def read_text(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file in pieces; what cannot be decoded becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", True)


class TextLines:
    """The lines of a file, with their ends (LF, CR LF or CR and no others), once through and in flat memory.

    Whoever makes rows of the lines counts them in ``rows``, since only that tells how much text one row has.
    """

    __slots__ = ("rows", "plain", "ended", "_path", "_encoding", "_rare")

    def __init__(self, path: Path, encoding: str, rare: tuple[str, ...] = ()) -> None:
        self.rows = 0
        """Rows made so far, blank ones too."""
        self.plain = True
        """Whether none of the texts ``rare`` has stood in what was read so far, nor the file's end was met."""
        self.ended = False
        """Whether a line was asked for behind the last one."""
        self._path, self._encoding, self._rare = path, encoding, rare

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self._blocks())

    def _blocks(self) -> Iterator[Iterator[str]]:
        """Whole lines by the thousand, so that going through them is the interpreter's work and not ours."""
        rest, of_this_row, rows = "", 0, 0
        for piece in read_text(self._path, self._encoding):
            text = rest + piece
            end = _end_of_lines(text)
            of_this_row = end if self.rows != rows else of_this_row + end
            rows = self.rows
            if max(of_this_row, len(text) - end) > MAX_ROW:
                raise TableError(
                    f"Row {rows + 1} of the file has more than {MAX_ROW:,} characters. Is a quotation mark or line end"
                    " missing?"
                )
            if self.plain and any(one in text for one in self._rare):
                self.plain = False
            rest = text[end:]
            if end:
                yield io.StringIO(text[:end], newline="")
        if rest:
            yield io.StringIO(rest, newline="")
        self.ended, self.plain = True, False


def _end_of_lines(text: str) -> int:
    """Behind the last line that is whole. The CR of a CR LF may be taken for an end: what is left is a blank line."""
    return text.rfind("\n") + 1 or text.rfind("\r") + 1
