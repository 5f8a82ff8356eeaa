"""The pages: what they show, at what cost, wherever they are mounted."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import pytest
import transaction
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.wsgi import wsgiapp2
from webtest import TestApp

from lovely import remotetask
from lovely.remotetask import history, metrics
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.session import Session
from lovely.remotetask.web import make_app, mount
from lovely.remotetask.workers import Lease
from tests.support import processing, register, wait_until
from tests.web.support import LOCAL, Outline, dashboard, run_all

PAGES = ["/", "/jobs", "/queue", "/schedule", "/workers"]


@pytest.fixture
def app(db: Any, service: Any) -> TestApp:
    """A dashboard on which jobs can be changed."""
    return dashboard(db, allow_changes=True)


@pytest.mark.parametrize("address", PAGES)
def test_empty_states(app: TestApp, address: str) -> None:
    """Where there is nothing, each page says so."""
    page = Outline(app.get(address).text)
    assert re.search(
        r"There are no jobs|is empty|No job comes back|No worker", page.text
    )


@pytest.mark.parametrize(
    "address", [*PAGES, "/jobs/1", "/jobs/2", "/jobs/2/remove", "/nope"]
)
def test_pages_are_for_everybody(app: TestApp, service: Any, address: str) -> None:
    """Each page has a name, landmarks, a link past them, and labels for its inputs."""
    for task in ("echo", "fail"):
        service.add(task, "input")
    run_all(service)
    page = Outline(app.get(address, status="*").text)
    assert {"header", "nav", "main", "footer", "h1", "title"} <= page.tags()
    assert ("a", {"class": "skip", "href": "#content"}) in page.elements
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert {a["lang"] for tag, a in page.elements if tag == "html"} == {"en"}


def test_overview(app: TestApp, service: Any) -> None:
    """Counts, the last failures, and that nobody takes what waits."""
    service.add("fail", "it broke")
    run_all(service)
    for _ in range(1234):
        service.add("echo")
    transaction.commit()
    page = Outline(app.get("/").text)
    assert "Queued 1,234" in page.text
    assert "Failed 1" in page.text
    assert "RuntimeError: it broke" in page.text
    assert "No worker is running" in page.text


def test_a_stall_is_told(app: TestApp, service: Any) -> None:
    """If jobs have been due for too long and nobody takes them, it says so."""
    assert 'role="alert"' not in app.get("/").text
    service.stalledAfter = 0.001
    service.add("echo")
    transaction.commit()
    for path in ("/", "/queue", "/workers"):
        page = wait_until(lambda path=path: _alert(app, path))
        assert "Jobs are not being taken. 1 job waits" in Outline(page).text


def _alert(app: TestApp, path: str) -> str | None:
    text: str = app.get(path).text
    return text if 'role="alert"' in text else None


def test_charts_show_the_last_hour(app: TestApp, service: Any) -> None:
    """What ran in the last hour is drawn, and told in a table."""
    now = history.minute_of(int(service.environment.time() * 1_000_000))
    rows = {now - 5: (90, 10, 3, 50.0, 200.0), now - 200: (5000, 0, 0, 1.0, 1.0)}
    history.keep(service, rows)
    transaction.commit()
    text = app.get("/").text
    assert "90 runs completed and 10 failed in the last hour." in text
    assert "Tried again 3" in Outline(text).text
    assert "Ran, on average 2.0 s" in Outline(text).text
    assert 'class="failed"' in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [4, 3, 2, 1]),
        ("status=error", [3, 2]),
        ("status=queued", [4]),
        ("task=echo", [4, 1]),
        ("text=BROKE", [3]),
        ("task=fail&text=other&status=error", [2]),
        ("since=2000-01-01T00:00", [4, 3, 2, 1]),
        ("until=2000-01-01T00:00:00Z", []),
        ("start=2", [2, 1]),
        ("status=&task=", [4, 3, 2, 1]),
    ],
)
def test_jobs_are_filtered(
    app: TestApp, service: Any, query: str, found: list[int]
) -> None:
    """Jobs are found by status, task, text in the error and time; newest first."""
    service.add("echo")
    service.add("fail", "the other")
    service.add("fail", "it broke")
    run_all(service)
    service.add("echo")
    transaction.commit()
    text = app.get(f"/jobs?{query}").text
    assert [int(i) for i in re.findall(r'id="job-(\d+)"', text)] == found


@pytest.mark.parametrize(
    "query",
    [
        "status=nope",
        "since=today",
        "start=0",
        "start=x",
        "page=2",
        "task=a&task=b",
        f"text={'x' * 201}",
        "since=0001-01-01T00:00:00%2B23:59",
        "start=" + "9" * 30,
    ],
)
def test_bad_filters(app: TestApp, query: str) -> None:
    """A filter that makes no sense is refused in words."""
    page = app.get(f"/jobs?{query}", status=400)
    assert "Bad Request" in page
    assert "Traceback" not in page


def test_jobs_are_paged(app: TestApp, service: Any) -> None:
    """Page by page, every job is shown once."""
    for _ in range(120):
        service.add("echo")
    transaction.commit()
    page, seen = app.get("/jobs"), []
    while True:
        seen += [int(i) for i in re.findall(r'id="job-(\d+)"', page.text)]
        if 'rel="next"' not in page:
            break
        page = page.click("Older")
    assert seen == list(range(120, 0, -1))
    assert "that is all" in page


def test_where_a_status_is_rare_it_says_so(
    app: TestApp, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that has looked in vain offers to go on looking, and that finds it."""
    monkeypatch.setattr("lovely.remotetask.web.pages.LOOK_AT", 10)
    service.add("echo", startLater=True)
    for _ in range(15):
        service.add("echo")
    transaction.commit()
    page = app.get("/jobs?status=start+later")
    assert "None among the 10 jobs that were looked at" in page
    assert "10 looked at; the next is #6, added 2" in Outline(page.text).text
    assert 'id="job-1"' in page.click("Go on looking")


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        ("", ["retry", "cancel", "remove"]),
        ("error", ["retry", "remove"]),
        ("queued", ["cancel"]),
        ("completed", ["remove"]),
    ],
)
def test_what_makes_sense_is_offered(
    app: TestApp, service: Any, status: str, offered: list[str]
) -> None:
    """What can be done to many jobs goes by their status."""
    service.add("echo")
    service.add("fail")
    run_all(service)
    service.add("echo")
    transaction.commit()
    text = app.get(f"/jobs?status={status}").text
    assert re.findall(r'name="verb" value="(\w+)"', text) == offered


@pytest.mark.parametrize("text", ["s3c", "token=s3cret"])
def test_secrets_are_not_found(app: TestApp, service: Any, text: str) -> None:
    """Nobody finds out what is masked by looking for it."""
    service.add("fail", "token=s3cret for eva")
    run_all(service)
    assert app.get("/api/v1/jobs?text=for+eva").json["jobs"] != []
    assert app.get("/api/v1/jobs", {"text": text}).json["jobs"] == []
    assert "No job matches" in app.get("/jobs", {"text": text})
    asked = {"verb": "retry", "scope": "matching", "text": text}
    assert "there is nothing to do" in app.get("/bulk", asked)


def test_a_job(app: TestApp, service: Any) -> None:
    """All of a job: input, output, attempts with tracebacks, without its secrets."""
    service.add("echo", {"to": "eva@example.com", "password": "s3cret"})
    service.add("fail", "token=s3cret")
    run_all(service)
    good, bad = app.get("/jobs/1"), app.get("/jobs/2")
    assert "eva@example.com" in good
    assert "Attempt 1 completed" in good
    assert "Traceback (most recent call last)" in bad
    assert "Attempt 1 failed" in bad
    assert "s3cret" not in good.text + bad.text
    assert "data-hx-get" not in good.text


def test_a_job_that_runs(app: TestApp, db: Any, service: Any) -> None:
    """Its progress is shown, and who has it; the page keeps itself up to date."""

    def work(value: Any) -> None:
        run = remotetask.current()
        run.progress(0.25, "a quarter")
        wait_until(lambda: run.cancelled)

    register("work", work)
    service.processorFactory = MultiProcessor
    service.processorArguments = {"maxThreads": 2, "waitTime": 0.01, "heartbeat": 0.05}
    service.add("work")
    transaction.commit()
    with processing(service):
        page = wait_until(lambda: _page_with(app, "/jobs/1", "a quarter"))
        assert 'value="25"' in page
        since = r"Running for .*?(a moment|\d+ s)</time>"
        wait_until(lambda: re.search(since, app.get("/jobs/1").text))
        assert app.get("/api/v1/jobs/1").json["running_since"] is not None
        assert re.search(r"attempt 1, for (a moment|\d+ s)", _text(app, "/workers"))
        assert re.search("Running for longest .*#1 work for", _text(app, "/"))
        assert re.search(r"#1 work Running .*for (a moment|\d+ s)", _text(app, "/jobs"))
        assert "Attempt 1 is running" in page
        assert 'data-hx-get="/jobs/1"' in page
        assert "a quarter" in app.get("/workers")
        assert "1 job in hand, 2 threads" in app.get("/")
        transaction.begin()
        service.cancel(1)
        transaction.commit()
        wait_until(lambda: _page_with(app, "/jobs/1", "Completed"))


def _text(app: TestApp, path: str) -> str:
    return Outline(app.get(path).text).text


def _page_with(app: TestApp, path: str, text: str) -> str | None:
    page: str = app.get(path).text
    return page if text in page else None


def test_queue_is_in_order(app: TestApp, service: Any) -> None:
    """What is next comes first; looking takes nothing."""
    for _ in range(60):
        service.add("echo")
    service.cancel(2)
    transaction.commit()
    for _ in range(2):
        text = app.get("/queue").text
        shown = [int(i) for i in re.findall(r'href="/jobs/(\d+)"', text)]
        assert shown == [1, *range(3, 52)]
    assert "the first 50 of 59" in Outline(text).text


def test_what_a_worker_was_lost_with_is_in_the_queue(
    app: TestApp, db: Any, service: Any
) -> None:
    """Such a job comes alone, and does not hide the others."""
    for _ in range(3):
        service.add("echo")
    transaction.commit()
    with closing(Session(db, ["service"])) as lost:
        lost.claim(lost.register(1, Lease()), 1)
    transaction.begin()
    service._workers.rescue(service, lambda worker: True)
    transaction.commit()
    text = app.get("/queue").text
    assert sorted(re.findall(r'href="/jobs/(\d+)"', text)) == ["1", "2", "3"]


def test_schedule(app: TestApp, service: Any) -> None:
    """Cron jobs with their next and last runs, and what waits for its time."""
    service.addCronJob("echo", every=3600)
    service.addCronJob("fail", hour=(6, 7, 8, 12), minute=30)
    service.addCronJob("echo", cron="15 3 * * mon-fri", timezone="Europe/Berlin")
    service.addCronJob("echo", at=datetime(2999, 1, 1, tzinfo=timezone.utc))
    service.add("echo", delay=7200)
    service.pause(2)
    service.runNow(1)
    run_all(service)
    page = Outline(app.get("/schedule").text)
    for words in (
        "every 1 h",
        "each day at 06:30, 07:30, 08:30, 12:30 (UTC)",
        "15 3 * * mon-fri (Europe/Berlin)",
        "Paused",
        "in 1 h 59 min",
    ):
        assert words in page.text
    assert re.search(r"Completed (now|\d+ s ago)", page.text)
    job = Outline(app.get("/jobs/1").text)
    assert "by hand" in job.text
    assert "once, at 2999-01-01 00:00:00 UTC" in Outline(app.get("/jobs/4").text).text
    assert "None is planned" in app.get("/jobs/2")


def test_a_run_that_is_tried_again(app: TestApp, service: Any) -> None:
    """A job that comes back is listed as such while its run is tried again."""
    service.addCronJob("fail", every=3600, retry=5)
    service.addCronJob("echo", at=datetime(2999, 1, 1, tzinfo=timezone.utc))
    service.runNow(1)
    run_all(service)
    assert service.getStatus(1) == "delayed"
    back, _, waiting = _text(app, "/schedule").partition("Waiting for their time")
    assert "#1 fail every 1 h Tried again in" in back
    assert "#2 echo" not in back
    assert "#1 fail" not in waiting
    assert "#2 echo" in waiting


def test_a_run_that_is_due(app: TestApp, service: Any) -> None:
    """A cron job that is asked to run, and waits for a worker, is due."""
    service.addCronJob("echo", every=3600)
    service.runNow(1)
    transaction.commit()
    assert re.search(r"every 1 h Due (now|\d+ s ago)", _text(app, "/schedule"))


def test_pages_keep_themselves_up_to_date(app: TestApp) -> None:
    """They poll, until that is paused; the wish is kept for all pages."""
    page = app.get("/queue")
    assert 'data-hx-trigger="every 5s"' in page
    page = page.forms[0].submit("live", value="off").follow()
    assert page.request.path == "/queue"
    assert "data-hx-get" not in page
    assert "data-hx-get" not in app.get("/jobs")
    page = page.forms[0].submit("live", value="on").follow()
    assert "data-hx-get" in page


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/", "/\\evil.example", "", "/\tx"]
)
def test_nobody_is_led_elsewhere(app: TestApp, back: str) -> None:
    """Where one comes from is taken for a path of the dashboard only."""
    form = app.get("/").forms[0]
    form["back"] = back
    assert form.submit("live", value="off").location == "/"


def test_what_was_done_is_told_in_fixed_words(app: TestApp) -> None:
    """An address tells what was done by a verb and a number, and nothing else."""
    assert "Queued again: 3 jobs." in app.get("/jobs?done=retry&count=3")
    assert "There are more" in app.get("/jobs?done=retry&count=3&more=1")
    for query in ("done=x&count=3", "done=retry&count=<b>", "done=retry&count=%C2%B2"):
        assert 'role="status"' not in app.get(f"/jobs?{query}")


@pytest.mark.parametrize(
    "address", ["/nope", "/jobs/7", "/jobs/x", "/jobs/" + "9" * 30]
)
def test_not_found(app: TestApp, address: str) -> None:
    """What is not there is 404, with a page of its own."""
    page = app.get(address, status=404)
    assert "Not Found" in page
    assert "data-hx-get" not in page


def test_other_methods(app: TestApp) -> None:
    """A method that a page does not have is 405, with those that it has."""
    assert app.head("/").status_int == 200
    form = app.get("/").forms[0]
    token = form["csrf_token"].value
    answer = app.post("/jobs", {"csrf_token": token}, status=405)
    assert answer.headers["Allow"] == "HEAD, GET"
    assert app.get("/live", status=405).headers["Allow"] == "POST"


def test_static_files_are_kept_by_browsers(app: TestApp) -> None:
    """What pages need comes with the package, and may be cached by its version."""
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', app.get("/").text):
        answer = app.get(path)
        assert "max-age" in answer.headers["Cache-Control"]
        assert "no-store" not in answer.headers["Cache-Control"]
    assert "Permission to use" in app.get("/static/htmx.LICENSE.txt")


def paths_in(text: str) -> set[str]:
    """Where the links, forms and polls of a page lead."""
    found = re.findall(r'(?:href|src|action|data-hx-get)="([^"#]+)"', text)
    return {path.removeprefix("http://localhost") for path in found}


def in_pyramid(dashboard: Any) -> Any:
    config = Configurator()
    config.add_route("queue", "/admin/queue*subpath")
    config.add_view(wsgiapp2(dashboard), route_name="queue")
    return config.make_wsgi_app()


def in_front(dashboard: Any) -> Any:
    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"the application"]

    return mount(application, "/admin/queue", dashboard)


@pytest.mark.parametrize("mounted", [in_pyramid, in_front])
@pytest.mark.parametrize("address", PAGES)
def test_mounted(db: Any, service: Any, mounted: Any, address: str) -> None:
    """Under a prefix, every link leads below it; forms work."""
    dashboard = make_app(db, "service", allow_changes=True)
    app = TestApp(mounted(dashboard), extra_environ=dict(LOCAL))
    service.add("fail")
    run_all(service)
    page = app.get(f"/admin/queue{address}")
    assert all(path.startswith("/admin/queue/") for path in paths_in(page.text))
    assert app.get("/admin/queue").status_int == 200
    page.forms[len(page.forms) - 1].submit("live", value="off").follow()
    app.get("/admin/queue/jobs/1").forms[0].submit().follow()
    transaction.begin()
    assert service.getStatus(1) == "queued"


def test_behind_a_server_that_speaks_https(db: Any, service: Any) -> None:
    """Nothing leads to HTTP, whatever the dashboard knows of how it is called."""
    app = dashboard(db, allow_changes=True, authentication=policy)
    host = {"Host": "queue.example", "Origin": "https://queue.example"}
    service.add("fail")
    run_all(service)
    page = app.get("/jobs/1", headers=host)
    assert "http://queue.example" not in page.text
    token = page.forms[0]["csrf_token"].value
    asked = {"csrf_token": token, "back": "/jobs"}
    for path in ("/jobs/1/retry", "/live"):
        location = app.post(path, asked, headers=host).headers["Location"]
        assert location.startswith("/")
    assert "Location" not in app.get("/", headers=host).headers
    elsewhere = app.get("/?login", headers=host).headers["Location"]
    assert elsewhere == "https://login.example/"


def policy(request: Any) -> str:
    """Everybody is eva."""
    if "login" in request.GET:
        raise HTTPFound("https://login.example/")
    return "eva"


@pytest.mark.parametrize(
    "prefix", ["/queue", "/Stra\N{LATIN SMALL LETTER SHARP S}e/a b"]
)
def test_any_prefix(db: Any, service: Any, prefix: str) -> None:
    """A path may have any letters."""
    app = TestApp(
        mount(in_front, prefix, make_app(db, "service")), extra_environ=dict(LOCAL)
    )
    page = app.get(quote(prefix) + "/jobs")
    assert all(path.startswith(quote(prefix) + "/") for path in paths_in(page.text))
    page.forms[len(page.forms) - 1].submit("live", value="off").follow()


def test_beside_a_mounted_one(db: Any, service: Any) -> None:
    """What is not below the prefix is the application's."""
    app = TestApp(in_front(make_app(db, "service")), extra_environ=dict(LOCAL))
    for path in ("/", "/admin", "/admin/queues"):
        assert app.get(path).text == "the application"


@pytest.mark.parametrize("prefix", ["", "/", "queue", "/queue/"])
def test_bad_prefixes(prefix: str) -> None:
    """A prefix is the beginning of a path."""
    with pytest.raises(InvalidArgument, match="prefix"):
        mount(in_front, prefix, in_front)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"service_path": ""}, InvalidType),
        ({"service_path": []}, InvalidType),
        ({"service_path": ["a", 1]}, InvalidType),
        ({"tasks": "echo"}, InvalidType),
        ({"mask": "password"}, InvalidType),
        ({"refresh": "soon"}, InvalidType),
        ({"refresh": -1}, InvalidArgument),
    ],
)
def test_bad_arguments(db: Any, arguments: dict[str, Any], error: Any) -> None:
    """What makes no sense is refused when the application is made."""
    with pytest.raises(error):
        make_app(db, **{"service_path": "service", **arguments})


def test_metrics(db: Any, service: Any) -> None:
    """Metrics are shown where they are wished, to whom the pages are shown."""
    service.add("echo")
    transaction.commit()
    shown = metrics.make_app(db, ["service"])
    answer = dashboard(db, metrics=shown).get("/metrics")
    assert re.search(r"remotetask_jobs\{.*queued.*\} 1", answer.text)
    dashboard(db).get("/metrics", status=404)
    closed = dashboard(db, metrics=shown, authentication=lambda request: None)
    closed.get("/metrics", status=403)


def test_the_title(db: Any, service: Any) -> None:
    """It is the service's name, or the one that is given."""
    assert "<title>Overview · service</title>" in dashboard(db).get("/")
    titled = dashboard(db, title="The news <&>")
    assert "<title>Overview · The news &lt;&amp;&gt;</title>" in titled.get("/")
