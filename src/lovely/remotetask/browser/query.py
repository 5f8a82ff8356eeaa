"""What the page of the jobs was asked to show; it is all in the address."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

from lovely.remotetask import listing
from lovely.remotetask.browser import bytime
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
    #: By time: where the page before has ended.
    after: str = ""
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
            after=page.text("after"),
            back=int(page.text("back") == "1"),
            all=int(page.text("all") == "1"),
        )

    def url(self, **changes: Any) -> str:
        """The address of another page; of the first one, unless it has a start."""
        first = {"start": None, "after": "", "back": 0, "all": 0}
        found = _unusual(replace(self, **{**first, **changes}))
        return f"?{urlencode(found)}" if found else "?"

    def select_all(self) -> str:
        """The address of this page, with all jobs on it selected."""
        return f"?{urlencode(_unusual(replace(self, all=1)))}"

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The fields for forms that come back to this page."""
        return [(name, str(value)) for name, value in _unusual(self).items()]

    @property
    def newest_first(self) -> bool:
        """Whether ids go down."""
        return self.order.startswith("-")

    def find(self, service: Any) -> Found:
        """The jobs, at a cost that does not depend on how many there are."""
        wanted: dict[str, Any] = {
            "status": self.status or None,
            "task": self.task or None,
            "text": self.text or None,
        }
        if self.order.endswith("created"):
            return self._find_by_time(service, wanted)
        page = listing.find(
            service,
            start=self.start,
            limit=self.size,
            newest_first=self.newest_first != bool(self.back),
            **wanted,
        )
        jobs = page.jobs[::-1] if self.back else list(page.jobs)
        before, after = self._neighbours(service, page, jobs)
        return Found(jobs, before, after, page.looked_at)

    def _find_by_time(self, service: Any, wanted: dict[str, Any]) -> Found:
        """Jobs with neighbouring ids, by their times."""
        back, size = bool(self.back), self.size
        window = bytime.Window.of(
            service, self.start, back, newest_first=self.newest_first, **wanted
        )
        begin = window.begin(self.after, size, back=back)
        before, after = (
            None if way is None else self.url(**way)
            for way in (window.before(begin, size), window.after(begin, size))
        )
        jobs = window.jobs[begin : begin + size]
        return Found(jobs, before, after, window.looked_at)

    def _neighbours(
        self, service: Any, page: Any, jobs: list[Any]
    ) -> tuple[str | None, str | None]:
        """The addresses of the pages before and after."""
        step = 1 if self.newest_first else -1
        if self.back:
            before = None if page.next is None else self.url(start=page.next, back=1)
            edge = jobs[-1].id if jobs else self.start
            return before, None if edge is None else self.url(start=max(1, edge - step))
        after = None if page.next is None else self.url(start=page.next)
        if self.start is None:
            return None, after
        edge = jobs[0].id if jobs else self.start
        there = bytime.has_before(service, edge, step)
        return self.url(start=max(1, edge + step), back=1) if there else None, after


def _unusual(query: Query) -> dict[str, Any]:
    """What a query has that is not as usual."""
    usual = asdict(Query())
    return {n: value for n, value in asdict(query).items() if value != usual[n]}


@dataclass(frozen=True)
class Found:
    """The jobs of a page, and the addresses of its neighbours, if there are any."""

    jobs: list[Any]
    before: str | None
    after: str | None
    looked_at: int
