"""Transactions of a special kind: explicit, doomed, without savepoints."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from transaction.interfaces import DoomedTransaction

from lovely.remotetask.errors import RollbackImpossible
from tests.support import (
    NoSavepoints,
    counts,
    processing,
    register,
    wait_for_status,
)


@pytest.fixture
def explicit() -> Any:
    """The thread's transaction manager, in explicit mode."""
    transaction.abort()
    transaction.manager.explicit = True
    yield transaction.manager
    transaction.manager.abort()
    transaction.manager.explicit = False


def test_explicit_manager(service: Any, explicit: Any) -> None:
    """Transactions may have to be begun explicitly."""
    explicit.begin()
    assert service.add("echo") == 1
    explicit.commit()
    explicit.begin()
    savepoint = explicit.savepoint()
    service.add("echo")
    savepoint.rollback()
    assert service.add("fail") == 2
    service.process()
    explicit.commit()
    explicit.begin()
    assert counts(service) == {"completed": 1, "error": 1}


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_a_task_ends_an_explicit_transaction(
    service: Any, explicit: Any, ending: str
) -> None:
    """A task that ends the transaction leaves no hole, even in explicit mode."""
    register("end", lambda value: getattr(explicit, ending)())
    explicit.begin()
    ids = [service.add("end"), service.add("echo")]
    explicit.commit()
    explicit.begin()
    service.process()
    explicit.commit()
    explicit.begin()
    assert [service.getStatus(jobid) for jobid in ids] == ["completed"] * 2


def test_background_of_an_explicit_manager(service: Any, explicit: Any) -> None:
    """Background threads do not care how the application's managers work."""
    explicit.begin()
    service.add("echo")
    explicit.commit()
    explicit.begin()
    with processing(service):
        wait_for_status(service._p_jar.db(), 1, "completed")


def test_doomed_by_the_caller(service: Any) -> None:
    """A doomed transaction takes jobs, and commits none."""
    transaction.doom()
    assert service.add("echo") == 1
    with pytest.raises(DoomedTransaction):
        transaction.commit()
    transaction.abort()
    assert service.add("echo") == 1
    transaction.commit()
    assert counts(service) == {"queued": 1}


def test_no_way_back(service: Any) -> None:
    """If something else can't be rolled back, the caller learns it at once."""
    transaction.get().join(NoSavepoints())
    service.add("echo")
    service.process()
    assert service.getStatus(1) == "completed"
    service.add("fail")
    with pytest.raises(RollbackImpossible, match="Abort the transaction"):
        service.process()
    transaction.abort()
