"""The numbers along the axes of a chart: where they begin and end, their ticks, how they read and how wide they are."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

SAME = 1e-9
"""Values that differ by less than this part of their size are drawn as equal: their ticks would have no digits left."""
SMALLEST = 1e-290
PLAIN = (1e-4, 1e9)
"""Numbers from and below which an axis is written without exponents."""
NARROW = frozenset("iljtfrI.,:;'|!()[]{} ·")
BROAD = frozenset("mwMW@%—…")


@dataclass(frozen=True, slots=True)
class Tick:
    """A number that an axis names."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The part of the numbers that an axis shows."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def part(self, value: float) -> float:
        """Where a value stands between the axis' ends: 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def axis(values: Iterable[float], *, most: int = 6, zero: bool = False, rounded: bool = True) -> Axis:
    """An axis that holds all values, with about ``most`` ticks at round numbers.

    ``zero`` puts zero on it. A ``rounded`` one ends at ticks; any other leaves a little room around the values.
    """
    low, high = _span(values, zero)
    step = _round_step((high - low) / most)
    if rounded:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    else:
        low, high = low - (high - low) * 0.04, high + (high - low) * 0.04
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    numbers = [count * step for count in range(first, last + 1)]
    return Axis(low, high, tuple(Tick(number, _tick_text(number, step, max(-low, high))) for number in numbers))


def _span(values: Iterable[float], zero: bool) -> tuple[float, float]:
    known = [*values, *([0.0] if zero else [])]
    low, high = min(known, default=0.0), max(known, default=1.0)
    size = max(abs(low), abs(high))
    if high - low > max(size * SAME, SMALLEST):
        return low, high
    if size <= SMALLEST:
        return (0.0, 1.0) if zero else (-1.0, 1.0)
    return low - size * 0.1, high + size * 0.1


def _round_step(least: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _tick_text(number: float, step: float, size: float) -> str:
    digits = math.floor(math.log10(step) + 1e-9)
    if abs(number) < step / 2:
        return "0"
    if PLAIN[0] <= size < PLAIN[1]:
        return _minus(f"{number:{_grouping(size)}.{max(0, -digits)}f}")
    figures = max(0, math.floor(math.log10(abs(number)) + 1e-9) - digits)
    return _minus(_short_exponent(f"{number:.{figures}e}"))


def spoken(number: float, figures: int = 6) -> str:
    """A number for people: 12,345.6 or 1.5e12. Behind its whole part it has what is left of ``figures``."""
    size = abs(number)
    if size and not PLAIN[0] <= size < 1e15:
        return _minus(_short_exponent(f"{number:.{figures - 1}e}"))
    if number == int(number):
        return _minus(f"{int(number):{_grouping(size)}}")
    decimals = max(0, figures - 1 - math.floor(math.log10(size)))
    text = f"{number:{_grouping(size)}.{decimals}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def brief(number: float) -> str:
    """A number beside a bar: 21.26."""
    return spoken(number, figures=4)


def _grouping(size: float) -> str:
    """Thousands are told apart from 10,000 on: 2026 may be a year."""
    return "," if size >= 10_000 else ""


def _short_exponent(text: str) -> str:
    """1.20000e+06 as 1.2e6."""
    figures, _, exponent = text.partition("e")
    return f"{figures.rstrip('0').rstrip('.') if '.' in figures else figures}e{int(exponent)}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def width_of(text: str, size_px: float) -> float:
    """About how many pixels wide a text is in a sans-serif face of that size; rather too many than too few."""
    return size_px * sum(map(_char_width, text))


def _char_width(char: str) -> float:
    if char in NARROW:
        return 0.34
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    if unicodedata.combining(char):
        return 0.0
    return 0.92 if char in BROAD else 0.7 if char.isupper() else 0.58


def fitted(text: str, size_px: float, most_px: float) -> str:
    """A text cut to a width, with an ellipsis where something is missing."""
    if width_of(text, size_px) <= most_px:
        return text
    kept, width = [], width_of("…", size_px)
    for char in text:
        width += width_of(char, size_px)
        if width > most_px:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"
