"""Jobs run for the principals who added them: a plug-in of ``people``.

Needs the libraries of the extra ``zope``.
"""

from __future__ import annotations

from typing import Any

from zope.authentication.interfaces import (
    IAuthentication,
    IFallbackUnauthenticatedPrincipal,
    PrincipalLookupError,
)
from zope.component import getSiteManager
from zope.component.hooks import getSite
from zope.publisher.base import BaseRequest
from zope.security.management import (
    getInteraction,
    newInteraction,
    system_user,
    thread_local,
)
from zope.security.proxy import removeSecurityProxy

from lovely.remotetask.errors import PrincipalGone


class ProcessorRequest(BaseRequest):  # type: ignore[misc]
    """What takes part in a job's interaction, in place of a browser's request.

    Tasks find it as ``getInteraction().participations[0]``, and may call its
    ``setPrincipal``.  Absolute URLs need an adapter that is registered for it.
    """

    def __init__(self, *args: Any) -> None:
        """``args``: the positional arguments, as publication requests have them."""
        super().__init__(None, {}, positional=args)


def acting() -> str | None:
    """See `lovely.remotetask.people.People`."""
    for participation in getInteraction().participations:
        principal = removeSecurityProxy(participation.principal)
        if principal is not None:
            return None if principal is system_user else str(principal.id)
    return None


def act_as(principal: str | None) -> None:
    """See `lovely.remotetask.people.People`."""
    request = ProcessorRequest()
    request.setPrincipal(system_user if principal is None else _find(principal))
    # Not ended, or the task could restore it.
    vars(thread_local).clear()
    newInteraction(request)


def _find(principal: str) -> Any:
    """The principal with an id, as the current site knows it."""
    # What does not depend on zope.component's hooks, which need not be set.
    site = getSite()
    registry = getSiteManager() if site is None else site.getSiteManager()
    anybody = registry.queryUtility(IFallbackUnauthenticatedPrincipal)
    if anybody is not None and anybody.id == principal:
        # Those who are not logged in, where nothing else says who they are.
        return anybody
    authentication = registry.queryUtility(IAuthentication)
    if authentication is None:
        raise PrincipalGone(principal)
    try:
        return authentication.getPrincipal(principal)
    except PrincipalLookupError as error:
        raise PrincipalGone(principal) from error
