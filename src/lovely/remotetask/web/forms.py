"""The forms of the pages: what changes jobs, and what is asked before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound, HTTPSeeOther

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.web.fields import Integer, read_texts
from lovely.remotetask.web.pages import FILTERS, search
from lovely.remotetask.web.rendering import LIVE_COOKIE
from lovely.remotetask.web.verbs import BULK, VERBS, Verb, apply_to_all, job_of

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: So many jobs can be confirmed at a time.
MOST = 500

_ID = Integer(1)
_FILTER_NAMES = {field.name for field in FILTERS}


def check_may_change(request: Any) -> None:
    """Raise HTTPForbidden where nothing may be changed."""
    if not request.may_change:
        raise HTTPForbidden("Here jobs can be looked at, and not be changed.")


def ask(request: Any, service: TaskService) -> dict[str, Any]:
    """Before something is done to one job: is that meant?  Raise UnknownJob."""
    check_may_change(request)
    verb, jobid = _verb(request.matchdict["verb"]), int(request.matchdict["id"])
    job = job_of(service, jobid)
    return {
        "verb": verb,
        "ids": [jobid] if verb.suits(job) else [],
        "jobs": [job],
        "looked_at": 1,
        "more": False,
        "action": request.url_for("act", id=jobid, verb=verb.name),
        "back": request.url_for("job", id=jobid),
        "filters": {},
    }


def act(request: Any) -> Any:
    """Do something to one job; where to go then.  Raise UnknownJob."""
    check_may_change(request)
    verb, jobid = _verb(request.matchdict["verb"]), int(request.matchdict["id"])
    done = request.dashboard.store.change(
        lambda service: verb.apply(service, jobid),
        f"{verb.name} job {jobid}",
        request.user,
    )
    told = {"done": verb.name, "count": int(done)}
    if request.POST.get("back") == "schedule":
        return HTTPSeeOther(request.url_for("schedule", told))
    if verb.name == "remove" and done:
        return HTTPSeeOther(request.url_for("jobs", told))
    return HTTPSeeOther(request.url_for("job", told, id=jobid))


def ask_bulk(request: Any, service: TaskService) -> dict[str, Any]:
    """Before something is done to many jobs: how many, and which."""
    check_may_change(request)
    verb, filters = _bulk_verb(request.GET.get("verb", "")), _filters(request.GET)
    if request.GET.get("scope") == "matching":
        wanted = read_texts(FILTERS, filters.items())
        page = search(request.dashboard, service, MOST, **wanted)
        found, looked_at, more = page.jobs, page.looked_at, page.next is not None
    else:
        ids = [_read_id(text) for text in request.GET.getall("id")[:MOST]]
        found = [job for jobid in ids if (job := service.jobs.get(jobid)) is not None]
        looked_at, more = len(found), False
    return {
        "verb": verb,
        "ids": [job.id for job in found if verb.suits(job)],
        "jobs": [job for job in found if verb.suits(job)],
        "looked_at": looked_at,
        "more": more,
        "action": request.url_for("bulk"),
        "back": request.url_for("jobs", filters),
        "filters": filters,
    }


def act_bulk(request: Any) -> Any:
    """Do something to the jobs that were confirmed; where to go then."""
    check_may_change(request)
    verb = _bulk_verb(request.POST.get("verb", ""))
    ids = [_read_id(text) for text in request.POST.get("ids", "").split()]
    if len(ids) > MOST:
        raise InvalidArgument(f"ids: at most {MOST} at a time.")
    done = apply_to_all(request.dashboard.store, verb, ids, request.user)
    more = {"more": "1"} if request.POST.get("more") == "1" else {}
    told = {"done": verb.name, "count": done, **more}
    return HTTPSeeOther(request.url_for("jobs", {**_filters(request.POST), **told}))


def set_live(request: Any) -> Any:
    """Let pages keep themselves up to date, or not; back to where it was asked."""
    off = request.POST.get("live") == "off"
    response = HTTPSeeOther(_own_path(request, request.POST.get("back", "")))
    response.set_cookie(
        LIVE_COOKIE,
        "off" if off else "on",
        path=quote(request.script_name) or "/",
        httponly=True,
        samesite="Strict",
    )
    return response


def _own_path(request: Any, path: str) -> str:
    """A path if it is one of the dashboard's own, else that of its first page."""
    home: str = request.url_for("overview")
    strange = "\\" in path or any(ord(c) <= 32 for c in path)
    return path if path.startswith(home) and path[1:2] != "/" and not strange else home


def _verb(name: str) -> Verb:
    if name not in VERBS:
        raise HTTPNotFound(f"Nothing called {name!r} can be done to a job.")
    return VERBS[name]


def _bulk_verb(name: str) -> Verb:
    if name not in BULK:
        raise InvalidArgument(f"verb: one of {', '.join(BULK)}, please.")
    return VERBS[name]


def _read_id(text: str) -> int:
    try:
        return _ID.of_text(text)
    except ValueError as error:
        raise InvalidArgument("ids: numbers of jobs, please.") from error


def _filters(given: Any) -> dict[str, str]:
    return {k: v for k, v in given.items() if k in _FILTER_NAMES and v}
