"""The directive that registers tasks."""

from __future__ import annotations

from typing import Any

import pytest
import zope.component
from zope.configuration.config import ConfigurationConflictError
from zope.configuration.exceptions import ConfigurationError
from zope.interface.verify import verifyObject

from lovely.remotetask import EchoTask, RetryPolicy, TaskService
from lovely.remotetask.interfaces import ITask
from tests.zope import handlers
from tests.zope.configuration import configure


def task(**attributes: str) -> str:
    """A directive."""
    given = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<remotetask:task {given} />"


def registered(name: str, interface: Any = ITask) -> Any:
    """The task of that name."""
    return zope.component.getUtility(interface, name)


def test_echo() -> None:
    """To include the package is enough for the task ``echo``."""
    configure()
    assert type(registered("echo")) is EchoTask
    service = TaskService()
    jobid = service.add("echo", 1)
    service.process()
    assert service.getResult(jobid) == 1


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (".handlers.convert", [1, "abc"]),
        ("tests.zope.handlers.convert", [1, "abc"]),
        (".handlers.Reverse", "cba"),
        (".handlers.Plain", "plain"),
    ],
)
def test_handlers(handler: str, result: Any) -> None:
    """A handler is a function, a class, or an object, relative to the package."""
    configure(task(name="work", handler=handler))
    made = registered("work")
    assert verifyObject(ITask, made)
    assert (made.inputSchema, made.outputSchema) == (None, None)
    service = TaskService()
    jobid = service.add("work", "abc")
    service.process()
    assert service.getResult(jobid) == result


def test_a_task_is_registered_as_it_is() -> None:
    """What is a task, and about which the directive says no more, is not wrapped."""
    configure(task(name="simple", handler=".handlers.simple"))
    assert registered("simple") is handlers.simple


def test_options() -> None:
    """A directive says how its task is run."""
    configure(
        task(
            name="work",
            handler=".handlers.convert",
            retry="4",
            timeout="2.5",
            inputSchema=".handlers.IPicture",
            outputSchema=".handlers.IPicture",
            runAs="system",
        )
    )
    made = registered("work")
    assert made.retry == RetryPolicy(retries=4)
    assert (made.timeout, made.runAs) == (2.5, "system")
    assert made.inputSchema is made.outputSchema is handlers.IPicture
    assert "convert" in repr(made)


def test_options_of_the_handler() -> None:
    """What the directive does not say is as the task itself has it."""
    configure(task(name="work", handler=".handlers.simple", timeout="9"))
    made = registered("work")
    assert (made.timeout, made.retry) == (9, RetryPolicy(retries=2))
    assert made.inputSchema is handlers.IPicture
    assert made(None, 1, "a") == "A"
    assert handlers.simple.timeout == 5


def test_policy_by_name() -> None:
    """A policy may be named."""
    configure(task(name="work", handler=".handlers.convert", retry=".handlers.PATIENT"))
    assert registered("work").retry is handlers.PATIENT


def test_task_interface() -> None:
    """A service may have tasks of its own kind."""
    configure(
        task(
            name="work",
            handler=".handlers.convert",
            provides=".handlers.IPictureTask",
        )
    )
    assert handlers.IPictureTask.providedBy(registered("work", handlers.IPictureTask))
    service = TaskService()
    service.taskInterface = handlers.IPictureTask
    assert list(service.getAvailableTasks()) == ["work"]


BAD = [
    ({"handler": ".handlers.convert"}, "name"),
    ({"name": "", "handler": ".handlers.convert"}, "name: a task needs one"),
    ({"name": "  ", "handler": ".handlers.convert"}, "name: a task needs one"),
    ({"name": "work"}, "handler"),
    ({"name": "work", "handler": ".handlers.gone"}, "gone"),
    ({"name": "work", "handler": ".gone.convert"}, "gone"),
    (
        {"name": "work", "handler": ".handlers.PATIENT"},
        "can't be called with a service",
    ),
    ({"name": "work", "handler": ".handlers.shout"}, "can't be called with a service"),
    ({"name": "work", "handler": ".handlers.Demanding"}, "without arguments"),
    ({"retry": "-1"}, "retries: .*not -1"),
    ({"retry": "many"}, "many"),
    ({"retry": "1.5"}, "1.5"),
    ({"retry": ".handlers.NOT_A_POLICY"}, "retry: a RetryPolicy"),
    ({"timeout": "-1"}, "timeout: .*-1"),
    ({"timeout": "soon"}, "timeout"),
    ({"timeout": "nan"}, "timeout"),
    ({"inputSchema": ".handlers.gone"}, "inputSchema"),
    ({"outputSchema": ".handlers.gone"}, "outputSchema"),
    ({"inputSchema": ".handlers.Reverse"}, "inputSchema: a schema is"),
    ({"runAs": "root"}, "runAs: 'adder' or 'system', not 'root'"),
    ({"provides": ".handlers.Reverse"}, "provides"),
    ({"rety": "1"}, "rety"),
]


@pytest.mark.parametrize(("attributes", "message"), BAD)
def test_bad_directives(attributes: dict[str, str], message: str) -> None:
    """An error says what is wrong, and where: the file and the line."""
    if "name" not in attributes and "handler" not in attributes:
        attributes = {"name": "work", "handler": ".handlers.convert"} | attributes
    with pytest.raises(ConfigurationError, match=message) as caught:
        configure(f"\n\n{task(**attributes)}")
    assert 'File "<string>", line 3' in str(caught.value)
    assert zope.component.queryUtility(ITask, "work") is None


def test_twice() -> None:
    """Two tasks of one name are a conflict, which names both places."""
    directive = task(name="work", handler=".handlers.convert")
    with pytest.raises(ConfigurationConflictError) as caught:
        configure(f"\n{directive}\n{directive}")
    assert "line 2" in str(caught.value)
    assert "line 3" in str(caught.value)


def test_without_the_rest() -> None:
    """The directive can be had without what the package registers."""
    from zope.configuration import xmlconfig

    context = xmlconfig.file("meta.zcml", __import__("lovely.remotetask").remotetask)
    xmlconfig.string(
        '<remotetask:task xmlns:remotetask="http://namespaces.lovelysystems.com/'
        'remotetask" name="work" handler="tests.zope.handlers.convert" />',
        context,
    )
    assert list(TaskService().getAvailableTasks()) == ["work"]
