"""From values to pages."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pyramid.csrf import get_csrf_token
from pyramid.response import Response

from lovely.remotetask.environment import Environment as World
from lovely.remotetask.web import words
from lovely.remotetask.web.verbs import VERBS

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: Where people can go: (route, label).
PLACES = (
    ("overview", "Overview"),
    ("jobs", "Jobs"),
    ("queue", "Queue"),
    ("schedule", "Schedule"),
    ("workers", "Workers"),
)

#: Whether a page keeps itself up to date.
LIVE_COOKIE = "remotetask_live"

#: What the largest number in an address can be: it is only shown.
_MOST_DIGITS = 9


@cache
def templates() -> Environment:
    """The templates.  All that they show is escaped."""
    found = Environment(
        loader=PackageLoader("lovely.remotetask.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(words.FILTERS, pretty=pretty)
    found.globals.update(
        STATUSES=words.STATUSES, WORKERS=words.WORKERS, between=words.between
    )
    return found


def pretty(value: Any) -> str:
    """What a job was given, or gave: texts as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2)


def render(
    request: Any,
    template: str,
    values: dict[str, Any],
    service: TaskService | None = None,
    status: int = 200,
) -> Any:
    """A response with a page; without a service, one that says what went wrong."""
    now = World().time() if service is None else service.environment.time()
    text = (
        templates()
        .get_template(f"{template}.html")
        .render(
            {
                "request": request,
                "title": request.dashboard.title,
                "places": PLACES,
                "user": request.user,
                "may_change": request.may_change,
                "token": get_csrf_token(request),
                "mask": request.dashboard.mask.text,
                "live": request.cookies.get(LIVE_COOKIE) != "off",
                "refresh": f"{request.dashboard.refresh:g}s",
                "live_url": request.path_qs,
                "now": datetime.fromtimestamp(now, timezone.utc),
                "notice": notice(request),
                "version": version("lovely.remotetask"),
                **values,
            }
        )
    )
    return Response(text, status=status, content_type="text/html", charset="utf-8")


def notice(request: Any) -> str | None:
    """What was done just now, as the address says: a verb and a number.

    Nothing else of the address is shown, so that no link can put words here.
    """
    verb, count = VERBS.get(request.GET.get("done", "")), request.GET.get("count", "")
    if verb is None or not _is_number(count):
        return None
    if int(count) == 0:
        return f"{verb.label}: nothing was done, as it makes no sense any more."
    more = " There are more that match." if request.GET.get("more") == "1" else ""
    return f"{verb.done}: {words.plural(int(count), 'job')}.{more}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
