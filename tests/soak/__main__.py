"""The command: soak a service, and tell by the exit status whether all held."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing

from tests.soak.auditor import Auditor
from tests.soak.conductor import Options, conductor
from tests.storages import SHARED, missing, open_database, store


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """How long, where and how hard."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, required=True, help="how long")
    parser.add_argument("--kind", choices=SHARED, default="ZEO", help="which storage")
    parser.add_argument(
        "--rate", type=float, default=40.0, help="transactions a second, all producers"
    )
    parser.add_argument("--kills", action="store_true", help="kill workers meanwhile")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.rate <= 0:
        parser.error("--minutes, --rate: more than 0")
    reason = missing(options.kind)
    if reason is not None:
        parser.error(f"--kind: {reason}")
    return options


def soak(kind: str, options: Options) -> list[str]:
    """Soak a new service in a new store; what was wrong."""
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        store(kind, directory) as address,
        closing(open_database(address)) as db,
        closing(Auditor(db, kills=options.kills)) as auditor,
        conductor(address, auditor, options) as running,
    ):
        return running.run()


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main(
    arguments: Sequence[str] | None = None, say: Callable[[str], None] = say
) -> int:
    """Soak as asked; 0 if all held."""
    given = parse(arguments)
    options = Options(60 * given.minutes, given.rate, given.kills, say)
    problems = soak(given.kind, options)
    for problem in problems:
        say(f"PROBLEM: {problem}")
    say("it failed" if problems else "all held")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
