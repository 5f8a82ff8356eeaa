"""A service in a site of Zope's, and a job in it that waits."""

from __future__ import annotations

import threading
from typing import Any

import transaction
from zope.site.folder import Folder, rootFolder
from zope.site.site import LocalSiteManager

from lovely.remotetask.service import TaskService
from tests.support import wait_until

#: What the thread of its processor is called.
THREAD = "remotetasks.site1.++etc++site.default.testTaskService1"


def make_site(db: Any) -> Any:
    """Commit a site to Zope's root folder; it, on the thread's connection."""
    root = db.open().root()
    root["Application"] = rootFolder()
    root["Application"]["site1"] = site = Folder()
    site.setSiteManager(LocalSiteManager(site))
    transaction.commit()
    return site


def put_service(site: Any) -> Any:
    """Commit a new service to a site."""
    folder = site.getSiteManager()["default"]
    folder["testTaskService1"] = TaskService()
    transaction.commit()
    return folder["testTaskService1"]


def status(service: Any, jobid: int) -> Any:
    """A job's status as last committed."""
    transaction.begin()
    return service.getStatus(jobid)


def done(service: Any, jobid: int) -> str:
    """How a job ended, when it has."""
    return str(
        wait_until(
            lambda: (s := status(service, jobid)) in ("completed", "error") and s
        )
    )


class Gate:
    """What a job of the task ``wait`` waits for."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, value: Any) -> None:
        self.reached.set()
        assert self.opened.wait(20)
