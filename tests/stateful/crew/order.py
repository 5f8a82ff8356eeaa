"""Whether jobs are claimed in the order that is promised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from lovely.remotetask.checks import NOW, chain
from lovely.remotetask.queue import FOREIGN_LATER, Entry
from lovely.remotetask.states import QUEUED, SCHEDULED


class Turn(NamedTuple):
    """When a job asked for its place, or is due, and where it waits."""

    moment: int
    jobid: int
    where: tuple[Any, ...]


def places(service: Any) -> dict[int, list[tuple[Any, ...]]]:
    """Where each job waits, by id."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)

    def note(entry: Entry, *where: Any) -> None:
        job = service.jobs.get(entry.jobid)
        if job is not None and entry.is_place_of(job):
            found[entry.jobid].append((*where, entry))

    for lane in service._lanes:
        for entry in _entries(service, lane):
            note(entry, "lane", lane.key)
    for suspect in service._suspects:
        note(Entry(*suspect, noted=True), "suspects")
    for due, jobid in service._schedule:
        job = service.jobs.get(jobid)
        if job is not None and job.status in SCHEDULED and job.place == due:
            found[jobid].append(("schedule", due))
    return found


def _entries(service: Any, lane: Any) -> Iterator[Entry]:
    """The entries of a lane that its head has not passed."""
    slot, index = lane.head.slot, lane.head.index
    for block in chain(service, lane):
        for job in block.jobs[slot:]:
            if job is not None:
                yield Entry(job._created, job.id)
        for position in range(index, block.log_length):
            yield Entry(*block.entry(position), noted=True)
        slot = index = 0


def waiting(service: Any) -> dict[int, Turn]:
    """The jobs that wait, as committed; a cron job's turn is not promised."""
    found = {}
    for jobid, where in places(service).items():
        job = service.jobs[jobid]
        if job.task != "cron" and where and job.status in {QUEUED, *SCHEDULED}:
            if job.status == QUEUED:
                found[jobid] = Turn(job.stamp, jobid, where[0][:2])
            else:
                found[jobid] = Turn(job.due_at(NOW), jobid, ("schedule",))
    return found


def check_order(
    turns: dict[int, Turn],
    taken: list[int],
    limit: int,
    given_back: Collection[int],
    *,
    alone: bool,
) -> None:
    """What was taken is older than what was left.

    Strictly so within a lane, and if a worker is ``alone``; else a job of another
    worker's lane comes first only if it is older by some seconds.
    """
    mine = [turns[i] for i in taken if i in turns and i not in given_back]
    if not mine or len(taken) < limit:
        return
    last = max(mine)
    for jobid in turns.keys() - set(taken) - set(given_back):
        left = turns[jobid]
        same_lane = last.where == left.where and left.where[0] == "lane"
        slack = 0 if alone or same_lane else FOREIGN_LATER
        assert left.moment + slack >= last.moment, f"{left} was left for {last}"
