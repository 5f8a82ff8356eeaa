"""What directives in tests name."""

from __future__ import annotations

from typing import Any

import zope.schema
from zope.interface import Interface, implementer

from lovely.remotetask import RetryPolicy, SimpleTask
from lovely.remotetask.interfaces import ITask

PATIENT = RetryPolicy(retries=7)
NOT_A_POLICY = "seven"


class IPicture(Interface):
    """A schema."""

    width = zope.schema.Int(title="Width", min=1)


class IPictureTask(Interface):
    """What a service of its own kind takes for tasks."""


def convert(service: Any, jobid: int, input: Any) -> Any:
    """A task as a function."""
    return [jobid, input]


def shout(input: str) -> str:
    """A function of the input alone."""
    return input.upper()


simple = SimpleTask(shout, retry=2, timeout=5, inputSchema=IPicture)


@implementer(ITask)
class Reverse:
    """A class of tasks."""

    inputSchema = None
    outputSchema = None

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return input[::-1]


class Plain:
    """A class that can be called as a task, and does not say that it is one."""

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return "plain"


class Demanding:
    """A class that can't be made without an argument."""

    def __init__(self, argument: Any) -> None:
        self.argument = argument


class IAddress(Interface):
    """Where something is to be found."""


class Address:
    """The address of an object, for a job."""

    def __init__(self, context: Any, request: Any) -> None:
        self.text = f"https://example.org/{context.__name__}"
