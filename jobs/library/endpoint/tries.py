"""Asking an endpoint until it answers: how often, with which pauses, and how the user gets to know."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from jobs import Progress
from jobs.library.endpoint.errors import EndpointError, Failure, failure_of
from jobs.library.endpoint.safe_text import safe

T = TypeVar("T")

SPREAD = 0.25
"""Pauses are up to a quarter longer, so that rows which failed together do not come back together."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what, in seconds, and how often it is tried."""

    first_s: float = 600.0
    """Until the first token: a local server may have to load the model, and to read a long prompt."""
    silence_s: float = 120.0
    """Between two tokens."""
    whole_s: float = 3600.0
    """For a whole text."""
    tries: int = 6
    wait_s: float = 0.5
    """After the first failed try; twice as long after each further one, unless the endpoint says how long."""
    longest_wait_s: float = 120.0


class Tries:
    """The tries of all requests of a run: when the endpoint wants to be left alone, all of them wait."""

    def __init__(self, progress: Progress, key: str | None, patience: Patience) -> None:
        self._progress = progress
        self._key = key
        self._patience = patience
        self._rest_until = 0.0

    async def until_answered(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        may_repeat: Callable[[], bool] = lambda: True,
        adapt: Callable[[Exception], bool] = lambda error: False,
        about: str = "",
    ) -> tuple[T, int]:
        """Ask until there is an answer or no more sense in it; gives the answer, and how many tries failed before.

        ``adapt`` may change the request after an error; where it does, that try does not count. Raises EndpointError,
        and whatever ``ask`` raises that is no fault of the endpoint.
        """
        tries = 0
        while True:
            await self._rest()
            try:
                return await ask(), tries
            except Exception as error:
                failure = failure_of(error)
                if failure is None:
                    raise
                if may_repeat() and adapt(error):
                    continue
            tries += 1
            if not failure.passing or not may_repeat() or tries >= self._patience.tries:
                sentence = safe(failure.sentence(tries), self._key)
                raise EndpointError(sentence, lasting=failure.lasting, refused=failure.refused)
            await self._pause(failure, tries, about)

    async def _pause(self, failure: Failure, tries: int, about: str) -> None:
        """Wait before the next try, and say so."""
        patience = self._patience
        wait_s = patience.wait_s * 2 ** (tries - 1) * (1 + SPREAD * random.random())
        if failure.after_s is not None:
            wait_s = failure.after_s
        wait_s = min(wait_s, patience.longest_wait_s)
        if failure.after_s is not None:
            self._rest_until = max(self._rest_until, _now() + wait_s)
        shown = f"{wait_s:.1f}".removesuffix(".0") if wait_s < 3 else f"{math.ceil(wait_s)}"
        text = f"{about}{failure.what}; trying again in {shown} s ({tries} of {patience.tries - 1})"
        text = safe(text, self._key)
        self._progress.log(text, "warning")
        self._progress.update(message=text)
        await asyncio.sleep(wait_s)

    async def _rest(self) -> None:
        while (wait_s := self._rest_until - _now()) > 0:
            await asyncio.sleep(wait_s)


def _now() -> float:
    return asyncio.get_running_loop().time()
