"""What the pages have in common."""

from __future__ import annotations

import logging
from typing import Any

import zope.component
from ZODB.POSException import POSKeyError, StateLoadError
from zope.browserpage.viewpagetemplatefile import ViewPageTemplateFile
from zope.publisher.browser import BrowserPage
from zope.security import checkPermission
from zope.security.interfaces import Unauthorized
from zope.security.proxy import removeSecurityProxy
from zope.traversing.browser.absoluteurl import absoluteURL

from lovely.remotetask.browser import tokens
from lovely.remotetask.sites import names_of

MANAGE = "lovely.remotetask.Manage"

#: What a browser may load and do on our pages: our style sheet, our forms, no script.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'self'; frame-ancestors 'none'"
)

#: What is raised by what can't be loaded from the database.
UNREADABLE = (POSKeyError, StateLoadError)

logger = logging.getLogger("lovely.remotetask")


class Frame(BrowserPage):
    """The page around the pages: a macro, which an application can replace.

    It registers a page of this name, with the same macro, for its own layer.
    """

    index = ViewPageTemplateFile("frame.pt")

    def __call__(self) -> str:
        # It is no page by itself.
        self.request.response.setStatus(404)
        return ""

    @property
    def page(self) -> Any:
        """The macro."""
        return self.index.macros["page"]

    def harden(self) -> None:
        """Headers for pages that need no script and stand in no frame."""
        for name, value in (
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            self.request.response.setHeader(name, value)


class Page(BrowserPage):
    """A page about a service, or about something in it.

    The permission of the page has been checked, so it works on what is behind the
    security proxies.  What changes something asks for `MANAGE` as well.
    """

    #: What is wrong, for the reader.
    error: str = ""
    refused = ViewPageTemplateFile("refused.pt")
    unreadable = ViewPageTemplateFile("unreadable.pt")

    @property
    def frame(self) -> Any:
        """What is around the page."""
        return zope.component.getMultiAdapter(
            (self.context, self.request), name="remotetask-frame"
        )

    @property
    def object(self) -> Any:
        """What the page is about."""
        return removeSecurityProxy(self.context)

    @property
    def service(self) -> Any:
        """The service."""
        return self.object

    @property
    def name(self) -> str:
        """The way to the service."""
        return "/".join(names_of(self.service))

    @property
    def token(self) -> str:
        """For the forms."""
        return tokens.token(self.request)

    def url(self, object: Any = None) -> str:
        """The address of an object; of the service, if none is given."""
        return str(absoluteURL(object or self.service, self.request))

    @property
    def may_manage(self) -> bool:
        """Whether the reader may change something."""
        return bool(checkPermission(MANAGE, self.service))

    def check_manager(self) -> None:
        """Raise Unauthorized."""
        if not self.may_manage:
            raise Unauthorized(self.object, "change", MANAGE)

    def refuse(self) -> str:
        """What is answered to a form that is not ours."""
        self.request.response.setStatus(403)
        return str(self.refused())

    def show(self, template: Any) -> str:
        """What a template makes of it, or of what can't be loaded."""
        try:
            return str(template())
        except UNREADABLE:
            logger.exception("A page can't be shown: %s", self.request.getURL())
            return self.show_unreadable()

    def show_unreadable(self) -> str:
        """What is said instead, as an error of the server."""
        self.request.response.setStatus(500)
        return str(self.unreadable())

    def text(self, name: str) -> str:
        """A field of the request, stripped; empty if there is none, or several."""
        value = self.request.form.get(name)
        return value.strip() if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """A field of the request as a number from 0 on, or None."""
        return as_number(self.text(name))


def as_number(text: Any) -> int | None:
    """A text of some digits as a number; else None."""
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    return None
