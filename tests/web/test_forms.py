"""What the forms do: one job, many jobs, and what is asked before."""

from __future__ import annotations

import re
from typing import Any

import pytest
import transaction
from webtest import TestApp

from lovely.remotetask.session import Session
from lovely.remotetask.web.verbs import BATCH
from lovely.remotetask.workers import Lease
from tests.web.support import Outline, dashboard, run_all, token_of


@pytest.fixture
def app(db: Any, service: Any) -> TestApp:
    """A dashboard on which jobs can be changed."""
    return dashboard(db, allow_changes=True)


def status_of(service: Any, jobid: int) -> str:
    """The status of a job as last committed."""
    transaction.begin()
    status: str = service.getStatus(jobid)
    return status


def click(page: Any, path: str) -> Any:
    """Send the form that leads to a path; where one comes then."""
    (form,) = [form for form in page.forms.values() if form.action == path]
    return form.submit().follow()


@pytest.mark.parametrize(
    ("verb", "add"), [("start", {"startLater": True}), ("retry", {"task": "fail"})]
)
def test_at_once(app: TestApp, service: Any, verb: str, add: Any) -> None:
    """What can be undone is done by one button."""
    jobid = service.add(**{"task": "echo", **add})
    run_all(service)
    assert status_of(service, jobid) != "queued"
    page = click(app.get(f"/jobs/{jobid}"), f"/jobs/{jobid}/{verb}")
    assert 'role="status"' in page
    assert status_of(service, jobid) == "queued"


@pytest.mark.parametrize(
    ("verb", "status"), [("cancel", "cancelled"), ("remove", None)]
)
def test_what_is_final_is_asked(
    app: TestApp, service: Any, verb: str, status: str | None
) -> None:
    """What can't be undone is confirmed on a page of its own."""
    service.add("echo")
    if verb == "remove":
        service.process()
    transaction.commit()
    before = status_of(service, 1)
    page = app.get("/jobs/1").click(verb.capitalize() + "…")
    assert f"{verb.capitalize()} 1 job?" in page
    assert status_of(service, 1) == before
    page = page.forms[0].submit().follow()
    assert "1 job." in page
    transaction.begin()
    assert (service.jobs[1].status if 1 in service.jobs else None) == status


def test_cron_jobs(app: TestApp, service: Any) -> None:
    """On the schedule, a job is run, paused and resumed, and one stays there."""
    service.addCronJob("echo", every=3600)
    transaction.commit()
    page = app.get("/schedule")
    assert "/jobs/1/resume" not in page
    page = click(page, "/jobs/1/pause")
    assert page.request.path == "/schedule"
    assert "Paused: 1 job." in page
    page = click(page, "/jobs/1/resume")
    page = click(page, "/jobs/1/run")
    transaction.begin()
    run_all(service)
    assert len(service.jobs[1].runs) == 1


def test_a_cancelled_job_that_runs(app: TestApp, db: Any, service: Any) -> None:
    """One that runs is asked to stop."""
    service.add("echo")
    transaction.commit()
    session = Session(db, ["service"])
    session.claim(session.register(1, Lease()), 1)
    app.get("/jobs/1/cancel").forms[0].submit().follow()
    transaction.begin()
    assert 1 in service._requests
    session.leave()
    session.close()


def test_too_late(app: TestApp, service: Any) -> None:
    """What makes no sense any more is not done, and it says so."""
    service.add("fail")
    run_all(service)
    page = app.get("/jobs/1")
    service.retry(1)
    transaction.commit()
    assert "Retry: nothing was done" in click(page, "/jobs/1/retry")
    assert "there is nothing to do" in app.get("/jobs/1/remove")


def test_one_that_is_gone(app: TestApp, service: Any) -> None:
    """A job that was removed meanwhile is not found."""
    token = token_of(app)
    app.get("/jobs/9/remove", status=404)
    app.post("/jobs/9/retry", {"csrf_token": token}, status=404)


def test_selected_jobs(app: TestApp, service: Any) -> None:
    """The selected ones are counted, and then changed; no others."""
    for _ in range(5):
        service.add("fail")
    run_all(service)
    form = app.get("/jobs?status=error").forms[1]
    for number in (0, 2):
        form.get("id", index=number).checked = True
    page = form.submit("verb", value="retry")
    assert "Retry 2 jobs?" in page
    page = page.forms[0].submit().follow()
    assert "Queued again: 2 jobs." in page
    assert page.request.params["status"] == "error"
    assert [status_of(service, i) for i in range(1, 6)] == [
        "error",
        "error",
        "queued",
        "error",
        "queued",
    ]


def test_all_that_match(app: TestApp, service: Any) -> None:
    """All that the filter finds are counted, and then changed, some at a time."""
    for _ in range(2 * BATCH + 3):
        service.add("fail", "this")
    service.add("fail", "that")
    run_all(service)
    form = app.get("/jobs?status=error&text=this").forms[1]
    form["scope"] = "matching"
    page = form.submit("verb", value="remove")
    assert f"Remove {2 * BATCH + 3} jobs?" in page
    before = service._p_jar.db().lastTransaction()
    page = page.forms[0].submit().follow()
    assert f"Removed: {2 * BATCH + 3} jobs." in page
    assert service._p_jar.db().lastTransaction() > before
    transaction.begin()
    assert list(service.jobs) == [2 * BATCH + 4]


def test_no_more_than_is_bounded(
    app: TestApp, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more match, the first are done, and it says that there are others."""
    monkeypatch.setattr("lovely.remotetask.web.forms.MOST", 3)
    for _ in range(5):
        service.add("echo")
    transaction.commit()
    page = app.get("/bulk?scope=matching&verb=cancel&status=queued")
    assert "there are more" in page
    page = page.forms[0].submit().follow()
    assert (
        "Cancelled, or asked to stop if it runs: 3 jobs. There are more that match."
        in page
    )
    transaction.begin()
    assert service.count("cancelled") == 3
    token = token_of(app)
    ids = {"csrf_token": token, "verb": "cancel", "ids": "1 2 3 4"}
    app.post("/bulk", ids, status=400)


def test_nothing_selected(app: TestApp, service: Any) -> None:
    """Without a selection there is nothing to confirm."""
    assert "Select jobs first" in app.get("/bulk?verb=retry")


def test_what_is_confirmed_is_what_makes_sense(app: TestApp, service: Any) -> None:
    """Only jobs for which it makes sense are counted."""
    service.add("echo")
    service.add("fail")
    run_all(service)
    assert "Retry 1 job?" in app.get("/bulk?verb=retry&id=1&id=2&id=77")


def test_only_what_still_makes_sense_is_done(app: TestApp, service: Any) -> None:
    """Between question and answer jobs change; those are left, and not counted."""
    for _ in range(3):
        service.add("fail")
    run_all(service)
    page = app.get("/bulk?verb=retry&id=1&id=2&id=3")
    service.retry(1)
    service.remove(2)
    transaction.commit()
    assert "Queued again: 1 job." in page.forms[0].submit().follow()


@pytest.mark.parametrize(
    "query",
    ["verb=destroy", "", "verb=retry&id=x", "verb=retry&id=0", "verb=pause&id=1"],
)
def test_bad_questions(app: TestApp, query: str) -> None:
    """What can't be asked is refused."""
    app.get(f"/bulk?{query}", status=400)


@pytest.mark.parametrize("verb", ["destroy", "__init__", "<b>"])
def test_unknown_verbs(app: TestApp, service: Any, verb: str) -> None:
    """What can't be done to a job is not found."""
    service.add("echo")
    transaction.commit()
    token = token_of(app)
    page = app.post(f"/jobs/1/{verb}", {"csrf_token": token}, status=404)
    assert "<b>" not in page


def test_who_did_it_is_kept(db: Any, service: Any) -> None:
    """The database's history says what was done, and by whom."""
    service.add("fail")
    run_all(service)
    app = dashboard(db, allow_changes=True, authentication=lambda request: "eva")
    click(app.get("/jobs/1"), "/jobs/1/retry")
    last = db.storage.undoLog(0, 1)[0]
    assert last["description"] == b"retry job 1"
    assert last["user_name"] == b"remotetask eva"


def test_a_read_only_dashboard_has_no_forms(db: Any, service: Any) -> None:
    """Where nothing may be changed, nothing is offered but to pause updates."""
    service.add("fail")
    service.addCronJob("echo", every=60)
    run_all(service)
    app = dashboard(db)
    for path in ("/jobs", "/jobs/1", "/jobs/2", "/schedule"):
        page = app.get(path)
        actions = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', page.text)
        assert set(actions) <= {"/live"}
        assert "Read-only" in Outline(page.text).text
        assert 'type="checkbox"' not in page
