"""The service, for each request on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import InvalidType
from lovely.remotetask.own import commit_retrying, connected, forgetting, reading
from lovely.remotetask.sites import Surroundings, find_service

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

T = TypeVar("T")


def path_from(path: str | Sequence[str]) -> list[str]:
    """The names on the way to a service, of a list or of ``"site/tasks"``.

    Raise InvalidType (a TypeError).
    """
    names = path.strip("/").split("/") if isinstance(path, str) else list(path)
    given: list[Any] = names
    if not given or not all(name and isinstance(name, str) for name in given):
        raise InvalidType(f"service_path: names are needed, each a str, not {path!r}.")
    return names


class Store:
    """A database, and where in it the service is.

    The caller's transactions have nothing to do with those that are begun here.
    """

    def __init__(self, db: Any, path: str | Sequence[str]) -> None:
        """``path``: names, or one str with slashes.  Raise InvalidType."""
        self._db, self.path = db, path_from(path)

    @contextmanager
    def reading(self) -> Iterator[TaskService]:
        """Within, the service as last committed; what is written to it is dropped.

        Raise ServiceNotFound, and what a storage raises that can't be reached.
        """
        with reading(self._db) as connection, forgetting(connection):
            service = find_service(connection.root(), self.path)
            with Surroundings(service):
                yield service

    def change(self, work: Callable[[TaskService], T], note: str, user: str) -> T:
        """Call ``work`` with the service and commit; its result.

        Conflicts are tried again, so ``work`` may be called several times.  ``note``
        and ``user`` say in the database's history what was done, and by whom.
        Raise as `reading`; what ``work`` raises; and the last conflict.
        """
        with connected(self._db) as connection, forgetting(connection):
            manager = connection.transaction_manager

            def attempt() -> T:
                manager.get().note(note)
                manager.get().setUser(user, "remotetask")
                service = find_service(connection.root(), self.path)
                with Surroundings(service):
                    return work(service)

            return commit_retrying(manager, Environment(), attempt)
