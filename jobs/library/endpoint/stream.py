"""One request for a text, read to its end: every wait has a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from jobs.library.endpoint.completion import CUT, Tally
from jobs.library.endpoint.errors import BASE_URL, BadAnswer, BrokenOff
from jobs.library.endpoint.tries import Patience

if TYPE_CHECKING:
    import openai

USAGE_S = 5.0
"""How long the usage may come after the text has ended."""
MAX_TYPE_CHARS = 100


async def stream_text(
    client: openai.AsyncOpenAI,
    request: Mapping[str, Any],
    tally: Tally,
    patience: Patience,
    show: Callable[[str], None],
    on_token: Callable[[Tally], None] | None,
) -> None:
    """Ask, count every chunk in ``tally`` and ``show`` its text. Raises BadAnswer, BrokenOff, and what openai does."""
    try:
        async with asyncio.timeout(patience.whole_s):
            async with at_most(patience.first_s):
                stream = await _asked(client, request)
            try:
                _check_type(stream.response.headers.get("content-type", ""))
                await _read(stream, tally, patience, show, on_token)
            finally:
                await stream.close()
    except TimeoutError:
        raise BrokenOff(f"took longer than {patience.whole_s:g} s for a text") from None
    show(tally.end())
    if tally.finish_reason is None:
        raise BrokenOff("ended the stream without saying that the text is finished")


@asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """Raise BrokenOff when what is done inside takes longer."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise BrokenOff(f"said nothing for {seconds:g} s") from None


async def _asked(client: openai.AsyncOpenAI, request: Mapping[str, Any]) -> openai.AsyncStream[object]:
    import openai

    # Chunks as plain JSON: chat.completions.create() makes objects of them, for twice the time of all the rest.
    kind = openai.AsyncStream[object]
    return await client.post("/chat/completions", body=dict(request), cast_to=object, stream=True, stream_cls=kind)


async def _read(
    stream: openai.AsyncStream[object],
    tally: Tally,
    patience: Patience,
    show: Callable[[str], None],
    on_token: Callable[[Tally], None] | None,
) -> None:
    chunks = aiter(stream)
    while tally.finish_reason != CUT:
        try:
            async with at_most(_wait_s(tally, patience)):
                chunk = await anext(chunks, None)
        except Exception:
            if tally.finish_reason is None:
                raise
            return  # the text is whole; only the usage is missing
        if chunk is None:
            return
        tokens = tally.tokens
        show(tally.take(chunk))
        if on_token is not None and tally.tokens > tokens:
            on_token(tally)


def _wait_s(tally: Tally, patience: Patience) -> float:
    if tally.finish_reason is not None:
        return min(USAGE_S, patience.silence_s)
    return patience.silence_s if tally.tokens else patience.first_s


def _check_type(content_type: str) -> None:
    if content_type and not content_type.lower().startswith("text/event-stream"):
        kind = content_type.partition(";")[0].strip()[:MAX_TYPE_CHARS]
        raise BadAnswer(f"answers with {kind} instead of a stream (does {BASE_URL} end with /v1?)")
