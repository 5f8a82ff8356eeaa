"""The way to a job: SERVICE/ID, and its views below."""

from __future__ import annotations

from typing import Any

import zope.component
from zope.interface import implementer
from zope.location import LocationProxy
from zope.publisher.defaultview import getDefaultViewName
from zope.publisher.interfaces import NotFound
from zope.publisher.interfaces.browser import IBrowserPublisher
from zope.security.checker import selectChecker
from zope.security.proxy import ProxyFactory, removeSecurityProxy

from lovely.remotetask.browser.base import UNREADABLE, as_number


def located(job: Any, service: Any) -> Any:
    """A job that knows where it is."""
    return LocationProxy(job, service, str(job.id))


@implementer(IBrowserPublisher)
class ServiceTraverser:
    """From a service to its jobs and views."""

    def __init__(self, context: Any, request: Any) -> None:
        self.context, self.request = context, request

    def browserDefault(self, request: Any) -> tuple[Any, tuple[str]]:
        return self.context, (getDefaultViewName(self.context, request),)

    def publishTraverse(self, request: Any, name: str) -> Any:
        jobid = as_number(name)
        if jobid is None:
            view = zope.component.queryMultiAdapter((self.context, request), name=name)
            if view is None:
                raise NotFound(self.context, name, request)
            return view
        service = removeSecurityProxy(self.context)
        job = service.jobs.get(jobid)
        if job is not None and _is_readable(job):
            # The checker is that of the job: the proxy for the location has none.
            return ProxyFactory(located(job, service), selectChecker(job))
        view = zope.component.getMultiAdapter(
            (self.context, request), name="remotetask-nojob"
        )
        removeSecurityProxy(view).tell(jobid, is_there=job is not None)
        return view


def _is_readable(job: Any) -> bool:
    """Whether a job can be loaded; if not, ZODB logs why."""
    try:
        job._p_activate()
    except UNREADABLE:
        return False
    return True
