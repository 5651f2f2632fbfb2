"""A measured figure with its limit, and the table of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``values`` has one value for each repeat, ``samples`` counts what they were made of.

    ``limit`` is the highest value that is good, with ``at_least`` the lowest; None where the figure only informs.
    """

    name: str
    values: tuple[float, ...]
    unit: str
    samples: int
    limit: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the limit is met; None where there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that is not below ``percent`` of all: nearest rank, so p99 is a value that occurred."""
    return sorted(samples)[max(1, math.ceil(len(samples) * percent / 100)) - 1]


def spread(
    name: str, repeats: Sequence[Sequence[float]], *, limits: dict[int, float] | None = None, note: str = ""
) -> list[Figure]:
    """The median and p99 of samples in ms, a line each; ``limits`` by percentile, ``note`` for the first line."""
    count = sum(map(len, repeats))
    return [
        Figure(
            f"{name}, {'median' if percent == 50 else f'p{percent}'}",
            tuple(percentile(samples, percent) for samples in repeats),
            "ms",
            count,
            (limits or {}).get(percent),
            note=note if percent == 50 else "",
        )
        for percent in (50, 99)
    ]


def table(figures: Iterable[Figure]) -> str:
    """The figures as text, a line each."""
    lines = [("figure", "value", "repeats", "n", "limit", "met", "")]
    for figure in figures:
        digits = 2 if figure.value < 100 else 0
        limit = "" if figure.limit is None else f"{'>=' if figure.at_least else '<='} {figure.limit:g}"
        lines.append(
            (
                figure.name,
                f"{figure.value:.{digits}f} {figure.unit}",
                f"{min(figure.values):.{digits}f}-{max(figure.values):.{digits}f}",
                f"{figure.samples:,}",
                limit,
                {None: "", True: "yes", False: "NO"}[figure.met],
                figure.note,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line[:6], widths, strict=True)), line[6]]).rstrip()
        for line in lines
    )
