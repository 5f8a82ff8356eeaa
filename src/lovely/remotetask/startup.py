"""Start-up: which services are to be processed as soon as there is a database.

A directive is ``SITE@SERVICE``: the name of a site in the root folder, or none for the
root folder itself, and the name that a service is registered by.  ``*`` stands for
all: the root folder and the sites right in it, or all services of a site.  A site
further down is called by the names on the way to it, ``news/archive``.  In Zope,
directives come from the product configuration; others call `start`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from zope.component.hooks import getSite, setSite
from zope.component.interfaces import ISite

from lovely.remotetask.errors import InvalidType, NotInDatabase
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.own import reading
from lovely.remotetask.sites import NO_SUCH_ITEM, ROOT_FOLDER, nearest_site, traverse

log = logging.getLogger("lovely.remotetask")

ALL = "*"


def getAutostartServiceNames() -> list[str]:
    """The directives of the product configuration ``lovely.remotetask``."""
    try:
        from zope.app.appsetup.product import getProductConfiguration
    except ModuleNotFoundError:
        return []
    configuration = getProductConfiguration("lovely.remotetask") or {}
    names = (configuration.get("autostart") or "").split(",")
    return [name.strip() for name in names if name.strip()]


def bootStrapSubscriber(event: Any) -> None:
    """A database has been opened, or `IStartRemoteTasksEvent`: start what is to be."""
    directives = getattr(event, "serviceNames", None)
    if directives is None:
        directives = getAutostartServiceNames()
    log.info("handling event IStartRemoteTasksEvent")
    start(event.database, directives)


def start(db: Any, directives: Iterable[str]) -> int:
    """Start processing services in the background; return how many were started.

    ``db``
        the ZODB.DB that they are in, as last committed.
    ``directives``
        ``SITE@SERVICE``, strings.  What is wrong with one is logged, and the others
        are followed.

    Without sites, names of folders and services stand for themselves, as in
    ``root['folder']['service']``.  Raise InvalidType (a TypeError) for no list.
    """
    if isinstance(directives, (str, bytes)) or not isinstance(directives, Iterable):
        raise InvalidType(
            f"directives: a list of str is needed, such as ['*@*'], not {directives!r}."
        )
    site = getSite()
    with reading(db) as connection:
        try:
            root = connection.root()
            return sum(_follow(str(directive), root) for directive in directives)
        finally:
            setSite(site)


class Place(NamedTuple):
    """Where services are looked for, and what it is called in the log."""

    name: str
    folders: tuple[Any, ...]


def _follow(directive: str, root: Any) -> int:
    """Follow one directive; how many services were started."""
    site, at, service = (part.strip() for part in directive.partition("@"))
    if not at or not service or "@" in service:
        log.error("directive %s is not SITE@SERVICE", directive)
        log.warning("no services started by directive %s", directive)
        return 0
    exactly = ALL not in (site, service)
    try:
        places = _places(root, site)
        started = sum(_start_in(place, service, exactly) for place in places)
    except Exception:
        log.exception("error in directive %s", directive)
        return 0
    if not started and places and not exactly:
        log.warning("no services started by directive %s", directive)
    return started


def _places(root: Any, site: str) -> list[Place]:
    """Where a directive leads to, from the root of the database."""
    folder = root.get(ROOT_FOLDER, root)
    # A service may also lie beside Zope's root folder.
    top = Place("root", (folder,) if folder is root else (folder, root))
    if not site:
        return [top]
    if site == ALL:
        sites = [(n, f) for n, f in folder.items() if ISite.providedBy(f)]
        return [top, *(Place(name, (found,)) for name, found in sites)]
    try:
        return [Place(site, (traverse(folder, site.split("/")),))]
    except NO_SUCH_ITEM:
        log.error("site %s not found", site)
        return []


def _start_in(place: Place, name: str, exactly: bool) -> int:
    """Start the services of this name in a place; how many were started."""
    found = (_services(folder, name) for folder in place.folders)
    services = list(chain.from_iterable(found))
    if not services and exactly:
        log.error("service %s on site %s not found", name, place.name)
    return sum(_start_one(place, name, service) for name, service in services)


def _services(folder: Any, name: str) -> list[tuple[str, Any]]:
    """The services of this name: registered in a site, or else items of a folder."""
    if not ISite.providedBy(folder):
        # A document is no place for services, but has been named as one.
        with suppress(AttributeError):
            items = folder.items() if name == ALL else [(name, folder.get(name))]
            return [pair for pair in items if ITaskService.providedBy(pair[1])]
        return []
    manager = folder.getSiteManager()
    if name == ALL and nearest_site(folder) is None:
        # What is registered globally belongs to no other site.
        return list(manager.getUtilitiesFor(ITaskService))
    if name == ALL:
        return [
            (registration.name, registration.component)
            for registration in manager.registeredUtilities()
            if registration.provided.isOrExtends(ITaskService)
        ]
    service = manager.queryUtility(ITaskService, name)
    return [] if service is None else [(name, service)]


def _start_one(place: Place, name: str, service: Any) -> bool:
    """Start one service, unless it is being processed; whether it was started."""
    try:
        if service.isProcessing():
            return False
        setSite(nearest_site(service))
        service.startProcessing()
        if service.__parent__ is None:
            raise NotInDatabase("It has no parent: put it into a container.")
    except Exception:
        log.exception("service %s on site %s could not be started", name, place.name)
        return False
    log.info("service %s on site %s started", name, place.name)
    return True
