"""What is in the database from the first start on: a site with a service."""

from zope.site import LocalSiteManager
from zope.site.folder import Folder

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITaskService


def install(event):
    """Make the site "news" and its service "tasks", unless they are there."""
    with event.database.transaction() as connection:
        root = connection.root()["Application"]
        if "news" in root:
            return
        root["news"] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        # Right in the site its address is short; anywhere below would do.
        site["tasks"] = TaskService()
        manager = site.getSiteManager()
        manager.registerUtility(site["tasks"], ITaskService, name="tasks")
