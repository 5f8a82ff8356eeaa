"""To do the same with all jobs of some statuses, in commits of a bounded size.

A request that takes too long is of no use: it stops after some seconds and tells
where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import transaction
from transaction.interfaces import TransientError

from lovely.remotetask import listing

#: How long a request goes on (seconds), and how many jobs it changes in a commit.
SECONDS, BATCH = 5.0, 200


class Place(NamedTuple):
    """Where to go on: with which of the statuses, and from which id on."""

    nth: int = 0
    start: int | None = None

    def __str__(self) -> str:
        return f"{self.nth}-{'' if self.start is None else self.start}"

    @classmethod
    def read(cls, text: str) -> Place:
        """From its text; the beginning, if that is none."""
        index, _, start = text.partition("-")
        try:
            return cls(min(abs(int(index)), 9), int(start) if start else None)
        except ValueError:
            return cls()


@dataclass
class Sweep:
    """What was done, and where to go on; None at the end."""

    done: int
    place: Place | None


def sweep(
    service: Any,
    statuses: Sequence[str],
    act: Callable[[int], bool],
    place: Place,
) -> Sweep:
    """Call ``act`` with the id of each job, and commit now and then.

    A batch that others have disturbed is begun again, and is smaller then: what has
    been committed before stays, and is counted once.
    """
    clock, done, size = service.environment.monotonic, 0, BATCH
    end = clock() + SECONDS
    following: Place | None = place
    while following is not None:
        jobs, after = _batch(service, statuses, following, size)
        try:
            changed = sum(bool(act(jobid)) for jobid in jobs)
            transaction.commit()
        except TransientError:
            transaction.abort()
            size = max(1, size // 2)
        else:
            done, following = done + changed, after
            size = min(2 * size, BATCH)
        service._p_jar.cacheGC()
        if following is not None and clock() >= end:
            left = any(map(service.count, statuses[following.nth :]))
            return Sweep(done, following if left else None)
    return Sweep(done, None)


def _batch(
    service: Any, statuses: Sequence[str], place: Place, size: int
) -> tuple[list[int], Place | None]:
    """The ids of some jobs, and where the next ones are; None if that was all."""
    index, start = place
    while index < len(statuses) and not service.count(statuses[index]):
        index, start = index + 1, None
    if index >= len(statuses):
        return [], None
    page = listing.find(
        service,
        status=statuses[index],
        start=start,
        limit=size,
        newest_first=False,
    )
    after = Place(index + 1) if page.next is None else Place(index, page.next)
    over = after.nth == len(statuses)
    return [job.id for job in page.jobs], None if over else after
