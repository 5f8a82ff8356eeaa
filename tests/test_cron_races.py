"""Changing what is planned while a worker claims or ends a run, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from transaction.interfaces import TransientError

from lovely.remotetask.session import Session
from tests.cron import DAY, HOUR, VERBS, Scene, after, claim, end, work
from tests.races.interleaved import Client, clients


@pytest.fixture
def client(db: Any) -> Iterator[Client]:
    """Somebody else, with a transaction of their own."""
    with clients(db, 1) as (client,):
        yield client


def test_a_plan_does_not_meet_a_claim(
    scene: Scene, session: Session, client: Client
) -> None:
    """To plan anew what is being claimed is a conflict, not a second run."""
    job = scene.add(hour=3)
    scene.process(0)
    scene.environment.now = after(3 * HOUR).timestamp()
    client.abort()
    client.service.runNow(job.id)
    assert session.claim(session.own_key, 5).jobs == [job.id]
    with pytest.raises(TransientError):
        client.commit()
    end(session, job.id)
    assert scene.runs == [3 * HOUR]


@pytest.mark.parametrize("verb", ["runNow", "resume"])
def test_a_verb_that_did_not_see_the_end(
    scene: Scene, session: Session, client: Client, verb: str
) -> None:
    """A verb in a transaction from before a run's end is refused, not lost."""
    job = scene.add(hour=3)
    jobid = claim(scene, session, 3 * HOUR)
    if verb == "resume":
        scene.service.pause(jobid)
        scene.commit()
    client.abort()
    getattr(client.service, verb)(jobid)
    end(session, jobid)  # it waits again, as it was planned before
    with pytest.raises(TransientError):
        client.commit()
    client.abort()
    getattr(client.service, verb)(jobid)
    client.commit()
    again = 3 * HOUR + 1
    assert scene.process(again) == [again] * (verb == "runNow")
    assert job.scheduledFor == after(DAY + 3 * HOUR)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_between_end_and_place(
    scene: Scene, session: Session, client: Client, verb: str
) -> None:
    """A verb that did not see the end is not lost if nobody has looked since, too."""
    job = scene.add(hour=3)
    jobid = claim(scene, session, 3 * HOUR)
    client.abort()
    getattr(client.service, verb)(jobid)
    session.run(jobid, session.own_key)
    client.commit()
    work(session)
    transaction.begin()
    assert len(scene.runs) == 1 + (verb == "runNow")
    planned = None if verb == "pause" else after(DAY + 3 * HOUR)
    assert job.scheduledFor == planned
    scene.commit()
