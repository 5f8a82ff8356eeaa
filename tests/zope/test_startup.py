"""What is processed as soon as there is a database."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import zope.component.event
import zope.event
from zope.app.appsetup import product
from zope.component.hooks import getSite, setSite
from zope.processlifetime import DatabaseOpenedWithRoot
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager

import lovely.remotetask.service
from lovely.remotetask import TaskService, startup
from lovely.remotetask.errors import InvalidType, NotInstalled
from lovely.remotetask.events import StartRemoteTasks
from lovely.remotetask.interfaces import ITaskService
from lovely.remotetask.service import bootStrapSubscriber, getAutostartServiceNames
from tests.support import PATIENCE, open_connections
from tests.zope.configuration import configure

HANDLING = ("INFO", "handling event IStartRemoteTasksEvent")


def started(service: str, site: str) -> tuple[str, str]:
    """The line that tells of a service that has been started."""
    return ("INFO", f"service {service} on site {site} started")


def nothing(directive: str) -> tuple[str, str]:
    """The line that tells of a directive without an effect."""
    return ("WARNING", f"no services started by directive {directive}")


def make_site(folder: Any) -> Any:
    """A folder becomes a site; its site manager."""
    if not hasattr(folder, "_sm") or folder._sm is None:
        folder.setSiteManager(LocalSiteManager(folder))
    return folder.getSiteManager()


def put(folder: Any, *names: str, factory: Any = TaskService) -> None:
    """Services in a site, registered under names."""
    manager = make_site(folder)
    for name in names:
        manager["default"][name.lower()] = factory()
        service = manager["default"][name.lower()]
        manager.registerUtility(service, ITaskService, name=name)


@pytest.fixture
def app(db: Any) -> Iterator[Any]:
    """Three sites with services, a folder, and something else, in a database."""
    root = db.open().root()["Application"] = rootFolder()
    for name in ("site1", "site2", "empty", "folder"):
        root[name] = Folder()
    put(root, "RootService")
    put(root["site1"], "Service1", "Other")
    put(root["site2"], "Service2")
    make_site(root["empty"])
    root["site2"]["inner"] = Folder()
    put(root["site2"]["inner"], "Inner")
    transaction.commit()
    yield root
    for service in services(root):
        assert service.stopProcessing(wait=True, timeout=PATIENCE)


def services(root: Any) -> list[Any]:
    """All services that are registered in a site."""
    folders = (root, *root.values(), root["site2"]["inner"])
    sites = [f for f in folders if getattr(f, "_sm", None) is not None]
    return [
        registration.component
        for site in sites
        for registration in site.getSiteManager().registeredUtilities()
        if registration.provided is ITaskService
    ]


def processed(root: Any) -> list[str]:
    """The names of the services that are processed."""
    return sorted(s.__name__ for s in services(root) if s.isProcessing())


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Any:
    """What has been logged: a function that returns levels and messages."""
    caplog.set_level(logging.INFO, "lovely.remotetask")

    def lines() -> list[tuple[str, str]]:
        own = [r for r in caplog.records if r.name == "lovely.remotetask"]
        caplog.clear()
        return [(record.levelname, record.getMessage()) for record in own]

    return lines


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    """The product configuration is as before, afterwards."""
    before = product.saveConfiguration()
    yield
    product.restoreConfiguration(before)


def autostart(value: str) -> None:
    """As in zope.conf."""
    product.setProductConfiguration("lovely.remotetask", {"autostart": value})


EVERYTHING = [
    started("RootService", "root"),
    started("Service1", "site1"),
    started("Other", "site1"),
    started("Service2", "site2"),
]

DIRECTIVES: list[tuple[str, list[tuple[str, str]], list[str]]] = [
    ("site1@Service1", [started("Service1", "site1")], ["service1"]),
    ("@RootService", [started("RootService", "root")], ["rootservice"]),
    (
        "site1@Service1, site3@Service3,@RootService",
        [
            started("Service1", "site1"),
            ("ERROR", "site site3 not found"),
            started("RootService", "root"),
        ],
        ["rootservice", "service1"],
    ),
    (
        "site1@*",
        [started("Service1", "site1"), started("Other", "site1")],
        ["other", "service1"],
    ),
    ("@*", [started("RootService", "root")], ["rootservice"]),
    ("*@*", EVERYTHING, ["other", "rootservice", "service1", "service2"]),
    ("*@Service1", [started("Service1", "site1")], ["service1"]),
    ("*@RootService", [started("RootService", "root")], ["rootservice"]),
    ("*@Foo", [nothing("*@Foo")], []),
    ("empty@*", [nothing("empty@*")], []),
    ("folder@*", [nothing("folder@*")], []),
    ("site1@Foo", [("ERROR", "service Foo on site site1 not found")], []),
    ("folder@Foo", [("ERROR", "service Foo on site folder not found")], []),
    ("site3@*", [("ERROR", "site site3 not found")], []),
    (
        "Service1",
        [("ERROR", "directive Service1 is not SITE@SERVICE"), nothing("Service1")],
        [],
    ),
    (
        "site1@",
        [("ERROR", "directive site1@ is not SITE@SERVICE"), nothing("site1@")],
        [],
    ),
    ("a@b@c", [("ERROR", "directive a@b@c is not SITE@SERVICE"), nothing("a@b@c")], []),
    ("site2/inner@Inner", [started("Inner", "site2/inner")], ["inner"]),
    ("site2/inner@*", [started("Inner", "site2/inner")], ["inner"]),
    ("site2/gone@Inner", [("ERROR", "site site2/gone not found")], []),
    ("RootService/x@*", [("ERROR", "site RootService/x not found")], []),
    (" site1 @ Service1 ", [started("Service1", "site1")], ["service1"]),
    ("", [], []),
    (" , ", [], []),
]


@pytest.mark.parametrize(("value", "lines", "names"), DIRECTIVES)
def test_directives(
    app: Any, log: Any, value: str, lines: list[Any], names: list[str]
) -> None:
    """Each directive starts what it names, and the log says so."""
    autostart(value)
    bootStrapSubscriber(DatabaseOpenedWithRoot(app._p_jar.db()))
    found = log()
    assert found[0] == HANDLING
    assert sorted(found[1:]) == sorted(lines)
    assert processed(app) == names


def test_globally_registered(db: Any, app: Any, log: Any) -> None:
    """What is registered globally, and lies anywhere, counts as the root folder's."""
    app["global"] = service = TaskService()
    transaction.commit()
    zope.component.provideUtility(service, ITaskService, name="Global")
    try:
        assert startup.start(db, ["site1@*"]) == 2
        log()
        assert startup.start(db, ["*@*"]) == 3
        assert started("Global", "root") in log()
        assert service.isProcessing()
    finally:
        assert service.stopProcessing(wait=True, timeout=PATIENCE)


def test_order(db: Any, app: Any, log: Any) -> None:
    """Directives are followed in their order, the root folder before the sites."""
    assert startup.start(db, ["site2@Service2", "*@*"]) == 4
    lines = log()
    assert lines[:2] == [started("Service2", "site2"), started("RootService", "root")]


def test_twice(db: Any, app: Any, log: Any) -> None:
    """What is processed already is left alone."""
    assert startup.start(db, ["*@*"]) == 4
    threads = [service._threadName() for service in services(app)]
    log()
    assert startup.start(db, ["site1@Service1", "*@*"]) == 0
    assert log() == [nothing("*@*")]
    assert [service._threadName() for service in services(app)] == threads


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("site1@TestTaskService1, @Root", ["site1@TestTaskService1", "@Root"]),
        ("", []),
        (",a@b,,", ["a@b"]),
    ],
)
def test_names(value: str, names: list[str]) -> None:
    """The directives of the product configuration are separated by commas."""
    autostart(value)
    assert getAutostartServiceNames() == names


def test_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configuration, or without Zope's, nothing is to be started."""
    assert getAutostartServiceNames() == []
    product.setProductConfiguration("lovely.remotetask", {})
    assert getAutostartServiceNames() == []
    monkeypatch.setitem(sys.modules, "zope.app.appsetup.product", None)
    assert getAutostartServiceNames() == []


def test_nothing_leaks(db: Any, app: Any) -> None:
    """Fault 20: connections are closed, the site and the transaction are as before.

    Also where a site is missing, with ``*``, or where there is no ``@``.
    """
    site = app["site2"]
    setSite(site)
    app["mine"] = Folder()
    before = open_connections(db)
    for directive in ("*@Foo", "nowhere@*", "nonsense", "empty@*"):
        startup.start(db, [directive])
    assert open_connections(db) == before
    assert getSite() is site
    startup.start(db, ["site1@*", "site2/inner@*"])
    assert getSite() is site
    for service in services(app):
        assert service.stopProcessing(wait=True, timeout=PATIENCE)
    assert open_connections(db) == before
    transaction.commit()
    assert "mine" in app


class Stubborn(TaskService):
    """A service that can't be started."""

    def startProcessing(self) -> None:
        raise RuntimeError("I won't.")


class Watchful(TaskService):
    """A service that notes in which site it was started."""

    sites: list[Any] = []  # noqa: RUF012

    def startProcessing(self) -> None:
        self.sites.append(getattr(getSite(), "__name__", None))
        super().startProcessing()


def test_errors(db: Any, app: Any, log: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong with one service is logged; the others are started."""
    put(app["site1"], "A", factory=Stubborn)
    put(app["site1"], "B")
    app["site1"].getSiteManager()["default"]["b"].processorArguments = {"bad": 1}
    app["site1"].getSiteManager().registerUtility(
        TaskService(), ITaskService, name="Homeless"
    )
    transaction.commit()
    before = open_connections(db)
    assert startup.start(db, ["site1@A", "site1@*", "*@B", "@RootService"]) == 3
    errors = [r for r in caplog.records if r.levelname == "ERROR"]
    text = caplog.text
    assert "service A on site site1 could not be started" in text
    assert "I won't." in text
    assert "service B on site site1 could not be started" in text
    assert "processorArguments: " in text
    assert "service Homeless on site site1 could not be started" in text
    assert len(errors) == 5
    assert nothing("*@B") in log()
    assert processed(app) == ["other", "rootservice", "service1"]
    assert open_connections(db) >= before


def test_a_broken_site(
    db: Any, app: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """An error in a whole directive is logged, and the next one is followed."""

    def broken(*args: Any) -> Any:
        raise RuntimeError("It is broken.")

    monkeypatch.setattr(startup, "_services", broken)
    assert startup.start(db, ["@RootService"]) == 0
    monkeypatch.undo()
    assert "error in directive @RootService" in caplog.text
    assert "It is broken." in caplog.text
    assert startup.start(db, ["@RootService"]) == 1


def test_in_their_site(db: Any, app: Any) -> None:
    """A service is started in its site, as its own code may expect."""
    put(app["site2"], "W", factory=Watchful)
    transaction.commit()
    Watchful.sites.clear()
    startup.start(db, ["*@W"])
    assert Watchful.sites == ["site2"]
    assert getSite() is None


@pytest.mark.parametrize("directives", ["*@tasks", b"*@tasks", None, 5])
def test_a_list(db: Any, directives: Any) -> None:
    """What is no list of directives is refused."""
    with pytest.raises(InvalidType, match=r"such as \['\*@\*'\], not ") as caught:
        startup.start(db, directives)
    assert repr(directives) in str(caught.value)


def test_without_sites(db: Any, log: Any) -> None:
    """Without Zope's root folder and sites, names stand for themselves."""
    root = db.open().root()
    root["folder"] = folder = Folder()
    for parent, name in ((root, "tasks"), (folder, "more")):
        service = TaskService()
        service.__parent__, service.__name__ = parent, name
        parent[name] = service
    root["document"] = "a document"
    folder.__parent__ = root
    folder.__name__ = "folder"
    transaction.commit()
    found = [root["tasks"], folder["more"]]
    try:
        assert startup.start(db, ["@tasks", "folder@more", "document@x"]) == 2
        assert log() == [
            started("tasks", "root"),
            started("more", "folder"),
            ("ERROR", "service x on site document not found"),
        ]
        assert all(service.isProcessing() for service in found)
        for service in found:
            assert service.stopProcessing(wait=True, timeout=PATIENCE)
        assert startup.start(db, ["@*", "folder@*"]) == 2
    finally:
        for service in found:
            assert service.stopProcessing(wait=True, timeout=PATIENCE)


def test_beside_the_root_folder(db: Any, app: Any, log: Any) -> None:
    """A service in the root of the database is found in an application of Zope."""
    root = app._p_jar.root()
    root["beside"] = service = Watchful()
    service.__parent__, service.__name__ = root, "beside"
    transaction.commit()
    Watchful.sites.clear()
    try:
        for directive in ("@beside", "@*"):
            log()
            assert startup.start(db, [directive])
            assert started("beside", "root") in log()
            assert service.stopProcessing(wait=True, timeout=PATIENCE)
    finally:
        assert service.stopProcessing(wait=True, timeout=PATIENCE)
    assert Watchful.sites == [None, None]


def test_events(db: Any, app: Any, log: Any) -> None:
    """ZCML subscribes to the opened database, and to the event for other times."""
    configure()
    autostart("site1@Service1")
    zope.event.notify(DatabaseOpenedWithRoot(db))
    assert log() == [HANDLING, started("Service1", "site1")]
    zope.event.notify(StartRemoteTasks(db, ["@RootService"]))
    assert log() == [HANDLING, started("RootService", "root")]
    autostart("site2@*")
    zope.event.notify(StartRemoteTasks(db))
    assert log() == [HANDLING, started("Service2", "site2")]


def test_where_the_names_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that were the service's are still there, where the extra is."""
    service = lovely.remotetask.service
    assert service.bootStrapSubscriber is startup.bootStrapSubscriber
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        service.nothing  # noqa: B018
    monkeypatch.setitem(sys.modules, "lovely.remotetask.startup", None)
    with pytest.raises(NotInstalled, match=r"lovely.remotetask\[zope\]"):
        service.bootStrapSubscriber  # noqa: B018


ZOPE_CONF = """
site-definition {folder}/site.zcml

<zodb>
  <filestorage>
    path {folder}/Data.fs
  </filestorage>
</zodb>

<eventlog>
  <logfile>
    path STDOUT
    format %(levelname)s %(message)s
  </logfile>
</eventlog>

<product-config lovely.remotetask>
  autostart news@tasks, gone@tasks, @nothing, *@nothing
</product-config>
"""

SITE_ZCML = """
<configure xmlns="http://namespaces.zope.org/zope">
  <include package="zope.component" file="meta.zcml" />
  <include package="zope.security" file="meta.zcml" />
  <include package="zope.security" file="permissions.zcml" />
  <include package="lovely.remotetask" />
  <subscriber
      for="zope.processlifetime.IDatabaseOpened"
      handler="zope.app.appsetup.bootstrap.bootStrapSubscriber"
      />
</configure>
"""

APPLICATION = """
import sys
import transaction
import zope.app.wsgi
from zope.component.hooks import setSite
from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITaskService
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager
import ZODB
from tests.support import wait_until

folder = sys.argv[1]
db = ZODB.DB(folder + "/Data.fs")
with db.transaction() as connection:
    root = connection.root()["Application"] = rootFolder()
    root.setSiteManager(LocalSiteManager(root))
    site = root["news"] = Folder()
    site.setSiteManager(LocalSiteManager(site))
    manager = site.getSiteManager()
    manager["default"]["tasks"] = TaskService()
    manager.registerUtility(manager["default"]["tasks"], ITaskService, name="tasks")
db.close()

db = zope.app.wsgi.config(folder + "/zope.conf")
connection = db.open()
site = connection.root()["Application"]["news"]
service = site.getSiteManager()["default"]["tasks"]
jobid = service.add("echo", "hello")
transaction.commit()
wait_until(lambda: transaction.begin() and service.getStatus(jobid) == "completed")
print("RESULT", service.getResult(jobid))
assert service.stopProcessing(wait=True, timeout=20)
transaction.abort()
connection.close()
db.close()
"""


def test_a_real_application(tmp_path: Path) -> None:
    """zope.app.wsgi, its zope.conf and the ZCML are all that is needed."""
    (tmp_path / "zope.conf").write_text(ZOPE_CONF.format(folder=tmp_path))
    (tmp_path / "site.zcml").write_text(SITE_ZCML)
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(APPLICATION), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line for line in run.stdout.splitlines() if ": job " not in line]
    assert lines[lines.index("INFO handling event IStartRemoteTasksEvent") :] == [
        "INFO handling event IStartRemoteTasksEvent",
        "INFO service tasks on site news started",
        "ERROR site gone not found",
        "ERROR service nothing on site root not found",
        "WARNING no services started by directive *@nothing",
        "RESULT hello",
    ]
