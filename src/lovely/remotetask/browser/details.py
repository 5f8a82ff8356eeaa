"""What an application shows of its jobs: the views ``<task>_detail`` and ``detail``."""

from __future__ import annotations

import html
from typing import Any

import zope.component
from zope.publisher.browser import BrowserView
from zope.security.checker import getCheckerForInstancesOf
from zope.security.interfaces import Forbidden, Unauthorized
from zope.security.proxy import ProxyFactory, removeSecurityProxy

from lovely.remotetask.browser import display
from lovely.remotetask.browser.base import logger
from lovely.remotetask.values import readable


def detail(job: Any, request: Any) -> str:
    """The HTML that stands for a job, which is located, in a table."""
    view = own_view(job, request)
    if view is None:
        view = zope.component.getMultiAdapter((job, request), name="detail")
    return render(view)


def own_view(job: Any, request: Any) -> Any:
    """The application's view for jobs of this task, or None."""
    return zope.component.queryMultiAdapter((job, request), name=f"{job.task}_detail")


def render(view: Any) -> str:
    """The HTML of a view; if an application's fails, the page still comes."""
    try:
        # With the permission that the application gave it, if it did.
        declared = getCheckerForInstancesOf(type(view)) is not None
        return str((ProxyFactory(view) if declared else view)() or "")
    except (Unauthorized, Forbidden):
        return ""
    except Exception:
        logger.exception("A detail view failed: %r", view)
        return "<em>The view for this failed; the log says why.</em>"


class JobDetail(BrowserView):
    """What a job was given, in short."""

    def __call__(self) -> str:
        job = removeSecurityProxy(self.context)
        given = readable(job, "input")
        return "" if given is None else html.escape(display.short(given))


class CronJobDetail(BrowserView):
    """When a cron job runs."""

    def __call__(self) -> str:
        job = removeSecurityProxy(self.context)
        due = display.moment(job.scheduledFor)
        if job.paused:
            when = "paused"
        else:
            when = f"Scheduled for {due}" if due else "not scheduled"
        return html.escape(f"{when}: {display.schedule(job)}")
