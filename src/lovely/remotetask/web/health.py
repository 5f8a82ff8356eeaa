"""For who watches the process: whether it lives, and whether it can do its work.

They tell nothing of jobs, so anybody may ask.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pyramid.response import Response

from lovely.remotetask.web.problems import problem_of

VERSION = version("lovely.remotetask")


def alive(request: Any) -> Any:
    """The process answers."""
    return Response(json_body={"status": "alive"})


def ready(request: Any) -> Any:
    """The database can be reached, and the service is there: 200, else 503."""
    try:
        with request.dashboard.store.reading() as service:
            service.count()
    except Exception as error:
        if problem_of(error).status != 503:
            raise
        return Response(json_body={"status": "not ready"}, status=503)
    return Response(json_body={"status": "ready"})
