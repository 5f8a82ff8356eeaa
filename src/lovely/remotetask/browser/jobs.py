"""The page of the jobs of a service."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import transaction
from zope.browserpage.viewpagetemplatefile import ViewPageTemplateFile

from lovely.remotetask import states
from lovely.remotetask.browser import actions, display, tokens
from lovely.remotetask.browser.base import Page
from lovely.remotetask.browser.details import detail
from lovely.remotetask.browser.query import ORDERS, SIZES, Found, Query
from lovely.remotetask.browser.sweep import Place
from lovely.remotetask.browser.urls import located
from lovely.remotetask.errors import RemoteTaskError


class Jobs(Page):
    """Some of the jobs, with buttons for them and for the service."""

    index = ViewPageTemplateFile("jobs.pt")
    sizes = SIZES

    def __call__(self) -> str:
        if self.request.method == "POST":
            return self.post()
        wanted = self.number("find")
        if wanted and wanted in self.service.jobs:
            return self.redirect(f"{self.url()}/{wanted}")
        return self.show(self.index)

    # Changes

    def post(self) -> str:
        """Do what a button says, and show the page anew."""
        if not tokens.is_own(self.request):
            return self.refuse()
        self.check_manager()
        form = self.request.form
        name = next((name for name in actions.ACTIONS if name in form), None)
        if name is None:
            return self.redirect(self.address())
        try:
            done = actions.ACTIONS[name](name, self.service, form)
        except RemoteTaskError as error:
            transaction.abort()
            self.error = str(error)
            return self.show(self.index)
        said = {"done": done.action, "n": str(done.number)}
        if done.place is not None:
            said["from"] = str(done.place)
        return self.redirect(self.address(said))

    def redirect(self, address: str) -> str:
        self.request.response.redirect(address, status=303)
        return ""

    def address(self, said: dict[str, str] | None = None) -> str:
        """The page that the form was on, with something to say."""
        fields = {**dict(self.query.hidden), **(said or {})}
        fields.pop("all", None)
        query = f"?{urlencode(fields)}" if fields else ""
        return f"{self.url()}/jobs.html{query}"

    @property
    def message(self) -> str:
        """What was done."""
        return actions.message(self.text("done"), self.number("n") or 0)

    @property
    def unfinished(self) -> dict[str, str] | None:
        """What is to be gone on with: its button and its place."""
        action, place = self.text("done"), self.text("from")
        if not place or not isinstance(actions.ACTIONS.get(action), actions.Every):
            return None
        return {"action": action, "place": str(Place.read(place))}

    # What is shown

    @cached_property
    def query(self) -> Query:
        return Query.of(self)

    @cached_property
    def found(self) -> Found:
        return self.query.find(self.service)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The jobs, ready for the template."""
        base = self.url()
        return [self._row(job, base) for job in self.found.jobs]

    def _row(self, job: Any, base: str) -> dict[str, Any]:
        failure = job.failure
        return {
            "id": job.id,
            "url": f"{base}/{job.id}",
            "task": display.cut(job.task, 100),
            "status": job.status,
            "css": css(job.status),
            "detail": detail(located(job, self.service), self.request),
            "error": display.failure(failure, 200),
            "created": display.moment(job.created),
            "started": display.moment(job.started),
            "completed": display.moment(job.completed),
            "took": display.took(job),
            "checked": "checked" if self.query.all else None,
        }

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks that there are."""
        return sorted(self.service.getAvailableTasks())

    @property
    def task_choices(self) -> list[str]:
        """Those to filter by, also such as there are no more."""
        shown = {job.task for job in self.found.jobs}
        return sorted({*self.tasks, *shown, *filter(None, [self.query.task])})

    @cached_property
    def counts(self) -> list[dict[str, Any]]:
        """How many jobs there are by status, and where they are shown."""
        count = self.service.count
        statuses = [("", "all", count())]
        statuses += [(status, status, count(status)) for status in states.STATUSES]
        return [
            {
                "label": label,
                "number": f"{number:,}",
                "css": f"{css(label)}{'' if number else ' none'}",
                "url": self.query.url(status=status),
                "current": "page" if status == self.query.status else None,
            }
            for status, label, number in statuses
        ]

    def sort(self, name: str) -> dict[str, str]:
        """The link of a column's head, and how it is sorted now."""
        down = self.query.order == f"-{name}"
        order = name if down else f"-{name}"
        assert order in ORDERS
        sorted_by = self.query.order.lstrip("-") == name
        now = ("descending" if down else "ascending") if sorted_by else "none"
        return {"url": self.query.url(order=order), "now": now}

    @cached_property
    def processing(self) -> dict[str, Any]:
        """Who runs jobs."""
        seen = self.service.processing
        return {
            "here": self.service.isProcessing(),
            "workers": seen.workers,
            "stalled": seen.stalled,
            "oldest": display.moment(seen.oldest),
        }


def css(status: str) -> str:
    """The style of a status."""
    return f"status-{status.replace(' ', '-')}"
