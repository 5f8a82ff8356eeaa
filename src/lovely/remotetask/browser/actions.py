"""What the buttons on the page of the jobs do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lovely.remotetask import states
from lovely.remotetask.browser.base import as_number
from lovely.remotetask.browser.sweep import Place, sweep

#: Those that wait, in the order in which they are cancelled.
WAITING = tuple(s for s in states.STATUSES if s in states.CANCELLABLE)


class Done(NamedTuple):
    """What is said after an action: which, how many jobs, where it is to go on."""

    action: str
    number: int = 0
    place: Place | None = None


@dataclass(frozen=True)
class Selected:
    """A verb for the jobs that are selected."""

    act: Callable[[Any, int], Any]

    def __call__(self, name: str, service: Any, form: Any) -> Done:
        selected = ids(form, service)
        number = sum(bool(self.act(service, jobid)) for jobid in selected)
        return Done(name if selected else "NOTHING", number)


@dataclass(frozen=True)
class Every:
    """A verb for all jobs that have one of these statuses."""

    act: Callable[[Any, int], Any]
    statuses: Sequence[str]

    def __call__(self, name: str, service: Any, form: Any) -> Done:
        place = Place.read(str(form.get("from", "")))
        done = sweep(
            service, self.statuses, lambda jobid: self.act(service, jobid), place
        )
        return Done(name, done.done, done.place)


@dataclass(frozen=True)
class Switch:
    """Something about the service itself."""

    act: Callable[[Any], Any]

    def __call__(self, name: str, service: Any, form: Any) -> Done:
        self.act(service)
        return Done(name)


def ids(form: Any, service: Any) -> list[int]:
    """The ids that are selected, of those that there are."""
    given = form.get("jobs", ())
    several = isinstance(given, list | tuple)
    numbers = [as_number(text) for text in (given if several else [given])]
    return [number for number in numbers if number and number in service.jobs]


def cancel(service: Any, jobid: int) -> bool:
    """Cancel a job; whether that makes a difference."""
    over = service.getStatus(jobid) in states.REMOVABLE
    service.cancel(jobid)
    return not over


def retry(service: Any, jobid: int) -> bool:
    """Try again."""
    return bool(service.retry(jobid))


def remove(service: Any, jobid: int) -> bool:
    """Remove a job, if it is over."""
    return bool(service.remove(jobid))


OVER = (states.COMPLETED, states.CANCELLED, states.ERROR)

#: By the names of their buttons.
ACTIONS: dict[str, Callable[[str, Any, Any], Done]] = {
    "STARTPROCESSING": Switch(lambda service: service.startProcessing()),
    "STOPPROCESSING": Switch(lambda service: service.stopProcessing()),
    "CANCEL": Selected(cancel),
    "RETRY": Selected(retry),
    "REMOVE": Selected(remove),
    "CANCEL_ALL": Every(cancel, WAITING),
    "RETRY_ALL": Every(retry, (states.ERROR,)),
    "CLEAN_COMPLETED": Every(remove, (states.COMPLETED,)),
    "CLEAN_CANCELLED": Every(remove, (states.CANCELLED,)),
    "CLEAN_ERROR": Every(remove, (states.ERROR,)),
    "CLEAN_ALL": Every(remove, OVER),
}

_CANCELLED = "cancelled, or asked to stop"
_AGAIN, _REMOVED = "queued again", "removed"

#: What became of the jobs, by the names of the buttons.
BECAME = {
    "CANCEL": _CANCELLED,
    "RETRY": _AGAIN,
    "REMOVE": _REMOVED,
    "CANCEL_ALL": "cancelled",
    "RETRY_ALL": _AGAIN,
    "CLEAN_COMPLETED": _REMOVED,
    "CLEAN_CANCELLED": _REMOVED,
    "CLEAN_ERROR": _REMOVED,
    "CLEAN_ALL": _REMOVED,
}

#: What is said about the service itself.
SAID = {
    "STARTPROCESSING": "This process runs jobs now.",
    "STOPPROCESSING": "This process takes no more jobs; one that runs is finished.",
    "NOTHING": "No jobs were selected.",
}


def message(action: str, number: int) -> str:
    """What is said after an action; nothing if there is no such action."""
    if action in BECAME:
        who = "1 job was" if number == 1 else f"{number:,} jobs were"
        return f"{who} {BECAME[action]}."
    return SAID.get(action, "")
