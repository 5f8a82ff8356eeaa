"""Finding the service in a database: by its path, by its name, or as the only one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from zope.component.interfaces import ISite

from lovely.remotetask.cli.problems import Unusable
from lovely.remotetask.cli.text import listed
from lovely.remotetask.errors import RemoteTaskError, ServiceNotFound
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.sites import ROOT_FOLDER, find_service, path_of

#: A search looks at so many objects, at most, and at so many in one container.
MOST_OBJECTS = 2000
MOST_CHILDREN = 500
#: And no deeper than this.
DEPTH = 6
#: What can't be a container or a service.
PLAIN = (str, bytes, int, float, tuple, frozenset, type(None))

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A service: its path, and the names under which it is a utility."""

    path: tuple[str, ...]
    names: frozenset[str]

    def __str__(self) -> str:
        return shown(self.path)


def shown(path: tuple[str, ...]) -> str:
    """A path as a user writes it."""
    return "/" + "/".join(path)


def locate(root: Any, wanted: str | None) -> tuple[str, ...]:
    """The path of the service that is wanted.  Raise Unusable.

    ``wanted`` is a path, or the name of a utility; without one, the only service.
    """
    if wanted:
        path = tuple(name for name in wanted.split("/") if name)
        try:
            find_service(root, path)
            return path
        except ServiceNotFound:
            return _by_name(root, wanted)
    search = Search(root)
    found = search.all()
    if len(found) == 1 and search.complete:
        return found[0].path
    raise Unusable(_advice(found, search.complete))


def _by_name(root: Any, wanted: str) -> tuple[str, ...]:
    search = Search(root)
    found = search.all()
    named = [each for each in found if wanted in each.names]
    if len(named) == 1:
        return named[0].path
    if named:
        raise Unusable(
            f"Several services have the name {wanted!r}. Give one's path with "
            f"--service: {listed(named)}."
        )
    where = "Those found are" if found else "None was found"
    rest = f": {listed(found)}." if found else "."
    raise Unusable(
        f"There is no task service at {wanted!r}. {where}{rest} Give one with "
        "--service."
    )


def _advice(found: list[Found], complete: bool) -> str:
    if not found and complete:
        return (
            "There is no task service in this database. Is it the right one? If so, "
            "put a TaskService into it and commit."
        )
    if not found:
        return (
            f"No task service is among the first {MOST_OBJECTS:,} objects of this "
            "database. Give its path with --service."
        )
    if complete:
        return f"There are several services. Give one with --service: {listed(found)}."
    return (
        f"The database is too large to search it all; found so far: {listed(found)}. "
        "Give the path with --service."
    )


class Search:
    """A search through the containers of a database, the upper ones first."""

    def __init__(self, root: Any) -> None:
        self._root = root
        #: Whether everything has been looked at.
        self.complete = True
        #: By their identity, with the objects, so that it stays their own.
        self._found: dict[int, tuple[Any, Found]] = {}
        self._waiting: deque[tuple[tuple[str, ...], Any]] = deque()

    def all(self) -> list[Found]:
        """The services that are there, as far as the search goes."""
        if ROOT_FOLDER in self._root:
            self._waiting.append(((), self._root[ROOT_FOLDER]))
        self._waiting.append(((), self._root))
        seen: dict[int, Any] = {}
        while self._waiting and len(seen) < MOST_OBJECTS:
            path, obj = self._waiting.popleft()
            if id(obj) in seen:
                continue
            seen[id(obj)] = obj
            try:
                self._look(path, obj)
            except RemoteTaskError:
                raise
            except Exception:
                # Of the application's objects anything can be expected.
                log.debug("not searched: %s", shown(path), exc_info=True)
        self.complete = self.complete and not self._waiting
        return [found for _, found in self._found.values()]

    def _look(self, path: tuple[str, ...], obj: Any) -> None:
        if _is_service(obj):
            self._add(path, obj, None)
            return
        for service, name in _utilities(obj):
            self._add(tuple(path_of(service)), service, name)
        if len(path) < DEPTH and _is_container(obj):
            self._look_into(path, obj)

    def _add(self, path: tuple[str, ...], service: Any, name: str | None) -> None:
        _, before = self._found.get(id(service), (None, Found(path, frozenset())))
        more = {name, getattr(service, "__name__", None)} - {None}
        found = Found(before.path, before.names | frozenset(map(str, more)))
        self._found[id(service)] = service, found

    def _look_into(self, path: tuple[str, ...], obj: Any) -> None:
        """Note what is in a container, to be looked at later."""
        items = iter(obj.items())
        for name, child in islice(items, MOST_CHILDREN):
            if len(self._waiting) == MOST_OBJECTS:
                break
            if isinstance(name, str) and name and not isinstance(child, PLAIN):
                self._waiting.append(((*path, name), child))
        if next(items, None) is not None:
            self.complete = False


def _is_service(obj: Any) -> bool:
    return ITaskService.providedBy(obj) or (
        hasattr(obj, "getAvailableTasks") and hasattr(obj, "startProcessing")
    )


def _utilities(obj: Any) -> Iterator[tuple[Any, str]]:
    """The services that are utilities of a site, with their names."""
    if not ISite.providedBy(obj):
        return
    for registration in obj.getSiteManager().registeredUtilities():
        if registration.provided.isOrExtends(ITaskService):
            yield registration.component, registration.name


def _is_container(obj: Any) -> bool:
    return isinstance(obj, Mapping) or (
        hasattr(obj, "items") and hasattr(obj, "__getitem__")
    )
