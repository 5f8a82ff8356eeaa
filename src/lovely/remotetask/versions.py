"""Which version of a service's state this code works with.

A service notes the version of what it has in the database.  Where that is another
one, nothing can be done with the service: it can't even be loaded, except by what
converts it (see `lovely.remotetask.evolve`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lovely.remotetask.errors import DatabaseTooNew, DatabaseTooOld

#: The version that this code writes.  It is raised by 1 with each step that is added
#: to `lovely.remotetask.evolve`.
CURRENT = 1

_evolving: ContextVar[bool] = ContextVar("evolving", default=False)


def of(service: Any) -> int:
    """The version of a service's state; 0 is what the ancestor left."""
    version: int = vars(service).get("_version", 0)
    return version


def check(service: Any) -> None:
    """Raise DatabaseTooOld or DatabaseTooNew, unless this code knows the version.

    Within `evolving`, older ones may be loaded.
    """
    version = of(service)
    if version > CURRENT:
        raise DatabaseTooNew(_named(service), version, CURRENT)
    if version < CURRENT and not _evolving.get():
        raise DatabaseTooOld(_named(service), version, CURRENT)


def _named(service: Any) -> str:
    return str(vars(service).get("__name__"))


@contextmanager
def evolving() -> Iterator[None]:
    """Within, this thread may load services of older versions."""
    token = _evolving.set(True)
    try:
        yield
    finally:
        _evolving.reset(token)
