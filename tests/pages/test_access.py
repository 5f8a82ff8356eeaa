"""Who may see and change what with the pages; and other sites, which may not."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from zope.annotation.interfaces import IAttributeAnnotatable
from zope.interface import alsoProvides
from zope.publisher.browser import BrowserView
from zope.securitypolicy.interfaces import IPrincipalPermissionManager
from zope.site.folder import Folder

from lovely.remotetask import TaskService
from lovely.remotetask.browser.actions import ACTIONS
from lovely.remotetask.browser.job import BUTTONS
from tests.pages.conftest import PATH, Application, token_of

#: Each page, and what is needed to see it.
PAGES = {
    "": "View",
    "jobs.html": "View",
    "@@jobs.html": "View",
    "addcronjob.html": "Manage",
    "1": "View",
    "1/job.html": "View",
    "1/detail": "View",
    "2/job.html": "View",
    "2/detail": "View",
    "2/editjob": "Manage",
}

USERS: dict[str | None, set[str]] = {
    None: set(),
    "stranger": set(),
    "adder": set(),
    "viewer": {"View"},
    "manager": {"View", "Manage"},
}

#: Every form: its page, and what it sends besides the token.
FORMS: list[tuple[str, dict[str, str]]] = [
    *(("jobs.html", {name: "1", "jobs:list": "1"}) for name in ACTIONS),
    *(("1/job.html", {name: "1"}) for name in BUTTONS),
    *(("2/job.html", {name: "1"}) for name in BUTTONS),
    (
        "addcronjob.html",
        {"form.actions.add": "Add", "form.task": "echo", "form.hour": "3"},
    ),
    ("2/editjob", {"form.actions.apply": "Apply", "form.hour": "4"}),
]

each_form = pytest.mark.parametrize(
    ("page", "fields"), FORMS, ids=[f"{page}-{next(iter(f))}" for page, f in FORMS]
)


@pytest.fixture
def app(app: Application) -> Application:
    """An application with a job in error and a cron job."""
    assert app.add("fail", "secret") == 1
    app.run()
    service = app.service
    assert service.addCronJob("echo", "secret", hour=3) == 2
    service.pause(2)
    transaction.commit()
    return app


def state(app: Application) -> Any:
    """All that forms can change."""
    service = app.service
    jobs = {jobid: (job.status, job.attempt) for jobid, job in service.jobs.items()}
    cron = service.jobs[2]
    return jobs, cron.paused, cron.hour, cron.scheduledFor, service.isProcessing()


def refusal(user: str | None) -> int:
    """The status that tells somebody to log in, or that it does not help."""
    return 401 if user is None else 403


#: By what a page is for: the ways to such objects.
WAYS = {"ITaskService": [""], "IJob": ["1/", "2/"], "ICronJob": ["2/"]}

#: Those that only an application, or nobody, asks for by its address.
NO_PAGES = {"remotetask-frame", "remotetask-nojob"}


def pages_in(registered: dict[str, Any]) -> dict[str, set[str]]:
    """The browser pages of the package that are registered, by what they are for."""
    found: dict[str, set[str]] = {}
    adapters = registered["_adapter_registrations"].items()
    for (needed, _, name), (factory, *_) in adapters:
        bases = getattr(factory, "__mro__", ())
        ours = any(base.__module__.startswith("lovely.remotetask.") for base in bases)
        if ours and BrowserView in bases:
            found.setdefault(needed[0].__name__, set()).add(name)
    return found


def test_no_page_is_forgotten(configured: dict[str, Any]) -> None:
    """Each page that is registered is one of those that are tried here."""
    found = pages_in(configured)
    found = {what: names - NO_PAGES for what, names in found.items()}
    assert found.pop("Interface") == set()
    for what, names in found.items():
        addresses = {f"{way}{name}" for way in WAYS[what] for name in names}
        assert addresses <= PAGES.keys()
    forms = {page.rpartition("/")[2] for page, _ in FORMS}
    # Only these have no form.
    assert {name for names in found.values() for name in names} == forms | {"detail"}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("page", PAGES)
def test_pages(app: Application, page: str, user: str | None) -> None:
    """A page is shown to those with its permission; to others it tells nothing."""
    allowed = PAGES[page] in USERS[user]
    answer = app.get(page, user, status=200 if allowed else refusal(user))
    if not allowed:
        assert "secret" not in answer.text
        assert "fail" not in answer.text


@pytest.mark.parametrize("user", [u for u in USERS if "Manage" not in USERS[u]])
def test_changes(app: Application, user: str | None) -> None:
    """A form with a right token is refused to those who may not change anything."""
    before = state(app)
    token = token_of(app.get("jobs.html"))
    for page, fields in FORMS:
        client = app.client(user)
        client.set_cookie("__csrftoken__", token)
        data = {"__csrftoken__": token, **fields}
        answer = client.post(f"{PATH}/{page}", data, status=refusal(user))
        assert "Nothing was changed" not in answer.text  # the token was not why
    assert state(app) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(app: Application, method: str) -> None:
    """Pages are asked for with GET, HEAD and POST; nothing else tells or changes."""
    before = state(app)
    token = token_of(app.get("jobs.html"))
    for user in USERS:
        client = app.client(user)
        client.set_cookie("__csrftoken__", token)
        for page in PAGES:
            query = f"__csrftoken__={token}&CANCEL_ALL=1&REMOVE=1&form.hour=4"
            address = f"{PATH}/{page}?{query}"
            answer = client.request(address, method=method, expect_errors=True)
            assert answer.status_code in {401, 403, 404, 405}
            assert "secret" not in answer.text
    assert state(app) == before


def test_nobody_learns_by_head(app: Application) -> None:
    """HEAD tells as little as GET does."""
    for page, permission in PAGES.items():
        for user, granted in USERS.items():
            status = 200 if permission in granted else refusal(user)
            answer = app.client(user).head(f"{PATH}/{page}", status=status)
            assert b"secret" not in answer.body


def test_viewers_see_no_buttons(app: Application) -> None:
    """What one may not do is not offered."""
    for page in ("jobs.html", "1/job.html", "2/job.html"):
        shown = app.get(page, "viewer")
        assert not shown.html.find_all("form", {"method": "post", "class": "verbs"})
        assert not shown.html.find_all(
            ["input", "button"], {"name": ["CANCEL", "RETRY"]}
        )
        assert "addcronjob" not in shown.text


@each_form
def test_forged_forms(app: Application, page: str, fields: dict[str, str]) -> None:
    """Without our token, or from another site, a form does nothing."""
    before = state(app)
    client = app.client()
    token = token_of(client.get(f"{PATH}/jobs.html"))
    foreign = token_of(app.get("jobs.html"))
    assert token != foreign
    address = f"{PATH}/{page}"
    for sent in ({}, {"__csrftoken__": foreign}, {"__csrftoken__": ""}):
        answer = client.post(address, {**sent, **fields}, status=403)
        assert "Nothing was changed" in answer.text
    right = {"__csrftoken__": token, **fields}
    for site in ("cross-site", "same-site"):
        client.post(address, right, headers={"Sec-Fetch-Site": site}, status=403)
    app.client().post(address, right, status=403)  # without the cookie
    client.post(address, [*right.items(), ("__csrftoken__", token)], status=403)
    assert state(app) == before


@each_form
def test_nothing_changes_by_get(
    app: Application, page: str, fields: dict[str, str]
) -> None:
    """What is only looked at does not change, whatever the address says."""
    before = state(app)
    client = app.client()
    token = token_of(client.get(f"{PATH}/jobs.html"))
    client.get(f"{PATH}/{page}", {"__csrftoken__": token, **fields})
    client.head(f"{PATH}/{page}", {"__csrftoken__": token, **fields})
    assert state(app) == before


def test_the_same_forms_work(app: Application) -> None:
    """With our token the forms do what they say: the tests above are about them."""
    assert app.press("1/job.html", "RETRY").status_code == 303
    assert app.press("2/job.html", "RESUME").status_code == 303
    fields = {"form.hour": "4"}
    assert app.press("2/editjob", "form.actions.apply", **fields).status_code == 303
    jobs, paused, hour, *_ = state(app)
    assert (jobs[1], paused, hour) == (("queued", 1), False, (4,))


def test_headers(app: Application) -> None:
    """Pages run no script, stand in no frame and are not kept by caches."""
    for page in ("jobs.html", "1/job.html", "addcronjob.html", "2/editjob"):
        headers = app.get(page).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert headers["Cache-Control"] == "no-store"


def test_the_cookie_is_kept_from_scripts(app: Application) -> None:
    """The token's cookie is for requests of our site alone."""
    cookie = app.get("jobs.html").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    secure = app.client().get(f"{PATH}/jobs.html", extra_environ={"HTTPS": "on"})
    assert "Secure" in secure.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "page",
    [
        *("add", "jobs", "clean", "process", "startProcessing", *sorted(NO_PAGES)),
        *("0", "3", "-1", "9" * 30, "1/input", "1/error", "1/_status"),
        *("1/editjob", "2/nix"),
    ],
)
def test_nothing_else_is_there(app: Application, page: str) -> None:
    """Attributes and methods have no address; nor has what does not exist."""
    before = state(app)
    app.get(page, status=404)
    assert state(app) == before


@pytest.mark.parametrize("page", ["0", "3", "9" * 18, "3/job.html", "3/editjob"])
def test_jobs_that_are_not_there(app: Application, page: str) -> None:
    """The page says so; who may not see jobs does not learn which there are."""
    for user, granted in USERS.items():
        if "View" in granted:
            answer = app.get(page, user, status=404)
            assert f"There is no job {page.partition('/')[0]}" in answer.html.h1.text
            assert answer.html.find("a", string="To the jobs") is not None
        else:
            there, gone = (
                app.get(wanted, user, status=refusal(user)).text
                for wanted in (page.replace(page.partition("/")[0], "2"), page)
            )
            assert there == gone


def test_grants_of_a_site(app: Application) -> None:
    """What is granted in a site holds for the services there, and their jobs."""
    root = app.connection.root()["Application"]
    alsoProvides(root["news"], IAttributeAnnotatable)
    grants = IPrincipalPermissionManager(root["news"])
    grants.grantPermissionToPrincipal("lovely.remotetask.View", "users.stranger")
    root["other"] = other = Folder()
    other["tasks"] = TaskService()
    transaction.commit()
    for page, permission in PAGES.items():
        app.get(page, "stranger", status=200 if permission == "View" else 403)
    app.client("stranger").get("/other/tasks/jobs.html", status=403)


def test_a_service_below_the_site_manager(app: Application) -> None:
    """Wherever a service lies, its pages are there, with their links."""
    site = app.connection.root()["Application"]["news"]
    site.getSiteManager()["default"]["deep"] = TaskService()
    transaction.commit()
    address = "/news/++etc++site/default/deep"
    page = app.client().get(f"{address}/jobs.html")
    assert f"http://localhost{address}/addcronjob.html" in page.text
    app.client("stranger").get(f"{address}/jobs.html", status=403)
