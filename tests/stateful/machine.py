"""The state machine: producers and a worker on one database, step by step.

Two producers, one with an explicit transaction manager, have transactions open at
the same time, with savepoints.  A worker claims, runs, gives back, leaves or dies.
The database is closed and opened again, in the same process or as if in another.
Each step is compared with a model; each committed state is checked as a whole.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lovely.remotetask.states import CANCELLED, DELAYED, PROCESSING, QUEUED, STARTLATER
from tests.stateful.actors import NAME, Producer, Worker
from tests.stateful.model import RUNNABLE, Job
from tests.stateful.world import World

PRODUCERS = st.integers(0, 1)
#: Which of those that there are.
PICKS = st.integers(0, 1000)


def place_of(job: Any) -> int:
    """When a job that waits was asked for, or is due."""
    place: int = job._due if job.status == DELAYED else job.stamp
    return place


class ServiceMachine(World, RuleBasedStateMachine):
    """See the module."""

    # What producers do

    @initialize(count=st.integers(0, 20))
    def some_jobs(self, count: int) -> None:
        if count:
            self.add(0, "plain", fails=False, count=count)
            self.commit(0)

    @rule(
        number=PRODUCERS,
        kind=st.sampled_from(["plain", "later", "delay"]),
        fails=st.booleans(),
        count=st.sampled_from([1, 1, 1, 2, 5, 17, 40]),
    )
    def add(self, number: int, kind: str, fails: bool, count: int) -> None:
        producer, task = self.producers[number], "fail" if fails else "echo"
        now = self.environment.now
        for seconds in range(1, count + 1):
            if kind == "later":
                jobid = producer.service.add(task, startLater=True)
                job = Job(STARTLATER, fails)
            elif kind == "delay":
                jobid = producer.service.add(task, delay=seconds - 0.5)
                job = Job(DELAYED, fails, now + seconds - 0.5)
            else:
                jobid, job = producer.service.add(task), Job(QUEUED, fails)
            assert jobid not in producer.view.jobs
            producer.view.put(jobid, job)

    def pick(self, producer: Producer, pick: int, *statuses: str) -> int | None:
        """One of the jobs that a producer sees, or None."""
        found = [
            jobid
            for jobid, job in sorted(producer.view.jobs.items())
            if not statuses or job.status in statuses
        ]
        return found[pick % len(found)] if found else None

    @rule(number=PRODUCERS, picks=st.lists(PICKS, min_size=1, max_size=5))
    def start(self, number: int, picks: list[int]) -> None:
        producer = self.producers[number]
        for pick in picks:
            jobid = self.pick(producer, pick, STARTLATER)
            if jobid is not None:
                assert producer.service.startJob(jobid)
                assert producer.view.start(jobid)

    @rule(number=PRODUCERS)
    def start_many(self, number: int) -> None:
        """More than a block's log holds, and a new job behind them."""
        self.add(number, "later", fails=False, count=70)
        self.start(number, [0] * 70)
        self.add(number, "plain", fails=False, count=1)

    @rule(number=PRODUCERS, pick=PICKS)
    def cancel(self, number: int, pick: int) -> None:
        producer = self.producers[number]
        jobid = self.pick(producer, pick)
        # For one that is processed, see below.
        if jobid is not None and producer.view.jobs[jobid].status != PROCESSING:
            producer.service.cancel(jobid)
            producer.view.cancel(jobid)

    @rule(number=PRODUCERS, pick=PICKS)
    def process_one(self, number: int, pick: int) -> None:
        producer = self.producers[number]
        jobid = self.pick(producer, pick, *RUNNABLE)
        if jobid is not None:
            self.ran.clear()
            assert producer.service.processNext(jobid=jobid)
            assert self.ran == [jobid]
            producer.view.run(jobid)

    @rule(number=PRODUCERS)
    def process_next(self, number: int) -> None:
        producer = self.producers[number]
        if not producer.sees_its_lane():
            return
        due = producer.view.due(self.environment.now)
        self.ran.clear()
        # To look for jobs is to write: delayed ones go from a lane to the schedule.
        producer.view.only_adds = False
        assert producer.service.hasJobsWaiting() == bool(due)
        assert producer.service.processNext() == bool(due)
        assert len(self.ran) == min(1, len(due))
        for jobid in self.ran:
            assert jobid in due
            producer.view.run(jobid)

    @rule(number=PRODUCERS)
    def process(self, number: int) -> None:
        producer = self.producers[number]
        if not producer.sees_its_lane():
            return
        due = producer.view.due(self.environment.now)
        jobs = producer.service.jobs
        producer.view.only_adds = False
        asked = {i: (place_of(jobs[i]), i) for i in due}
        self.ran.clear()
        producer.service.process()
        assert sorted(self.ran) == sorted(due)
        in_turn = [asked[i] for i in self.ran if i not in self.model.given_back]
        late = [a for a, b in pairwise(in_turn) if a > b]
        assert not late, f"before older ones: {late}"
        for jobid in due:
            producer.view.run(jobid)

    @rule(number=PRODUCERS)
    def clean(self, number: int) -> None:
        producer = self.producers[number]
        if producer.sees_its_lane():
            assert producer.service.clean() == producer.view.clean()

    @rule(number=PRODUCERS)
    def look(self, number: int) -> None:
        """A transaction sees its own changes, and nothing that came after it began."""
        producer = self.producers[number]
        service = producer.service
        found = {jobid: job.status for jobid, job in service.jobs.items()}
        assert found == producer.view.statuses()
        if producer.sees_its_lane():
            assert service.count() == len(found)

    # Transactions

    @rule(number=PRODUCERS)
    def commit(self, number: int) -> None:
        self.producers[number].commit()
        self.check()

    @rule(number=PRODUCERS)
    def abort(self, number: int) -> None:
        self.producers[number].end()

    @rule(
        number=PRODUCERS,
        kind=st.sampled_from(["plain", "later", "delay"]),
        count=st.sampled_from([1, 15, 16, 17, 70]),
    )
    def add_and_undo(self, number: int, kind: str, count: int) -> None:
        """What is added and rolled back leaves nothing, and its ids are given again."""
        producer = self.producers[number]
        self.savepoint(number)
        self.add(number, kind, fails=False, count=count)
        undone = producer.view.written - producer.savepoints[-1][1].written
        producer.rollback(len(producer.savepoints) - 1)
        assert undone.isdisjoint(producer.service.jobs)
        self.add(number, kind, fails=False, count=1)
        assert min(undone) in producer.view.jobs

    @rule(number=PRODUCERS)
    def savepoint(self, number: int) -> None:
        self.producers[number].savepoint()

    @rule(number=PRODUCERS, pick=PICKS)
    def rollback(self, number: int, pick: int) -> None:
        producer = self.producers[number]
        if producer.savepoints:
            producer.rollback(pick % len(producer.savepoints))

    # The worker

    @rule(pick=PICKS)
    def claim_out_of_turn(self, pick: int) -> None:
        self.worker = self.worker or Worker(self.db, self.model)
        waiting = [i for i, job in self.model.jobs.items() if job.status in RUNNABLE]
        if waiting:
            self.worker.claim_job(sorted(waiting)[pick % len(waiting)])
            self.check()

    @rule(limit=st.sampled_from([1, 3, 100]))
    def claim(self, limit: int) -> None:
        self.worker = self.worker or Worker(self.db, self.model)
        self.worker.claim(limit, self.environment.now)
        self.check()

    @precondition(lambda self: self.worker and self.worker.held)
    @rule()
    def run_claimed(self) -> None:
        assert self.worker is not None
        jobid = self.worker.held[0]
        self.ran.clear()
        self.worker.run()
        assert self.ran == [jobid]
        self.check()

    @precondition(lambda self: self.worker and self.worker.held)
    @rule()
    def cancel_claimed(self) -> None:
        """What was claimed and then cancelled is not begun."""
        assert self.worker is not None
        with self.db.transaction() as connection:
            connection.root()[NAME].cancel(self.worker.held[0])
        self.check()
        self.ran.clear()
        self.worker.run(CANCELLED)
        assert self.ran == []
        assert self.worker.session.requests() == set()
        self.check()

    @precondition(lambda self: self.worker and self.worker.held)
    @rule(pick=PICKS)
    def give_back(self, pick: int) -> None:
        assert self.worker is not None
        jobid = self.worker.held.pop(pick % len(self.worker.held))
        self.worker.session.give_back([jobid])
        self.worker.give_back([jobid])
        self.check()

    @precondition(lambda self: self.worker)
    @rule()
    def prune(self) -> None:
        """What is over is removed under transactions that are open."""
        assert self.worker is not None
        self.worker.prune()
        self.check()

    @precondition(lambda self: self.worker)
    @rule()
    def leave(self) -> None:
        worker = self.worker
        assert worker is not None
        worker.session.leave()
        worker.give_back(worker.held)
        worker.close()
        self.worker = None
        self.check()

    @precondition(lambda self: self.worker)
    @rule()
    def die(self) -> None:
        """The worker is lost; another rescues what it held, and leaves."""
        worker = self.worker
        assert worker is not None
        self.environment.gone.add(worker.identity)
        worker.close()
        self.rescue()

    def rescue(self) -> None:
        """Whatever was processed is queued again, or in error; lanes may be removed."""
        rescuer = Worker(self.db, self.model)
        self.model.cleaned = True
        rescuer.session.rescue()
        lost = [i for i, job in self.model.jobs.items() if job.status == PROCESSING]
        self.model.suspects.update(lost)
        with self.db.transaction() as connection:
            jobs = connection.root()[NAME].jobs
            rescuer.change([i for i in lost if jobs[i].status == QUEUED], QUEUED)
            rescuer.change([i for i in lost if jobs[i].crashes == 3], "error")
        rescuer.session.leave()
        rescuer.close()
        self.worker = None
        self.check()

    # Time, and the process

    @rule(seconds=st.integers(1, 10))
    def sleep(self, seconds: int) -> None:
        self.environment.now += seconds

    @rule(other_process=st.booleans())
    def reopen(self, other_process: bool) -> None:
        """Close the database, with transactions open, and open it again."""
        if self.worker is not None:
            self.environment.gone.add(self.worker.identity)
        self.end()
        self.close()
        if other_process:
            self.environment.gone.add(f"host/{self.processes}/")
            self.processes += 1
            self.environment.name = f"host/{self.processes}/0"
        self.open()
        self.begin()
        self.rescue()
