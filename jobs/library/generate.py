"""Text from a language model: one prompt, streamed as it comes, or a prompt for each row of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

from marshmallow.validate import Length, Range

from jobs import File, JobError, Param, Progress, job, markdown
from jobs.library.endpoint.client import NEEDS, NEEDS_HELP, SETTINGS, Endpoint, Messages
from jobs.library.endpoint.completion import CUT, MOST_TOKENS, Completion, Tally
from jobs.library.generate_rows import RowOptions, generate_rows
from jobs.library.prompt_template import conversation

MAX_PROMPT_CHARS = 200_000
MAX_SYSTEM_CHARS = 50_000
OUTPUT = "output.md"

SAMPLE_PROMPT = "Write a short poem about a progress bar that reaches 100 %. Give it a title."


@job(
    title="Generate text",
    timeout="12h",
    isolated=True,  # a model that writes fast keeps an interpreter busy
    retries=1,
    settings=SETTINGS,
    needs=NEEDS,
    needs_help=NEEDS_HELP,
)
def generate(
    progress: Progress,
    prompt: Annotated[
        str,
        Param(
            "Prompt",
            help="What the model is asked. With a table: `{column}` stands for that cell of each row.",
            placeholder="Explain in three sentences ...",
            multiline=True,
            sample=SAMPLE_PROMPT,
        ),
        Length(min=1, max=MAX_PROMPT_CHARS),
    ],
    table: Annotated[
        File | None,
        Param("Table", help="Optional: CSV, TSV, JSON lines or text. The prompt is then filled in for each row."),
    ] = None,
    system: Annotated[
        str,
        Param("System prompt", help="How the model should behave.", placeholder="You are brief.", multiline=True),
        Length(max=MAX_SYSTEM_CHARS),
    ] = "",
    temperature: Annotated[
        float | None,
        Param("Temperature", help="0 is sober, 2 is wild. Empty: as the model is set."),
        Range(0, 2),
    ] = None,
    length: Annotated[
        int, Param("Length", help="At most so many tokens; a token is about four characters."), Range(1, MOST_TOKENS)
    ] = 2000,
    concurrency: Annotated[
        int, Param("Concurrency", help="Rows asked at the same time; local servers often do one."), Range(1, 32)
    ] = 4,
) -> dict[str, Any]:
    """Have a language model write: the text streams to the page as it comes, with its speed and usage.

    With a table the prompt is a template: `{column}` stands for a cell, and each row gives one text. `results.csv` has
    the table's columns first; rows that failed stand in `failed.csv` too, which can be fed in again.

    The model is that of the server's settings: Ollama, llama.cpp, vLLM, LM Studio, OpenAI or whatever else speaks its
    protocol. Too many requests and errors of the server are tried again. What a model writes may be wrong.
    """
    endpoint = Endpoint.from_settings(progress)
    if endpoint is None:
        raise JobError(f"No endpoint is set up. {NEEDS_HELP}")
    if table is None:
        return Text(progress, endpoint).write(conversation(prompt, system), temperature, length)
    options = RowOptions(prompt, system, temperature, length, concurrency)
    return generate_rows(progress, endpoint, table.table(), options)


class Text:
    """One text, on its way to the page and into a file."""

    def __init__(self, progress: Progress, endpoint: Endpoint) -> None:
        self._progress = progress
        self._endpoint = endpoint

    def write(self, messages: Messages, temperature: float | None, length: int) -> dict[str, Any]:
        """Have it written; gives the result. What has come stays in the file, whatever happens."""
        progress = self._progress
        path = progress.file(OUTPUT)
        if path.exists():  # by the attempt before this one: its text stands on the page, and would stand there twice
            raise JobError("The server was restarted in mid-text. What had come by then is kept; run it again.")
        progress.update(message="Waiting for the first token")
        with _appending(path) as append:

            def show(text: str) -> None:
                append(text)
                progress.output(text)

            completion = self._endpoint.run(
                self._endpoint.complete(
                    messages,
                    on_text=show,
                    on_token=lambda tally: self._tell(tally, length),
                    temperature=temperature,
                    max_tokens=length,
                )
            )
        self._remark(completion, length)
        return _result(completion)

    def _tell(self, tally: Tally, length: int) -> None:
        speed = tally.tokens_per_second
        parts = ["thinking"] if tally.thinking else []
        parts.append(f"{tally.tokens} tokens")
        if speed is not None:
            parts.append(f"{speed:.0f} tokens/s")
        self._progress.update(min(100.0, 100 * tally.tokens / length), " · ".join(parts))

    def _remark(self, completion: Completion, length: int) -> None:
        """Say what the reader of the text should know about its end."""
        if completion.finish_reason == CUT:
            text = f"The endpoint sent more than the {length} tokens that it was asked for: the text was cut."
        elif completion.finish_reason == "length":
            text = f"The text ends at the {length} tokens that it may have; allow more length for a whole one."
        elif completion.finish_reason == "content_filter":
            text = "The endpoint's content filter has ended the text."
        elif not completion.text:
            text = "The model wrote nothing."
        else:
            return
        self._progress.log(text, "warning")


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[Any]:
    """A function that writes into the file, which begins to exist with the first text; it survives kill -9."""
    file: IO[str] | None = None

    def append(text: str) -> None:
        nonlocal file
        if file is None:
            file = path.open("w", encoding="utf-8", newline="")
        file.write(text)
        file.flush()

    try:
        yield append
    finally:
        if file is not None:
            file.close()


def _result(completion: Completion) -> dict[str, Any]:
    return {
        "text": markdown(completion.text),
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "usage": completion.usage.shown(),
        "tokens_per_second": completion.tokens_per_second,
        "first_token_ms": completion.first_token_ms,
        "seconds": completion.seconds,
        "retries": completion.retries,
    }
