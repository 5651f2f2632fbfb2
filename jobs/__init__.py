"""Jobs, runs and their progress: everything between "launch this" and "this happened", without a web framework.

The way of the data, one direction::

    launch.py     validates the parameters, records the run, wakes the runner
    runner.py     claims the run, gives it a thread, or a child process (isolation.py)
    execution.py  one run's life: calls the job, makes one honest end of whatever happens
    progress.py   what the job holds in its hand: its calls become drafts of events
    recorder.py   takes the drafts from one queue.Queue, has them numbered and written
    store.py      the database, the truth
    bus.py        tells the other processes that the store has something new

This package knows no Flask and no gevent; ``web/`` is the door to it. What a job's author needs is imported here.
"""

from jobs.charts.svg import draw as draw_chart
from jobs.checkpoint import Checkpoint
from jobs.errors import JobError
from jobs.figures import chart, image, markdown
from jobs.parameters import File, Param, Secret
from jobs.progress import Progress
from jobs.registry import job
from jobs.tables.reader import TableReader, TableRow
from jobs.tables.writer import TableWriter, cell

__all__ = [
    "Checkpoint",
    "File",
    "JobError",
    "Param",
    "Progress",
    "Secret",
    "TableReader",
    "TableRow",
    "TableWriter",
    "cell",
    "chart",
    "draw_chart",
    "image",
    "job",
    "markdown",
]
