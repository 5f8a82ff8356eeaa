"""The dashboard: pages and a JSON API for one task service, as a WSGI application.

It needs the extra ``web``.  `make_app` is the application, `serve` runs it on its own,
`mount` puts it in front of another one.
"""

from __future__ import annotations

from lovely.remotetask.errors import NotInstalled

try:
    from lovely.remotetask.web.app import make_app
    from lovely.remotetask.web.authentication import BasicAuthentication, remote_user
    from lovely.remotetask.web.masking import PATTERNS
    from lovely.remotetask.web.mounting import mount
    from lovely.remotetask.web.serving import create_server, serve
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in {"bcrypt", "jinja2", "pyramid", "waitress"}:
        raise
    raise NotInstalled("The dashboard", "web") from error

__all__ = [
    "PATTERNS",
    "BasicAuthentication",
    "create_server",
    "make_app",
    "mount",
    "remote_user",
    "serve",
]
