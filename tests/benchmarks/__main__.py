"""The command: run benchmarks, print their figures as they come."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

from tests.benchmarks import (
    adds,
    backlog,
    commands,
    due,
    elsewhere,
    footprint,
    jobs,
    memory,
    pages,
    processes,
    schedule,
    starts,
    watched,
    zopepages,
)
from tests.benchmarks.machine import machine
from tests.benchmarks.measure import FULL, QUICK, Figure, Scale
from tests.benchmarks.report import as_json, as_line

BENCHMARKS: dict[str, Callable[[Scale], Iterator[Figure]]] = {
    "adds": adds.adds,
    "conflicts": adds.conflicts,
    "backlog": backlog.backlog,
    "footprint": footprint.footprint,
    "starts": starts.starts,
    "memory": memory.memory,
    "jobs": jobs.jobs,
    "processes": processes.processes,
    "groups": jobs.groups,
    "process-groups": processes.groups,
    "rivals": processes.rivals,
    "naps": jobs.naps,
    "reach": elsewhere.reach,
    "recovery": elsewhere.recovery,
    "idle": jobs.idle,
    "metrics": watched.metrics,
    "schedule": schedule.schedule,
    "due": due.due,
    "status": commands.status,
    "pages": pages.pages,
    "zope-pages": zopepages.zope_pages,
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is to be run, and how."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure the queue; the exit status tells if a target is missed.",
    )
    listed = "; ".join(f"{name}: {run.__doc__}" for name, run in BENCHMARKS.items())
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones, or all. {listed}"
    )
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="a rough look")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least one")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if every target is reached."""
    options = parse(arguments)
    scale = (QUICK if options.quick else FULL).with_rounds(options.rounds)
    where, found = machine(), {}
    # With --json, standard output is JSON alone.
    stream = sys.stderr if options.json else sys.stdout
    for name, value in where.items():
        print(f"{name}: {value}", file=stream)
    for name in options.names or BENCHMARKS:
        found[name] = []
        for figure in BENCHMARKS[name](scale):
            found[name].append(figure)
            print(f"[{name}] {as_line(figure)}", file=stream, flush=True)
    if options.json:
        print(as_json(where, found))
    missed = any(figure.good is False for all_ in found.values() for figure in all_)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
