"""The queue as a sequence, for those who look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lovely.remotetask.job import Job
from lovely.remotetask.queue import Entry, LaneCursor
from lovely.remotetask.states import QUEUED

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService


class QueueView(Sequence[Job]):
    """The jobs that are queued, in the order of lanes' entries; read-only.

    Its length costs nothing; the rest walks through the queue.
    """

    def __init__(self, service: TaskService) -> None:
        self._service = service

    def __len__(self) -> int:
        return self._service._lanes.count(QUEUED)

    def __iter__(self) -> Iterator[Job]:
        return map(
            self._service.jobs.__getitem__, (entry.jobid for entry in self._entries())
        )

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def _entries(self) -> list[Entry]:
        suspects = [Entry(*entry, noted=True) for entry in self._service._suspects]
        return sorted(filter(self._waits, [*suspects, *self._in_lanes()]))

    def _in_lanes(self) -> Iterator[Entry]:
        for lane in self._service._lanes:
            cursor = LaneCursor(self._service._lanes, lane)
            while (entry := cursor.current()) is not None:
                cursor.advance(entry)
                yield entry

    def _waits(self, entry: Entry) -> bool:
        job = self._service.jobs.get(entry.jobid)
        return job is not None and job.status == QUEUED and entry.is_place_of(job)
