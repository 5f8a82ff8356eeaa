"""Adds, one per transaction, against bare commits; and their conflicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks.application import Application, application, noop_task, processing
from tests.benchmarks.crew import (
    Crew,
    Turn,
    own_conflicts,
    process_crew,
    thread_crew,
    worker_process,
)
from tests.benchmarks.measure import Comparison, Figure, Scale
from tests.benchmarks.stores import STORES, Address


@contextmanager
def _crew(kind: str, producers: int) -> Iterator[tuple[Crew, Application, Address]]:
    """Producers as they are with this storage: threads, or clients of a server."""
    with ExitStack() as stack:
        address = stack.enter_context(STORES[kind]())
        stack.enter_context(noop_task())
        app = stack.enter_context(application(address, producers))
        if kind == "ZEO":
            crew = stack.enter_context(process_crew(address, producers))
        else:
            crew = stack.enter_context(thread_crew(app, producers))
        yield crew, app, address


def adds(scale: Scale) -> Iterator[Figure]:
    """Adds a second, one per transaction, against bare commits."""
    for kind in STORES:
        for producers, target in ((1, 0.7), (scale.producers, 0.65)):
            yield _adds(kind, producers, target, scale)


def _adds(kind: str, producers: int, target: float, scale: Scale) -> Figure:
    comparison = Comparison()
    with _crew(kind, producers) as (crew, _, _):
        for name in ("add", "bare"):
            crew.turn(name, scale.seconds / 2)  # connections, caches, lanes
        for _ in range(scale.rounds):
            comparison.turn(
                lambda: crew.turn("add", scale.seconds).rate,
                lambda: crew.turn("bare", scale.seconds / 2).rate,
            )
    who = "1 producer" if producers == 1 else f"{producers} producers"
    return comparison.figure(f"adds / bare commits, {kind}, {who}", target)


def conflicts(scale: Scale) -> Iterator[Figure]:
    """Conflicts of 8 producers while a worker runs."""
    for kind, target in (("FileStorage", 2), ("ZEO", 1)):
        with ExitStack() as stack:
            crew, app, address = stack.enter_context(_crew(kind, scale.producers))
            if kind == "ZEO":
                stack.enter_context(worker_process(address))
            else:
                stack.enter_context(processing(app))
            own = stack.enter_context(own_conflicts())
            turns = [crew.turn("add", scale.seconds) for _ in range(scale.rounds)]
            done = app.count("completed")
        yield _conflicts(kind, target, turns, done, own.count)


def _conflicts(
    kind: str, target: float, turns: list[Turn], done: int, own: int
) -> Figure:
    own += sum(turn.own_conflicts for turn in turns)
    added = sum(turn.done for turn in turns)
    return Figure(
        f"conflicts per 1,000 adds, {kind}",
        tuple(1000 * turn.conflicts / turn.done for turn in turns),
        target=target,
        note=f"{added} adds, {done} jobs done, {own} conflicts in own transactions",
    )
