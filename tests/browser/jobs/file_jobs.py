"""Small real jobs that take files, for the tests of their forms."""

from typing import Annotated, Any

from marshmallow.validate import Range

from jobs import File, Param, Progress, job


@job(title="Measure")
def measure(
    progress: Progress,
    texts: Annotated[File, Param("Texts", help="What is measured.", sample="sample:fruits.csv")],
    limit: Annotated[int, Param("Limit", help="Lines that become rows."), Range(1, 1000)] = 10,
    stop_words: Annotated[File | None, Param("Stop words")] = None,
) -> dict[str, Any]:
    """Count the lines and bytes of a file, and give its first lines back.

    What it says of the file is all that it knows: its name, its size and what stands in it."""
    lines = texts.text().splitlines()
    for number, line in enumerate(lines[:limit]):
        progress.row({"line": number, "text": line})
    progress.file("lines.csv").write_text("".join(f"{line}\n" for line in lines))
    progress.file("notes.bin").write_bytes(b"\0")
    stopped = None if stop_words is None else stop_words.name
    return {"file": texts.name, "bytes": texts.size, "lines": len(lines), "stop_words": stopped}


@job(
    title="Write by a model",
    needs=["OPENAI_BASE_URL", "OPENAI_MODEL"],
    needs_help=(
        "For Ollama:\n`export HEADWAY_OPENAI_BASE_URL=http://127.0.0.1:11434/v1`\n"
        "`export HEADWAY_OPENAI_MODEL=llama3.2`"
    ),
)
def write(
    progress: Progress, prompt: Annotated[str, Param("Prompt", sample="a haiku")], rows: File | None = None
) -> None:
    """Write what a prompt asks for, once it is set up."""
