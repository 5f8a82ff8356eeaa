"""Group finish: many jobs in one commit, and what makes a group fall apart."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import transaction
import zope.event
from persistent.mapping import PersistentMapping
from transaction.interfaces import TransientError
from ZODB.Connection import TmpStore
from ZODB.utils import get_pickle_metadata

from lovely.remotetask import crew, hand, pace
from lovely.remotetask.current import Run, current
from lovely.remotetask.errors import InvalidType, TaskError
from lovely.remotetask.events import JobCompleted, RunEnded
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed, clients
from tests.support import (
    FakeEnvironment,
    NoSavepoints,
    ask,
    processing,
    register_full,
    wait_for_status,
    wait_until,
)

#: The jobs of a group that get on with each other.
PEACEFUL = 4


class Group:
    """A worker that runs all jobs of a service in groups."""

    def __init__(self, db: Any, service: Any) -> None:
        self.db, self.service = db, service
        #: How often the task of each job was called.
        self.runs: Counter[int] = Counter()
        service.__parent__["effects"] = PersistentMapping()
        register_full("write", self._write)

    def _write(self, service: Any, jobid: int, input: Any) -> int:
        self.runs[jobid] += 1
        effects = service.__parent__["effects"]
        effects[jobid] = effects.get(jobid, 0) + 1
        return jobid

    def register(self, function: Callable[[Any], Any]) -> None:
        """A task ``odd`` that writes, as the others do, and then calls a function."""

        def odd(service: Any, jobid: int, input: Any) -> Any:
            self._write(service, jobid, input)
            return function(service)

        register_full("odd", odd)

    def add(self, *tasks: str) -> list[int]:
        """Commit new jobs, and what was written before."""
        ids = [self.service.add(task) for task in tasks]
        transaction.commit()
        return ids

    def around(self) -> tuple[int, list[int]]:
        """A job of the task ``odd`` in the middle of others: it, and they."""
        half = ["write"] * (PEACEFUL // 2)
        ids = self.add(*half, "odd", *half)
        odd = ids.pop(len(half))
        return odd, ids

    def run(self, go_on: Callable[[], bool] = lambda: True) -> list[int]:
        """Run all jobs as one group; the ids of those that were begun."""
        with closing(Session(self.db, ["service"])) as session:
            key = session.register(1, Lease())
            claimed = session.claim(key, 100).jobs
            check_committed(self.db)
            runs = {jobid: Run(session.environment) for jobid in claimed}
            begun = session.run_group(runs, key, go_on)
            check_committed(self.db)
            session.leave()
        check_committed(self.db)
        transaction.begin()
        return begun

    def status(self, jobid: int) -> str:
        """The status of a job, as committed."""
        return str(ask(self.db, lambda s: s.getStatus(jobid)))

    def effects(self) -> dict[int, int]:
        """How often each job has written, as committed."""
        return dict(ask(self.db, lambda s: dict(s.__parent__["effects"])))


@pytest.fixture
def group(db: Any, service: Any) -> Group:
    """A worker that runs jobs in groups."""
    return Group(db, service)


def commits(db: Any) -> int:
    """How many transactions the database has."""
    return sum(1 for _ in db.storage.iterator())


def test_many_jobs_are_one_commit(group: Group) -> None:
    """Jobs that run in a group are committed together, and each is whole."""
    ids = group.add(*["write"] * 50)
    with closing(Session(group.db, ["service"])) as session:
        key = session.register(1, Lease())
        claimed = session.claim(key, 100).jobs
        before = commits(group.db)
        runs = {jobid: Run(session.environment) for jobid in claimed}
        assert session.run_group(runs, key, lambda: True) == ids
        assert commits(group.db) == before + 1
        session.leave()
    assert group.runs == group.effects() == dict.fromkeys(ids, 1)
    assert [group.service.getResult(jobid) for jobid in ids] == ids
    check_committed(group.db)


def test_one_that_fails_fails_alone(group: Group) -> None:
    """A failure goes back to the job's savepoint; the others are kept, and run once."""

    def fail(service: Any) -> None:
        raise TaskError("as told")

    group.register(fail)
    odd, others = group.around()
    before = commits(group.db)
    assert group.run() == sorted([odd, *others])
    assert commits(group.db) - before == 4  # register, claim, group, leave
    assert (group.status(odd), group.service.getError(odd)) == ("error", "as told")
    assert group.effects() == dict.fromkeys(others, 1)
    assert set(group.runs.values()) == {1}


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_one_that_ends_the_transaction(group: Group, end: str) -> None:
    """A task that commits or aborts has run once; so have, in effect, the others."""
    group.register(lambda service: getattr(transaction, end)())
    odd, others = group.around()
    assert odd in group.run() + group.run()
    assert group.runs[odd] == 1
    committed = [odd] if end == "commit" else []
    assert group.effects() == dict.fromkeys([*others, *committed], 1)
    assert {group.status(jobid) for jobid in [odd, *others]} == {"completed"}


@pytest.mark.parametrize("end", ["commit", "abort", "doom"])
def test_one_that_ends_the_transaction_and_fails(group: Group, end: str) -> None:
    """The same, if it fails then: it is not tried again for the others' sake."""

    def odd(service: Any) -> None:
        getattr(transaction, end)()
        raise TaskError("afterwards")

    group.register(odd)
    jobid, others = group.around()
    assert jobid in group.run() + group.run()
    assert (group.runs[jobid], group.status(jobid)) == (1, "error")
    assert {group.status(other) for other in others} == {"completed"}
    assert group.service.getError(jobid) == "afterwards"
    committed = [jobid] if end == "commit" else []
    assert group.effects() == dict.fromkeys([*others, *committed], 1)


def test_one_that_dooms_the_transaction(group: Group) -> None:
    """A task that dooms the transaction fails; the others do not."""
    group.register(lambda service: transaction.doom())
    odd, others = group.around()
    assert odd in group.run() + group.run()
    assert "doomed the transaction" in group.service.getError(odd)
    assert group.effects() == dict.fromkeys(others, 1)


def test_a_conflict_in_a_task(group: Group) -> None:
    """A task that meets a conflict runs again by itself; the others do not."""
    tries = iter([TransientError("try again")])

    def conflict(service: Any) -> None:
        for error in tries:
            raise error

    group.register(conflict)
    odd, others = group.around()
    group.run()
    group.run()
    assert group.runs == {odd: 2, **dict.fromkeys(others, 1)}
    assert group.effects() == dict.fromkeys([odd, *others], 1)


def test_a_conflict_of_the_group(group: Group) -> None:
    """If the commit of a group conflicts, its jobs run again, one by one."""
    group.service.__parent__["shared"] = PersistentMapping()
    meetings = iter([None])

    def meet(service: Any) -> None:
        service.__parent__["shared"]["job"] = "was here"
        for _ in meetings:
            with clients(group.db, 1) as (other,):
                other.connection.root()["shared"]["other"] = "was here, too"
                other.commit()

    group.register(meet)
    odd, others = group.around()
    group.run()
    assert group.runs == dict.fromkeys([odd, *others], 2)
    assert group.effects() == dict.fromkeys([odd, *others], 1)
    assert set(ask(group.db, lambda s: dict(s.__parent__["shared"]))) == {
        "job",
        "other",
    }


def test_one_that_writes_what_cannot_be_stored(group: Group) -> None:
    """It fails; the others are committed, if not together."""

    def unpicklable(service: Any) -> None:
        service.__parent__["effects"]["lambda"] = lambda: None

    group.register(unpicklable)
    odd, others = group.around()
    group.run()
    group.run()
    assert group.runs[odd] == 2
    assert group.status(odd) == "error"
    assert group.effects() == dict.fromkeys(others, 1)
    assert {group.status(other) for other in others} == {"completed"}


@pytest.mark.parametrize("fails", [False, True])
def test_one_that_knows_no_savepoints(group: Group, fails: bool) -> None:
    """What joins the transaction and can't go back is no obstacle.

    Not even if its job fails: that is then undone with all, and the others run again.
    """

    def join(service: Any) -> None:
        transaction.get().join(NoSavepoints())
        if fails:
            raise TaskError("as told")

    group.register(join)
    odd, others = group.around()
    group.run()
    assert group.runs[odd] == 1
    assert group.status(odd) == ("error" if fails else "completed")
    assert group.effects() == dict.fromkeys([*others, *([] if fails else [odd])], 1)


@pytest.mark.parametrize("fails", [False, True])
def test_one_that_goes_back_to_a_savepoint_of_another(
    group: Group, fails: bool
) -> None:
    """It can't undo what another has done: then each runs by itself."""
    left: list[Any] = []

    def leave(service: Any, jobid: int, input: Any) -> None:
        left.append(transaction.savepoint())
        group._write(service, jobid, input)

    def go_back(service: Any) -> None:
        if left:
            left.pop().rollback()
            if fails:
                raise TaskError("as told")

    register_full("leave", leave)
    group.register(go_back)
    first, odd, last = group.add("leave", "odd", "write")
    assert group.run() + group.run() == [first, odd, last]
    assert group.status(odd) == ("error" if fails else "completed")
    done = [first, last] if fails else [first, odd, last]
    assert {group.status(jobid) for jobid in (first, last)} == {"completed"}
    assert group.effects() == dict.fromkeys(done, 1)


def test_savepoints_store_what_tasks_write(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs cost their savepoints nothing: what they are is stored once, at the end.

    In the way of all the rest then, if a savepoint has stored anything.
    """
    stored: list[str] = []
    store = TmpStore.store

    def recording(self: Any, oid: bytes, serial: bytes, data: bytes, *more: Any) -> Any:
        stored.append(str(get_pickle_metadata(data)[1]))
        return store(self, oid, serial, data, *more)

    monkeypatch.setattr(TmpStore, "store", recording)
    register_full("idle", lambda service, jobid, input: jobid)
    ids = group.add(*["idle"] * 5)
    group.run()
    assert stored == []
    ids += group.add("idle", "write", "idle")
    group.run()
    assert stored == ["PersistentMapping", *["Job"] * 3]
    assert [group.service.getResult(jobid) for jobid in ids] == ids


@pytest.mark.parametrize("error", [TaskError("as told"), TransientError("once more")])
def test_one_that_changes_its_input_and_fails(
    group: Group, error: BaseException
) -> None:
    """What it did to its input in place is undone, too."""
    inputs: list[Any] = []
    errors = iter([error])

    def change(service: Any, jobid: int, input: Any) -> None:
        inputs.append(list(input))
        input.append("changed")
        for found in errors:
            raise found

    register_full("change", change)
    odd = group.service.add("change", ["given"])
    group.add("write")
    group.run()
    again = isinstance(error, TransientError)
    assert inputs == [["given"]] * (2 if again else 1)
    kept = ask(group.db, lambda s: s.jobs[odd].input)
    assert kept == (["given", "changed"] if again else ["given"])


def test_inputs_when_all_is_undone(group: Group) -> None:
    """So it is if the jobs of a group run again for another one's sake."""
    inputs: list[Any] = []

    def change(service: Any, jobid: int, input: Any) -> None:
        inputs.append(list(input))
        input.append("changed")

    register_full("change", change)
    group.register(lambda service: transaction.abort())
    group.service.add("change", ["given"])
    group.add("odd")
    group.run()
    assert inputs == [["given"], ["given"]]


def test_outputs_are_apart(group: Group) -> None:
    """What a task returns is kept as it was then, whatever the others do to it."""
    shared: list[int] = []

    def share(service: Any, jobid: int, input: Any) -> list[int]:
        shared.append(jobid)
        return shared

    register_full("share", share)
    first, second = group.add("share", "share")
    group.run()
    assert group.service.getResult(first) == [first]
    assert group.service.getResult(second) == [first, second]


def test_a_task_sees_when_it_began(group: Group) -> None:
    """A task sees when its job was started, whether that is written or not."""
    seen: list[Any] = []

    def look(service: Any, jobid: int, input: Any) -> None:
        seen.append(current().job.started)

    register_full("look", look)
    ids = group.add("look", "look")
    group.run()
    assert seen == [ask(group.db, lambda s, i=i: s.jobs[i].started) for i in ids]


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """The events that are announced."""
    found: list[Any] = []
    zope.event.subscribers.append(found.append)
    yield found
    zope.event.subscribers.remove(found.append)


def test_runs_are_reported(group: Group, heard: list[Any]) -> None:
    """Each run is reported once, whoever commits it."""
    group.register(lambda service: transaction.commit())
    odd, others = group.around()
    group.run()
    group.run()
    found = [(e.jobid, e.outcome) for e in heard if isinstance(e, RunEnded)]
    assert sorted(found) == [(i, "completed") for i in sorted([odd, *others])]


@pytest.mark.parametrize("who", ["group", "task"])
def test_a_subscriber_that_fails(group: Group, who: str) -> None:
    """Only the job that it is about fails, and nothing of that is kept."""
    group.register(lambda service: transaction.commit() if who == "task" else None)
    bad, odd, last = group.add("write", "odd", "write")

    def subscriber(event: Any) -> None:
        if isinstance(event, JobCompleted) and event.object.id == bad:
            raise TaskError("as told")

    zope.event.subscribers.append(subscriber)
    try:
        assert group.run() + group.run() == [bad, odd, last]
    finally:
        zope.event.subscribers.remove(subscriber)
    assert [group.status(i) for i in (bad, odd, last)] == [
        "error",
        "completed",
        "completed",
    ]
    assert group.effects() == {odd: 1, last: 1}


def test_one_that_commits_after_a_rescue(group: Group) -> None:
    """A worker that was taken for dead can't commit a task's writes any more."""

    def lose(service: Any) -> None:
        with clients(group.db, 1) as (other,):
            other.service._workers.rescue(other.service, lambda worker: True)
            other.commit()
        transaction.commit()

    group.register(lose)
    odd, others = group.around()
    with closing(Session(group.db, ["service"])) as session:
        key = session.register(1, Lease())
        claimed = session.claim(key, 100).jobs
        runs = {jobid: Run(session.environment) for jobid in claimed}
        session.run_group(runs, key, lambda: True)
    assert group.effects() == {}
    assert {group.status(i) for i in [odd, *others]} == {"queued"}
    check_committed(group.db)


def test_one_that_was_cancelled(group: Group) -> None:
    """A job that was cancelled after the claim is not begun."""
    ids = group.add("write", "write", "write")

    def cancel_second(service: Any) -> None:
        with clients(group.db, 1) as (other,):
            other.service.cancel(ids[1])
            other.commit()

    group.register(cancel_second)
    with closing(Session(group.db, ["service"])) as session:
        key = session.register(1, Lease())
        claimed = session.claim(key, 100).jobs
        cancel_second(None)
        runs = {jobid: Run(session.environment) for jobid in claimed}
        assert session.run_group(runs, key, lambda: True) == ids
        session.leave()
    assert [group.status(jobid) for jobid in ids] == [
        "completed",
        "cancelled",
        "completed",
    ]
    assert sorted(group.runs) == [ids[0], ids[2]]


def test_one_that_was_rescued(group: Group) -> None:
    """A job that was taken from the worker meanwhile is left alone."""
    ids = group.add("write", "write")
    with closing(Session(group.db, ["service"])) as session:
        key = session.register(1, Lease())
        claimed = session.claim(key, 100).jobs
        with clients(group.db, 1) as (other,):
            other.service._workers.rescue(other.service, lambda worker: True)
            other.commit()
        runs = {jobid: Run(session.environment) for jobid in claimed}
        session.run_group(runs, key, lambda: True)
    assert not group.runs
    assert [group.status(jobid) for jobid in ids] == ["queued", "queued"]
    check_committed(group.db)


def test_a_group_ends_in_time(group: Group) -> None:
    """What is not begun when time is up goes back to its place."""
    ids = group.add(*["write"] * 5)
    answers = iter([True, False])
    assert group.run(lambda: next(answers)) == ids[:2]
    assert [group.status(jobid) for jobid in ids[:3]] == [
        "completed",
        "completed",
        "queued",
    ]
    assert group.run() == ids[2:]
    assert group.runs == dict.fromkeys(ids, 1)


# The processor


@pytest.fixture
def sociable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads take as many jobs at a time as there are."""
    monkeypatch.setattr(pace.Pace, "in_hand", lambda self, busy: 100)
    monkeypatch.setattr(pace.Pace, "in_group", lambda self, waiting, busy: waiting)


@pytest.mark.parametrize("factory", [SimpleProcessor, MultiProcessor])
def test_a_processor_with_group_finish(
    group: Group, sociable: None, factory: Any
) -> None:
    """A processor that is told to finishes many jobs in one commit."""
    group.service.processorFactory = factory
    group.service.processorArguments = {"waitTime": 0.05, "groupFinish": True}
    ids = group.add(*["write"] * 60)
    before = commits(group.db)
    with processing(group.service):
        wait_until(lambda: ask(group.db, lambda s: s.count("completed")) == 60)
    assert commits(group.db) - before < 40
    assert group.runs == group.effects() == dict.fromkeys(ids, 1)
    check_committed(group.db)


def test_a_processor_that_is_stopped_in_a_group(group: Group, sociable: None) -> None:
    """The job that runs is finished and committed; the rest goes back."""
    reached, opened = threading.Event(), threading.Event()

    def wait(service: Any) -> None:
        reached.set()
        assert opened.wait(20)

    group.register(wait)
    odd, others = group.around()
    group.service.processorArguments = {"waitTime": 0.05, "groupFinish": True}
    transaction.commit()
    group.service.startProcessing()
    assert reached.wait(20)
    assert not group.service.stopProcessing(wait=True, timeout=0.01)
    opened.set()
    assert group.service.stopProcessing(wait=True, timeout=20)
    half = PEACEFUL // 2
    done = [jobid for jobid in [odd, *others] if group.status(jobid) == "completed"]
    assert done == [odd, *others[:half]]
    assert [group.status(jobid) for jobid in others[half:]] == ["queued"] * half
    assert ask(group.db, lambda s: s.jobs[others[-1]].attempt) == 0
    check_committed(group.db)


def test_one_that_waits_for_others_is_not_overdue(group: Group) -> None:
    """The time of a job is what its task takes, not what its group does."""
    runs: dict[int, Run] = {}
    overdue: list[float] = []

    def wait(service: Any) -> None:
        threading.Event().wait(0.06)
        overdue.extend(run.overdue for run in runs.values())

    group.register(wait)
    group.service.add("write", timeout=0.05)
    group.add("odd")
    with closing(Session(group.db, ["service"])) as session:
        key = session.register(1, Lease())
        claimed = session.claim(key, 100).jobs
        runs |= {jobid: Run(session.environment) for jobid in claimed}
        session.run_group(runs, key, lambda: True)
        session.leave()
    assert overdue == [0, 0]


def test_one_that_breaks_the_connection(
    group: Group, sociable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails by itself, on a new connection; the others are not held up."""
    monkeypatch.setattr(crew, "ERROR_WAIT", 0.01)
    group.register(lambda service: service._p_jar.db().close and _break(service))
    odd, others = group.around()
    group.service.processorArguments = {"waitTime": 0.05, "groupFinish": True}
    transaction.commit()
    with processing(group.service):
        for jobid in others:
            wait_for_status(group.db, jobid, "completed")
        wait_until(lambda: group.status(odd) in {"error", "delayed"})
    assert group.effects() == dict.fromkeys(others, 1)
    check_committed(group.db)


def _break(service: Any) -> None:
    """Leave the thread's connection unusable."""
    connection = service._p_jar
    transaction.abort()
    connection.close()
    connection.transaction_manager = None


def test_suspects_and_failures_are_not_in_groups(sociable: None) -> None:
    """Suspects, jobs that broke a group and those of another claim run apart."""
    held = hand.Hand(1, FakeEnvironment(), groups=True)
    held.receive(1, [1, 2], suspect=False)
    held.receive(1, [3], suspect=True)
    held.receive(1, [4, 5, 6], suspect=False)
    held.receive(2, [7, 8], suspect=False)
    held.apart([5])
    assert held.wants() == (100, set(range(1, 9)), False)
    taken = []
    while (batch := held.take()) is not None:
        taken.append(list(batch.runs))
        assert held.wants()[1] >= set(batch.runs)
        assert held.done(batch, batch.runs, lost=False) is (3 in batch.runs)
    assert taken == [[1, 2], [3], [4], [5], [6], [7, 8]]
    assert held.wants() == (100, set(), True)


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_not_over_waits_again(sociable: None, lost: bool) -> None:
    """Jobs that could not be run are the next ones, unless their worker is lost."""
    held = hand.Hand(1, FakeEnvironment(), groups=True)
    held.receive(1, [1], suspect=True)
    held.receive(1, [2, 3, 4], suspect=False)
    first, second = held.take(), held.take()
    assert first is not None
    assert second is not None
    assert list(second.runs) == [2, 3, 4]
    assert held.done(second, [2], lost=lost) is False
    assert held.done(first, [], lost=lost) is lost
    assert held.take_all() == ([] if lost else [1, 3, 4])


def test_pace_of_groups() -> None:
    """Groups are as large as is quick enough, and leave something to other threads."""
    quick = pace.Pace(4, groups=True)
    assert quick.in_group(100, 0) == 1
    quick.took(0.1, 1000)
    for _ in range(20):
        quick.took(0.1, 1000)
    assert quick.in_group(100, 0) == 25
    assert quick.in_group(100, 2) == 50
    assert quick.in_group(100, 3) == quick.in_group(100, 4) == 100
    assert quick.in_group(10_000, 0) == 1 + pace.GROUP_MOST
    quick.took(60.0)
    assert quick.in_group(100, 0) == 1


@pytest.mark.parametrize("bad", [None, 1, "yes", 0.5])
def test_bad_argument(db: Any, bad: Any) -> None:
    """``groupFinish`` is True or False."""
    with pytest.raises(InvalidType, match="groupFinish"):
        SimpleProcessor(db, ["service"], groupFinish=bad)
