"""What a task may do while it runs, in the background and in the caller's thread."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
import transaction
from persistent.mapping import PersistentMapping
from transaction.interfaces import DoomedTransaction, TransientError

from lovely.remotetask import pace
from lovely.remotetask.service import TaskService
from tests.support import (
    FakeEnvironment,
    ask,
    counts,
    processing,
    register,
    register_full,
    run_all,
    statuses,
    wait_until,
)


@pytest.fixture(params=["background", "groups", "here"])
def run(
    request: pytest.FixtureRequest, service: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A function that commits, processes all jobs, and commits or waits."""
    if request.param == "groups":
        monkeypatch.setattr(pace.Pace, "in_hand", lambda self, busy: 100)
        monkeypatch.setattr(pace.Pace, "in_group", lambda self, waiting, busy: waiting)
        service.processorArguments = {"waitTime": 0.05, "groupFinish": True}
    return partial(run_all, service, here=request.param == "here")


def test_keyboard_interrupt_here(service: Any) -> None:
    """Ctrl-C goes to the caller, and the job is queued as it was before."""
    presses = iter([KeyboardInterrupt()])

    def interrupted(service: Any, jobid: int, input: Any) -> str:
        service.__parent__["half"] = "done"
        for press in presses:
            raise press
        return "in the end"

    register_full("interrupted", interrupted)
    ids = [service.add("interrupted"), service.add("echo")]
    transaction.commit()
    with pytest.raises(KeyboardInterrupt):
        service.process()
    assert counts(service) == {"queued": 2}
    assert "half" not in service.__parent__
    transaction.commit()
    assert service.claimNextJob() == ids[0]
    transaction.abort()
    service.process()
    assert service.getResult(ids[0]) == "in the end"
    assert service.jobs[ids[0]].attempt == 1


def test_keyboard_interrupt_without_a_database(tasks: None) -> None:
    """So it does without a database."""

    def interrupted(value: Any) -> None:
        raise KeyboardInterrupt

    register("interrupted", interrupted)
    service = TaskService()
    service.add("interrupted")
    with pytest.raises(KeyboardInterrupt):
        service.process()
    assert counts(service) == statuses(service) == {"queued": 1}


def test_task_commits(service: Any, run: Any) -> None:
    """What a task commits by itself stays, even if the task fails then."""

    def commit(service: Any, jobid: int, input: Any) -> str:
        service.__parent__["first"] = jobid
        transaction.commit()
        service.__parent__["second"] = jobid
        if input:
            raise RuntimeError(input)
        return "well"

    register_full("commit", commit)
    jobid = service.add("commit", "after the commit")
    run()
    root = service.__parent__
    assert service.getError(jobid) == "after the commit"
    assert (root.get("first"), root.get("second")) == (jobid, None)
    jobid = service.add("commit")
    run()
    assert service.getResult(jobid) == "well"
    assert (root["first"], root["second"]) == (jobid, jobid)
    assert counts(service) == statuses(service) == {"error": 1, "completed": 1}


def test_task_aborts(service: Any, run: Any) -> None:
    """A task that aborts the transaction runs once, not for ever."""
    runs = []

    def abort(service: Any, jobid: int, input: Any) -> str:
        runs.append(jobid)
        service.__parent__["lost"] = jobid
        transaction.abort()
        service.__parent__["kept"] = jobid
        return "done"

    register_full("abort", abort)
    ids = [service.add("abort"), service.add("echo")]
    run()
    assert runs == ids[:1]
    assert [service.getStatus(jobid) for jobid in ids] == ["completed"] * 2
    assert "lost" not in service.__parent__
    assert service.__parent__["kept"] == ids[0]
    assert service.jobs[ids[0]].attempt == 1


def test_task_aborts_its_own_job(service: Any) -> None:
    """A task that aborts what had added its job leaves nothing of it."""
    register("abort", lambda value: transaction.abort())
    service.add("abort")
    service.add("echo")
    service.process()
    transaction.commit()
    assert counts(service) == {}
    assert service.add("echo") == 1


def test_task_dooms(service: Any, db: Any) -> None:
    """A task that dooms its transaction in the background is in error."""
    root = service.__parent__

    def doom(service: Any, jobid: int, input: Any) -> None:
        service.__parent__["doomed"] = True
        transaction.doom()

    register_full("doom", doom)
    ids = [service.add("doom"), service.add("echo")]
    transaction.commit()
    with processing(service):
        wait_until(lambda: ask(db, lambda s: s.count("completed")) == 1)
    transaction.begin()
    assert "doomed the transaction" in service.getError(ids[0])
    assert "doomed" not in root


def test_task_dooms_the_caller(service: Any) -> None:
    """A task that dooms the caller's transaction dooms all that it has done."""
    register("doom", lambda value: transaction.doom())
    service.add("doom")
    transaction.commit()
    service.process()
    with pytest.raises(DoomedTransaction):
        transaction.commit()
    transaction.abort()
    assert counts(service) == {"queued": 1}


@pytest.mark.parametrize("deep", [False, True])
def test_unpicklable_effect(service: Any, run: Any, deep: bool) -> None:
    """A job that writes what can't be stored is in error, and others go on."""

    def spoil(service: Any, jobid: int, input: Any) -> None:
        service.__parent__["good"] = PersistentMapping()
        bad = PersistentMapping(bad=lambda: 1) if deep else lambda: 1
        service.__parent__["bad"] = PersistentMapping(inner=bad) if deep else bad

    register_full("spoil", spoil)
    ids = [service.add("spoil"), service.add("echo")]
    run()
    assert "pickle" in service.getError(ids[0])
    assert service.getStatus(ids[1]) == "completed"
    assert "good" not in service.__parent__


def test_result_of_another_connection(service: Any, db: Any, run: Any) -> None:
    """A result that belongs to another connection fails its job alone."""
    connection = db.open(transaction.TransactionManager())
    register("foreign", lambda value: [connection.root()])
    ids = [service.add("foreign"), service.add("echo")]
    run()
    connection.close()
    assert "another connection" in service.getError(ids[0])
    assert service.getStatus(ids[1]) == "completed"


def test_result_is_persistent(service: Any, run: Any) -> None:
    """A result may be a persistent object, stored as such."""
    register("make", lambda value: PersistentMapping(made=value))
    jobid = service.add("make", 7)
    run()
    service._p_jar.cacheMinimize()
    assert service.getResult(jobid)["made"] == 7
    assert service.getResult(jobid)._p_oid is not None


def test_writes_of_a_try_are_undone(
    service: Any, environment: FakeEnvironment, run: Any
) -> None:
    """Before a conflict is tried again, what was written is taken back."""
    tries = iter([True, True])

    def stubborn(service: Any, jobid: int, input: Any) -> int:
        root = service.__parent__
        root["tries"] = root.get("tries", 0) + 1
        if next(tries, False):
            raise TransientError
        return int(root["tries"])

    register_full("stubborn", stubborn)
    jobid = service.add("stubborn")
    run()
    assert service.getResult(jobid) == 1
    assert service.__parent__["tries"] == 1
    assert service.jobs[jobid].attempt == 1
    assert len(environment.slept) == 2


def test_removed_while_it_runs(service: Any, run: Any) -> None:
    """A job that nobody else can see can't be cancelled by its own task."""
    register_full("cancel", lambda service, jobid, input: service.cancel(jobid))
    jobid = service.add("cancel")
    run()
    assert service.getStatus(jobid) in ("completed", "cancelled")
    assert counts(service) == statuses(service)


def test_a_savepoint_is_left_behind(service: Any, run: Any) -> None:
    """Nobody goes back to a savepoint of a job that is over; the next starts clean."""
    savepoints: list[Any] = []

    def leave(service: Any, jobid: int, input: Any) -> None:
        service.__parent__["before"] = jobid
        savepoints.append(transaction.savepoint())
        service.__parent__["after"] = jobid

    register_full("leave", leave)
    ids = [service.add(task) for task in ("leave", "fail", "leave")]
    run()
    statuses = ["completed", "error", "completed"]
    assert [service.getStatus(jobid) for jobid in ids] == statuses
    root = service.__parent__
    assert (root["before"], root["after"]) == (ids[2], ids[2])
    transaction.commit()
    assert not any(savepoint.valid for savepoint in savepoints)


def test_a_thread_is_left_behind(service: Any, run: Any) -> None:
    """A thread that a task has started lives on, and hinders no other job."""
    goes = threading.Event()
    left: list[threading.Thread] = []

    def leave(value: Any) -> None:
        left.append(threading.Thread(target=goes.wait, args=[20]))
        left[-1].start()

    register("leave", leave)
    ids = [service.add("leave"), service.add("echo", 1)]
    run()
    assert [service.getStatus(jobid) for jobid in ids] == ["completed"] * 2
    assert left[0].is_alive()
    goes.set()
    left[0].join(20)
