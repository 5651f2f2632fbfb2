"""Small real jobs that take files and make them, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from jobs import File, Param, Progress, job


@job(title="Read a file")
def read_file(
    progress: Progress,
    texts: Annotated[File, Param("Texts", sample="sample:fruits.csv")],
    also: Annotated[File | None, Param("Also")] = None,
    times: int = 1,
) -> dict[str, Any]:
    """Give back what is in the files."""
    return {
        "texts": [texts.name, texts.size, texts.text() * times],
        "also": None if also is None else [also.name, also.size, also.text()],
    }


@job(title="Make files")
def make_files(progress: Progress, rows: int = 3, size: int = 10, gate: str = "", fail: bool = False) -> None:
    """Say rows and write files, all of them ways in which a file can be there."""
    for number in range(rows):
        progress.row({"number": number, "text": f"ü{number} " + "x" * size})
    progress.file("pages.csv").write_text("url,status\nhttps://example.org/,200\n")
    progress.file("large.txt").write_text("x" * size)
    progress.file("inputs").write_text("a file that is called so")
    Path(progress.file("link.csv")).symlink_to("/etc/hostname")
    while gate and not Path(gate).exists():
        progress.check()
    if fail:
        raise ValueError("as told")


@job(title="Two samples")
def two_samples(
    progress: Progress,
    first: Annotated[str, Param("First", sample="@a; b \"c\" 'd'")],
    texts: Annotated[File, Param("Texts", sample="one\ntwo")],
) -> list[str]:
    """Take a text that a shell has trouble with, and a file whose sample is its content."""
    return [first, texts.text()]


@job(
    title="Not set up",
    needs=["OPENAI_BASE_URL", "OPENAI_MODEL"],
    needs_help="For Ollama:\n`export HEADWAY_OPENAI_BASE_URL=http://127.0.0.1:11434/v1`",
)
def not_set_up(progress: Progress, prompt: Annotated[str, Param("Prompt", sample="a haiku")]) -> str:
    """Give back a prompt, once it is set up."""
    return prompt
