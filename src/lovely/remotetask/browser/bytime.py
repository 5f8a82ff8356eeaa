"""Jobs by the time at which they were added.

There is no index of times.  Ids follow them, but for threads and processes that add
jobs beside each other: each of them has runs of ids of its own.  So a window of jobs
with neighbouring ids is sorted, and shown page by page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lovely.remotetask import listing
from lovely.remotetask.browser.base import as_number

#: So many jobs are in a window, at most.
WINDOW = 1000

#: The time of a job, in microseconds, and its id, as there may be several.
Mark = tuple[int, int]


def mark_of(job: Any) -> Mark:
    """Where a job is, by time."""
    return job._created, job.id


def read_mark(text: str) -> Mark | None:
    """A mark from its text, ``TIME-ID``; None if it is none."""
    moment, _, jobid = text.partition("-")
    found = as_number(moment), as_number(jobid)
    return None if None in found else found  # type: ignore[return-value]


def last_id(service: Any) -> int:
    """The largest id that there is, or 1."""
    return int(service.jobs.maxKey()) if service.jobs else 1


def has_before(service: Any, jobid: int, step: int) -> bool:
    """Whether there are jobs beyond an id, in the direction of a step."""
    if step > 0:
        return last_id(service) > jobid
    return any(found < jobid for found in service.jobs.keys(None, jobid))


@dataclass(frozen=True)
class Window:
    """Jobs in the order of their times, and what is around them."""

    jobs: list[Any]
    newest_first: bool
    #: The id that the window begins with, and those that its neighbours begin with.
    first: int
    above: int | None
    below: int | None
    looked_at: int

    @classmethod
    def of(
        cls,
        service: Any,
        start: int | None,
        back: bool,
        *,
        newest_first: bool,
        **wanted: Any,
    ) -> Window:
        """The window that begins with an id; or ends with it, if it leads ``back``.

        ``wanted`` is for `lovely.remotetask.listing.find`.
        """
        page = listing.find(
            service,
            start=start,
            limit=WINDOW,
            newest_first=newest_first != back,
            **wanted,
        )
        step = 1 if newest_first else -1
        first, above, below = start, None, page.next
        if back and start is not None:
            first = None if page.next is None else page.next - step
            above, below = page.next, max(1, start - step)
        elif start is not None and has_before(service, start, step):
            above = max(1, start + step)
        if first is None:
            # What is added meanwhile shall not move it.
            first = last_id(service) if newest_first else 1
        jobs = sorted(page.jobs, key=mark_of, reverse=newest_first)
        return cls(jobs, newest_first, first, above, below, page.looked_at)

    def begin(self, after: str, size: int, *, back: bool) -> int:
        """Which job a page begins with: the one after a mark, or else the first.

        Without a mark, ``back`` is the last page of the window.
        """
        mark = read_mark(after)
        if mark is not None:
            seen = [
                mark_of(job) >= mark if self.newest_first else mark_of(job) <= mark
                for job in self.jobs
            ]
            return sum(seen)
        return max(0, len(self.jobs) - size) if back else 0

    def before(self, begin: int, size: int) -> dict[str, Any] | None:
        """What leads to the page before one; None if there is none."""
        if begin > size:
            return {"start": self.first, "after": self._mark(begin - size - 1)}
        if begin > 0:
            return {"start": self.first}
        return None if self.above is None else {"start": self.above, "back": 1}

    def after(self, begin: int, size: int) -> dict[str, Any] | None:
        """What leads to the page after one; None if there is none."""
        if begin + size < len(self.jobs):
            return {"start": self.first, "after": self._mark(begin + size - 1)}
        return None if self.below is None else {"start": self.below}

    def _mark(self, index: int) -> str:
        moment, jobid = mark_of(self.jobs[index])
        return f"{moment}-{jobid}"
