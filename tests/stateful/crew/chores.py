"""What the jobs of these tests do; what they write tells how often they did it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from persistent import Persistent
from ZODB.POSException import ConflictError

from lovely.remotetask.current import current
from lovely.remotetask.errors import TaskError
from lovely.remotetask.retry import RetryPolicy
from tests.support import provide

#: After a failure; up to half of the pause is left out.
POLICY = RetryPolicy(2, delay=4.0, factor=1.0, jitter=0.5)

#: What an attempt may be: it works; it writes what others write; it has a conflict at
#: first; it adds a job; it fails for good; it fails once; it always fails.
KINDS = ("count", "share", "clash", "bear", "fail", "flaky", "hopeless")
#: Those that end well at last, if nobody cancels them.
GOOD = frozenset({"count", "share", "clash", "bear", "flaky", "cron"})


class Effect(Persistent):
    """What a job has written: of attempts that have not failed, if all is well."""

    done = 0
    #: The job that it has added.
    child: int | None = None
    #: Of a cron job: what its runs were for.
    runs: tuple[datetime | None, ...] = ()


class Tally(Persistent):
    """What several jobs write."""

    value = 0


class Chore:
    """A task of one kind."""

    inputSchema = outputSchema = None
    retry = POLICY

    def __init__(self, kind: str, halt: Callable[[], None]) -> None:
        self._kind, self._halt = kind, halt
        #: How often each job was begun.
        self._begun: Counter[int] = Counter()

    def __call__(self, service: Any, jobid: int, effect: Effect) -> None:
        job = service.jobs[jobid]
        effect.done += 1
        if self._kind == "cron":
            effect.runs = (*effect.runs, job.runFor)
        elif self._kind == "share":
            service.__parent__["tally"].value += 1
        elif self._kind == "bear":
            effect.child = service.add("count", Effect())
        self._halt()
        current().checkCancelled()
        self._fail(jobid, job.failed)

    def _fail(self, jobid: int, failed: int) -> None:
        self._begun[jobid] += 1
        if self._kind == "clash" and self._begun[jobid] % 2:
            raise ConflictError
        if self._kind == "fail":
            raise TaskError("as told")
        if self._kind == "hopeless" or (self._kind == "flaky" and not failed):
            raise RuntimeError("as told")


def register_chores(halt: Callable[[], None]) -> None:
    """Make tasks of all kinds; on the way, each calls a function."""
    for kind in (*KINDS, "cron"):
        provide(kind, Chore(kind, halt))
