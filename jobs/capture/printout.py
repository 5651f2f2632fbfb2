"""What is printed, as lines: whole ones, and without what only moves the cursor of a terminal."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

KEEP_CHARS = 65_536
"""So much of a line is kept until its end comes; the rest is thrown away. It is more than is shown, because a masked
line is shorter."""

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, cursor: ECMA-48, 5.4
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles and links, which end with BEL or ST
    r"|[ -/]*[0-~]?)"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Line:
    """What one thread has printed to one stream since the last newline."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._chars = 0
        self._whole = True
        self._returned = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def begun(self) -> bool:
        """Whether there is anything that waits for its newline."""
        return bool(self._pieces)

    def add(self, text: str) -> Iterator[tuple[str, bool]]:
        """The lines that ``text`` completes, without blank ones, each as :meth:`take` gives it."""
        start = 0
        while (end := text.find("\n", start)) >= 0:
            self._put(text[start:end])
            start = end + 1
            found = self.take()
            if found[0]:
                yield found
        self._put(text[start:])

    def decode(self, data: bytes) -> str:
        """Bytes that were written to this stream as text; a character may come in pieces."""
        return self._decoder.decode(data)

    def take(self) -> tuple[str, bool]:
        """The text so far, and whether it is whole (or its end was thrown away); the line is empty after it."""
        pieces, whole = self._pieces, self._whole
        self._clear()
        return plain("".join(pieces)).rstrip(), whole

    def _put(self, text: str) -> None:
        for number, part in enumerate(text.split("\r")):
            self._returned = self._returned or number > 0
            if part:
                if self._returned:  # a redraw takes the place of what was drawn before
                    self._clear()
                room = KEEP_CHARS - self._chars
                self._whole = self._whole and len(part) <= room
                self._pieces.append(part[:room])
                self._chars += len(self._pieces[-1])

    def _clear(self) -> None:
        self._pieces, self._chars, self._whole, self._returned = [], 0, True, False


def plain(text: str) -> str:
    """``text`` without escape sequences and control characters (but tabs and newlines), with backspaces carried out."""
    text = _ESCAPES.sub("", text) if "\x1b" in text else text
    return _CONTROLS.sub("", _rubbed_out(text) if "\b" in text else text)


def _rubbed_out(text: str) -> str:
    left: list[str] = []
    for char in text:
        if char != "\b":
            left.append(char)
        elif left:
            left.pop()
    return "".join(left)
