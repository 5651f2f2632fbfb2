"""A fan-out as it is usually written in Python: sse-starlette on uvicorn and uvloop, a queue for each client.

    python fanout_starlette.py < updates

Listens on a free port of 127.0.0.1 and prints it. Each line of stdin is the JSON of an update; it is encoded for each
client. A full queue makes the sender wait, so that nothing is lost. Knows nothing of Headway, whose packages are not in
its environment (``benchmarks/requirements.txt``).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

WAITING = 16
"""As many updates may wait for a client as datagrams for a socket, and a few more."""
BACKLOG = 8192

clients: set[asyncio.Queue[dict[str, Any]]] = set()


async def events(request: Request) -> EventSourceResponse:
    """The stream of one client, whatever it asks for."""
    return EventSourceResponse(_frames(), sep="\n")


async def _frames() -> AsyncIterator[dict[str, Any]]:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
    clients.add(queue)
    try:
        yield {"event": "hello", "data": '{"from":0}'}
        while True:
            update = await queue.get()
            yield {"data": json.dumps(update, separators=(",", ":")), "id": f"{update['run']}-{update['seq']}"}
    finally:
        clients.discard(queue)


async def _fan_out() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        update = json.loads(line)
        for queue in list(clients):
            await queue.put(update)


@asynccontextmanager
async def _beside(app: Starlette) -> AsyncIterator[None]:
    task = asyncio.create_task(_fan_out())
    yield
    task.cancel()


def main() -> None:
    """Serve until killed."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    print(listener.getsockname()[1], flush=True)
    app = Starlette(routes=[Route("/{path:path}", events)], lifespan=_beside)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_level="warning", access_log=False, backlog=BACKLOG
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
