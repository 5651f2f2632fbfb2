"""The application: reads the settings, builds the objects, registers the blueprints. Decides nothing."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask_smorest import Api

from jobs import capture
from jobs.bus import Bus, Ear
from jobs.launch import Launcher
from jobs.locks import FileLock, lock_shared, try_lock
from jobs.registry import Registry
from jobs.runner import Runner
from jobs.settings import Settings, job_settings
from jobs.store import Store
from jobs.supervisor import Supervisor
from web import accesslog, api, auth, connection, errors, pages, securityheaders
from web.feed import Feed
from web.shortcut import Shortcut
from web.slots import Slots

STOP_WITHIN_S = 10.0
"""How long a server with the runner inside it waits for the runner at its end."""


@dataclass
class Headway:
    """The objects of one process, in ``app.extensions["headway"]``."""

    settings: Settings
    store: Store
    registry: Registry
    launcher: Launcher
    gate: auth.Gate
    feed: Feed
    slots: Slots
    supervisor: Supervisor
    serving: FileLock
    runner: Runner | None = None

    def close(self) -> None:
        """End everything of this process, the runner inside it included."""
        self.supervisor.stop()
        if self.runner is not None:
            self.runner.stop()
        self.feed.close()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The Flask application. Settings come from the environment.

    ``config`` goes into ``app.config``; ``RUNNER`` there is ``"beside"`` where the server keeps a runner process
    (gunicorn, see wsgi.py) and ``"inside"`` (the default: ``flask run``, tests) for one in this process.
    """
    settings = Settings.from_environment()
    app = Flask(__name__)
    app.config.from_mapping(
        API_TITLE="Headway",
        API_VERSION="1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
        MAX_CONTENT_LENGTH=settings.max_upload_bytes,
        MAX_FORM_PARTS=100,
        RUNNER="inside",
    )
    app.config.from_mapping(config)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["headway"] = _build(settings, inside=app.config["RUNNER"] == "inside")
    accesslog.init_app(app)
    app.before_request(connection.limit_request)
    app.before_request(auth.check_request)
    app.after_request(securityheaders.add)
    described = Api(app)
    for blueprint in (api.jobs, api.runs, api.service):
        described.register_blueprint(blueprint)
    for plain in (auth.bp, pages.bp):
        app.register_blueprint(plain)
    errors.init_app(app)
    app.wsgi_app = Shortcut(app)  # type: ignore[method-assign]
    return app


def _build(settings: Settings, *, inside: bool) -> Headway:
    if inside:
        capture.install()
    data = settings.data_path
    data.mkdir(parents=True, exist_ok=True)
    store = Store(settings.database_path)
    bus = Bus(data / "bus")
    registry = Registry(settings.job_folders, job_settings(os.environ))
    headway = Headway(
        settings=settings,
        store=store,
        registry=registry,
        launcher=Launcher(registry, store, bus, data, settings.number("max_queue"), settings.max_upload_bytes),
        gate=auth.Gate(auth.read_key(settings), store),
        feed=Feed(store, Ear(data / "bus", f"web-{os.getpid()}", selective=True)),
        slots=Slots(settings.number("streams"), settings.number("streams_per_owner")),
        supervisor=Supervisor(settings),
        serving=lock_shared(data / "web.lock"),
    )
    if not inside:
        headway.supervisor.start()
    elif (lock := try_lock(data / "runner.lock")) is not None:
        headway.runner = Runner(settings, Store(settings.database_path, checkpoints=True), bus, registry, lock)
        thread = threading.Thread(target=headway.runner.run, name="runner", daemon=True)
        thread.start()
        _stop_with_process(headway.runner, thread)
    return headway


def _stop_with_process(runner: Runner, thread: threading.Thread) -> None:
    """Let Ctrl-C and SIGTERM stop the runner inside this process first, so that its runs have their ends recorded."""
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, frame: object) -> None:
        runner.stop()
        thread.join(STOP_WITHIN_S)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def log_to_stderr() -> None:
    """Send Headway's log lines to stderr, where the server's own go."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
