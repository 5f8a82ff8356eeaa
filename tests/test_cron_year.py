"""A year of cron jobs, simulated: several workers, some of which die."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack, closing
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask import times
from lovely.remotetask.calendars import Fields
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.cron import DAY, HOUR, MINUTE, START, work
from tests.stateful.invariants import check
from tests.support import FakeEnvironment, put_service, register_full

#: What is run in the simulated year.
ENTRIES: list[dict[str, Any]] = [
    {"hour": (3, 15), "timezone": "Europe/Vienna"},
    {"dayOfMonth": 1, "timezone": "America/New_York"},
    {"dayOfWeek": (0, 3), "hour": 2, "minute": 30, "timezone": "Europe/Berlin"},
    {"hour": 12},
]


class Year:
    """A simulated year with workers, some of which die with what they have claimed."""

    def __init__(self, db: Any, environment: FakeEnvironment, crashes: float) -> None:
        self.environment, self.crashes = environment, crashes
        environment.now = START.timestamp()
        self.chance = random.Random(7)
        self.ran: Counter[tuple[int, Any]] = Counter()
        self.lost = 0
        register_full("note", self._note)
        self.service = put_service(db)
        for entry in ENTRIES:
            self.service.addCronJob("note", **entry, missed="all")
        transaction.commit()
        with ExitStack() as stack:
            self.workers = [
                stack.enter_context(closing(Session(db, ["service"]))) for _ in "123"
            ]
            for session in self.workers:
                session.register(1, Lease())
            self._pass()

    def _note(self, service: Any, jobid: int, input: Any) -> None:
        self.environment.now += self.chance.choice([0.0, 1.0, 40.0])
        self.ran[jobid, service.jobs[jobid].runFor] += 1

    def _pass(self) -> None:
        while self.environment.now < START.timestamp() + 365 * DAY:
            for session in self.chance.sample(self.workers, 2):
                while self._work(session):
                    pass
            self.environment.now += self.chance.choice([MINUTE, HOUR, 7 * HOUR, DAY])
        work(self.workers[0])

    def _work(self, session: Session) -> bool:
        """Claim and run; whether there was anything."""
        claim = session.claim(session.own_key, 3)
        jobs = session._service().jobs
        dies = self.chance.random() < self.crashes
        if dies and claim.jobs and not any(jobs[i].crashes for i in claim.jobs):
            self._die(session)
            return True
        for jobid in claim.jobs:
            session.run(jobid, session.own_key)
        return bool(claim.jobs) or claim.due == 0

    def _die(self, session: Session) -> None:
        """A worker is gone; another one rescues, and a new one comes."""
        key, session.key = session.own_key, None
        other = next(worker for worker in self.workers if worker is not session)
        other._commit(
            lambda service: service._workers.rescue(service, lambda w: w.key == key)
        )
        session.register(1, Lease())
        self.lost += 1


@pytest.mark.parametrize("crashes", [0.0, 0.2])
def test_a_year_of_workers(environment: FakeEnvironment, crashes: float) -> None:
    """In a simulated year with several workers, each planned run comes exactly once."""
    db = ZODB.DB(MappingStorage())
    year = Year(db, environment, crashes)
    transaction.begin()
    check(year.service)
    db.close()
    assert (year.lost > 50) is bool(crashes)
    assert set(year.ran.values()) == {1}
    assert year.ran.keys() == _planned(ENTRIES, environment.now)


def _planned(entries: list[dict[str, Any]], end: float) -> set[tuple[int, Any]]:
    """All that fields plan for the time of a simulation."""
    start = times.from_datetime(START)
    found = set()
    for jobid, entry in enumerate(entries, 1):
        fields = Fields.of(**entry)
        moment = fields.next(start)
        while moment is not None and moment <= times.from_seconds(end):
            found.add((jobid, times.to_datetime(moment)))
            moment = fields.next(moment)
    return found
