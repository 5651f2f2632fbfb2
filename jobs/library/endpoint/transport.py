"""The connection to the endpoint: what leaves and how much comes back is decided here, not by libraries.

The name begins with ``_`` so that the registry, which imports every job file, does not import httpx2 into web workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

CONNECT_S = 10.0
MAX_CONNECTIONS = 64
MAX_BODY_BYTES = 64_000_000
"""Longest answer: 100,000 tokens at 300 bytes a chunk, or the embeddings of a batch, have room in half of it."""
MAX_LINE_BYTES = 4_000_000
"""Longest line of a stream: the library collects a line until it ends."""
MAX_ERROR_BYTES = 65_536
"""Read of an answer that is an error; what comes after it explains nothing."""
KEPT_HEADERS = frozenset({"host", "content-type", "content-length", "transfer-encoding"})


class Unfit(httpx2.RequestError):
    """Raised when an answer is one that is not read; the message goes on after "The endpoint"."""


def http_client(base_url: str, key: str | None) -> httpx2.AsyncClient:
    """A client that asks only this endpoint: no redirects, no proxies, cookies or .netrc of the environment."""
    return httpx2.AsyncClient(
        transport=EndpointTransport(httpx2.URL(base_url), key),
        follow_redirects=False,
        trust_env=False,
        # The other waits are watched by who asks: the first token may take longer than all others.
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
    )


class EndpointTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one origin, with headers of our own: the openai package would take some from ``OPENAI_*``."""

    def __init__(self, base_url: httpx2.URL, key: str | None) -> None:
        self._origin = _origin(base_url)
        self._headers = {"Accept": "application/json, text/event-stream", "Accept-Encoding": "identity"}
        self._headers["User-Agent"] = "Headway"
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, and give an answer whose body has an end."""
        if _origin(request.url) != self._origin:
            raise Unfit("was not asked: the request went elsewhere")
        kept = {name: value for name, value in request.headers.items() if name.lower() in KEPT_HEADERS}
        sent = httpx2.Request(
            request.method,
            request.url,
            headers={**kept, **self._headers},
            stream=request.stream,
            extensions=request.extensions,
        )
        response = await self._inner.handle_async_request(sent)
        if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            await response.aclose()
            raise Unfit("packs its answers, which was not asked for")
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=BoundedStream(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class BoundedStream(httpx2.AsyncByteStream):
    """The body of an answer, up to where nobody would read on."""

    def __init__(self, response: httpx2.Response) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._stream = response.stream
        self._failed = not response.is_success
        self._has_lines = response.headers.get("content-type", "").startswith("text/event-stream")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = line = 0
        async for data in self._stream:
            read += len(data)
            if self._failed and read >= MAX_ERROR_BYTES:
                yield data[: len(data) - (read - MAX_ERROR_BYTES)]
                return
            if read > MAX_BODY_BYTES:
                raise Unfit(f"sent more than {MAX_BODY_BYTES // 1_000_000} MB")
            if self._has_lines:
                end = data.rfind(b"\n")
                line = line + len(data) if end < 0 else len(data) - end - 1
                if line > MAX_LINE_BYTES:
                    raise Unfit(f"sent a line of more than {MAX_LINE_BYTES // 1_000_000} MB")
            yield data

    async def aclose(self) -> None:
        """Close the answer: where it has not ended, its connection too."""
        await self._stream.aclose()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
