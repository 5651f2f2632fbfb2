"""Small real jobs for the tests of the pages: one that goes on for a while, one that says whatever it is told."""

import time
from typing import Annotated, Literal

from marshmallow.validate import Range

from jobs import File, JobError, Param, Progress, Secret, job


@job(title="Walk", timeout="10m")
def walk(
    progress: Progress,
    start: Annotated[str, Param("Start", help="Where it begins.", placeholder="https://example.org/")],
    steps: Annotated[int, Param("Steps"), Range(1, 10_000)] = 20,
    pause: Annotated[float, Range(0, 10)] = 0.05,
    pace: Literal["slow", "fast"] = "slow",
    careful: Annotated[bool, Param("Careful")] = True,
    skip: list[str] = [],  # noqa: B006 - a default of a job is never changed
) -> dict[str, object]:
    """Walk some steps, each of which gives a row.

    Nothing else happens."""
    progress.plan("Packing", "Walking")
    with progress.step("Packing"):
        progress.log("packed")
    with progress.step("Walking"):
        for number in progress.track(range(steps)):
            progress.row({"step": number, "url": f"{start}{number}"})
            time.sleep(pause)
    progress.file("steps.csv").write_text("step\n")
    return {"steps": steps, "pace": pace, "careful": careful, "skipped": skip}


@job(title="Say")
def say(progress: Progress, lines: list[str], hold: float = 0, fail: bool = False) -> dict[str, object]:
    """Say each line in every place of the page that shows text of a job."""
    progress.plan(*lines)
    for line in lines:
        progress.log(line, "warning")
        progress.output(line + "\n")
        progress.row({"text": line, line: "as a heading"})
        progress.update(50, line, step=line)
    until = time.monotonic() + hold
    while time.monotonic() < until:
        progress.check()
        time.sleep(0.01)
    if fail:
        raise JobError("\n".join(lines))
    return {"lines": lines, "rows": [{line: line} for line in lines], lines[0]: lines[0]}


@job(title="Count")
def count(progress: Progress, file: Annotated[File, Param("File")], password: Secret | None = None) -> dict[str, int]:
    """Count the characters of a file."""
    return {"characters": len(file.text())}
