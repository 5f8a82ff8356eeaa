"""The page of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transaction
from zope.browserpage.viewpagetemplatefile import ViewPageTemplateFile

from lovely.remotetask import states
from lovely.remotetask.browser import actions, display, tokens
from lovely.remotetask.browser.base import Page
from lovely.remotetask.browser.details import own_view, render
from lovely.remotetask.browser.jobs import css
from lovely.remotetask.errors import RemoteTaskError
from lovely.remotetask.interfaces import ICronJob
from lovely.remotetask.values import readable

#: Buttons: what they say, what they do, and whether they are there.
BUTTONS: dict[str, tuple[str, Callable[[Any, int], Any]]] = {
    "START": ("Start", lambda service, jobid: service.startJob(jobid)),
    "RETRY": ("Try again", actions.retry),
    "RUN_NOW": ("Run now", lambda service, jobid: service.runNow(jobid)),
    "PAUSE": ("Pause", lambda service, jobid: service.pause(jobid)),
    "RESUME": ("Resume", lambda service, jobid: service.resume(jobid)),
    "CANCEL": ("Cancel", actions.cancel),
    "REMOVE": ("Remove", actions.remove),
}


#: What becomes of a run that is due while the one before it is not over.
OVERLAP = {"skip": "the next is left out", "queue": "the next waits"}


class NoJob(Page):
    """In place of a job that is not there or can't be loaded, and of all its pages.

    It has a permission, as they have: who may not see jobs does not learn which there
    are.
    """

    index = ViewPageTemplateFile("nojob.pt")
    jobid: int | None = None
    is_there = False

    def tell(self, jobid: int, *, is_there: bool) -> None:
        """Which job it is about, and whether there is one."""
        self.jobid, self.is_there = jobid, is_there

    def publishTraverse(self, request: Any, name: str) -> Any:
        return self

    def __call__(self) -> str:
        if self.is_there:
            return self.show_unreadable()
        self.request.response.setStatus(404)
        # By its own name it is no page.
        return "" if self.jobid is None else str(self.index())


class JobPage(Page):
    """A job: what it was given, what became of it, its attempts and runs."""

    index = ViewPageTemplateFile("job.pt")
    moment = staticmethod(display.moment)

    @property
    def service(self) -> Any:
        return self.object.__parent__

    def __call__(self) -> str:
        if self.request.method == "POST":
            return self.post()
        return self.show(self.index)

    def post(self) -> str:
        """Do what a button says, and show the page anew."""
        if not tokens.is_own(self.request):
            return self.refuse()
        self.check_manager()
        jobid, service = self.object.id, self.service
        name = next((name for name in BUTTONS if name in self.request.form), None)
        address = self.address
        try:
            if name is not None:
                BUTTONS[name][1](service, jobid)
        except RemoteTaskError as error:
            transaction.abort()
            self.error = str(error)
            return self.show(self.index)
        if jobid not in service.jobs:
            address = f"{self.url()}/jobs.html?done=REMOVE&n=1"
        self.request.response.redirect(address, status=303)
        return ""

    @property
    def address(self) -> str:
        """Of the job."""
        return self.url(self.object)

    @property
    def buttons(self) -> list[tuple[str, str]]:
        """Names and labels of what can be done."""
        return [(name, BUTTONS[name][0]) for name in BUTTONS if name in self._possible]

    @property
    def _possible(self) -> set[str]:
        status = self.object.status
        possible = {
            "START": status == states.STARTLATER,
            "RETRY": status in states.RETRIABLE,
            "CANCEL": status in states.CANCELLABLE | {states.PROCESSING},
            "REMOVE": status in states.REMOVABLE,
        }
        if self.is_cron and status not in states.REMOVABLE:
            paused = self.object.paused
            possible |= {"RUN_NOW": True, "PAUSE": not paused, "RESUME": paused}
        return {name for name, there in possible.items() if there}

    @property
    def is_cron(self) -> bool:
        """Whether it comes back."""
        return bool(ICronJob.providedBy(self.object))

    @property
    def css(self) -> str:
        return css(self.object.status)

    @property
    def detail(self) -> str:
        """What the application shows of it."""
        view = own_view(self.context, self.request)
        return "" if view is None else render(view)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is known of it, for a list."""
        job = self.object
        facts = [
            ("Added", display.moment(job.created)),
            ("Added by", job.principal or ""),
            ("Due", display.moment(job.scheduledFor)),
            ("Last begun", display.moment(job.started)),
            ("Last ended", display.moment(job.completed)),
            ("Took", display.took(job)),
            ("Attempts", str(job.attempt) if job.attempt else ""),
            ("Lost workers", str(job.crashes) if job.crashes else ""),
            ("Timeout", display.seconds(job.timeout) if job.timeout else ""),
        ]
        if self.is_cron:
            paused = " (paused)" if job.paused else ""
            facts.append(("Schedule", display.schedule(job) + paused))
            facts.append(("Missed runs", display.policy(job)))
            facts.append(("While it still runs", OVERLAP[job.policy.overlap]))
            facts.append(("Next", "\n".join(map(display.moment, job.upcoming(3)))))
        return [(name, text) for name, text in facts if text]

    @property
    def progress(self) -> dict[str, Any] | None:
        """How far it is."""
        found = self.service.progress(self.object.id)
        if found is None:
            return None
        return {
            "value": str(found.fraction),
            "message": display.cut(found.message, 500),
        }

    @property
    def input(self) -> str:
        return display.full(readable(self.object, "input"))

    @property
    def output(self) -> str:
        job = self.object
        output = readable(job, "output")
        over = job.status == states.COMPLETED or output is not None
        return display.full(output) if over else ""

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The last attempts, the newest first."""
        return [self._attempt(attempt) for attempt in reversed(self.object.attempts)]

    def _attempt(self, attempt: Any) -> dict[str, Any]:
        failure = attempt.failure
        return {
            "number": attempt.number,
            "started": display.moment(attempt.started),
            "took": _between(attempt.started, attempt.ended),
            "title": display.failure(failure, 500),
            "traceback": display.cut(failure.traceback, 40_000) if failure else "",
        }

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The last runs of a cron job, the newest first."""
        return [
            {
                "planned": display.moment(run.planned) or "by hand",
                "started": display.moment(run.started),
                "took": display.seconds(run.duration),
                "outcome": run.outcome,
                "css": css(run.outcome),
                "error": display.cut(run.error or "", 500),
            }
            for run in (reversed(self.object.runs) if self.is_cron else ())
        ]


def _between(started: Any, ended: Any) -> str:
    if started is None or ended is None:
        return ""
    return display.seconds((ended - started).total_seconds())
