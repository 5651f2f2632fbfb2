"""What it was measured on, and how busy that was with other things."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pysqlite3

from benchmarks.quiet import busy_percent

PACKAGES = ("gunicorn", "gevent", "Flask", "SQLAlchemy", "pysqlite3", "urllib3", "selectolax", "scikit-learn")


def description(folder: Path) -> str:
    """Cores, kernel, CPU, versions, commit, the file system of ``folder``, and what other processes use."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        (
            f"machine   {os.cpu_count()} cores ({_cpu_model()}), Linux {platform.release()}, {_file_system(folder)}",
            f"software  Python {platform.python_version()}, SQLite {pysqlite3.sqlite_version}, {packages}",
            f"headway   {_commit()}",
            f"others    use {busy_percent():.0f} % of the machine before the start; a good moment is below 5 %",
        )
    )


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[core % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    """The type of the file system under ``folder``: the longest mount point that holds it."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    held = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(held, key=lambda mount: len(mount[0]))[1]


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not in a git repository"
