"""Jobs that were added, told when it is sure: for those who count or trace them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from lovely.remotetask.events import JobAdded
    from lovely.remotetask.job import Job

T = TypeVar("T")


class Additions(Generic[T]):
    """What is to be done with jobs that were added, once that is committed.

    Nothing, if the transaction is aborted, or goes back to a savepoint before it.
    """

    def __init__(self, then: Callable[[T], object]) -> None:
        """``then`` is called with what was noted of each job."""
        self._then = then

    def note(self, event: JobAdded, what: T) -> bool:
        """A job was added; False where there is no transaction to wait for."""
        jar = event.service._p_jar
        if jar is None:
            return False
        transaction = jar.transaction_manager.get()
        try:
            added: list[tuple[Job, T]] = transaction.data(self)
        except KeyError:
            added = []
            transaction.set_data(self, added)
            transaction.addAfterCommitHook(self._committed, (added,))
        added.append((event.object, what))
        return True

    def _committed(self, success: bool, added: list[tuple[Job, T]]) -> None:
        if success:
            for job, what in added:
                # What was rolled back belongs to no connection any more.
                if job._p_jar is not None:
                    self._then(what)
