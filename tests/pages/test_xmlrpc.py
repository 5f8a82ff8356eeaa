"""The service over XML-RPC, asked by Python's client over HTTP."""

from __future__ import annotations

import http.client
import logging
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from xmlrpc.client import Binary, DateTime, Fault, ProtocolError, dumps

import pytest
import transaction
from zope.interface import Interface
from zope.schema import Int, TextLine
from zope.security.proxy import ProxyFactory

from lovely.remotetask import SimpleTask
from lovely.remotetask.xmlrpc import (
    BAD_ARGUMENT,
    FAILED,
    SIGNATURES,
    UNKNOWN_JOB,
    UNKNOWN_TASK,
)
from tests.pages.conftest import PATH, Application, Caller
from tests.support import provide, register_full


class IPicture(Interface):
    """The input of a task."""

    name = TextLine()
    width = Int(min=1)


def fault_of(method: Any, *arguments: Any) -> Fault:
    """The fault that a call ends in, which is no traceback."""
    with pytest.raises(Fault) as caught:
        method(*arguments)
    assert "Traceback" not in caught.value.faultString
    return caught.value


def test_life_of_a_job(app: Application, call: Caller) -> None:
    """A job is added, looked at and run; its result comes back."""
    server = call()
    assert server.getAvailableTasks() == ["echo", "fail", "upper"]
    jobid = server.add("echo", {"foo": "bar"})
    assert server.getStatus(jobid) == "queued"
    assert server.getResult(jobid) is None
    app.run()
    assert server.getStatus(jobid) == "completed"
    assert server.getResult(jobid) == {"foo": "bar"}
    assert server.getError(jobid) == "None"
    assert [server.count(), server.count("completed"), server.count("error")] == [
        1,
        1,
        0,
    ]


def test_errors_of_tasks(app: Application, call: Caller) -> None:
    """A failed job tells why, without what XML can't carry."""
    server = call()
    jobid = app.add("fail", "no \x1b[31m<paper>")
    app.run()
    assert server.getStatus(jobid) == "error"
    assert server.getError(jobid) == "no \\x1b[31m<paper>"


def test_add_without_input(app: Application, call: Caller) -> None:
    """The input can be left out."""
    jobid = call().add("echo")
    assert app.service.jobs[jobid].input is None


def test_start_later(call: Caller) -> None:
    """A job can wait until it is started."""
    server = call()
    jobid = server.add("echo", None, True)
    assert server.getStatus(jobid) == "start later"
    assert server.startJob(jobid) is True
    assert server.getStatus(jobid) == "queued"
    assert server.startJob(jobid) is False


def test_cancel(call: Caller) -> None:
    """A job is cancelled; what is not there is ignored."""
    server = call()
    jobid = server.add("echo")
    assert server.cancel(jobid) is True
    assert server.getStatus(jobid) == "cancelled"
    assert server.cancel(jobid + 1000) is True


@pytest.mark.parametrize(
    "schedule",
    [
        ([0, 30], 3),
        ({"minute": [0, 30], "hour": 3},),
        ([0, 30], 3, [], [], [], None),
    ],
)
def test_cron_jobs(app: Application, call: Caller, schedule: Any) -> None:
    """A cron job gets its schedule as a struct, or one field after the other."""
    jobid = call().addCronJob("echo", "daily", *schedule)
    job = app.service.jobs[jobid]
    assert (job.minute, job.hour, job.input) == ((0, 30), (3,), "daily")


def test_cron_job_in_a_zone(app: Application, call: Caller) -> None:
    """A struct can name all that addCronJob takes."""
    schedule = {"cron": "*/15 8-18 * * mon-fri", "timezone": "Europe/Berlin"}
    jobid = call().addCronJob("echo", None, {**schedule, "overlap": "queue"})
    plan = app.service.jobs[jobid].plan
    assert plan.schedule.timezone == "Europe/Berlin"
    assert plan.policy.overlap == "queue"


def test_cron_job_on_a_date(app: Application, call: Caller) -> None:
    """A date of XML-RPC, which has no zone, is in UTC."""
    at = DateTime("20991231T12:30:00")
    jobid = call().addCronJob("echo", None, {"at": at})
    due = datetime(2099, 12, 31, 12, 30, tzinfo=timezone.utc)
    assert app.service.jobs[jobid].scheduledFor == due


def nested(depth: int) -> Any:
    """A list of a list, and so on."""
    value: Any = "inside"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("method", "arguments", "code", "reason"),
    [
        ("add", ("gone",), UNKNOWN_TASK, "Task does not exist: 'gone'"),
        ("add", ("__import__",), UNKNOWN_TASK, "does not exist"),
        ("add", (7,), BAD_ARGUMENT, "a str, is needed"),
        ("add", (), BAD_ARGUMENT, "missing a required argument: 'task'"),
        ("add", ("echo", 1, False, 4), BAD_ARGUMENT, "too many positional"),
        ("add", ("echo", 1, "yes"), BAD_ARGUMENT, "startLater: a boolean"),
        ("getStatus", (99,), UNKNOWN_JOB, "no job 99"),
        ("getStatus", (-1,), UNKNOWN_JOB, "no job -1"),
        ("getStatus", ("1",), BAD_ARGUMENT, "an int is needed"),
        ("getStatus", (True,), BAD_ARGUMENT, "an int is needed"),
        ("getResult", (None,), BAD_ARGUMENT, "an int is needed"),
        ("getError", ({"a": 1},), BAD_ARGUMENT, "an int is needed"),
        ("startJob", (99,), UNKNOWN_JOB, "no job 99"),
        ("cancel", ([1],), BAD_ARGUMENT, "an int is needed"),
        ("count", ("gone",), BAD_ARGUMENT, "'gone' is none of"),
        ("count", ([],), BAD_ARGUMENT, "status"),
        ("addCronJob", ("echo", None, {"hour": 24}), BAD_ARGUMENT, "from 0 to 23"),
        ("addCronJob", ("echo", None, {"our": 3}), BAD_ARGUMENT, "Unknown: our"),
        ("addCronJob", ("echo", None, {"cron": "nix"}), BAD_ARGUMENT, "nix"),
        ("addCronJob", ("echo", None, "* * *"), BAD_ARGUMENT, "minute"),
        ("addCronJob", ("echo", None, 1, 2, 3, 4, 5, 6, 7), BAD_ARGUMENT, "At most"),
        ("addCronJob", ("gone", None, {"hour": 1}), UNKNOWN_TASK, "not exist"),
        ("addCronJob", ("echo",), BAD_ARGUMENT, "At least one"),
        ("addCronJob", ("echo", 1, {"at": DateTime("no date")}), BAD_ARGUMENT, "date"),
        ("add", ("echo", nested(51)), BAD_ARGUMENT, "deeper than 50 levels"),
        ("add", ("echo", *range(8)), BAD_ARGUMENT, "too many positional"),
        ("methodHelp", ("gone",), BAD_ARGUMENT, "no method 'gone'"),
        ("methodHelp", ("__init__",), BAD_ARGUMENT, "no method"),
        ("methodSignature", ([],), BAD_ARGUMENT, "no method"),
    ],
)
def test_bad_arguments(  # noqa: PLR0917
    app: Application, call: Caller, method: str, arguments: Any, code: int, reason: str
) -> None:
    """What makes no sense is a fault that says why; nothing is added."""
    fault = fault_of(getattr(call(), method), *arguments)
    assert fault.faultCode == code
    assert reason in fault.faultString
    assert app.service.count() == 0


def test_input_schema(app: Application, call: Caller) -> None:
    """An input has to meet the schema of its task; the fault names the field."""
    task = SimpleTask(dict)
    task.inputSchema = IPicture
    provide("picture", task)
    server = call()
    assert server.add("picture", {"name": "cat", "width": 3}) == 1
    fault = fault_of(server.add, "picture", {"name": "cat", "width": 0})
    assert fault.faultCode == BAD_ARGUMENT
    assert "width" in fault.faultString
    assert fault_of(server.add, "picture").faultCode == BAD_ARGUMENT
    assert app.service.count() == 1


def test_failing_service(
    app: Application,
    call: Caller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What nobody expects is logged, not told; and what was done is taken back."""

    def broken(self: Any, *arguments: Any, **options: Any) -> int:
        self.bad = "secret"
        raise LookupError("secret")

    monkeypatch.setattr(type(app.service), "addCronJob", broken)
    fault = fault_of(call().addCronJob, "echo", None, {"hour": 1})
    assert (fault.faultCode, "secret" in fault.faultString) == (FAILED, False)
    [record] = [r for r in caplog.records if r.name == "lovely.remotetask"]
    assert record.levelno == logging.ERROR
    assert "secret" not in vars(app.service)


def test_conflicts_are_tried_again(
    app: Application, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a conflict the publisher makes the call again."""
    original, calls = type(app.service).add, []

    def add(self: Any, *arguments: Any, **options: Any) -> int:
        calls.append(arguments)
        if len(calls) == 1:
            raise transaction.interfaces.TransientError
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(app.service), "add", add)
    assert call().add("echo") == 1
    assert len(calls) == 2


WHEN = datetime(2026, 1, 31, 13, 5, 9, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("output", "received"),
    [
        ({"when": WHEN}, {"when": DateTime("20260131T13:05:09")}),
        ([b"\0\1"], [Binary(b"\0\1")]),
        ((1, {2}), [1, [2]]),
        ({3: 2**40, "price": Decimal("1.50")}, {"3": str(2**40), "price": "1.50"}),
        ("a\0b", "a\\x00b"),
        (None, None),
    ],
)
def test_results(app: Application, call: Caller, output: Any, received: Any) -> None:
    """Results come as what XML-RPC has."""
    jobid = app.add("echo", output)
    app.run()
    assert call().getResult(jobid) == received


def test_result_without_a_type(app: Application, call: Caller) -> None:
    """A result that XML-RPC has no type for is a fault that says where it is."""
    jobid = app.add("echo", {"page": 1j})
    app.run()
    fault = fault_of(call().getResult, jobid)
    assert fault.faultCode == BAD_ARGUMENT
    assert f"The result of job {jobid}['page'] has a complex," in fault.faultString


def test_inputs_are_plain(app: Application, call: Caller) -> None:
    """Dates and bytes are Python's own in the input."""
    given = {"when": DateTime("20260131T13:05:09"), "data": [Binary(b"\0")]}
    jobid = call().add("echo", given)
    assert app.service.jobs[jobid].input == {"when": WHEN, "data": [b"\0"]}


def test_who_asked(app: Application, call: Caller) -> None:
    """A job is run for whoever asked for it."""
    jobid, cron = call("adder").add("echo"), call().addCronJob("echo", 1, {"hour": 1})
    jobs = app.service.jobs
    assert jobs[jobid].principal == "users.adder"
    assert jobs[cron].principal == "users.manager"


def test_a_task_may_do_what_its_user_may(app: Application, call: Caller) -> None:
    """In a job permissions are checked as in a request of whoever asked for it."""
    register_full("count", lambda service, *_: ProxyFactory(service).count())
    allowed, refused = call().add("count"), call("adder").add("count")
    app.run()
    assert call().getResult(allowed) == 2
    [attempt] = app.service.jobs[refused].attempts
    assert attempt.failure.type == "Unauthorized"
    assert "lovely.remotetask.View" in attempt.failure.message


def test_the_deepest_value(app: Application, call: Caller) -> None:
    """What is taken as an input can be sent as a result."""
    value = nested(50)
    jobid = call().add("echo", value)
    app.run()
    assert call().getResult(jobid) == value


def test_introspection(call: Caller) -> None:
    """Every method is listed, explained, and tells what it takes."""
    server = call()
    names = server.listMethods()
    assert names == server.system.listMethods() == sorted(SIGNATURES)
    assert {"add", "cancel", "getAvailableTasks", "getStatus", "getResult"} < {*names}
    for name in names:
        assert server.methodHelp(name) == server.system.methodHelp(name) != ""
        assert server.methodSignature(name) == server.system.methodSignature(name)
    assert "get the job's id" in server.methodHelp("add")
    assert server.methodSignature("cancel") == [["boolean", "int"]]
    assert server.methodSignature("count") == [["int"], ["int", "string"]]


#: What each method needs, and a call that then works.
CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "getAvailableTasks": ("View", ()),
    "getStatus": ("View", (1,)),
    "getResult": ("View", (1,)),
    "getError": ("View", (1,)),
    "count": ("View", ()),
    "listMethods": ("View", ()),
    "methodHelp": ("View", ("add",)),
    "methodSignature": ("View", ("add",)),
    "system.listMethods": ("View", ()),
    "system.methodHelp": ("View", ("add",)),
    "system.methodSignature": ("View", ("add",)),
    "add": ("Submit", ("echo",)),
    "addCronJob": ("Submit", ("echo", None, {"hour": 1})),
    "startJob": ("Submit", (1,)),
    "cancel": ("Submit", (1,)),
}

USERS = {
    None: set(),
    "stranger": set(),
    "viewer": {"View"},
    "adder": {"Submit"},
    "manager": {"View", "Submit"},
}


def test_all_calls_are_known() -> None:
    """The table above has every method."""
    assert {name for name in CALLS if "." not in name} == SIGNATURES.keys()


@pytest.mark.parametrize("user", USERS)
def test_permissions(app: Application, call: Caller, user: str | None) -> None:
    """Each method needs its permission; without it nothing happens."""
    app.add("echo", "secret", startLater=True)
    server = call(user)
    for name, (permission, arguments) in CALLS.items():
        method = server
        for part in name.split("."):
            method = getattr(method, part)
        before = app.statuses()
        if permission in USERS[user]:
            method(*arguments)
            continue
        with pytest.raises(ProtocolError) as caught:
            method(*arguments)
        assert caught.value.errcode == 401
        assert app.statuses() == before


@pytest.mark.parametrize(
    "method", ["process", "clean", "jobs", "remove", "stopProcessing", "__len__", "nix"]
)
def test_nothing_else_is_published(app: Application, call: Caller, method: str) -> None:
    """What is no method of XML-RPC is not found, whoever asks."""
    app.add("echo")
    with pytest.raises(ProtocolError) as caught:
        getattr(call(), method)()
    assert caught.value.errcode == 404
    assert app.statuses() == {1: "queued"}


def post(address: str, body: str, kind: str) -> tuple[int, bytes]:
    """What the server answers to the manager's plain request."""
    connection = http.client.HTTPConnection(address)
    headers = {"Content-Type": kind, "Authorization": "Basic bWFuYWdlcjptYW5hZ2Vy"}
    connection.request("POST", PATH, body, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""],
)
def test_a_form_of_another_site_is_no_call(
    app: Application, address: str, kind: str
) -> None:
    """A call in a form, which browsers send for any site, does nothing."""
    status, _ = post(address, dumps(("echo",), "add"), kind)
    assert status != 200
    assert app.service.count() == 0


def test_the_right_kind_is_a_call(app: Application, address: str) -> None:
    """The same with the type that browsers ask about first is one."""
    status, body = post(address, dumps(("echo",), "add"), "text/xml")
    assert (status, b"<int>1</int>" in body) == (200, True)
    assert app.service.count() == 1


@pytest.mark.parametrize("body", ["", "no xml", "<methodCall>", "<a/>"])
def test_broken_calls(app: Application, address: str, body: str) -> None:
    """What is no XML-RPC gets an answer without a traceback."""
    _, answer = post(address, body, "text/xml")
    assert b"Traceback" not in answer
    assert app.service.count() == 0
