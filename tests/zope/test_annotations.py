"""What applications note on services and jobs."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from zope.annotation.interfaces import IAnnotations, IAttributeAnnotatable
from zope.interface.verify import verifyObject

from lovely.remotetask.evolve import evolve
from tests.old_records import OldDatabase
from tests.zope.configuration import configure

NOTE = "an.application"


@pytest.fixture(autouse=True)
def configured() -> None:
    """zope.annotation's adapters, and the package's."""
    configure(first='<include package="zope.annotation" />')


def objects(service: Any) -> list[Any]:
    """A service, a job and a cron job."""
    ids = service.add("echo"), service.addCronJob("echo", every=60)
    return [service, *(service.jobs[jobid] for jobid in ids)]


def test_they_are_kept(service: Any) -> None:
    """Each object has its own, and has them after it was loaded anew."""
    found = objects(service)
    for number, obj in enumerate(found):
        assert IAttributeAnnotatable.providedBy(obj)
        notes = IAnnotations(obj)
        assert verifyObject(IAnnotations, notes)
        assert notes.__parent__ is obj
        assert (bool(notes), dict(notes), notes.get(NOTE)) == (False, {}, None)
        notes[NOTE] = number
        notes["other"] = "gone"
        del notes["other"]
    transaction.commit()
    for number, obj in enumerate(found):
        obj._p_invalidate()
        assert dict(IAnnotations(obj)) == {NOTE: number}
        assert len(IAnnotations(obj)) == 1
        with pytest.raises(KeyError):
            IAnnotations(obj)["other"]
    for cls in {cls for obj in found for cls in type(obj).__mro__}:
        assert NOTE not in vars(cls).get("__annotations__", {})


def test_those_of_old_databases(path: str) -> None:
    """What was noted with 0.5.2 is still there."""
    old = OldDatabase()
    notes = [
        old.add(("BTrees.OOBTree", "OOBTree"), ((((b"old", 1),),),)) for _ in range(2)
    ]
    old.service({7: old.job(7, __annotations__=notes[0])}, __annotations__=notes[1])
    old.write(path)
    db = ZODB.DB(FileStorage(path))
    evolve(db)
    with db.transaction() as connection:
        service = connection.root()["service"]
        for obj in (service, service.jobs[7]):
            assert dict(IAnnotations(obj)) == {"old": 1}
            IAnnotations(obj)["new"] = 2
    with db.transaction() as connection:
        service = connection.root()["service"]
        assert IAnnotations(service.jobs[7])["new"] == 2
    db.close()
