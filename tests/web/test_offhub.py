"""Blocking calls off gevent's hub: native threads that meet there must not wait for each other for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT

MEETING = """
from gevent import monkey; monkey.patch_all()
import sys
import gevent
from pathlib import Path
from jobs.bus import Bus, Ear
from jobs.events import Event
from jobs.runs import new_run_id
from jobs.store import NewRun, Store
from web.offhub import off_hub, write_off_hub

folder = Path(sys.argv[1])
store, bus = Store(folder / "headway.db", checkpoints=True), Bus(folder / "bus")
ears = [Ear(folder / "bus", f"web-{number}", selective=True) for number in range(3)]
runs = [new_run_id() for _ in range(20)]
for run in runs:
    store.accept(NewRun(run, "emit", "default", "bench", {}, {}))
    ears[0].watched.add(run)

def tell(run):
    for seq in range(40):
        new_run_id()
        bus.tell([Event(run, seq, "log", 0, "{}")] * 50)
        late = Ear(folder / "bus", f"web-{run}")  # the sender has to list the folder again
        bus.nudge()
        late.close()

def read(run):
    for _ in range(40):
        store.events_after(run, 0)

met = [gevent.spawn(write_off_hub, tell, run) for run in runs] + [gevent.spawn(off_hub, read, run) for run in runs]
gevent.joinall(met, raise_error=True)
print("all met")
"""


def test_threads_that_meet_at_bus_and_store_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEETING, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "all met\n", done.stderr
