"""Where a service lies: its path, its database, its site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import transaction
import zope.component.hooks
from zope.security.management import endInteraction, newInteraction, queryInteraction
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager

from lovely.remotetask import sites
from lovely.remotetask.errors import NotInDatabase, ServiceNotFound
from lovely.remotetask.service import TaskService


@pytest.fixture
def root(db: Any) -> Any:
    """The root of a database."""
    return db.open().root()


def put(folder: Any, name: str = "tasks") -> TaskService:
    """A service in a folder."""
    folder[name] = TaskService()
    return folder[name]  # type: ignore[no-any-return]


def check(service: TaskService, root: Any, path: list[str]) -> None:
    """A service has this path, and is found by it."""
    transaction.commit()
    assert sites.path_of(service) == path
    assert sites.find_service(root, path) is service
    assert sites.database_of(service) is root._p_jar.db()


def test_in_zope(root: Any) -> None:
    """A path leads from Zope's root folder, if there is one."""
    root["Application"] = rootFolder()
    root["Application"]["a"] = Folder()
    check(put(root["Application"]), root, ["tasks"])
    check(put(root["Application"]["a"]), root, ["a", "tasks"])


def test_under_another_root(root: Any) -> None:
    """A tree under another key of the root is found by that key."""
    root["app"] = Folder()
    root["app"]["a"] = Folder()
    check(put(root["app"]["a"]), root, ["app", "a", "tasks"])
    root["named"] = named = Folder()
    named.__name__ = "named"
    check(put(named), root, ["named", "tasks"])


def test_in_the_root(root: Any) -> None:
    """A service may lie in the database's root itself."""
    root["tasks"] = service = TaskService()
    service.__parent__, service.__name__ = root, "tasks"
    check(service, root, ["tasks"])


def test_in_a_site(root: Any) -> None:
    """The site manager is a step of the path."""
    root["Application"] = rootFolder()
    root["Application"]["s"] = site = Folder()
    site.setSiteManager(LocalSiteManager(site))
    service = put(site.getSiteManager()["default"])
    check(service, root, ["s", "++etc++site", "default", "tasks"])
    assert sites.nearest_site(service) is site


def test_nowhere(root: Any) -> None:
    """A tree that is not in the root has the names that it has."""
    top = Folder()
    top.__name__ = "top"
    service = put(top)
    assert sites.path_of(service) == ["top", "tasks"]
    with pytest.raises(NotInDatabase):
        sites.database_of(service)
    root._p_jar.add(top)
    assert sites.path_of(service) == ["top", "tasks"]
    assert sites.nearest_site(service) is None


@pytest.mark.parametrize(
    "steps",
    [["gone"], ["app"], ["app", "gone"], ["app", "++etc++site"], ["app", 5], []],
)
def test_not_found(root: Any, steps: list[Any]) -> None:
    """What is no service at the end of a path is none."""
    root["app"] = Folder()
    root["Application"] = rootFolder()
    with pytest.raises(ServiceNotFound, match="no task service at"):
        sites.find_service(root, steps)


def test_parents_in_a_circle() -> None:
    """Parents that lead back to the start come to an end."""
    one, two = Folder(), Folder()
    one.__parent__, two.__parent__ = two, one
    assert list(sites.parents(one)) == [two]


@pytest.fixture
def site() -> Iterator[Any]:
    """The current site, with an interaction that has begun."""
    site = Folder()
    site.setSiteManager(LocalSiteManager(site))
    zope.component.hooks.setSite(site)
    newInteraction()
    yield site
    endInteraction()


def test_surroundings_without_a_site(site: Any) -> None:
    """Where there is no site, the current one stays."""
    with sites.Surroundings(TaskService()):
        assert zope.component.hooks.getSite() is site
    assert zope.component.hooks.getSite() is site


def end_both() -> None:
    """As a task might: no site, no interaction."""
    zope.component.hooks.setSite(None)
    endInteraction()


def begin_others() -> None:
    """As a task might: another site, another interaction."""
    other = Folder()
    other.setSiteManager(LocalSiteManager(other))
    zope.component.hooks.setSite(other)
    endInteraction()
    newInteraction()


@pytest.mark.parametrize("change", [end_both, begin_others])
def test_surroundings_are_restored(site: Any, change: Callable[[], None]) -> None:
    """What a task makes of its site and its interaction is undone."""
    interaction = queryInteraction()
    with sites.Surroundings(TaskService()) as surroundings:
        change()
        surroundings.renew()
        assert zope.component.hooks.getSite() is site
        assert queryInteraction() is interaction
        change()
    assert zope.component.hooks.getSite() is site
    assert queryInteraction() is interaction
