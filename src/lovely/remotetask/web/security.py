"""Who may come in, from where; and what browsers are told.

All of it is around the views, errors included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pyramid.httpexceptions import (
    HTTPForbidden,
    HTTPLengthRequired,
    HTTPRequestEntityTooLarge,
    HTTPUnauthorized,
    HTTPUnsupportedMediaType,
)

from lovely.remotetask.web.authentication import local_user
from lovely.remotetask.web.problems import as_json, error_view, problem_of

#: Nothing from elsewhere; no script and no style within a page; in no frame.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Whoever asks: they tell nothing of jobs.
OPEN = frozenset({"/healthz", "/readyz"})

#: The longest body, in bytes.
LONGEST_BODY = 1_000_000

#: How browsers send the pages' forms.
FORM = "application/x-www-form-urlencoded"

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Handler = Callable[[Any], Any]


def guard_factory(handler: Handler, registry: Any) -> Handler:
    """A tween: lets in who may, and tells the browser what holds."""

    def guard(request: Any) -> Any:
        # Only & parts fields; WebOb would have it that a semicolon does, too.
        request.query_string = request.query_string.replace(";", "%3B")
        try:
            # Whatever comes later reads them.
            _ = request.path_info, request.GET
        except UnicodeDecodeError as error:
            return as_json(problem_of(error))
        try:
            request.user = "" if request.path_info in OPEN else identify(request)
            check_origin(request)
            check_body(request)
        except Exception as error:
            request.user = ""
            response = error_view(error, request)
        else:
            response = handler(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        # What is static says itself for how long it is good.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return guard


def identify(request: Any) -> str:
    """Who asks.  Raise HTTPUnauthorized or HTTPForbidden if it is nobody."""
    policy = request.dashboard.authentication
    user = (policy or local_user)(request)
    if user and isinstance(user, str):
        return user
    challenge = getattr(policy, "challenge", None)
    if challenge is not None:
        raise HTTPUnauthorized(
            "A name and a password are needed.", headers={"WWW-Authenticate": challenge}
        )
    if policy is None:
        raise HTTPForbidden(
            "Without an authentication, the dashboard is only for the machine that it "
            "runs on, at http://localhost or http://127.0.0.1."
        )
    raise HTTPForbidden("You may not see this.")


def check_origin(request: Any) -> None:
    """Raise HTTPForbidden if a change comes from a page of another site.

    Browsers say where a request comes from; what is no browser need not.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        foreign = origin is not None and _host_of(origin) != _host(request.host)
    if foreign:
        raise HTTPForbidden("The request came from another site.")


def check_body(request: Any) -> None:
    """Before a body is read: raise HTTPRequestEntityTooLarge, HTTPLengthRequired, or
    HTTPUnsupportedMediaType if it is not as the pages' forms are sent.
    """
    if (request.content_length or 0) > LONGEST_BODY:
        raise HTTPRequestEntityTooLarge(f"The body: at most {LONGEST_BODY:,} bytes.")
    if request.content_length is None and "Transfer-Encoding" in request.headers:
        raise HTTPLengthRequired("The body: its length is needed.")
    if request.method in SAFE_METHODS or request.path_info.startswith("/api/"):
        return
    if request.content_type not in {"", FORM}:
        raise HTTPUnsupportedMediaType(f"The body: {FORM} is needed.")


def _host_of(origin: str) -> str | None:
    """The host of an origin; None if it is none."""
    try:
        return _host(urlsplit(origin).netloc)
    except ValueError:
        return None


def _host(host: str) -> str:
    """A host without the port that goes without saying."""
    return host.lower().removesuffix(":80").removesuffix(":443")
