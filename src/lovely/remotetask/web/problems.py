"""What went wrong, as a page or, for the API, as RFC 9457 has it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from pyramid.exceptions import BadCSRFToken
from pyramid.httpexceptions import HTTPException, status_map
from pyramid.response import Response
from transaction.interfaces import TransientError

from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    ServiceNotFound,
    UnknownJob,
    UnknownTask,
    Unpicklable,
)
from lovely.remotetask.outages import is_outage
from lovely.remotetask.web.rendering import render

log = logging.getLogger("lovely.remotetask.web")

#: When to try again, where the database does not answer (seconds).
RETRY_AFTER = 5


class Problem(NamedTuple):
    """A status, and what to say."""

    status: int
    detail: str
    headers: Sequence[tuple[str, str]] = ()

    @property
    def title(self) -> str:
        return str(status_map[self.status].title)


#: What exceptions mean, where they say it themselves.
_SELF_EXPLAINING: tuple[tuple[type[Exception], int], ...] = (
    (UnknownJob, 404),
    (InvalidArgument, 400),
    (InvalidType, 400),
    (UnknownTask, 400),
    (Unpicklable, 400),
    (ServiceNotFound, 503),
)

#: And what to say of others.
_EXPLAINED: tuple[tuple[type[Exception], Problem], ...] = (
    (
        BadCSRFToken,
        Problem(
            403, "The form was too old, or came from elsewhere. Go back and try again."
        ),
    ),
    (UnicodeDecodeError, Problem(400, "The request is not in UTF-8.")),
)

_AWAY = Problem(503, "The database can't be reached just now. It is tried again.")
_BUSY = Problem(503, "Others changed the same jobs all the time. Try again.")


def problem_of(error: Exception) -> Problem:
    """What an exception means for who asked."""
    for kind, problem in _EXPLAINED:
        if isinstance(error, kind):
            return problem
    for kind, status in _SELF_EXPLAINING:
        if isinstance(error, kind):
            return Problem(status, str(error))
    if isinstance(error, HTTPException):
        return _of_http(error)
    if is_outage(error):
        return _AWAY
    if isinstance(error, TransientError):
        return _BUSY
    log.error("a request failed", exc_info=error)
    return Problem(500, "The dashboard has failed; its log says why.")


def _of_http(error: Any) -> Problem:
    """What an exception of Pyramid's means."""
    kept = ("Allow", "Retry-After", "WWW-Authenticate")
    headers = [(name, text) for name, text in error.headers.items() if name in kept]
    return Problem(error.status_code, str(error.detail or error.explanation), headers)


def answer(request: Any, problem: Problem) -> Any:
    """The response that tells of a problem."""
    if request.path_info.startswith("/api/"):
        response = as_json(problem)
    else:
        response = render(request, "problem", {"problem": problem}, None)
        response.status = problem.status
    response.headers.update(problem.headers)
    if problem.status == 503:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    return response


def as_json(problem: Problem) -> Any:
    """As problem+json."""
    text = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    return Response(
        json.dumps(text).encode(),
        status=problem.status,
        content_type="application/problem+json",
        charset=None,
    )


def error_view(error: Exception, request: Any) -> Any:
    """The view for exceptions; those that lead elsewhere are sent as they are."""
    if isinstance(error, HTTPException) and error.status_code < 400:
        return error
    return answer(request, problem_of(error))
