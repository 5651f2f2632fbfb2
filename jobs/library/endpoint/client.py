"""The one way to an OpenAI-compatible endpoint: Ollama, llama.cpp, vLLM, LM Studio, OpenAI.

Where it is, its key and its models come from the settings alone, never from a caller and never from the ``OPENAI_*``
variables that the openai package reads. What fails before anything was shown is asked again, visibly; a request ends
at the moment in which the run has to stop.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from jobs import JobError, Progress
from jobs.library.endpoint.completion import Completion, Tally
from jobs.library.endpoint.dialect import Dialect
from jobs.library.endpoint.embeddings import Vectors, embed_in_batches, vectors_of
from jobs.library.endpoint.errors import BASE_URL, EMBEDDING_MODEL, MODEL, EndpointError
from jobs.library.endpoint.stoppable import run_until_stopped
from jobs.library.endpoint.stream import at_most, stream_text
from jobs.library.endpoint.tries import Patience, Tries

if TYPE_CHECKING:
    import numpy as np
    import openai
    from numpy.typing import NDArray

T = TypeVar("T")
Messages = Sequence[Mapping[str, str]]

SETTINGS = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_EMBEDDING_MODEL")
"""What a job that asks the endpoint names in ``@job(settings=...)``."""
NEEDS = ("OPENAI_BASE_URL", "OPENAI_MODEL")
NEEDS_HELP = (
    "For Ollama on this machine: `HEADWAY_OPENAI_BASE_URL=http://127.0.0.1:11434/v1` and"
    " `HEADWAY_OPENAI_MODEL=llama3.2` (after `ollama pull llama3.2`)."
)
PATIENCE = Patience()


class Endpoint:
    """An endpoint for one run. All that asks it is asynchronous and goes through :meth:`run`::

    endpoint = Endpoint.from_settings(progress)
    completion = endpoint.run(endpoint.complete([{"role": "user", "content": "Hello"}]))
    """

    def __init__(
        self,
        progress: Progress,
        base_url: str,
        key: str | None = None,
        model: str | None = None,
        embedding_model: str | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        """Raises JobError for a ``base_url`` that is none."""
        self.model = model
        self.embedding_model = embedding_model
        self._progress = progress
        self._base_url = _checked(base_url)
        self._key = key
        self._patience = patience
        self._tries = Tries(progress, key, patience)
        self._dialect = Dialect(lambda text: progress.log(text, "warning"))
        self._client: openai.AsyncOpenAI | None = None

    @classmethod
    def from_settings(cls, progress: Progress) -> Endpoint | None:
        """The endpoint of the server's settings, None where none is set. The job has to name :data:`SETTINGS`."""
        base_url, key, model, embedding_model = (progress.setting(name) for name in SETTINGS)
        return None if base_url is None else cls(progress, base_url, key, model, embedding_model)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``, which may ask the endpoint, and give what it gives; cancel it as soon as the run has to stop."""
        return run_until_stopped(self._progress, self._connected(work))

    async def complete(
        self,
        messages: Messages,
        *,
        on_text: Callable[[str], None] | None = None,
        on_token: Callable[[Tally], None] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        about: str = "",
    ) -> Completion:
        """Have a text written. ``on_text`` gets its pieces as they come, ``on_token`` is called for each chunk.

        What fails is tried again, unless ``on_text`` has been given a piece: nothing is ever given twice. ``about``
        stands before what is said of tries that failed. Raises EndpointError.
        """
        if not self.model:
            raise EndpointError(f"No model is set: set {MODEL}, then restart.")
        request = self._dialect.request(self.model, messages, temperature, max_tokens)
        tally = Tally(self._key, self.model, max_tokens)
        shown = False

        def show(text: str) -> None:
            nonlocal shown
            if text and on_text is not None:
                shown = True
                on_text(text)

        async def ask() -> None:
            nonlocal tally
            tally = Tally(self._key, self.model or "", max_tokens)
            await stream_text(self._openai, request, tally, self._patience, show, on_token)

        try:
            _, retries = await self._tries.until_answered(
                ask,
                may_repeat=lambda: not shown,
                adapt=lambda error: self._dialect.adapt(request, error),
                about=about,
            )
        except EndpointError as error:
            show(tally.end())
            error.text = tally.text
            raise
        return tally.completion(retries)

    async def embed(self, texts: Sequence[str], on_done: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """The vectors of the texts, a row each; ``on_done`` is told how many are ready. Raises EndpointError."""
        if not self.embedding_model:
            raise EndpointError(f"No model for embeddings is set: set {EMBEDDING_MODEL}, then restart.")
        return await embed_in_batches(texts, self._embed, on_done)

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        # An empty text is refused by some. Floats, since base64 is not understood by all.
        body = {"model": self.embedding_model, "input": [text or " " for text in texts], "encoding_format": "float"}

        async def ask() -> Vectors:
            import httpx2

            async with at_most(self._patience.first_s):
                response = await self._openai.post("/embeddings", body=body, cast_to=httpx2.Response)
            return vectors_of(response.json(), len(texts))

        vectors, _ = await self._tries.until_answered(ask)
        return vectors

    # The connection.

    @property
    def _openai(self) -> openai.AsyncOpenAI:
        assert self._client is not None, "the endpoint is asked inside Endpoint.run()"
        return self._client

    async def _connected(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with self._opened() as self._client:
                return await work
        finally:
            work.close()
            self._client = None

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[openai.AsyncOpenAI]:
        import openai

        from jobs.library.endpoint.transport import http_client

        for library in ("openai", "httpx2", "httpcore2"):  # a line for each request says nothing, and names the address
            logging.getLogger(library).setLevel(logging.WARNING)
        async with http_client(self._base_url, self._key) as http:
            # All that it would else take from the environment; the transport sets the headers, and has the key.
            yield openai.AsyncOpenAI(
                api_key="unused",
                admin_api_key="",
                organization="",
                project="",
                webhook_secret="",
                base_url=self._base_url,
                max_retries=0,
                http_client=http,
            )


def _checked(base_url: str) -> str:
    """The URL as it was set, without a slash at its end."""
    try:
        parts = urlsplit(base_url.strip())
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or parts.username is not None or parts.query or parts.fragment:
        raise JobError(f"{BASE_URL} has to be a plain http(s) URL, like http://127.0.0.1:11434/v1.")
    return base_url.strip().rstrip("/")
