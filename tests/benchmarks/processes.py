"""Worker processes on a ZEO server: how many jobs a second, how many conflicts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from tests.benchmarks.application import Application, application, noop_task
from tests.benchmarks.crew import Crew, process_crew
from tests.benchmarks.jobs import IN_GROUPS, USUAL, use_threads
from tests.benchmarks.measure import Comparison, Figure, Scale
from tests.benchmarks.stores import STORES
from tests.benchmarks.workforce import (
    Member,
    calls,
    settle,
    tell,
    wait_for_calls,
    workforce,
)
from tests.storages import Address

zeo_server = STORES["ZEO"]


class Load(NamedTuple):
    """What producers add: transactions of all in a second (0: as many as they can)."""

    pace: float
    #: Jobs in a transaction.
    bulk: int


LOADS = {"long queue": Load(0, 5), "short queue": Load(60, 1)}


class Round(NamedTuple):
    """What happened while producers added and workers worked."""

    jobs: int
    #: Conflicts of workers, in the library's own transactions and in jobs'.
    own: int
    finishes: int
    #: Conflicts of producers.
    producers: int


@contextmanager
def _site(
    address: Address, count: int, options: dict[str, Any] = USUAL
) -> Iterator[tuple[Application, list[Member]]]:
    """An application and so many worker processes, which rest."""
    with ExitStack() as stack:
        stack.enter_context(noop_task())
        app = stack.enter_context(application(address, count))
        use_threads(app, 1, options)
        yield app, stack.enter_context(workforce(address, count))


def processes(scale: Scale) -> Iterator[Figure]:
    """No-op jobs a second in several processes, against bare commits."""
    count, alone, comparison = scale.workers, [], Comparison()
    with zeo_server() as address, _site(address, count) as (app, members):
        _rate_of_jobs(app, members, scale.jobs // 10)
        for _ in range(scale.rounds):
            comparison.turn(
                lambda: _rate_of_jobs(app, members, scale.jobs),
                lambda: _rate_of_commits(members, scale.seconds),
            )
            alone.append(_rate_of_jobs(app, members[:1], scale.jobs))
    who = f"ZEO, {count} processes"
    yield comparison.figure(f"no-op jobs / bare commits, {who}", 0.6)
    ratios = [a / b for a, b in zip(comparison.rates, alone, strict=True)]
    note = f"one alone: {statistics.median(alone):.0f} a second"
    what = f"no-op jobs / those of one process alone, {who}"
    yield Figure(what, tuple(ratios), "", 1, at_most=False, note=note)


def groups(scale: Scale) -> Iterator[Figure]:
    """No-op jobs a second in two processes, many to a commit."""
    comparison, scale = Comparison(), scale.for_groups()
    with zeo_server() as address, _site(address, 2, IN_GROUPS) as (app, members):
        _rate_of_jobs(app, members, scale.jobs // 10)
        for _ in range(scale.rounds):
            comparison.turn(
                lambda: _rate_of_jobs(app, members, scale.jobs),
                lambda: _rate_of_commits(members, scale.seconds),
            )
    yield comparison.figure("no-op jobs in groups / bare commits, ZEO, 2 processes", 3)


def _rate_of_commits(members: Sequence[Member], seconds: float) -> float:
    return sum(tell(members, seconds / 2))


def _rate_of_jobs(app: Application, members: Sequence[Member], count: int) -> float:
    """Jobs a second, from their commit to the start of the last one."""
    tell(members, "work")
    before, over = calls(members), app.count()
    app.add_many(count, count)
    begun = time.monotonic()
    last = wait_for_calls(members, before + count, 60 + count / 10)
    settle(app, over + count)
    tell(members, "rest")
    return count / (last - begun)


def rivals(scale: Scale) -> Iterator[Figure]:
    """Conflicts of several worker processes, and of producers meanwhile."""
    for queue, load in LOADS.items():
        who = f"ZEO, {scale.workers} processes, {queue}"
        with ExitStack() as stack:
            address = stack.enter_context(zeo_server())
            app, members = stack.enter_context(_site(address, scale.workers))
            crew = stack.enter_context(process_crew(address, scale.producers))
            tell(members, "work")
            _round(app, members, crew, scale, load)  # connections, caches, lanes
            rounds = [
                _round(app, members, crew, scale, load) for _ in range(scale.rounds)
            ]
            tell(members, "rest")
        yield from _conflicts(who, rounds)


def _conflicts(who: str, rounds: list[Round]) -> Iterator[Figure]:
    jobs, own, finishes = (sum(found[i] for found in rounds) for i in range(3))
    yield Figure(
        f"workers' conflicts per 1,000 jobs, {who}",
        tuple(1000 * (found.own + found.finishes) / found.jobs for found in rounds),
        target=20,
        note=f"{jobs} jobs, {own} in own transactions, {finishes} in jobs' finishes",
    )
    yield Figure(
        f"producers' conflicts per 1,000 adds, {who}",
        tuple(1000 * found.producers / found.jobs for found in rounds),
        target=1,
    )


def _round(
    app: Application,
    members: Sequence[Member],
    crew: Crew,
    scale: Scale,
    load: Load,
) -> Round:
    """Producers add for some time; workers run all of that."""
    over, begun, own = app.count(), calls(members), sum(tell(members, "report"))
    turn = crew.turn("add", 10 * scale.seconds, load.pace / scale.producers, load.bulk)
    added = turn.done * load.bulk
    settle(app, over + added)
    own = sum(tell(members, "report")) - own
    # A job is begun again if its commit was a conflict.
    again = calls(members) - begun - added
    return Round(added, own, again, turn.conflicts)
