"""``python -m benchmarks [--strict] [NAME ...]``: measure and print. All takes a quarter of an hour."""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    beside,
    bulk,
    cluster,
    crawl_speed,
    first_update,
    generate,
    latency,
    launch,
    machine,
    stages,
    update_cost,
)
from benchmarks.figures import table
from benchmarks.wire import ROOT

BENCHMARKS = {
    "launch": launch.measure,
    "first_update": first_update.measure,
    "latency": latency.measure,
    "stages": stages.measure,
    "update_cost": update_cost.measure,
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
            figures += measure()
    print(f"\n{table(figures)}")
    missed = [figure.name for figure in figures if figure.met is False]
    print(f"\n{'Missed: ' + '; '.join(missed) if missed else 'All limits are met.'}")
    return 1 if missed and wanted.strict else 0


if __name__ == "__main__":
    sys.exit(main())
