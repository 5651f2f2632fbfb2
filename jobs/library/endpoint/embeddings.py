"""The vectors of many texts, asked for in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jobs.library.endpoint.errors import BadAnswer, EndpointError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_TEXTS = 64
BATCHES_AT_ONCE = 4
"""Small enough for progress that moves, large enough for the network not to matter."""

Vectors = list[list[float]]


async def embed_in_batches(
    texts: Sequence[str],
    embed: Callable[[Sequence[str]], Awaitable[Vectors]],
    on_done: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """The vectors of the texts, a row each; ``on_done`` is told how many are ready. Raises EndpointError."""
    import numpy as np

    vectors = np.empty((0, 0), np.float32)
    done = 0
    turns = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def embed_batch(start: int) -> None:
        nonlocal vectors, done
        async with turns:
            batch = texts[start : start + BATCH_TEXTS]
            found = np.asarray(await embed(batch), np.float32)
            if not done:
                vectors = np.empty((len(texts), found.shape[1]), np.float32)
            if found.shape[1] != vectors.shape[1] or not np.isfinite(found).all():
                raise EndpointError("The endpoint sent embeddings that do not fit together.")
            vectors[start : start + len(batch)] = found
            done += len(batch)
            if on_done is not None:
                on_done(done)

    await _all(embed_batch(start) for start in range(0, len(texts), BATCH_TEXTS))
    return vectors


def vectors_of(answer: Any, count: int) -> Vectors:
    """The vectors in an endpoint's answer, in the order of their texts. Raises BadAnswer where it has no such."""
    try:
        items = sorted(answer["data"], key=lambda item: int(item["index"]))
        vectors = [[float(number) for number in item["embedding"]] for item in items]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadAnswer("sent what are no embeddings") from None
    sizes = {len(vector) for vector in vectors}
    if len(vectors) != count or len(sizes) != 1 or 0 in sizes:
        raise BadAnswer("sent embeddings that do not fit the texts")
    return vectors


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once; the first exception ends the rest and is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
