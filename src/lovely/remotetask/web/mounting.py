"""Where the dashboard is: in front of another application, and behind a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyramid.request import Request

from lovely.remotetask.errors import InvalidArgument

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class WithinSite:
    """A Pyramid application that leads to its own pages by their paths alone.

    Behind a server that speaks HTTPS, it does not know how browsers call it; one that
    is sent from HTTPS to HTTP refuses.
    """

    def __init__(self, router: Any) -> None:
        self._router = router
        self.registry = router.registry

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        here = Request(environ).host_url

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            told = [(n, _within(v, here) if n == "Location" else v) for n, v in headers]
            return start_response(status, told, *more)

        answer: Iterable[bytes] = self._router(environ, start)
        return answer


def _within(url: str, here: str) -> str:
    return url.removeprefix(here) if url.startswith(f"{here}/") else url


def mount(application: Application, prefix: str, dashboard: Application) -> Application:
    """A WSGI application: ``dashboard`` below ``prefix``, ``application`` elsewhere.

    ``prefix`` is the beginning of a path, as ``"/queue"``.  Raise InvalidArgument (a
    ValueError) if it is not.
    """
    if not prefix.startswith("/") or prefix.endswith("/"):
        raise InvalidArgument(f"prefix: as '/queue', not {prefix!r}.")
    # As paths are in an environ.
    prefix = prefix.encode().decode("latin-1")

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
