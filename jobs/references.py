"""What a file parameter may be given in place of a content: something of an earlier run, or a sample of its job.

A reference is a text of one line, so that it fits wherever a content does: into JSON, a form, a shell's command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROWS = "rows"
"""The name under which a run's rows are a file."""
INPUTS = "inputs/"
"""Before a parameter's name: the file that a run was given there."""
_REFERENCE = re.compile(r"run:(?P<run>[0-9a-z]{26})/(?P<of_run>[^\x00-\x1f\x7f]{1,200})|sample:(?P<sample>\S{1,200})")
MAX_REFERENCE_CHARS = 240


@dataclass(frozen=True, slots=True)
class RunFile:
    """``run:<id>/<name>``: a file that a run wrote, its rows (:data:`ROWS`), or what it was given (:data:`INPUTS`)."""

    run: str
    name: str

    def __str__(self) -> str:
        return f"run:{self.run}/{self.name}"


@dataclass(frozen=True, slots=True)
class SampleFile:
    """``sample:<name>``: a file of the folder ``samples`` beside the job's own file."""

    name: str

    def __str__(self) -> str:
        return f"sample:{self.name}"


Reference = RunFile | SampleFile


def reference(text: str) -> Reference | None:
    """What a text refers to, None for a text that is a content. Blanks around it do not count."""
    if len(text) > MAX_REFERENCE_CHARS:
        return None
    found = _REFERENCE.fullmatch(text.strip())
    if found is None:
        return None
    return SampleFile(found["sample"]) if found["sample"] else RunFile(found["run"], found["of_run"])
