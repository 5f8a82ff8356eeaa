"""What the page of the jobs was asked to show; it is all in the address."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

from lovely.remotetask import listing
from lovely.remotetask.browser.base import Page
from lovely.remotetask.states import STATUSES

#: How the jobs are sorted: by id, or by a time; downwards with a ``-``.
ORDERS = ("-id", "id", "-created", "created")
SIZES = (20, 50, 100, 500)


@dataclass(frozen=True)
class Query:
    """Which jobs, in which order, from where on."""

    status: str = ""
    task: str = ""
    #: What the error contains.
    text: str = ""
    order: str = "-id"
    size: int = 20
    #: The id to begin with.
    start: int | None = None
    #: Whether the page is the one that ends before ``start``.
    back: int = 0
    #: Whether all jobs on the page are selected.
    all: int = 0

    @classmethod
    def of(cls, page: Page) -> Query:
        """That of a request; what makes no sense is as if it were not there."""
        status, order = page.text("status"), page.text("order")
        size = page.number("size") or cls.size
        return cls(
            status=status if status in STATUSES else "",
            task=page.text("task"),
            text=page.text("text"),
            order=order if order in ORDERS else cls.order,
            size=max(1, min(size, SIZES[-1])),
            start=page.number("start"),
            back=int(page.text("back") == "1"),
            all=int(page.text("all") == "1"),
        )

    def url(self, **changes: Any) -> str:
        """The address of another page; of the first one, unless it has a start."""
        given = asdict(replace(self, **{"start": None, "back": 0, "all": 0, **changes}))
        usual = asdict(Query())
        found = {name: value for name, value in given.items() if value != usual[name]}
        return f"?{urlencode(found)}" if found else "?"

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The fields for forms that come back to this page."""
        usual = asdict(Query())
        return [
            (name, str(value))
            for name, value in asdict(self).items()
            if value != usual[name]
        ]

    @property
    def newest_first(self) -> bool:
        """Whether ids go down."""
        return self.order.startswith("-")

    def find(self, service: Any) -> Found:
        """The jobs, at a cost that does not depend on how many there are."""
        page = listing.find(
            service,
            status=self.status or None,
            task=self.task or None,
            text=self.text or None,
            start=self.start,
            limit=self.size,
            newest_first=self.newest_first != bool(self.back),
        )
        jobs = page.jobs[::-1] if self.back else list(page.jobs)
        before, after = self._neighbours(page, jobs)
        if self.order.endswith("created"):
            # Ids go with the times, but for what several processes added at a time.
            jobs.sort(key=lambda job: job._created, reverse=self.newest_first)
        return Found(jobs, before, after, page.looked_at)

    def _neighbours(self, page: Any, jobs: list[Any]) -> tuple[str | None, str | None]:
        """The addresses of the pages before and after."""
        step = 1 if self.newest_first else -1
        if self.back:
            before = None if page.next is None else self.url(start=page.next, back=1)
            edge = jobs[-1].id if jobs else self.start
            return before, None if edge is None else self.url(start=max(1, edge - step))
        edge = jobs[0].id if jobs else self.start
        before = None
        if self.start is not None and edge is not None:
            before = self.url(start=max(1, edge + step), back=1)
        return before, None if page.next is None else self.url(start=page.next)


@dataclass(frozen=True)
class Found:
    """The jobs of a page, and the addresses of its neighbours, if there are any."""

    jobs: list[Any]
    before: str | None
    after: str | None
    looked_at: int
