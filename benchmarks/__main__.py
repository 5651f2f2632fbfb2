"""``python -m benchmarks [--strict] [NAME ...]``: measure and print. All takes about twenty minutes."""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    beside,
    bulk,
    cluster,
    crawl_speed,
    crowd,
    fanout,
    first_update,
    flat,
    generate,
    idle_streams,
    late,
    latency,
    launch,
    machine,
    many_runs,
    stages,
    update_cost,
    watched,
)
from benchmarks.figures import table
from benchmarks.programs import Missing, not_measured
from benchmarks.wire import ROOT

BENCHMARKS = {
    "launch": launch.measure,
    "first_update": first_update.measure,
    "latency": latency.measure,
    "stages": stages.measure,
    "update_cost": update_cost.measure,
    "fanout": fanout.measure,
    "crowd": crowd.measure,
    "many_runs": many_runs.measure,
    "watched": watched.measure,
    "idle_streams": idle_streams.measure,
    "late": late.measure,
    "flat": flat.measure,
    "crawl": crawl_speed.measure,
    "cluster": cluster.measure,
    "bulk": bulk.measure,
    "generate": generate.measure,
    "beside": beside.measure,
}


def main() -> int:
    """Run the benchmarks; 1 where a limit is missed and that is to count (``--strict``), else 0."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("only", nargs="*", metavar="NAME", help=f"some of: {', '.join(BENCHMARKS)}; without it all")
    options.add_argument("--strict", action="store_true", help="exit with 1 when a limit is missed")
    wanted = options.parse_args()
    if unknown := set(wanted.only) - BENCHMARKS.keys():
        options.error(f"there is no benchmark {min(unknown)!r}")
    print(machine.description(ROOT), flush=True)
    figures = []
    for name, measure in BENCHMARKS.items():
        if not wanted.only or name in wanted.only:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            try:
                figures += measure()
            except Missing as missing:
                figures.append(not_measured(name, missing))
    print(f"\n{table(figures)}")
    missed = [figure.name for figure in figures if figure.met is False]
    unmeasured = [figure.name for figure in figures if not figure.samples]
    if unmeasured:
        print(f"\nNot measured: {'; '.join(unmeasured)}")
    print(f"\n{'Missed: ' + '; '.join(missed) if missed else 'All limits are met.'}")
    return 1 if missed and wanted.strict else 0


if __name__ == "__main__":
    sys.exit(main())
