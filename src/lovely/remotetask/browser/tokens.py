"""Whether a page of ours asked for a change: a token in the form and in a cookie.

Another site can make a browser send a form, with the cookie, but it can't read the
cookie to put the same token into the form.  Cookie and field are those of
zope.formlib, so that its forms can stand beside ours.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

#: The name of the cookie and of the form's field.
NAME = "__csrftoken__"


def token(request: Any) -> str:
    """The token for forms on a page; the cookie is set if there is none yet."""
    found = request.getCookies().get(NAME)
    if not found:
        set_now = request.response.getCookie(NAME)
        found = set_now and set_now["value"]
    if not found:
        found = secrets.token_urlsafe(32)
        secure = request.getURL().startswith("https:")
        # No expiry: it goes when the browser is closed.
        request.response.setCookie(
            NAME, found, path="/", httpOnly=True, sameSite="Lax", secure=secure
        )
    return str(found)


def is_own(request: Any) -> bool:
    """Whether a request comes from a form of ours: posted, with the token."""
    sent, cookie = request.form.get(NAME), request.getCookies().get(NAME)
    # Browsers that know tell where a request comes from; sites next door may
    # set our cookies, but not this.
    origin = request.getHeader("Sec-Fetch-Site") or "same-origin"
    return (
        request.method == "POST"
        and origin in {"same-origin", "none"}
        and isinstance(sent, str)
        and bool(cookie)
        and hmac.compare_digest(sent.encode(), str(cookie).encode())
    )
