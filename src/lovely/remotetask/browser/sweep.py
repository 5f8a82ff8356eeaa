"""To do the same with all jobs of some statuses, in commits of a bounded size.

A request that takes too long is of no use: it stops after some seconds and tells
where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import transaction

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
    """Call ``act`` with the id of each job, and commit now and then."""
    clock, done = service.environment.monotonic, 0
    end = clock() + SECONDS
    for jobs, following in _batches(service, statuses, place):
        done += sum(bool(act(job.id)) for job in jobs)
        transaction.commit()
        service._p_jar.cacheGC()
        if following is not None and clock() >= end:
            left = any(map(service.count, statuses[following.nth :]))
            return Sweep(done, following if left else None)
    return Sweep(done, None)


def _batches(
    service: Any, statuses: Sequence[str], place: Place
) -> Iterator[tuple[list[Any], Place | None]]:
    """The jobs, and where the next ones are."""
    for index in range(place.nth, len(statuses)):
        start: int | None = place.start if index == place.nth else None
        last = index + 1 == len(statuses)
        while service.count(statuses[index]):
            page = listing.find(
                service,
                status=statuses[index],
                start=start,
                limit=BATCH,
                newest_first=False,
            )
            start = page.next
            if start is None:
                yield page.jobs, None if last else Place(index + 1)
                break
            yield page.jobs, Place(index, start)
