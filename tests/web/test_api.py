"""The JSON API: its verbs, and what it says of mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from webtest import TestApp

from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.web.fields import Integer, Moment
from tests.support import echo, processing, register, wait_until
from tests.web.support import HEADERS, api, dashboard, run_all


@pytest.fixture
def app(db: Any, service: Any) -> TestApp:
    """A dashboard over which the task ``echo`` can be added."""
    return dashboard(db, allow_changes=True, tasks=["echo", "gone"])


def test_semicolons_are_text(app: TestApp, service: Any) -> None:
    """In an address a semicolon is a part of a text, quoted or not."""
    service.add("fail", "this; and that")
    run_all(service)
    for text in ("this;+and", "this%3B+and"):
        found = app.get(f"/api/v1/jobs?text={text}&status=error").json
        assert [job["id"] for job in found["jobs"]] == [1]


def test_a_job_from_add_to_removal(app: TestApp, service: Any) -> None:
    """A job is added, seen, run, and removed."""
    answer = api(app, "POST", "/jobs", {"task": "echo", "input": {"a": [1, "ü"]}})
    assert answer.status_int == 201
    assert answer.location == "/api/v1/jobs/1"
    assert answer.json["status"] == "queued"
    transaction.begin()
    assert service.jobs[1].input == {"a": [1, "ü"]}
    run_all(service)
    job = app.get("/api/v1/jobs/1").json
    assert (job["status"], job["output"]) == ("completed", {"a": [1, "ü"]})
    assert job["attempts"][0]["failure"] is None
    assert api(app, "DELETE", "/jobs/1").json["id"] == 1
    app.get("/api/v1/jobs/1", status=404)


def test_how_it_is_added(app: TestApp, service: Any) -> None:
    """All that the service's own verb takes can be given."""
    held = {"task": "echo", "start_later": True, "retry": 3, "timeout": 1.5}
    assert api(app, "POST", "/jobs", held).json["status"] == "start later"
    assert api(app, "POST", "/jobs", {"task": "echo", "delay": 60}).json["id"] == 2
    at = {"task": "echo", "at": "2999-01-01T00:00:00+01:00"}
    added = api(app, "POST", "/jobs", at).json
    assert added["scheduled_for"] == "2998-12-31T23:00:00+00:00"
    transaction.begin()
    assert service.jobs[1].timeout == 1.5
    assert [job.status for job in service.jobs.values(2)] == ["delayed", "delayed"]


def test_only_what_is_allowed_and_registered(app: TestApp, service: Any) -> None:
    """A task that is not named, or that is not there, can't be added."""
    assert (
        "'fail'"
        in api(app, "POST", "/jobs", {"task": "fail"}, status=403).json["detail"]
    )
    assert (
        "gone" in api(app, "POST", "/jobs", {"task": "gone"}, status=400).json["detail"]
    )
    assert app.get("/api/v1/tasks").json == {
        "tasks": [
            {"name": "echo", "addable": True},
            {"name": "fail", "addable": False},
        ]
    }
    transaction.begin()
    assert not service.jobs


def test_verbs(app: TestApp, service: Any) -> None:
    """Each verb does what it says; where it makes no sense there is a conflict."""
    service.add("fail")
    run_all(service)
    service.add("echo", startLater=True)
    service.addCronJob("echo", every=60)
    transaction.commit()
    assert api(app, "POST", "/jobs/1/retry").json["status"] == "queued"
    assert "queued" in api(app, "POST", "/jobs/1/retry", status=409).json["detail"]
    assert api(app, "POST", "/jobs/1/cancel").json["status"] == "cancelled"
    assert api(app, "POST", "/jobs/2/start").json["status"] == "queued"
    assert "queued" in api(app, "DELETE", "/jobs/2", status=409).json["detail"]
    assert api(app, "POST", "/jobs/3/pause").json["schedule"]["paused"]
    api(app, "POST", "/jobs/3/pause", status=409)
    assert api(app, "POST", "/jobs/3/resume").json["schedule"]["upcoming"]
    api(app, "POST", "/jobs/3/run")
    transaction.begin()
    run_all(service)
    assert (
        app.get("/api/v1/jobs/3").json["schedule"]["runs"][0]["outcome"] == "completed"
    )
    api(app, "POST", "/jobs/9/retry", status=404)


def test_many(app: TestApp, service: Any) -> None:
    """Several are changed at once; what makes no sense is left, and told."""
    for task in ("fail", "echo", "fail"):
        service.add(task)
    run_all(service)
    body = {"verb": "retry", "ids": [1, 2, 3, 99]}
    assert api(app, "POST", "/bulk", body).json == {"done": [1, 3], "left": [2, 99]}
    assert api(app, "POST", "/clean", {"status": ["completed"]}).json == {"removed": 1}
    transaction.begin()
    assert list(service.jobs) == [1, 3]


def test_lists(app: TestApp, service: Any) -> None:
    """Jobs are found as on the pages, and paged."""
    for number in range(5):
        service.add("fail", f"password={number}")
    run_all(service)
    service.add("echo")
    service.add("echo", delay=60)
    service.addCronJob("echo", every=60)
    transaction.commit()
    page = app.get("/api/v1/jobs?status=error&limit=2").json
    assert [job["id"] for job in page["jobs"]] == [5, 4]
    assert page["jobs"][0]["error"] == "RuntimeError: password=********"
    rest = app.get(f"/api/v1/jobs?status=error&start={page['next']}").json
    assert [job["id"] for job in rest["jobs"]] == [3, 2, 1]
    assert rest["next"] is None
    ids = {
        path: [job["id"] for job in app.get(f"/api/v1{path}").json["jobs"]]
        for path in ("/queue", "/schedule", "/schedule?status=delayed")
    }
    assert ids == {"/queue": [6], "/schedule": [8], "/schedule?status=delayed": [7]}


def test_status_and_history(app: TestApp, service: Any) -> None:
    """How the service is, with its workers and what they have done."""
    register("echo", echo)
    service.processorFactory = MultiProcessor
    service.processorArguments = {"waitTime": 0.01, "heartbeat": 0.05}
    service.add("echo")
    transaction.commit()
    assert app.get("/api/v1/status").json["counts"]["queued"] == 1
    with processing(service):
        wait_until(lambda: app.get("/api/v1/status").json["counts"]["completed"])
        (worker,) = app.get("/api/v1/workers").json["workers"]
        assert worker["state"] == "idle"
        assert "/" in worker["identity"]
        wait_until(lambda: _completed(app) == 1)
    assert len(app.get("/api/v1/history?minutes=5").json["minutes"]) == 5


def _completed(app: TestApp) -> int:
    minutes = app.get("/api/v1/history").json["minutes"]
    return sum(minute["completed"] for minute in minutes)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/nope", 404),
        ("/", 404),
        ("/jobs/1", 404),
        ("/jobs/x", 404),
        ("/jobs?limit=0", 400),
        ("/jobs?limit=x", 400),
        ("/jobs?color=red", 400),
        ("/jobs?limit=1&limit=2", 400),
        ("/jobs?status=", 400),
        ("/jobs?since=2030-13-01T00:00:00Z", 400),
        ("/history?minutes=1441", 400),
        ("/schedule?status=queued", 400),
        ("/jobs/1/retry", 405),
    ],
)
def test_mistakes(app: TestApp, address: str, status: int) -> None:
    """A mistake is told as RFC 9457 has it."""
    answer = app.get(f"/api/v1{address}", status=status)
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert set(answer.json) == {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"NaN",
        b'{"task": "echo", "input": NaN}',
        b'{"task": "echo", "input": 1e999}',
        b'{"task": 1}',
        b'{"task": ""}',
        b"{}",
        b'{"task": "echo", "color": "red"}',
        b'{"task": "echo", "delay": -1}',
        b'{"task": "echo", "delay": true}',
        b'{"task": "echo", "delay": 1, "at": "2030-01-01T00:00:00Z"}',
        b'{"task": "echo", "at": "tomorrow"}',
        b'{"task": "echo", "retry": 1.5}',
        b'{"task": "echo", "start_later": "yes"}',
        b"[" * 9_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_bad_bodies(app: TestApp, service: Any, body: bytes) -> None:
    """A body that makes no sense adds nothing."""
    app.post(
        "/api/v1/jobs",
        body,
        headers=HEADERS,
        content_type="application/json",
        status=400,
    )
    transaction.begin()
    assert not service.jobs


@pytest.mark.parametrize(
    "body",
    [
        {"verb": "pause", "ids": [1]},
        {"verb": "retry", "ids": []},
        {"verb": "retry", "ids": [1, 1]},
        {"verb": "retry", "ids": [0]},
        {"verb": "retry", "ids": list(range(1, 102))},
        {"verb": "retry", "ids": "1"},
        {"verb": ["retry"], "ids": [1]},
    ],
)
def test_bad_bulks(app: TestApp, body: Any) -> None:
    """A list of what to change is checked as a whole."""
    api(app, "POST", "/bulk", body, status=400)


def test_a_deep_input(app: TestApp, service: Any) -> None:
    """What is nested deeply is stored, and shown to a bounded depth."""
    deep: Any = "core"
    for _ in range(200):
        deep = [deep]
    assert "core" not in api(app, "POST", "/jobs", {"task": "echo", "input": deep})
    assert "..." in app.get("/jobs/1")


def test_a_long_body(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is too long is not read."""
    monkeypatch.setattr("lovely.remotetask.web.security.LONGEST_BODY", 100)
    api(app, "POST", "/jobs", {"task": "echo", "input": "x" * 100}, status=413)


def test_other_methods(app: TestApp) -> None:
    """A method that a path does not have is 405, with those that it has."""
    assert app.head("/api/v1/status").status_int == 200
    answer = api(app, "PUT", "/jobs/1", status=405)
    assert answer.headers["Allow"] == "HEAD, GET, DELETE"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("2030-01-02T03:04:05Z", "2030-01-02T03:04:05+00:00"),
        ("2030-01-02t03:04:05.5z", "2030-01-02T03:04:05.500000+00:00"),
        ("2030-01-02T03:04:05.123456789-01:30", "2030-01-02T04:34:05.123456+00:00"),
        ("2030-01-02T03:04", "2030-01-02T03:04:00+00:00"),
    ],
)
def test_moments(text: str, seen: str) -> None:
    """Dates are read as RFC 3339 has them, and as browsers send them, in UTC."""
    assert Moment().of_text(text).isoformat() == seen


def test_whole_numbers() -> None:
    """A number without a fraction is whole, as JSON Schema has it."""
    assert Integer(1).of_json(3.0) == 3
    with pytest.raises(ValueError, match="x"):
        Integer(1).of_text("x")
