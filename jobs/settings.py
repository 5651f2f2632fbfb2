"""The settings: environment variables with the prefix ``HEADWAY_``, all optional. The README lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from jobs.errors import SettingsError
from jobs.masking import is_secret

PREFIX = "HEADWAY_"
MIN_KEY_LENGTH = 16
"""Shortest key accepted, in characters: a key is a password that scripts use, and nobody has to type it."""

_WHOLE_NUMBERS = (
    "web_workers", "threads", "processes", "max_upload", "max_queue", "streams", "streams_per_owner", "graceful",
)  # fmt: skip


def _setting(default: str, help: str) -> str:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """The settings as text, as they stand in the environment; the properties below are what they mean."""

    bind: str = _setting("127.0.0.1:8000", "address and port to listen on")
    data: str = _setting("./var", "folder for the database, files, key and sockets; on a local disk")
    jobs: str = _setting("", "folders with job files of your own, separated by `:`")
    key: str = _setting("", "the key for scripts and for logging in; without it one is made and kept in `DATA/key`")
    web_workers: str = _setting("1", "web worker processes")
    threads: str = _setting("8", "runs at the same time, those that compute aside")
    processes: str = _setting("", "runs at the same time of jobs that compute; default: the number of cores")
    allowed_hosts: str = _setting("", "host names besides localhost under which the pages are opened, comma separated")
    max_upload: str = _setting("100", "largest request body, in MB")
    max_queue: str = _setting("10000", "runs that may wait; beyond it a launch is answered with 429")
    streams: str = _setting("8000", "streams that a web worker holds open; beyond it they are told that it is busy")
    streams_per_owner: str = _setting("2000", "of these, those of one owner: by key, by pages, by tokens")
    crawl_allow: str = _setting("", "exact `host:port` pairs that jobs may fetch though private, comma separated")
    webhook_allow: str = _setting(
        "", "URLs that the bulk job may POST to, comma separated; one that ends with `/` allows all below it"
    )
    openai_base_url: str = _setting("", "an OpenAI-compatible endpoint, for example `http://127.0.0.1:11434/v1`")
    openai_api_key: str = _setting("", "its key, where it wants one")
    openai_model: str = _setting("", "the model that writes text")
    openai_embedding_model: str = _setting("", "the model that embeds texts, for clustering by meaning")
    graceful: str = _setting("20", "seconds that a stop or reload waits for requests and runs")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check them. Raises SettingsError naming the variable."""
        found = os.environ if environment is None else environment
        names = {one.name: PREFIX + one.name.upper() for one in fields(cls)}
        settings = cls(**{name: found[variable] for name, variable in names.items() if variable in found})
        settings._check()
        return settings

    @property
    def data_path(self) -> Path:
        """The data folder, absolute."""
        return Path(self.data).expanduser().resolve()

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_path / "headway.db"

    @property
    def job_folders(self) -> list[Path]:
        """The folders of HEADWAY_JOBS, absolute."""
        return [Path(one).expanduser().resolve() for one in self.jobs.split(":") if one.strip()]

    @property
    def hosts(self) -> frozenset[str]:
        """ALLOWED_HOSTS, lower case."""
        return frozenset(one.strip().lower() for one in self.allowed_hosts.split(",") if one.strip())

    @property
    def max_upload_bytes(self) -> int:
        """Largest request body in bytes."""
        return int(float(self.max_upload) * 1_000_000)

    def number(self, name: str) -> int:
        """A setting as a whole number; ``processes`` is the number of cores unless it is set."""
        if name == "processes" and not self.processes:
            return os.cpu_count() or 1
        return int(getattr(self, name))

    def _check(self) -> None:
        for name in _WHOLE_NUMBERS:
            value = getattr(self, name)
            if value and not (value.isdecimal() and int(value) > 0):
                raise SettingsError(f"{PREFIX}{name.upper()} must be a whole number above 0, not {value!r}.")
        if self.key and len(self.key) < MIN_KEY_LENGTH:
            raise SettingsError(f"{PREFIX}KEY must have at least {MIN_KEY_LENGTH} characters.")
        for folder in self.job_folders:
            if not folder.is_dir():
                raise SettingsError(f"{PREFIX}JOBS names {folder}, which is not a folder.")


def job_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What jobs may be given by ``progress.setting()``: every ``HEADWAY_`` variable but the server's own key."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != PREFIX + "KEY"
    }


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for processes that run job code: no ``HEADWAY_`` variable whose name speaks of a secret."""
    return {name: value for name, value in environment.items() if not (name.startswith(PREFIX) and is_secret(name))}
