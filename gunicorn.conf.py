"""gunicorn: gevent workers for the streams, the runner beside them, an orderly stop. Read by ``gunicorn wsgi:app``."""

from __future__ import annotations

import fcntl
import gc
import ipaddress
import logging
import os
import resource
import signal
import sys
import time
from typing import Any

from jobs.errors import HeadwayError, SettingsError
from jobs.locks import is_shared
from jobs.runner import SWITCH_INTERVAL_S, start_process
from jobs.settings import Settings
from jobs.store import Store
from jobs.supervisor import retire_runners, stop_runners
from web.auth import Gate, login_address, read_key

try:
    _settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(f"Headway does not start: {error}")

bind = _settings.bind
workers = _settings.number("web_workers")
worker_class = "gevent"
worker_connections = _settings.number("streams") * 5 // 4 + 100
"""Streams and idle keep-alives both count (web/acceptor.py counts the streams that gunicorn's pool does not); when they
are used up the worker accepts nothing, health checks included. So there are more than streams may take."""
backlog = 8192
"""All clients of a worker that was restarted come at once; the kernel gives up to net.core.somaxconn."""
OTHER_FILES = 500
"""What a worker has open beside its connections: the database, sockets of the bus, files that are downloaded."""
keepalive = 2
"""The only limit on slow headers; also what an idle connection adds to a stop."""
graceful_timeout = _settings.number("graceful")
timeout = 30
limit_request_line = 4094
limit_request_fields = 50
control_socket_disable = True
"""Two servers of one user would take each other's control socket."""


SPARE_S = 1.0
"""A worker is done so long before gunicorn kills it."""
LEFT_S = 0.05
"""How often a worker that ends looks whether its streams have ended."""


def on_starting(server: Any) -> None:
    """Refuse to start where it would be unsafe or could not work, in one line."""
    try:
        refuse_open_door(server.cfg.bind)
        _settings.data_path.mkdir(parents=True, exist_ok=True)
        store = Store(_settings.database_path)
        store.check()
        store.close()
        read_key(_settings)
    except (HeadwayError, OSError) as error:
        sys.exit(f"Headway does not start: {error}")


def refuse_open_door(binds: list[str]) -> None:
    """Beyond loopback only with a key that somebody chose. Raises SettingsError."""
    for one in binds:
        host = one.rpartition(":")[0].strip("[]")
        if not _settings.key and not is_loopback(host) and not one.startswith(("unix:", "fd://")):
            raise SettingsError(
                f"it would listen on {one}, beyond this machine. Set HEADWAY_KEY (and HEADWAY_ALLOWED_HOSTS)"
                " first, or listen on 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def when_ready(server: Any) -> None:
    """Start the runner, and say where to go."""
    start_process(_settings)
    store = Store(_settings.database_path)
    address = login_address(_settings, Gate(read_key(_settings), store), server.cfg.bind[0])
    store.close()
    print(f"\nHeadway is ready. Open this address; it logs you in, once:\n\n    {address}\n", flush=True)


def post_fork(server: Any, worker: Any) -> None:
    """Let a worker have as many sockets as it may, and import Headway anew: the master's modules are as old as the last
    start, not the last reload."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, worker_connections + OTHER_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    reserve_files(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], worker_connections + OTHER_FILES))
    for name in list(sys.modules):
        if name.partition(".")[0] in ("jobs", "web", "app", "wsgi"):
            del sys.modules[name]


def reserve_files(most: int) -> None:
    """Make the kernel's table of this process's files as large as it may get.

    It grows by doubling, and once there are threads each doubling waits until all cores have seen it (``expand_files``,
    ``synchronize_rcu``): ten to thirty ms six times, while clients come that find no room in the queue.
    """
    os.close(fcntl.fcntl(0, fcntl.F_DUPFD, most - 1))


def post_worker_init(worker: Any) -> None:
    """Let streams lend their sockets, and make them end themselves at a stop or reload.

    gunicorn waits ``graceful_timeout`` for open responses and then kills: an endless stream would be cut without a
    word (ggevent.py). So SIGTERM also tells the feed to say goodbye; from the hub, where locks may be taken.
    """
    import gevent

    # Nobody reads who spawned a greenlet, nor a log line's thread: together a tenth of what opening a stream costs.
    gevent.config.track_greenlet_tree = False
    logging.logThreads = logging.logMultiprocessing = False
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # beside the hub run native threads: SQLite, the drawing of large pages
    gc.collect()
    gc.freeze()  # what is there by now stays; a full collection that looks at it takes 35 ms
    gc.set_threshold(10_000, 10, 10)  # thousands of streams that come at once are no garbage
    from gunicorn.workers import ggevent

    from web import connection
    from web.acceptor import Acceptor

    ggevent.StreamServer = Acceptor
    for listener in worker.sockets:
        connection.limit_accepted(listener)
    feed = worker.wsgi.extensions["headway"].feed
    feed.lends = worker.cfg.protocol == "http"  # with uwsgi the chunks are not gunicorn's to make
    loop = gevent.get_hub().loop

    def leave(number: int, frame: Any) -> None:
        worker.handle_exit(number, frame)
        worker.leaving_at = time.monotonic()
        feed.closing = True
        loop.run_callback_threadsafe(gevent.spawn, feed.say_bye)

    signal.signal(signal.SIGTERM, leave)


def worker_exit(server: Any, worker: Any) -> None:
    """Let the streams say goodbye that gunicorn no longer knows of (web/takeover.py); it has waited for the others.

    It is also called in the master, for a worker that is found dead.
    """
    application = getattr(worker, "wsgi", None)
    if application is None or worker.pid != os.getpid():
        return
    headway = application.extensions["headway"]
    until = min(
        getattr(worker, "leaving_at", time.monotonic()) + graceful_timeout - SPARE_S, time.monotonic() + timeout - 5
    )
    while headway.feed.closing and headway.slots.taken and time.monotonic() < until:
        time.sleep(LEFT_S)
    headway.feed.close()


def on_reload(server: Any) -> None:
    """Let the runner finish what it has; the web workers start a new one, with new job code."""
    retire_runners(_settings)


def on_exit(server: Any) -> None:
    """Wait until every run has ended or is recorded as interrupted; unless another server uses the same data."""
    if is_shared(_settings.data_path / "web.lock"):
        return
    stop_runners(_settings, _settings.number("graceful"))
