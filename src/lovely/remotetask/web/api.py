"""The JSON API: from a request to an operation, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from pyramid.httpexceptions import (
    HTTPForbidden,
    HTTPMethodNotAllowed,
    HTTPUnsupportedMediaType,
)
from pyramid.response import Response

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.web import openapi
from lovely.remotetask.web.fields import read_json, read_texts
from lovely.remotetask.web.forms import check_may_change
from lovely.remotetask.web.operations import OPERATIONS, Call, Operation

PREFIX = "/api/v1"

#: Changes need it: a page of another site can't send it without asking first.
HEADER = "X-Requested-With"

View = Callable[[Any], Any]


def by_path() -> dict[str, dict[str, View]]:
    """What each path does, by method."""
    found: dict[str, dict[str, View]] = {"/openapi.json": {"GET": describe}}
    for operation in OPERATIONS:
        found.setdefault(operation.path, {})[operation.method] = _view_of(operation)
    return found


def view(operations: dict[str, View]) -> View:
    """The view of a path."""
    allowed = ", ".join(("HEAD", *operations) if "GET" in operations else operations)

    def answer(request: Any) -> Any:
        method = "GET" if request.method == "HEAD" else request.method
        if method not in operations:
            raise HTTPMethodNotAllowed(
                f"{request.method} is not possible here.", headers={"Allow": allowed}
            )
        return operations[method](request)

    return answer


def describe(request: Any) -> Any:
    """The description of the API."""
    return _json(openapi.description(request))


def _view_of(operation: Operation) -> View:
    return lambda request: answer(request, operation)


def answer(request: Any, operation: Operation) -> Any:
    """Do what an operation is for.  Raise what `problem_of` knows."""
    given = read_texts(operation.query, request.GET.items())
    jobid = int(request.matchdict.get("id", 0))
    if operation.changes:
        result = _change(request, operation, jobid, given)
    else:
        with request.dashboard.store.reading() as service:
            result = operation.work(Call(service, request.dashboard, jobid), **given)
    response = _json(result, operation.status)
    if operation.status == 201:
        response.location = request.url_for("api /jobs/{id}", id=result["id"])
    return response


def _change(
    request: Any, operation: Operation, jobid: int, given: dict[str, Any]
) -> Any:
    check_may_change(request)
    if not request.headers.get(HEADER):
        raise HTTPForbidden(f"Changes need the header {HEADER}, with any value.")
    if operation.body:
        given = {**given, **read_json(operation.body, _body(request))}
    settings = request.dashboard
    note = f"{operation.name} {jobid or ''}".strip()
    return settings.store.change(
        lambda service: operation.work(Call(service, settings, jobid), **given),
        note,
        request.user,
    )


def _body(request: Any) -> Any:
    """What the body says.  Raise InvalidArgument, or what is no JSON at all."""
    if request.content_type != "application/json":
        raise HTTPUnsupportedMediaType("The body: application/json is needed.")
    try:
        return json.loads(
            request.body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("The body: it is no JSON.") from error


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _json(value: Any, status: int = 200) -> Any:
    return Response(
        json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        status=status,
        content_type="application/json",
        charset=None,
    )
