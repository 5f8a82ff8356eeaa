"""What is in the database from the first start on, and where one comes in."""

from zope.publisher.browser import BrowserView
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


class Start(BrowserView):
    """The pages of the folders: they lead to the jobs."""

    def __call__(self):
        self.request.response.redirect(
            f"{self.request.getApplicationURL()}/news/tasks", status=303
        )
        return ""
