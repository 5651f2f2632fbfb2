"""The programs of ``benchmarks/peers``, compiled into ``benchmarks/out`` where there is a compiler for them."""

from __future__ import annotations

import math
import shutil
import subprocess

from benchmarks.figures import Figure
from benchmarks.wire import OUT, ROOT

PEERS = ROOT / "benchmarks" / "peers"
PEERS_PYTHON = ROOT / ".venv" / "peers" / "bin" / "python"
"""Of an environment with ``benchmarks/requirements.txt``, which ``make bench`` makes."""
COMPILERS = {".c": ("cc", "-O2", "-Wall", "-Wextra", "-o"), ".go": ("go", "build", "-o")}


class Missing(Exception):
    """A compiler or an environment is not there; the message is for the table."""


def compiled(source: str) -> list[str]:
    """The command that runs one of the programs in C or Go. Raises Missing without a compiler."""
    path = PEERS / source
    compiler = COMPILERS[path.suffix]
    program = OUT / source.replace(".", "_")
    if not program.exists() or program.stat().st_mtime < path.stat().st_mtime:
        if shutil.which(compiler[0]) is None:
            raise Missing(f"no compiler ({compiler[0]})")
        OUT.mkdir(exist_ok=True)
        subprocess.run([*compiler, str(program), str(path)], check=True)
    return [str(program)]


def python(source: str) -> list[str]:
    """The command that runs one of the programs in Python. Raises Missing without their environment."""
    if not PEERS_PYTHON.exists():
        raise Missing("not installed; `make bench` does")
    return [str(PEERS_PYTHON), str(PEERS / source)]


def not_measured(name: str, missing: Missing) -> Figure:
    """The line of the table for what could not be measured."""
    return Figure(name, (math.nan,), "", 0, note=f"not measured: {missing}")
