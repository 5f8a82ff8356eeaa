"""Where a service lies: its path, its database, its site."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, final

from zope.component.hooks import getSite, setSite
from zope.component.interfaces import ISite
from zope.interface import classImplements

from lovely.remotetask.errors import NotInDatabase, ServiceNotFound

#: Where Zope keeps its root folder in the root of the database.
ROOT_FOLDER = "Application"
SITE_MANAGER = "++etc++site"


def declare_location(cls: type) -> None:
    """Let Zope's containers know that a service has a name and a parent.

    They wrap what is not IContained into a proxy, which would hide the service's
    ``__parent__`` from itself, or declare it on each service.  The core can't import
    zope.location, but where there is such a container, it has been imported.
    """
    module = sys.modules.get("zope.location.interfaces")
    if module is not None and not module.IContained.implementedBy(cls):
        classImplements(cls, module.IContained)


def parents(obj: Any) -> Iterator[Any]:
    """The parents of an object, the nearest first."""
    seen = {id(obj)}
    obj = getattr(obj, "__parent__", None)
    while obj is not None and id(obj) not in seen:
        seen.add(id(obj))
        yield obj
        obj = getattr(obj, "__parent__", None)


def names_of(service: Any) -> list[str]:
    """The names on the way to the service, its own last."""
    above = (getattr(parent, "__name__", None) for parent in parents(service))
    path = [name for name in above if name]
    path.reverse()
    return [*path, service.__name__]


def name_of(service: Any) -> str:
    """What logs call a service: the names on the way to it."""
    return "/".join(name or "a service" for name in names_of(service))


def database_of(service: Any) -> Any:
    """The ZODB.DB that a service's path leads through from its root.

    The service itself may be in one that is mounted there.  Raise NotInDatabase.
    """
    for obj in reversed([service, *parents(service)]):
        jar = getattr(obj, "_p_jar", None)
        if jar is not None:
            return jar.db()
    raise NotInDatabase(
        "The service is in no database yet. Put it into one and commit."
    )


def is_closed(db: Any) -> bool:
    """Whether a ZODB.DB has been closed."""
    # The class has a storage too, for its documentation.
    return "storage" not in vars(db)


def path_of(service: Any) -> list[str]:
    """The path by which `find_service` finds the service in its database."""
    path = names_of(service)
    top = [service, *parents(service)][-1]
    jar = getattr(top, "_p_jar", None)
    if jar is None:
        return path
    root = jar.root()
    if top is root or top is root.get(ROOT_FOLDER):
        return path
    for key, value in root.items():
        if value is top:
            return path if getattr(top, "__name__", None) == key else [key, *path]
    return path


def find_service(root: Any, path: Sequence[str]) -> Any:
    """The service at a path, from Zope's root folder or from the root.

    ``root`` is the root of a database as a connection has it.  Raise
    ServiceNotFound.
    """
    starts = [root[ROOT_FOLDER]] if ROOT_FOLDER in root else []
    for start in (*starts, root):
        try:
            found = traverse(start, path)
        except NO_SUCH_ITEM:
            continue
        if hasattr(found, "getAvailableTasks"):
            return found
    raise ServiceNotFound(
        f"There is no task service at {'/'.join(map(str, path))!r}. Has the "
        "transaction that put it there been committed?"
    )


#: What `traverse` raises if it finds nothing.
NO_SUCH_ITEM = (LookupError, AttributeError, TypeError)


def traverse(obj: Any, path: Sequence[str]) -> Any:
    """What lies at the end of these names, from an object.  Raise NO_SUCH_ITEM."""
    for name in path:
        obj = obj.getSiteManager() if name == SITE_MANAGER else obj[name]
    return obj


def nearest_site(obj: Any) -> Any:
    """The site that an object lies in, or None."""
    return next((p for p in parents(obj) if ISite.providedBy(p)), None)


@final
class Surroundings:
    """What a thread has around a task: within, the site is the service's nearest.

    Afterwards all is as it was, whatever the task did to it: the site, and the
    interaction of zope.security where that is used.
    """

    def __init__(self, service: Any) -> None:
        self._site = nearest_site(service)

    def __enter__(self) -> Surroundings:
        self._site_before = getSite()
        self._interactions = dict(interactions())
        if self._site is not None:
            setSite(self._site)
        return self

    def renew(self) -> None:
        """As it was at the beginning: the task has returned."""
        setSite(self._site_before if self._site is None else self._site)
        # The previous one, too, which a task could restore that ended its own.
        now = interactions()
        now.clear()
        now.update(self._interactions)

    def __exit__(self, *raised: object) -> None:
        self.renew()
        if self._site is not None:
            setSite(self._site_before)


def interactions() -> dict[str, Any]:
    """What zope.security keeps for this thread; the core can't import it."""
    module = sys.modules.get("zope.security.management")
    return {} if module is None else vars(module.thread_local)
