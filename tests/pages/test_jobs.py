"""The page of the jobs: what it shows, and what its buttons do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from ZODB.ActivityMonitor import ActivityMonitor
from ZODB.POSException import ConflictError
from zope.component.globalregistry import base
from zope.interface import Interface
from zope.publisher.browser import BrowserView
from zope.publisher.interfaces.browser import IDefaultBrowserLayer
from zope.security.checker import NamesChecker, defineChecker, undefineChecker

from lovely.remotetask import EchoTask, TaskService
from lovely.remotetask.browser import bytime, sweep
from lovely.remotetask.interfaces import IJob, ITask
from tests.pages.conftest import PATH, Application, token_of
from tests.support import register

SCRIPT = "<script>alert(1)</script>"


def ids(page: Any) -> list[int]:
    """The ids of the jobs on a page, from top to bottom."""
    return [int(cell.text) for cell in page.html.select("td.id")]


def link(page: Any, rel: str) -> str:
    """The query of a link to a neighbour."""
    found = page.html.find("a", {"rel": rel})
    return str(found["href"]).partition("?")[2]


@pytest.fixture
def many(app: Application) -> Application:
    """An application with 45 jobs; 7, 14, ... fail."""
    service = app.service
    for number in range(1, 46):
        service.add("echo" if number % 7 else "fail", f"job {number}")
    transaction.commit()
    return app


def test_empty(app: Application) -> None:
    """Without jobs the page says so, and what tasks there are."""
    page = app.get("jobs.html")
    assert "There are no such jobs." in page.text
    tasks = [item.text for item in page.html.select("#availableTasks li")]
    assert tasks == ["echo", "fail", "upper"]


def test_pages(many: Application) -> None:
    """The newest jobs are first; links lead down and up again, without a gap."""
    first = many.get("jobs.html")
    assert ids(first) == list(range(45, 25, -1))
    assert first.html.find("a", {"rel": "prev"}) is None
    second = many.get(f"jobs.html?{link(first, 'next')}")
    assert ids(second) == list(range(25, 5, -1))
    third = many.get(f"jobs.html?{link(second, 'next')}")
    assert ids(third) == list(range(5, 0, -1))
    assert third.html.find("a", {"rel": "next"}) is None
    back = many.get(f"jobs.html?{link(third, 'prev')}")
    assert ids(back) == ids(second)
    top = many.get(f"jobs.html?{link(back, 'prev')}")
    assert ids(top) == ids(first)
    assert ids(many.get(f"jobs.html?{link(top, 'next')}")) == ids(second)


def test_sort(many: Application) -> None:
    """The heads of the columns turn the order around."""
    page = many.get("jobs.html?size=50")
    assert page.html.find("th", {"aria-sort": "descending"}).text == "Id"
    up = many.get("jobs.html?order=id")
    assert ids(up) == list(range(1, 21))
    assert ids(many.get(f"jobs.html?{link(up, 'next')}")) == list(range(21, 41))
    assert ids(many.get("jobs.html?order=created")) == list(range(1, 21))
    assert ids(many.get("jobs.html?order=-created")) == list(range(45, 25, -1))


def from_page_to_page(app: Application, query: str, rel: str = "next") -> list[Any]:
    """The pages from one on, by their links."""
    pages = [app.get(f"jobs.html?{query}")]
    while pages[-1].html.find("a", {"rel": rel}) is not None:
        pages.append(app.get(f"jobs.html?{link(pages[-1], rel)}"))
        assert len(pages) < 50
    return pages


@pytest.fixture
def beside(app: Application) -> list[int]:
    """Ids of jobs that two producers added in turn, two at each time."""
    service = app.service
    for _ in range(90):
        service.add("echo")
    for number, job in enumerate(service.jobs.values()):
        job._created = 10 * (number % 45 // 2)
    transaction.commit()
    return sorted(service.jobs, key=lambda i: (service.jobs[i]._created, i))


@pytest.mark.parametrize("order", ["created", "-created"])
@pytest.mark.parametrize("window", [1000, 100])
def test_times_are_in_order(
    app: Application,
    beside: list[int],
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    window: int,
) -> None:
    """By time, jobs are in the order in which they came, also from page to page."""
    monkeypatch.setattr(bytime, "WINDOW", window)
    expected = beside if order == "created" else beside[::-1]
    pages = from_page_to_page(app, f"order={order}")
    assert [len(ids(page)) for page in pages] == [20, 20, 20, 20, 10]
    assert [jobid for page in pages for jobid in ids(page)] == expected
    back = from_page_to_page(app, link(pages[-1], "prev"), "prev")
    assert [ids(page) for page in back] == [ids(page) for page in pages[-2::-1]]
    app.add("echo")  # moves nothing
    second = app.get(f"jobs.html?{link(pages[0], 'next')}")
    assert ids(second) == ids(pages[1])


@pytest.mark.parametrize("order", ["created", "-created"])
def test_times_among_many(
    app: Application, beside: list[int], monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Where there are more than can be sorted, each job still comes once."""
    monkeypatch.setattr(bytime, "WINDOW", 32)
    pages = from_page_to_page(app, f"order={order}")
    shown = [ids(page) for page in pages]
    assert sorted(jobid for page in shown for jobid in page) == sorted(beside)
    for page in shown:
        assert page == [i for i in beside[:: -1 if order[0] == "-" else 1] if i in page]
    back = from_page_to_page(app, link(pages[-1], "prev"), "prev")
    seen = {jobid for page in back for jobid in ids(page)}
    assert seen == set(beside) - {*shown[-1]}


def test_a_page_by_time_is_kept(app: Application, beside: list[int]) -> None:
    """After a change the same page is shown, also if its jobs are not wanted now."""
    first = app.get("jobs.html?order=created&status=queued")
    browser = app.browser(f"jobs.html?{link(first, 'next')}")
    shown = [str(i) for i in beside[20:40]]
    browser.getLink(url="all=1").click()
    assert browser.getControl(name="jobs:list").value == shown
    browser.getControl("Cancel selected").click()
    assert "20 jobs were cancelled" in browser.contents
    options = browser.getControl(name="jobs:list").options
    assert options == [str(i) for i in beside[40:60]]


def test_filters(many: Application) -> None:
    """Jobs are shown by status, by task and by what is in the error."""
    many.run()
    failed = [42, 35, 28, 21, 14, 7]
    assert ids(many.get("jobs.html?status=error")) == failed
    assert ids(many.get("jobs.html?task=fail")) == failed
    assert ids(many.get("jobs.html?text=JOB+14")) == [14]
    assert ids(many.get("jobs.html?status=completed&task=fail")) == []
    assert ids(many.get("jobs.html?status=error&size=2&order=id")) == [7, 14]
    page = many.get("jobs.html?status=error&task=fail&text=job+14&size=50")
    assert page.html.find("option", {"selected": True}).text == "fail"
    assert page.html.find("input", {"name": "text"})["value"] == "job 14"
    assert page.html.find("a", {"aria-current": "page"}).text == "6 error"


def test_errors(app: Application) -> None:
    """What went wrong is said with its kind: a KeyError alone names a key."""
    register("key", {}.__getitem__)
    app.add("key", "colour")
    app.run()
    assert app.get("jobs.html").html.find(class_="why").text == "KeyError: 'colour'"


def test_counts(many: Application) -> None:
    """Above the jobs it says how many there are of each status."""
    many.run()
    shown = {a.span.text: int(a.b.text) for a in many.get("").html.select(".counts a")}
    assert shown.pop("all") == 45
    assert {status: n for status, n in shown.items() if n} == {
        "completed": 39,
        "error": 6,
    }


def test_find_by_id(many: Application) -> None:
    """An id leads to its job; one that is not there to the page itself."""
    assert many.get("jobs.html?find=12").location.endswith("/news/tasks/12")
    assert many.get("jobs.html?find=99").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *("status=gone", "start=x", "size=-1", "size=0", "size=99999999", "order=nix"),
        *("back=7", "start=" + "9" * 40, "start=0", "task=a&task=b", "find=x", "n=-4"),
        *(f"order=created&{more}" for more in ("after=x", "after=1-", "after=1-2-3")),
        *("order=created&back=1&start=0", "order=-created&back=1", "all=1&back=1"),
        *("done=nix&from=1-1", "done=CLEAN_ALL&from=x", "text=%00%ff", "status=%3Cb"),
    ],
)
def test_odd_addresses(app: Application, query: str) -> None:
    """What makes no sense in an address is left out."""
    app.add("echo")
    assert app.get(f"jobs.html?{query}").status_code == 200


def test_a_long_search(app: Application) -> None:
    """If none of those looked at is wanted, the page says where to look on."""
    service = app.service
    for number in range(1100):
        service.add("echo" if number else "upper", "x")
    transaction.commit()
    page = app.get("jobs.html?task=upper")
    assert "None of the 1000 jobs that were looked at" in page.text
    assert ids(app.get(f"jobs.html?{link(page, 'next')}")) == [1]


def loads_of(app: Application, query: str) -> int:
    """How many records a page loads from the storage, if nothing is cached."""
    app.db.cacheMinimize()
    app.db.setActivityMonitor(monitor := ActivityMonitor())
    app.get(f"jobs.html?{query}")
    return sum(loads for _, loads, _ in monitor.log)


def test_loads_do_not_grow(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, a page loads as much from many jobs as from few."""
    monkeypatch.setattr(bytime, "WINDOW", 300)
    service = app.service
    service.add("fail", "x")
    service.process()
    queries = ("", "order=id", "order=-created", "order=created", "start=200")
    queries += ("status=queued", "status=error", "status=completed", "task=none")
    loaded = []
    for more in (1_100, 3_000):
        for _ in range(more):
            service.add("echo")
        transaction.commit()
        loaded.append({query: loads_of(app, query) for query in queries})
    few, many = loaded
    assert {query for query in queries if many[query] > few[query] + 30} == set()
    assert few["start=200"] > 20
    assert many[""] < 150


def test_selected(app: Application) -> None:
    """Selected jobs are cancelled, queued again and removed; others stay."""
    for number in range(4):
        app.add("echo" if number else "fail", "x")
    browser = app.browser()
    browser.getControl(name="jobs:list").value = ["2", "3"]
    browser.getControl("Cancel selected").click()
    assert "2 jobs were cancelled, or asked to stop." in browser.contents
    assert app.statuses() == {1: "queued", 2: "cancelled", 3: "cancelled", 4: "queued"}
    browser.getControl(name="jobs:list").value = ["3", "4"]
    browser.getControl("Retry selected").click()
    assert "1 job was queued again." in browser.contents
    app.run()
    browser.getControl(name="jobs:list").value = ["1", "2", "4"]
    browser.getControl("Remove selected").click()
    assert "3 jobs were removed." in browser.contents
    assert app.statuses() == {3: "completed"}


def test_nothing_selected(app: Application) -> None:
    """Without a selection the page says so."""
    app.add("echo")
    browser = app.browser()
    browser.getControl("Cancel selected").click()
    assert "No jobs were selected." in browser.contents
    assert app.statuses() == {1: "queued"}


@pytest.mark.parametrize(
    "jobs", ["1", ["1", "99", "x", "", "-1", "9" * 50], ["1", "1"]]
)
def test_odd_selections(app: Application, jobs: Any) -> None:
    """What is no id of a job is left out; one that comes twice counts once."""
    app.add("echo")
    page = app.press("jobs.html", "CANCEL", **{"jobs:list": jobs}).follow()
    assert "1 job was cancelled" in page.text


@pytest.mark.parametrize("field", ["jobs.a:record", "jobs:int", "jobs:float"])
def test_no_selections(app: Application, field: str) -> None:
    """What is no text selects nothing."""
    app.add("echo")
    page = app.press("jobs.html", "CANCEL", **{field: "1"}).follow()
    assert "No jobs were selected." in page.text
    assert app.statuses() == {1: "queued"}


def test_a_task_that_is_gone(app: Application) -> None:
    """Jobs whose task is not registered any more are shown, found and removed."""
    register("gone", str)
    app.add("gone", "x", retry=0)
    base.unregisterUtility(provided=ITask, name="gone")
    browser = app.browser()
    assert "gone" in browser.getControl(name="task").options
    browser.getControl(name="task").value = ["gone"]
    browser.getControl("Show").click()
    assert browser.getControl(name="jobs:list").options == ["1"]
    app.run()
    browser.getLink(url="/news/tasks/1").click()
    assert "Task does not exist" in browser.contents
    browser.getControl("Remove").click()
    assert app.statuses() == {}


def test_select_all(app: Application) -> None:
    """All jobs on a page are selected with a link."""
    for _ in range(3):
        app.add("echo")
    browser = app.browser()
    browser.getLink(url="all=1").click()
    browser.getControl("Cancel selected").click()
    assert "3 jobs were cancelled" in browser.contents


def test_back_to_the_same_list(many: Application) -> None:
    """After a change the same part of the list is shown."""
    browser = many.browser("jobs.html?task=echo&order=id&size=50")
    browser.getControl(name="jobs:list").value = ["1"]
    browser.getControl("Cancel selected").click()
    assert "task=echo" in browser.url
    assert "order=id" in browser.url


@pytest.mark.parametrize(
    ("button", "left"),
    [
        ("CLEAN_COMPLETED", ["queued", "error", "cancelled"]),
        ("CLEAN_ERROR", ["queued", "completed", "cancelled"]),
        ("CLEAN_CANCELLED", ["queued", "completed", "error"]),
        ("CLEAN_ALL", ["queued"]),
        ("CANCEL_ALL", ["completed", "error", "cancelled", "cancelled"]),
        ("RETRY_ALL", ["queued", "queued", "completed", "cancelled"]),
    ],
)
def test_all(app: Application, button: str, left: list[str]) -> None:
    """What is done with all jobs is done with those that it is meant for."""
    app.add("echo")
    app.add("fail", "x")
    app.run()
    app.service.cancel(app.add("echo"))
    transaction.commit()
    app.add("echo")
    page = app.press("jobs.html", button).follow()
    assert re.search(r"\d jobs? (was|were) ", page.text)
    assert sorted(app.statuses().values()) == sorted(left)


def test_batches(many: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long is done in part, each in a commit; a button goes on."""
    monkeypatch.setattr(sweep, "SECONDS", 0)
    monkeypatch.setattr(sweep, "BATCH", 20)
    browser = many.browser()
    commits = many.db.storage.lastTransaction()
    browser.getControl("Cancel all").click()
    assert "20 jobs were cancelled." in browser.contents
    assert many.db.storage.lastTransaction() > commits
    assert many.service.count("cancelled") == 20
    browser.getControl("Go on").click()
    assert many.service.count("cancelled") == 40
    browser.getControl("Go on").click()
    assert many.service.count("cancelled") == 45
    assert "Go on" not in browser.contents
    monkeypatch.undo()
    browser.getControl("Remove all").click()
    assert "45 jobs were removed." in browser.contents
    assert len(many.service.jobs) == 0


def test_batches_that_are_disturbed(
    many: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a conflict only that batch is begun again; each job is counted once."""
    monkeypatch.setattr(sweep, "BATCH", 10)
    cancel, disturbed = TaskService.cancel, [35, 31]

    def cancel_too(service: Any, jobid: int) -> None:
        """Somebody else does what is done here, and is faster."""
        if jobid in disturbed:
            disturbed.remove(jobid)
            with many.db.transaction() as connection:
                other = connection.root()["Application"]["news"]["tasks"]
                cancel(other, jobid)
        cancel(service, jobid)

    monkeypatch.setattr(TaskService, "cancel", cancel_too)
    page = many.press("jobs.html", "CANCEL_ALL").follow()
    assert disturbed == []
    assert "43 jobs were cancelled." in page.text
    assert set(many.statuses().values()) == {"cancelled"}


def test_others_all_the_time(
    many: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nothing can be done in time, the page says so, and offers to go on."""

    def disturb(service: Any, jobid: int) -> None:
        raise ConflictError

    monkeypatch.setattr(sweep, "SECONDS", 0)
    monkeypatch.setattr(TaskService, "cancel", disturb)
    page = many.press("jobs.html", "CANCEL_ALL").follow()
    assert "0 jobs were cancelled." in page.text
    assert page.html.find("button", string="Go on") is not None
    assert set(many.statuses().values()) == {"queued"}


def test_start_and_stop(app: Application) -> None:
    """Processing in this process is started and stopped."""
    browser = app.browser()
    browser.getControl("Start processing").click()
    assert "This process runs jobs now." in browser.contents
    assert app.service.isProcessing()
    browser.getControl("Stop processing").click()
    assert app.service.waitProcessing(20)
    assert not app.service.isProcessing()


def test_bad_configuration(app: Application) -> None:
    """A service that can't be started says why, and nothing is started."""
    app.service.processorArguments = {"waitTime": "soon"}
    transaction.commit()
    page = app.press("jobs.html", "STARTPROCESSING")
    assert "waitTime" in page.html.find(role="alert").text
    assert not app.service.isProcessing()


def test_reload_does_nothing_again(app: Application) -> None:
    """The answer to a change is a redirect: to load it again changes nothing."""
    app.add("echo")
    answer = app.press("jobs.html", "CANCEL", **{"jobs:list": "1"})
    assert answer.status_code == 303
    assert "done=CANCEL" in answer.location


class Nasty:
    """An input whose looks are a script."""

    def __repr__(self) -> str:
        return SCRIPT


class Unprintable:
    """An input that can't be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


def test_scripts_are_text(app: Application) -> None:
    """What is in inputs, errors and addresses is shown as text."""
    for given in (SCRIPT, {SCRIPT: [SCRIPT]}, Nasty()):
        app.add("fail", given)
        app.add("echo", given)
    app.run()
    for query in ("", f"?task={SCRIPT}", f"?text={SCRIPT}&status={SCRIPT}", "?n=<b>"):
        page = app.get(f"jobs.html{query}")
        assert page.html.find("script") is None
    assert "&lt;script&gt;" in app.get("jobs.html").text


def test_names_are_text(app: Application) -> None:
    """A task and a service may have any name."""

    site = app.connection.root()["Application"]["news"]
    site[SCRIPT.replace("/", "")] = service = TaskService()
    site.getSiteManager().registerUtility(EchoTask(), ITask, name=SCRIPT)
    transaction.commit()
    service.add(SCRIPT, 1)
    transaction.commit()
    for page in ("jobs.html", "addcronjob.html", "1/job.html"):
        address = f"/news/%3Cscript%3Ealert(1)%3Cscript%3E/{page}"
        shown = app.client().get(address)
        assert shown.html.find("script") is None
        assert "&lt;script&gt;" in shown.text


def test_what_can_not_be_shown(app: Application) -> None:
    """An input that has no looks does not spoil the page."""
    app.add("echo", Unprintable())
    assert "Unprintable" in app.get("jobs.html").text
    assert "Unprintable" in app.get("1/job.html").text


class Detail(BrowserView):
    """An application's view."""

    def __call__(self) -> str:
        return f"<em>upper {self.context.id}</em>"


class Broken(BrowserView):
    """One that fails."""

    def __call__(self) -> str:
        raise RuntimeError("secret")


class Closed(BrowserView):
    """One that this reader may not see."""

    def __call__(self) -> str:
        return "secret"


@pytest.fixture
def closed() -> Iterator[None]:
    """The permission of `Closed`."""
    defineChecker(Closed, NamesChecker(["__call__"], "lovely.remotetask.Submit"))
    yield
    undefineChecker(Closed)


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (Detail, "<em>upper 1</em>"),
        (Broken, "The view for this failed"),
        (Closed, ""),
    ],
)
def test_detail_views(app: Application, closed: None, view: Any, shown: str) -> None:
    """A view named after the task shows its jobs; one that fails spoils nothing."""
    wanted = (IJob, IDefaultBrowserLayer)
    base.registerAdapter(view, wanted, Interface, "upper_detail")
    app.add("upper", "x")
    app.add("echo", "else")
    for page in ("jobs.html", "1/job.html"):
        text = app.get(page, "viewer").text
        assert shown in text
        assert "secret" not in text
    assert "&#x27;else&#x27;" in app.get("jobs.html").text
    base.unregisterAdapter(view, wanted, Interface, "upper_detail")


def test_cron_jobs(app: Application) -> None:
    """Of cron jobs the page shows when they run."""
    service = app.service
    service.addCronJob("echo", cron="*/15 8-18 * * mon-fri", timezone="Asia/Tokyo")
    service.addCronJob("echo", every=5400)
    service.addCronJob("echo", delay=90)
    service.pause(service.addCronJob("echo", hour=(1, 2, 3, 7)))
    transaction.commit()
    text = app.get("jobs.html").text
    assert "*/15 8-18 * * mon-fri (Asia/Tokyo)" in text
    assert "every 1 h 30 min" in text
    assert "once, at " in text
    assert "paused: each day at 01:00, 02:00, 03:00, 07:00 (UTC)" in text


def test_tokens_last(app: Application) -> None:
    """One browser has one token for all pages."""
    client = app.client()
    first = token_of(client.get(f"{PATH}/jobs.html"))
    assert token_of(client.get(f"{PATH}/addcronjob.html")) == first
