"""Ready-made tasks, and the way from a function to a task."""

from __future__ import annotations

from typing import Any

import pytest
import zope.component
from zope.interface.verify import verifyObject

from lovely import remotetask
from lovely.remotetask.errors import InvalidArgument, InvalidType, RemoteTaskError
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.task import EchoTask, SimpleTask, TaskError, task


def shout(text: str) -> str:
    """A function that becomes a task."""
    return text.upper()


@pytest.mark.parametrize("made", [SimpleTask(shout), EchoTask()])
def test_interface(made: Any) -> None:
    """Tasks keep to their interface, and have no schemas."""
    assert verifyObject(ITask, made)
    assert (made.inputSchema, made.outputSchema) == (None, None)


def test_calls() -> None:
    """A simple task gets the input alone; an echo gives it back."""
    assert SimpleTask(shout)(None, 1, "hello") == "HELLO"
    assert EchoTask()(None, 1, "hello") == "hello"
    assert "shout" in repr(SimpleTask(shout))
    assert repr(EchoTask()) == "<EchoTask>"


def test_decorator() -> None:
    """The decorator registers a function, which stays what it was."""
    decorated = task("shout")(shout)
    assert decorated is shout
    found = zope.component.getUtility(ITask, "shout")
    assert found(None, 1, "hello") == "HELLO"
    service = remotetask.TaskService()
    service.add("shout", "hello")
    service.process()
    assert service.getResult(1) == "HELLO"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (shout, InvalidType),
        (None, InvalidType),
        (5, InvalidType),
        ("", InvalidArgument),
    ],
)
def test_decorator_without_a_name(name: Any, error: type[Exception]) -> None:
    """A decorator without a name says how to write it."""
    with pytest.raises(error, match="name: ") as caught:
        task(name)
    assert isinstance(caught.value, RemoteTaskError)


def test_old_imports() -> None:
    """The package has one attribute ``task``: decorator and module's stand-in."""
    assert remotetask.task is task
    assert remotetask.task.SimpleTask is SimpleTask
    assert remotetask.task.EchoTask is EchoTask
    assert remotetask.task.TaskError is TaskError is remotetask.TaskError
