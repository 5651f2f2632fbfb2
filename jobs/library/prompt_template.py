"""What is sent to a model: a prompt, also one with ``{column}`` in it that is filled in for each row of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jobs import JobError

MAX_SHOWN_COLUMNS = 20

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def conversation(prompt: str, system: str) -> list[dict[str, str]]:
    """The messages of a request; an empty system prompt is none."""
    first = [{"role": "system", "content": system}] if system.strip() else []
    return [*first, {"role": "user", "content": prompt}]


class PromptTemplate:
    """The template, checked against the columns that there are.

    Not :meth:`str.format`: what stands in braces is a column's name and nothing else, and what a row holds is text, in
    which braces mean nothing. ``{{`` and ``}}`` are braces themselves.
    """

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        """Raises JobError for a column that does not exist, and for a template without one."""
        self._parts: list[str] = []
        self._columns: list[str] = []
        part, end = "", 0
        for found in _BRACES.finditer(text):
            part += text[end : found.start()]
            end = found.end()
            if found[1] is None:
                part += found[0][0]
            else:
                self._columns.append(_column(found[1], columns))
                self._parts.append(part)
                part = ""
        self._parts.append(part + text[end:])
        if not self._columns:
            raise JobError(f"The prompt names no column, so it would be the same for each row. {_there_are(columns)}")

    def fill(self, values: Mapping[str, Any]) -> str:
        """The prompt for a row."""
        texts = [_text(values.get(column)) for column in self._columns]
        return "".join(part + text for part, text in zip(self._parts, [*texts, ""], strict=True))


def _column(name: str, columns: Sequence[str]) -> str:
    """The column meant: the exact name, else the one that differs in case alone."""
    wanted = name.strip()
    folded = [column for column in columns if column.casefold() == wanted.casefold()]
    if wanted in columns:
        return wanted
    if len(folded) == 1:
        return folded[0]
    raise JobError(
        f"The prompt has {{{wanted[:100]}}}, but the table has no such column. {_there_are(columns)}"
        " Write {{ and }} for braces that are meant as such."
    )


def _there_are(columns: Sequence[str]) -> str:
    shown = ", ".join(f"{{{column[:100]}}}" for column in columns[:MAX_SHOWN_COLUMNS])
    more = f" and {len(columns) - MAX_SHOWN_COLUMNS} more" if len(columns) > MAX_SHOWN_COLUMNS else ""
    return f"There are: {shown}{more}."


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
