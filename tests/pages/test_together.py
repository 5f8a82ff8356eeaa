"""Two people at once: each page tells what is so by the time of its commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import transaction

from lovely.remotetask.browser import tokens
from tests.pages.conftest import PATH, Application, token_of

#: The page, what its form sends, what somebody else does at the same time; then the
#: statuses, and what the answer is: an address, or a text.
CASES: list[tuple[str, dict[str, str], Callable[[Any], Any], dict[int, str], str]] = [
    (
        *("jobs.html", {"CANCEL": "1", "jobs:list": "1"}, lambda s: s.cancel(1)),
        *({1: "cancelled", 2: "cancelled", 3: "cronjob"}, "done=CANCEL&n=0"),
    ),
    (
        *("jobs.html", {"REMOVE": "1", "jobs:list": "2"}, lambda s: s.remove(2)),
        *({1: "queued", 3: "cronjob"}, "done=NOTHING"),
    ),
    (
        *("jobs.html", {"CLEAN_ALL": "1"}, lambda s: s.retry(2)),
        *({1: "queued", 2: "queued", 3: "cronjob"}, "done=CLEAN_ALL&n=0"),
    ),
    (
        *("2", {"RETRY": "1"}, lambda s: s.retry(2)),
        *({1: "queued", 2: "queued", 3: "cronjob"}, "/news/tasks/2"),
    ),
    (
        *("2", {"REMOVE": "1"}, lambda s: s.remove(2)),
        *({1: "queued", 3: "cronjob"}, "There is no job 2"),
    ),
    (
        *("3/editjob", {"form.actions.apply": "Apply", "form.hour": "4"}),
        lambda s: s.cancel(3),
        *({1: "queued", 2: "cancelled", 3: "cancelled"}, "This job is over"),
    ),
    (
        *("3/editjob", {"form.actions.apply": "Apply", "form.hour": "4"}),
        lambda s: (s.cancel(3), s.remove(3)),
        *({1: "queued", 2: "cancelled"}, "There is no job 3"),
    ),
]


@pytest.mark.parametrize(
    ("page", "fields", "meanwhile", "statuses", "told"),
    CASES,
    ids=[f"{page}-{next(iter(fields))}-{told}" for page, fields, _, _, told in CASES],
)
def test_at_once(  # noqa: PLR0917
    app: Application,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    fields: dict[str, str],
    meanwhile: Callable[[Any], Any],
    statuses: dict[int, str],
    told: str,
) -> None:
    """Another's change that is committed first holds; what then fits is done."""
    service = app.service
    service.add("echo")
    service.cancel(service.add("echo"))
    service.addCronJob("echo", hour=3)
    transaction.commit()
    client = app.client()
    token = token_of(client.get(f"{PATH}/jobs.html"))
    others = [meanwhile]
    is_own = tokens.is_own

    def interrupt(request: Any) -> bool:
        """Asked when the request has begun: it has not seen what is done here."""
        if others:
            with app.db.transaction() as connection:
                others.pop()(connection.root()["Application"]["news"]["tasks"])
        return is_own(request)

    monkeypatch.setattr(tokens, "is_own", interrupt)
    sent = {"__csrftoken__": token, **fields}
    answer = client.post(f"{PATH}/{page}", sent, expect_errors=True)
    assert answer.status_code == {"There": 404, "This ": 200}.get(told[:5], 303)
    assert told in (answer.location or answer.text)
    assert app.statuses() == statuses
