"""A real application for the pages and for XML-RPC, in this process; a browser.

Pictures of the pages go to the directory that REMOTETASK_PICTURES names.
"""

from __future__ import annotations

import os
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest
import transaction
import waitress
import webtest
import ZODB
from waitress.wasyncore import close_all
from zope.app.wsgi import WSGIPublisherApplication
from zope.component.globalregistry import base
from zope.component.hooks import setHooks, setSite
from zope.error.error import RootErrorReportingUtility
from zope.error.interfaces import IErrorReportingUtility
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager
from zope.testbrowser.wsgi import Browser

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITask, ITaskService
from tests.pages.site import configure
from tests.support import PATIENCE, fail, register
from tests.web.browser import Browser as Chromium
from tests.web.browser import chromium

#: The service's address, below that of the server.
PATH = "/news/tasks"


@pytest.fixture(scope="package")
def configured() -> Iterator[dict[str, Any]]:
    """What the configuration registers; the rest of it is global, and is cleared."""
    with configure() as registered:
        yield registered


class Application:
    """A site with a service, and ways to ask for its pages."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.wsgi = WSGIPublisherApplication(db)
        self.connection = db.open()
        root = self.connection.root()["Application"] = rootFolder()
        root.setSiteManager(LocalSiteManager(root))
        site = root["news"] = Folder()
        site.setSiteManager(LocalSiteManager(site))
        site["tasks"] = TaskService()
        manager = site.getSiteManager()
        manager.registerUtility(site["tasks"], ITaskService, name="tasks")
        root.getSiteManager().registerUtility(
            RootErrorReportingUtility(), IErrorReportingUtility
        )
        transaction.commit()

    @property
    def service(self) -> Any:
        """The service as it is now; what was not committed is taken back."""
        transaction.begin()
        return self.connection.root()["Application"]["news"]["tasks"]

    def add(self, task: str, input: Any = None, **options: Any) -> int:
        """A job that is committed; its id."""
        jobid: int = self.service.add(task, input, **options)
        transaction.commit()
        return jobid

    def run(self) -> None:
        """Run what is due."""
        self.service.process()
        transaction.commit()

    def statuses(self) -> dict[int, str]:
        """The status of every job."""
        return {jobid: job.status for jobid, job in self.service.jobs.items()}

    def client(self, user: str | None = "manager") -> webtest.TestApp:
        """Plain HTTP, as a user."""
        client = webtest.TestApp(self.wsgi)
        if user is not None:
            client.authorization = ("Basic", (user, user))
        return client

    def get(self, page: str, user: str | None = "manager", **options: Any) -> Any:
        """A page below the service."""
        return self.client(user).get(f"{PATH}/{page}", **options)

    def press(self, page: str, button: str, **fields: Any) -> Any:
        """The answer to a button on a page, with other fields, as the manager."""
        client = self.client()
        shown = client.get(f"{PATH}/{page}")
        data = {"__csrftoken__": token_of(shown), button: "1", **fields}
        return client.post(shown.request.path, data)

    def browser(self, page: str = "jobs.html", user: str = "manager") -> Browser:
        """A browser that shows a page below the service."""
        browser = Browser(wsgi_app=self.wsgi)
        password = b64encode(f"{user}:{user}".encode()).decode()
        browser.addHeader("Authorization", f"Basic {password}")
        browser.open(f"http://localhost{PATH}/{page}")
        return browser


def token_of(page: Any) -> str:
    """The token in the forms of a page."""
    return str(page.html.find("input", {"name": "__csrftoken__"})["value"])


@pytest.fixture
def app(configured: dict[str, Any]) -> Iterator[Application]:
    """An application with two tasks more: ``upper``, and ``fail``."""
    vars(base).update(configured)
    setHooks()
    db = ZODB.DB(None)
    app = Application(db)
    register("fail", fail)
    register("upper", str.upper)
    yield app
    for name, _ in list(base.getUtilitiesFor(ITask)):
        if name != "echo":
            base.unregisterUtility(provided=ITask, name=name)
    setSite(None)
    transaction.abort()
    app.connection.close()
    db.close()


@pytest.fixture
def address(app: Application) -> Iterator[str]:
    """The application on a free port of the loopback interface: host and port."""
    server = waitress.create_server(app.wsgi, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"127.0.0.1:{server.effective_port}"
    server.task_dispatcher.shutdown()
    # It runs as long as it has a socket; closing them is left to its own thread.
    server.trigger.pull_trigger(lambda: close_all(server._map, ignore_all=True))
    thread.join(PATIENCE)


@pytest.fixture(scope="package")
def chrome() -> Iterator[Chromium]:
    """A browser."""
    with chromium() as browser:
        browser.command("Network.enable")
        yield browser


def sign_in(browser: Chromium, user: str) -> None:
    """Have a browser's user; what it has kept of another one is forgotten."""
    browser.driver.delete_all_cookies()
    browser.look(1280)
    browser.complaints()
    password = b64encode(f"{user}:{user}".encode()).decode()
    headers = {"Authorization": f"Basic {password}"}
    browser.command("Network.setExtraHTTPHeaders", headers=headers)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get("REMOTETASK_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Caller:
    """XML-RPC clients, one for each user."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._open: list[ServerProxy] = []

    def __call__(self, user: str | None = "manager") -> Any:
        """The service as a user sees it."""
        who = "" if user is None else f"{user}:{user}@"
        server = ServerProxy(f"http://{who}{self._address}{PATH}", allow_none=True)
        self._open.append(server)
        return server

    def close(self) -> None:
        """Close all connections."""
        for server in self._open:
            server("close")()


@pytest.fixture
def call(address: str) -> Iterator[Caller]:
    """Asks over XML-RPC."""
    caller = Caller(address)
    yield caller
    caller.close()
