"""The forms for cron jobs."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from bs4 import BeautifulSoup
from zope.interface import Interface
from zope.schema import Bytes, Choice, Field, Int, List, TextLine

from lovely.remotetask import SimpleTask
from lovely.remotetask.browser.widgets import parse_numbers
from lovely.remotetask.calendars import RANGES
from tests.pages.conftest import Application
from tests.support import provide

SCRIPT = "<script>alert(1)</script>"


class IPicture(Interface):
    """The input of a task."""

    name = TextLine(title="Name")
    width = Int(title="Width", min=1)
    kind = Choice(title="Kind", values=("jpeg", "png"), required=False)


class IOdd(Interface):
    """An input with a field that has no widget."""

    anything = Field(title="Anything")


def provide_with(name: str, schema: Any) -> None:
    """A task with a schema for its input."""
    task = SimpleTask(lambda input: input)
    task.inputSchema = schema
    provide(name, task)


def fill(app: Application, page: str = "addcronjob.html", **fields: str) -> Any:
    """A browser with the form, and some fields filled in."""
    browser = app.browser(page)
    for name, value in fields.items():
        control = browser.getControl(name=f"form.{name}")
        control.value = [value] if name == "task" else value
    return browser


def test_add(app: Application) -> None:
    """A cron job is added with fields and an input."""
    browser = fill(app, task="echo", hour="3, 4", minute="*/20", input='{"a": [1]}')
    browser.getControl(name="form.actions.add").click()
    assert browser.url.endswith("/news/tasks/1")
    job = app.service.jobs[1]
    assert (job.task, job.input, job.status) == ("echo", {"a": [1]}, "cronjob")
    assert (job.hour, job.minute, job.month) == ((3, 4), (0, 20, 40), ())


@pytest.mark.parametrize("name", RANGES)
def test_star(app: Application, name: str) -> None:
    """A star is each value that there is: months from 1 to 12, days from 1 to 31."""
    browser = fill(app, task="echo", **{name: "*"})
    browser.getControl(name="form.actions.add").click()
    assert getattr(app.service.jobs[1], name) == tuple(RANGES[name])
    browser = app.browser("1/editjob")
    assert browser.getControl(name=f"form.{name}").value == "*"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"cron": "0 8 * * mon", "timezone": "Europe/Berlin"}, "0 8 * * mon (Europe"),
        ({"every": "90"}, "every 1 min 30 s"),
        ({"delay": "3600"}, "once, at "),
        (
            {"hour": "3", "timezone": "Europe/Berlin"},
            "each day at 03:00 (Europe/Berlin)",
        ),
    ],
)
def test_kinds(app: Application, fields: dict[str, str], shown: str) -> None:
    """Each kind of schedule can be given, and is shown when it is changed."""
    browser = fill(app, task="echo", **fields)
    browser.getControl(name="form.actions.add").click()
    assert shown in browser.contents
    browser = app.browser("1/editjob")
    assert shown in browser.contents
    for name, value in fields.items():
        kept = browser.getControl(name=f"form.{name}").value
        assert kept in {value, f"{value}.0"}


def wrong(page: str) -> dict[str, str]:
    """What a page says beside its fields, by their labels; '' is what is above."""
    html = BeautifulSoup(page, "html.parser")
    found = {f.label.text: f.select_one(".error").text for f in html.select(".wrong")}
    above = [said.text for said in html.find_all(role="alert")]
    assert above
    return found or {"": above[0]}


MINUTES, DAYS = "Minutes", "Days of the month"


@pytest.mark.parametrize(
    ("fields", "where", "reason"),
    [
        ({"hour": "24"}, "Hours", "From 0 to 23, not 24."),
        ({"hour": "9" * 5000}, "Hours", "is no number"),
        ({"dayOfMonth": "0"}, DAYS, "From 1 to 31, not 0."),
        ({"month": "13"}, "Months", "From 1 to 12, not 13."),
        ({"minute": "x"}, MINUTES, "'x' is no number, no range"),
        ({"minute": "5-1"}, MINUTES, "'5-1' names nothing."),
        ({"minute": "*/0"}, MINUTES, "'*/0' names nothing."),
        ({"dayOfMonth": "31", "month": "2"}, DAYS, "never comes"),
        ({"hour": "1", "every": "60"}, "", "Give one kind of schedule"),
        ({"every": "60", "delay": "60"}, "", "Give one kind of schedule"),
        ({"cron": "nix"}, "Expression", "'nix' has 1 fields"),
        ({"cron": "0 0 30 2 *"}, "Expression", "never matches"),
        ({"hour": "1", "timezone": "Mars/Olympus"}, "Time zone", "'Mars/Olympus'"),
        ({"cron": "* * * * *", "timezone": "../x"}, "Time zone", "'../x'"),
        ({"every": "0"}, "Every", "From 1 second to the year 9999, not 0"),
        ({"every": "inf"}, "Every", "not inf"),
        ({"every": "1e308"}, "Every", "not 1e+308"),
        ({"delay": "-1"}, "Once, after", "not -1.0"),
        ({"delay": "nan"}, "Once, after", "not nan"),
        ({"every": "soon"}, "Every", "Invalid floating point data"),
        ({"hour": "1", "input": "{"}, "Input", "This is no JSON"),
        ({"hour": "1", "input": "[" * 5000}, "Input", "This is no JSON"),
        ({"hour": "1", "input": "1" * 5000}, "Input", "This is no JSON"),
        ({"hour": SCRIPT}, "Hours", "is no number"),
        ({"cron": SCRIPT}, "Expression", SCRIPT[:7]),
        ({"hour": "1", "timezone": SCRIPT}, "Time zone", SCRIPT),
        ({}, "", "At least one"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input(
    app: Application, fields: dict[str, str], where: str, reason: str
) -> None:
    """What makes no sense is said beside its field; what was typed stays."""
    browser = fill(app, task="echo", **fields)
    browser.getControl(name="form.actions.add").click()
    assert "addcronjob.html" in browser.url
    assert SCRIPT not in browser.contents
    [(label, said)] = wrong(browser.contents).items()
    assert label == where
    assert reason in said
    for name, value in fields.items():
        kept = browser.getControl(name=f"form.{name}").value
        assert kept in {value, f"{value}.0", value.replace("1e308", "1e+308")}
    assert app.service.count() == 0


@pytest.mark.parametrize("name", ["minute:list", "every:list", "input.x:record"])
def test_odd_values(app: Application, name: str) -> None:
    """What is no text is left out: no field of ours sends it."""
    fields = {"form.task": "echo", f"form.{name}": "1"}
    page = app.press("addcronjob.html", "form.actions.add", **fields)
    assert "At least one" in wrong(page.text)[""]
    assert app.service.count() == 0


def test_no_task(app: Application) -> None:
    """A task is needed, and has to be one of the service."""
    browser = fill(app, hour="1")
    browser.getControl(name="form.actions.add").click()
    assert "Required input is missing" in browser.contents
    for fields in ({"form.task": "gone"}, {}):
        fields["form.hour"] = "1"
        page = app.press("addcronjob.html", "form.actions.add", **fields)
        assert wrong(page.text).keys() == {"Task"}
    assert app.service.count() == 0


def test_fields_of_the_input(app: Application) -> None:
    """A task with a schema has fields for its input."""
    provide_with("picture", IPicture)
    browser = fill(app, task="picture", hour="1")
    browser.getControl("Show the fields of its input").click()
    browser.getControl(name="form.actions.add").click()
    assert app.service.count() == 0
    browser.getControl(name="taskinput.name").value = SCRIPT
    browser.getControl(name="taskinput.width").value = "0"
    browser.getControl(name="form.actions.add").click()
    assert "too small" in browser.contents
    assert SCRIPT not in browser.contents
    browser.getControl(name="taskinput.width").value = "3"
    browser.getControl(name="taskinput.kind").value = ["png"]
    browser.getControl(name="form.actions.add").click()
    assert app.service.jobs[1].input == {"name": SCRIPT, "width": 3, "kind": "png"}


@pytest.mark.parametrize("schema", [IOdd, Int(min=0)])
def test_schemas_without_widgets(app: Application, schema: Any) -> None:
    """Where there is no widget for a field, the input is given as JSON."""
    provide_with("odd", schema)
    given = '{"anything": 1}' if schema is IOdd else "1"
    browser = fill(app, task="odd", hour="1", input='"nothing like it"')
    browser.getControl(name="form.actions.add").click()
    [(label, said)] = wrong(browser.contents).items()
    assert label == "Input"
    assert "does not meet" in said
    browser.getControl(name="form.input").value = given
    browser.getControl(name="form.actions.add").click()
    assert app.service.jobs[1].input in ({"anything": 1}, 1)


class IBundle(Interface):
    """An input with what makes forms hard."""

    names = List(title="Names", value_type=TextLine(title="Name"))
    scan = Bytes(title="Scan", required=False)
    fixed = TextLine(title="Fixed", readonly=True)


def test_lists_and_files(app: Application) -> None:
    """Several values are typed one by one; a file is sent; all fields are there."""
    provide_with("bundle", IBundle)
    browser = app.browser("addcronjob.html?form.task=bundle")
    for number, name in enumerate(("Ann", SCRIPT)):
        browser.getControl(name="taskinput.names.add").click()
        browser.getControl(name=f"taskinput.names.{number}.").value = name
    scan = browser.getControl(name="taskinput.scan")
    scan.add_file(b"\0scan", "text/plain", f"{SCRIPT}.txt")
    browser.getControl(name="taskinput.fixed").value = "once"
    browser.getControl(name="form.hour").value = "1"
    browser.getControl(name="form.actions.add").click()
    given = app.service.jobs[1].input
    assert given == {"names": ["Ann", SCRIPT], "scan": b"\0scan", "fixed": "once"}


def test_edit(app: Application) -> None:
    """A cron job gets another schedule, and is planned anew."""
    app.service.addCronJob("echo", hour=(3, 4, 5), minute=30)
    transaction.commit()
    browser = app.browser("1/editjob")
    assert browser.getControl(name="form.hour").value == "3-5"
    assert browser.getControl(name="form.timezone").value == "UTC"
    browser.getControl(name="form.hour").value = "23"
    browser.getControl(name="form.actions.apply").click()
    assert browser.url.endswith("/news/tasks/1")
    job = app.service.jobs[1]
    assert (job.hour, job.minute) == ((23,), (30,))
    assert job.scheduledFor.hour == 23


def test_edit_to_another_kind(app: Application) -> None:
    """Fields make way for an interval, and the other way round."""
    app.service.addCronJob("echo", hour=3, timezone="Europe/Berlin")
    transaction.commit()
    browser = fill(app, "1/editjob", hour="", every="120")
    browser.getControl(name="form.actions.apply").click()
    assert app.service.jobs[1].plan.schedule.interval == 120_000_000
    browser = fill(app, "1/editjob", hour="7", every="")
    browser.getControl(name="form.actions.apply").click()
    schedule = app.service.jobs[1].plan.schedule
    assert (schedule.hour, schedule.timezone) == ((7,), "UTC")


@pytest.mark.parametrize(
    "fields",
    [{"hour": ""}, {"hour": "99"}, {"every": "5"}, {"month": "2", "dayOfMonth": "30"}],
)
def test_bad_edit(app: Application, fields: dict[str, str]) -> None:
    """After a mistake the job is as it was."""
    app.service.addCronJob("echo", hour=3)
    transaction.commit()
    due = app.service.jobs[1].scheduledFor
    browser = fill(app, "1/editjob", **fields)
    browser.getControl(name="form.actions.apply").click()
    assert 'role="alert"' in browser.contents
    job = app.service.jobs[1]
    assert (job.hour, job.month, job.scheduledFor) == ((3,), (), due)


def test_edit_what_is_over(app: Application) -> None:
    """A cron job that somebody has cancelled meanwhile keeps its schedule."""
    app.service.addCronJob("echo", hour=3)
    transaction.commit()
    browser = fill(app, "1/editjob", hour="4")
    app.service.cancel(1)
    transaction.commit()
    browser.getControl(name="form.actions.apply").click()
    assert "This job is over" in wrong(browser.contents)[""]
    assert app.service.jobs[1].hour == (3,)


def test_cancel(app: Application) -> None:
    """One can leave without a change, whatever was typed."""
    app.service.addCronJob("echo", hour=3)
    transaction.commit()
    for page, typed in (("addcronjob.html", "x"), ("1/editjob", "x")):
        browser = fill(app, page, hour=typed)
        browser.getControl(name="form.actions.cancel").click()
        assert "jobs.html" in browser.url
    assert app.service.count() == 1
    assert app.service.jobs[1].hour == (3,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("7", (7,)),
        (" 3,1  2 ", (1, 2, 3)),
        ("1-3,2-5", (1, 2, 3, 4, 5)),
        ("*", tuple(range(1, 13))),
        ("*/5", (1, 6, 11)),
        ("2/5", (2, 7, 12)),
        ("2-8/3", (2, 5, 8)),
    ],
)
def test_numbers(text: str, expected: tuple[int, ...]) -> None:
    """Numbers, ranges, steps and stars name numbers."""
    assert parse_numbers(text, range(1, 13)) == expected


@pytest.mark.parametrize(
    "text", ["-1", "1-", "1.5", "a", "1-2-3", "*/", "13", "1-13", "³"]
)
def test_no_numbers(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"no number|not 13|names nothing"):
        parse_numbers(text, range(1, 13))
