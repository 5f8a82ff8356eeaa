"""In front of another WSGI application, at a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lovely.remotetask.errors import InvalidArgument

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def mount(application: Application, prefix: str, dashboard: Application) -> Application:
    """A WSGI application: ``dashboard`` below ``prefix``, ``application`` elsewhere.

    ``prefix`` is the beginning of a path, as ``"/queue"``.  Raise InvalidArgument (a
    ValueError) if it is not.
    """
    if not prefix.startswith("/") or prefix.endswith("/"):
        raise InvalidArgument(f"prefix: as '/queue', not {prefix!r}.")

    def mounted(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path != prefix and not path.startswith(f"{prefix}/"):
            return application(environ, start_response)
        shifted = {
            **environ,
            "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + prefix,
            "PATH_INFO": path[len(prefix) :],
        }
        return dashboard(shifted, start_response)

    return mounted
