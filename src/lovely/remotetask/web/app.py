"""The WSGI application."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.httpexceptions import (
    HTTPException,
    HTTPMethodNotAllowed,
    HTTPNotFound,
)
from pyramid.static import QueryStringConstantCacheBuster
from pyramid.tweens import EXCVIEW

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidType
from lovely.remotetask.web import api, forms, health, masking, pages
from lovely.remotetask.web.mounting import WithinSite
from lovely.remotetask.web.problems import error_view
from lovely.remotetask.web.rendering import render
from lovely.remotetask.web.settings import Authentication, Settings
from lovely.remotetask.web.store import Store

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

View = Callable[[Any], Any]
Page = Callable[[Any, "TaskService"], "dict[str, Any]"]

#: An id in an address: no longer than the largest.
ID = "{id:[0-9]{1,18}}"

#: For so long a browser may keep what is static: its address has the version.
MONTH = 30 * 24 * 3600

CSRF_COOKIE = "remotetask_csrf"


def make_app(
    db: Any,
    service_path: str | Sequence[str],
    *,
    allow_changes: bool | Callable[[str], bool] = False,
    authentication: Authentication | None = None,
    mask: Iterable[str] = masking.PATTERNS,
    tasks: Collection[str] = (),
    title: str | None = None,
    refresh: float = 5.0,
    metrics: Any = None,
) -> Any:
    """A WSGI application: the dashboard of one service, at whatever path it is mounted.

    ``db``, ``service_path``
        a ZODB.DB, and the names on the way to the service, or one str with slashes.
    ``allow_changes``
        whether jobs can be cancelled, retried, removed ...; or a callable that is
        given the name of who asks.
    ``authentication``
        who asks: a callable that is given a Pyramid request, and returns a name, or
        None for nobody.  Without one, only who sits at this machine is let in.
    ``mask``
        regular expressions for the names of what is not shown, in inputs and outputs.
    ``tasks``
        the names of the tasks that may be added over the API.
    ``title``
        what the pages are called; the name of the service by default.
    ``refresh``
        how often pages look for news, in seconds.
    ``metrics``
        a WSGI application, such as `lovely.remotetask.metrics.make_app` makes, to be
        shown at ``/metrics``; who may see the pages may see it.

    Raise InvalidType (a TypeError) or InvalidArgument (a ValueError).
    """
    if isinstance(tasks, str):
        raise InvalidType("tasks: several names are needed, not one str.")
    store = Store(db, service_path)
    settings = Settings(
        store=store,
        allow_changes=allow_changes,
        authentication=authentication,
        mask=masking.Mask(mask),
        tasks=frozenset(tasks),
        title=title or store.path[-1],
        refresh=max(1.0, times.check_seconds("refresh", refresh)),
    )
    config = Configurator()
    config.registry.dashboard = settings
    _add_surroundings(config)
    _add_pages(config)
    _add_forms(config)
    if metrics is not None:
        _add(config, "metrics", "/metrics", GET=lambda r: r.get_response(metrics))
    for path, operations in api.by_path().items():
        name = f"api {path}"
        config.add_route(name, api.PREFIX + path.replace("{id}", ID))
        config.add_view(api.view(operations), route_name=name, require_csrf=False)
    return WithinSite(config.make_wsgi_app())


def _add_surroundings(config: Any) -> None:
    """What each request has, and what is around each view."""
    config.add_request_method(
        lambda request: request.registry.dashboard, "dashboard", reify=True
    )
    config.add_request_method(
        lambda request: request.dashboard.may_change(request.user),
        "may_change",
        reify=True,
    )
    config.add_request_method(_url_for, "url_for")
    config.add_request_method(_url_of_file, "url_of_file")
    config.set_csrf_storage_policy(
        CookieCSRFStoragePolicy(CSRF_COOKIE, httponly=True, samesite="Strict")
    )
    config.set_default_csrf_options(require_csrf=True)
    config.add_tween("lovely.remotetask.web.security.guard_factory", over=EXCVIEW)
    # For the latter Pyramid has a view of its own, else.
    for context in (Exception, HTTPException):
        config.add_exception_view(error_view, context=context)
    config.add_notfound_view(_not_found)
    config.add_static_view(
        "static",
        "lovely.remotetask.web:static",
        cache_max_age=MONTH,
        request_method="GET",
    )
    config.add_cache_buster(
        "lovely.remotetask.web:static", QueryStringConstantCacheBuster(health.VERSION)
    )


def _add_pages(config: Any) -> None:
    """What is looked at."""
    for name, path, page in (
        ("overview", "/", pages.overview),
        ("jobs", "/jobs", pages.jobs),
        ("job", f"/jobs/{ID}", pages.job),
        ("queue", "/queue", pages.queue),
        ("schedule", "/schedule", pages.schedule),
        ("workers", "/workers", pages.workers),
    ):
        _add(config, name, path, GET=_shown(name, page))
    _add(config, "healthz", "/healthz", GET=health.alive)
    _add(config, "readyz", "/readyz", GET=health.ready)


def _add_forms(config: Any) -> None:
    """What is asked, and what is done."""
    _add(
        config,
        "act",
        f"/jobs/{ID}/{{verb}}",
        GET=_shown("confirm", forms.ask),
        POST=forms.act,
    )
    _add(
        config,
        "bulk",
        "/bulk",
        GET=_shown("confirm", forms.ask_bulk),
        POST=forms.act_bulk,
    )
    _add(config, "live", "/live", POST=forms.set_live)


def _add(config: Any, name: str, path: str, **views: View) -> None:
    """A path, with what it does by the method."""
    allowed = ", ".join(("HEAD", *views) if "GET" in views else views)

    def view(request: Any) -> Any:
        method = "GET" if request.method == "HEAD" else request.method
        if method not in views:
            raise HTTPMethodNotAllowed(
                f"{request.method} is not possible here.", headers={"Allow": allowed}
            )
        return views[method](request)

    config.add_route(name, path)
    config.add_view(view, route_name=name)


def _shown(template: str, page: Page) -> View:
    """A view that shows a page in the service's transaction."""

    def view(request: Any) -> Any:
        with request.dashboard.store.reading() as service:
            return render(request, template, page(request, service), service)

    return view


def _url_for(
    request: Any, route: str, query: dict[str, Any] | None = None, **parts: Any
) -> str:
    """The path of a page, wherever the dashboard is mounted."""
    given = {k: v for k, v in (query or {}).items() if v is not None}
    return _quoted(request, request.route_path(route, _query=given or None, **parts))


def _url_of_file(request: Any, name: str) -> str:
    """The path of a static file."""
    return _quoted(request, request.static_path(f"lovely.remotetask.web:static/{name}"))


def _quoted(request: Any, path: str) -> str:
    """A path whose beginning, where the dashboard is, is not quoted yet."""
    prefix = request.script_name
    return quote(prefix) + path[len(prefix) :]


def _not_found(error: Any, request: Any) -> Any:
    return error_view(HTTPNotFound("There is no such page."), request)
