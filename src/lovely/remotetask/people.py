"""For whom jobs are added and run.

The core knows no users.  Where zope.security is used, each thread has an *interaction*
that knows its *principals*; a plug-in, `lovely.remotetask.principals`, knows how to
deal with both.  It is asked only where there is an interaction, or a principal.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from lovely.remotetask import plugins
from lovely.remotetask.errors import InvalidArgument, NotInstalled
from lovely.remotetask.sites import interactions

if TYPE_CHECKING:
    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService

#: The entry points of plug-ins; the first one is used.
GROUP = "lovely.remotetask.people"

#: What a job is run as: whoever added it, or the system, which may do everything.
ADDER, SYSTEM = "adder", "system"


class People(Protocol):
    """The contract of a plug-in: a module, or whatever has these two functions."""

    def acting(self) -> str | None:
        """The id of the principal for whom this thread acts; None for the system."""

    def act_as(self, principal: str | None) -> None:
        """Begin an interaction for a principal, in place of the one that there is.

        ``sites.Surroundings`` bring that back.  Raise PrincipalGone.
        """


def acting() -> str | None:
    """The id of the principal for whom this thread acts; None if there is none."""
    if interactions().get("interaction") is None:
        return None
    people = _people()
    return None if people is None else people.acting()


def act_for(service: TaskService, job: Job, task: Any) -> None:
    """Let this thread act for whoever added the job, until its task has returned.

    Raise PrincipalGone, NotInstalled, or InvalidArgument for a bad ``runAs``.
    """
    principal = None if _run_as(service, task) == SYSTEM else job.principal
    if principal is None and "zope.security.management" not in sys.modules:
        return
    people = _people()
    if people is not None:
        people.act_as(principal)
    elif principal is not None:
        raise NotInstalled(f"To run a job for principal {principal!r}", "zope")


def check_run_as(run_as: object) -> None:
    """An argument or attribute that says what jobs are run as.

    Raise InvalidArgument.
    """
    if run_as not in (ADDER, SYSTEM):
        raise InvalidArgument(f"runAs: {ADDER!r} or {SYSTEM!r}, not {run_as!r}.")


def _run_as(service: TaskService, task: Any) -> str:
    """What the task says, or else the service."""
    run_as: str | None = getattr(task, "runAs", None)
    if run_as is None:
        run_as = service.runAs
    # It must not be mistaken: that would be for more, or for less, than was meant.
    check_run_as(run_as)
    return run_as


def _people() -> People | None:
    return next(iter(plugins.load(GROUP)), None)
