"""What other processes do, and when: a start, and a rescue."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lovely.remotetask.workers import Lease
from tests.benchmarks.application import Application, application, noop_task, registered
from tests.benchmarks.jobs import USUAL, use_threads
from tests.benchmarks.measure import Figure, Scale, elapsed, percentile
from tests.benchmarks.stores import STORES, new_store
from tests.benchmarks.workforce import (
    HANG,
    Member,
    Reporting,
    settle,
    tell,
    wait_for_calls,
    workforce,
)
from tests.storages import Address, missing

#: So long after a job is over, a processor has looked again and sleeps; the rest
#: is at random, lest all samples meet it at the same point of its round.
SETTLE = 0.01
AT_RANDOM = 0.05

#: A short lease, for a measurement that does not take hours.
SHORT = Lease(heartbeat=0.5, seconds=2.0)


def reach(scale: Scale) -> Iterator[Figure]:
    """Milliseconds from the call of add, commit included, to the task's elsewhere."""
    for kind in ("ZEO", "PostgreSQL"):
        if not missing(kind):
            yield from _reach(kind, scale)


def _reach(kind: str, scale: Scale) -> Iterator[Figure]:
    medians, nines, bare = [], [], []
    with ExitStack() as stack:
        address = stack.enter_context(new_store(kind))
        stack.enter_context(noop_task())
        app = stack.enter_context(application(address))
        (member,) = stack.enter_context(workforce(address, 1))
        tell([member], "work")
        for _ in range(3):
            _sample(app, member)
        for _ in range(scale.rounds):
            samples = [1000 * _sample(app, member) for _ in range(scale.starts)]
            medians.append(statistics.median(samples))
            nines.append(percentile(samples, 99))
            bare += [1000 * _bare(app) for _ in range(scale.starts // 10 + 1)]
        tell([member], "rest")
    what = f"add to start in another process, idle, {kind}"
    note = f"two commits; a bare one after a pause takes {statistics.median(bare):.1f}"
    yield Figure(f"{what}: median", tuple(medians), "ms", 5, note=note)
    yield Figure(f"{what}: 99th percentile", tuple(nines), "ms", 30)


def _sample(app: Application, member: Member) -> float:
    """Seconds to the task's start in another process, from the call of add."""
    jobs = app.count()
    calls = member.calls
    begun = time.monotonic()
    app.add()
    started = wait_for_calls([member], calls + 1, 10)
    settle(app, jobs + 1)
    _pause()
    return started - begun


def _bare(app: Application) -> float:
    """Seconds that a bare commit takes after such a pause."""
    _pause()
    return elapsed(app.bare)


def _pause() -> None:
    time.sleep(SETTLE + AT_RANDOM * random.random())


def recovery(scale: Scale) -> Iterator[Figure]:
    """Seconds from the kill of a worker process to its job's start in another."""
    yield _recovery("the same host", Lease(), 2, scale.kills, apart=False)
    yield _recovery("a lost host", SHORT, SHORT.seconds + 5, scale.kills, apart=True)
    if scale.lost_hosts:
        lease = Lease()
        yield _recovery(
            "a lost host", lease, lease.seconds + 5, scale.lost_hosts, apart=True
        )


def _recovery(
    what: str, lease: Lease, target: float, kills: int, *, apart: bool
) -> Figure:
    with _chain(lease, apart=apart) as chain:
        chain.hire()
        samples = tuple(chain.kill() for _ in range(kills))
    median = f"median {statistics.median(samples):.2f} s of {kills}"
    what = f"kill to start elsewhere, {what}, lease {lease.seconds:g} s: longest"
    return Figure(what, (max(samples),), "s", target, note=median)


class Chain:
    """Workers of which each is killed, and the next takes its job."""

    def __init__(
        self, app: Application, address: Address, stack: ExitStack, *, apart: bool
    ) -> None:
        """``apart``: each seems to be on a host of its own."""
        self._app, self._address, self._stack = app, address, stack
        self._apart = apart
        self._members: list[Member] = []

    def hire(self) -> Member:
        """Another worker, which works."""
        index = len(self._members)
        host = f"host{index}" if self._apart else None
        member = Member(self._address, 0, host)
        self._stack.callback(member.close)
        self._members.append(member)
        tell([member], "work")
        return member

    def kill(self) -> float:
        """Kill the only worker in its job; seconds to its start in the next one."""
        jobs, victim = self._app.count(), self._members[-1]
        self._app.add(HANG)
        wait_for_calls([victim], victim.calls + 1, 10)
        heir = self.hire()
        self._wait_for_workers(2)
        # Any point of its round.
        time.sleep(1 + random.random())
        killed = victim.kill()
        started = wait_for_calls([heir], heir.calls + 1, 120)
        settle(self._app, jobs + 1)
        return started - killed

    def _wait_for_workers(self, count: int) -> None:
        end = time.monotonic() + 30
        while len(self._workers()) < count:
            assert time.monotonic() < end, f"there are not {count} workers"
            time.sleep(0.01)

    def _workers(self) -> list[Any]:
        self._app.manager.begin()
        return self._app.service.workers


@contextmanager
def _chain(lease: Lease, *, apart: bool) -> Iterator[Chain]:
    with ExitStack() as stack:
        address = stack.enter_context(STORES["ZEO"]())
        stack.enter_context(registered(Reporting([0, 0]), HANG))
        app = stack.enter_context(application(address))
        options = {**USUAL, "heartbeat": lease.heartbeat, "lease": lease.seconds}
        use_threads(app, 1, options)
        yield Chain(app, address, stack, apart=apart)
