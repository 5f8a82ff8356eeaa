"""The page of a job: what it shows, and what its buttons do."""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum
from typing import Any

import pytest
import transaction
from persistent import Persistent

from lovely.remotetask import current
from lovely.remotetask.job import Job
from lovely.remotetask.states import STATUSES
from tests.pages.conftest import Application
from tests.support import processing, register, wait_until

SCRIPT = "<script>alert(1)</script>"


def facts(page: Any) -> dict[str, str]:
    """What is known of the job."""
    return {div.dt.text: div.dd.text for div in page.html.select(".facts div")}


def buttons(page: Any) -> list[str]:
    """What can be done with it."""
    return [found["name"] for found in page.html.select(".verbs input[type=submit]")]


def test_completed(app: Application) -> None:
    """A job shows its input and its output."""
    app.add("upper", "some text")
    app.run()
    page = app.get("1/")
    assert [pre.text for pre in page.html.find_all("pre")] == [
        "'some text'",
        "'SOME TEXT'",
    ]
    assert {"Added", "Last begun", "Last ended", "Took", "Attempts"} <= facts(
        page
    ).keys()
    assert page.html.select(".attempt")[0].h3.text.split()[:3] == [
        "Attempt",
        "1",
        "completed",
    ]


def test_who_added_it(app: Application) -> None:
    """A job shows who added it, if that was a user."""
    fields = {"form.task": "echo", "form.hour": "3"}
    app.press("addcronjob.html", "form.actions.add", **fields)
    assert facts(app.get("1"))["Added by"] == "users.manager"
    assert "Added by" not in facts(app.get(str(app.add("echo"))))


def test_attempts(app: Application) -> None:
    """Failed attempts show why, with tracebacks; the newest is first and open."""
    app.add("fail", f"first {SCRIPT}", retry=0)
    app.run()
    app.press("1/job.html", "RETRY")
    app.run()
    page = app.get("1")
    attempts = page.html.select(".attempt")
    assert [a.h3.text.split()[1] for a in attempts] == ["2", "1"]
    assert attempts[0].p.text == f"RuntimeError: first {SCRIPT}"
    assert "in fail" in attempts[0].pre.text
    assert attempts[0].details.has_attr("open")
    assert not attempts[1].details.has_attr("open")
    assert page.html.find("script") is None


class Odd:
    """What looks like a script."""

    def __repr__(self) -> str:
        return SCRIPT


def test_everything_is_text(app: Application) -> None:
    """Nothing that is shown of a job is taken for HTML, wherever it stands."""
    error = type(SCRIPT, (Exception,), {})

    def work(input: Any) -> Any:
        raise error(SCRIPT)

    register(SCRIPT, work)
    register("odd", lambda input: {SCRIPT: Odd()})
    service = app.service
    service.addCronJob(SCRIPT, Odd(), every=60)
    service.runNow(1)
    jobid = service.add("odd", Odd())
    transaction.commit()
    app.run()
    app.service.jobs[jobid].principal = f"users.{SCRIPT}"
    transaction.commit()
    assert app.statuses() == {1: "cronjob", 2: "completed"}
    assert app.get("1").html.find("td", class_="why").text == SCRIPT
    for page in ("1", "2", "jobs.html", "1/editjob", "addcronjob.html"):
        shown = app.get(page)
        assert shown.html.find("script") is None
        assert "&lt;script&gt;" in shown.text or page == "1/editjob"


class Lost:
    """What is gone by the time that its job is looked at."""


class Kept(Persistent):
    """What lies in the database by itself."""


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, "None"),
        (b"\xff<b>", r"b'\xff<b>'"),
        ("\0\x1b[31m\ud800", r"'\x00\x1b[31m\ud800'"),
        (10**5000, "(int, can't be shown: ValueError)"),
        ([[[[[[[[1]]]]]]]], "[[[[[[...]]]]]]"),
        (len, "<built-in function len>"),
        (datetime(2026, 1, 31, tzinfo=timezone.utc), "datetime.datetime(2026, 1, 31"),
        (float("nan"), "nan"),
        (Lost(), "<broken tests.pages.test_job.Lost instance>"),
        (Kept(), "<tests.pages.test_job.Kept object"),
    ],
    ids=lambda value: str(type(value)),
)
def test_odd_inputs(
    app: Application, monkeypatch: pytest.MonkeyPatch, given: Any, shown: str
) -> None:
    """Whatever was put into a job, its page and the list are shown."""
    app.add("echo", given)
    monkeypatch.delattr(f"{__name__}.Lost")
    app.db.cacheMinimize()
    app.connection.cacheMinimize()
    assert shown in app.get("1").html.find("pre").text
    assert app.get("jobs.html").html.find("td", class_="id").text == "1"


class Colour(Enum):
    """What stands in a job, and is not of the application any more."""

    RED = "red"


def test_an_input_that_can_not_be_loaded(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages of its job are shown all the same, and say what is wrong with it."""
    app.add("echo", Colour.RED)
    monkeypatch.setitem(globals(), "Colour", Enum("Colour", {"BLUE": "blue"}))
    app.db.cacheMinimize()
    app.connection.cacheMinimize()
    assert "'red' is not a valid Colour" in app.get("1").html.find("pre").text
    row = app.get("jobs.html").html.find("td", class_="id").parent
    assert "<can't be loaded: " in row.text


def test_what_can_not_be_loaded(
    app: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Pages with a job that can't be loaded say so, and the log says which it is."""
    for _ in range(21):
        app.add("echo")
    load = Job.__setstate__

    def refuse(job: Job, state: Any) -> None:
        load(job, state)
        if job.id == 1:
            raise ValueError("an odd record")

    monkeypatch.setattr(Job, "__setstate__", refuse)
    app.db.cacheMinimize()
    app.connection.cacheMinimize()
    for page in ("1", "jobs.html?order=id", "jobs.html?task=none"):
        answer = app.get(page, status=500)
        assert "Something can't be read" in answer.html.h1.text
        assert answer.html.find("a", class_="service") is not None
    assert "an odd record" in caplog.text
    assert app.get("21").status_code == 200


def test_long_values(app: Application) -> None:
    """What is very long is cut, and does not make the page large."""
    app.add("fail", "x" * 1_000_000)
    app.add("echo", list(range(100_000)))
    app.run()
    for jobid in (1, 2):
        assert len(app.get(str(jobid)).body) < 150_000
    assert len(app.get("jobs.html").body) < 30_000


def test_verbs(app: Application) -> None:
    """What can be done follows from the status."""
    app.add("fail", "x", startLater=True, retry=0)
    assert buttons(app.get("1")) == ["START", "CANCEL"]
    app.press("1/job.html", "START")
    assert app.statuses() == {1: "queued"}
    app.run()
    assert buttons(app.get("1")) == ["RETRY", "REMOVE"]
    app.press("1/job.html", "RETRY")
    assert buttons(app.get("1")) == ["CANCEL"]
    app.press("1/job.html", "CANCEL")
    assert app.statuses() == {1: "cancelled"}
    answer = app.press("1/job.html", "REMOVE")
    assert "1 job was removed." in answer.follow().text
    assert app.statuses() == {}


def test_cron_verbs(app: Application) -> None:
    """A cron job is paused, resumed and run at once."""
    app.service.addCronJob("echo", "daily", hour=3)
    transaction.commit()
    assert buttons(app.get("1")) == ["RUN_NOW", "PAUSE", "CANCEL"]
    app.press("1/job.html", "PAUSE")
    assert buttons(app.get("1")) == ["RUN_NOW", "RESUME", "CANCEL"]
    assert facts(app.get("1"))["Schedule"] == "each day at 03:00 (UTC) (paused)"
    app.press("1/job.html", "RESUME")
    assert facts(app.get("1"))["Next"].count("03:00:00") == 3
    app.press("1/job.html", "RUN_NOW")
    app.run()
    page = app.get("1")
    assert "by hand" in page.html.find("table").text
    assert "completed" in page.html.find("table").text
    assert page.html.find("a", string="Change when it runs") is not None


@pytest.mark.parametrize(
    ("policy", "missed", "overlap"),
    [
        ({}, "one run makes up for all", "the next is left out"),
        (
            {"missed": "all", "overlap": "queue"},
            "each is made up for",
            "the next waits",
        ),
        (
            {"missed": "skip", "grace": 90},
            "are left out; one may be 1 min 30 s late",
            "the next is left out",
        ),
    ],
)
def test_policies(
    app: Application, policy: dict[str, Any], missed: str, overlap: str
) -> None:
    """A cron job shows what becomes of runs that can't begin in time."""
    app.service.addCronJob("echo", every=3600, **policy)
    transaction.commit()
    shown = facts(app.get("1"))
    assert shown["Missed runs"] == missed
    assert shown["While it still runs"] == overlap


def test_what_is_too_late(app: Application) -> None:
    """A button that does not fit any more changes nothing."""
    app.add("echo")
    for name in ("RUN_NOW", "PAUSE"):
        page = app.press("1/job.html", name)
        assert "no cron job" in page.html.find(role="alert").text
    assert app.press("1/job.html", "REMOVE").status_code == 303
    assert app.press("1/job.html", "NIX").status_code == 303
    assert app.statuses() == {1: "queued"}


def test_progress(app: Application) -> None:
    """A job that runs shows how far it is, and is asked to stop."""

    def work(input: Any) -> None:
        current().progress(0.25, f"page 1 {SCRIPT}")
        wait_until(lambda: current().cancelled)
        current().checkCancelled()

    register("work", work)
    app.add("work")
    service = app.service
    with processing(service):
        page = wait_until(lambda: (p := app.get("1")).html.find("progress") and p)
        assert page.html.find("progress")["value"] == "0.25"
        assert f"page 1 {SCRIPT}" in page.html.find("progress").parent.text
        assert "busy" in app.get("jobs.html").html.find(class_="worker").text
        app.press("1/job.html", "CANCEL")
        wait_until(lambda: app.statuses() == {1: "cancelled"})


@pytest.mark.parametrize("status", STATUSES)
def test_styles(app: Application, status: str) -> None:
    """Each status has a style in the sheet, or the plain one."""
    sheet = app.client(None).get("/@@/lovely.remotetask.css")
    assert sheet.content_type == "text/css"
    plain = {"start later", "cancelled"}
    assert (f".status-{status.replace(' ', '-')}" in sheet.text) == (
        status not in plain
    )
