"""The state machine: several producers and workers, each as if in its own process.

Workers halt in the middle of a task or before a commit, and go on later: others may
have rescued their jobs by then.  They fall silent, die with what they hold, and come
back.  Each step is compared with a model, each committed state is checked as a whole.
At the end a good worker does what is left, and then all must have been done once.
"""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lovely.remotetask.states import DELAYED, PROCESSING, QUEUED, STARTLATER
from tests.stateful.crew.chores import KINDS
from tests.stateful.crew.producers import Producer
from tests.stateful.crew.workers import LEASE, Worker
from tests.stateful.crew.world import World

PRODUCERS = st.integers(0, 1)
WORKERS = st.integers(0, 2)
#: Which of those that there are.
PICKS = st.integers(0, 1000)
#: At which of the places where a worker can halt it does: a task, and commits.
HALTS = st.sampled_from([(), (), (), (0,), (0,), (1,), (0, 1), (0, 1, 2)])
#: On one host it is seen at once that a process is gone.
HOSTS = st.sampled_from(["host", "host", "far"])


class CrewMachine(World, RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.producers = [Producer(self, "host") for _ in range(2)]
        self.workers: list[Worker | None] = [None, None, None]

    def halt(self) -> None:
        """A task is in the middle of its work: its worker may halt."""
        for worker in self.workers:
            if worker and worker.strand.is_current:
                worker.strand.halt()

    @initialize(count=st.integers(0, 8), workers=st.integers(1, 3))
    def begin(self, count: int, workers: int) -> None:
        self.producers[0].add_cron()
        for number in range(count):
            self.producers[0].add(KINDS[number % len(KINDS)], "plain", 1)
        self.producers[0].commit()
        for slot in range(workers):
            self.workers[slot] = Worker(self, "host")

    # What producers do

    @rule(
        number=PRODUCERS,
        kind=st.sampled_from(KINDS),
        how=st.sampled_from(["plain", "plain", "later", "delay"]),
        count=st.sampled_from([1, 2, 5, 18]),
        commit=st.booleans(),
    )
    def add(self, number: int, kind: str, how: str, count: int, commit: bool) -> None:
        self.producers[number].add(kind, how, count)
        if commit:
            self.producers[number].commit()

    @rule(
        number=PRODUCERS,
        verb=st.sampled_from(["start", "cancel", "cancel", "retry", "run", "clean"]),
        pick=PICKS,
        commit=st.booleans(),
    )
    def ask(self, number: int, verb: str, pick: int, commit: bool) -> None:
        """What a producer asks for older jobs; rather of how it is now."""
        producer = self.producers[number]
        if commit and not producer.has_written:
            producer.abort()
        getattr(producer, verb)(pick)
        if commit:
            producer.commit()

    @rule(
        number=PRODUCERS,
        what=st.sampled_from(["commit", "abort", "savepoint", "rollback"]),
        pick=PICKS,
    )
    def transact(self, number: int, what: str, pick: int) -> None:
        producer = self.producers[number]
        if what == "rollback":
            producer.rollback(pick)
        else:
            getattr(producer, what)()

    @rule(
        slot=WORKERS,
        count=st.sampled_from([1, 3]),
        verb=st.sampled_from(["retry", "clean"]),
        pick=PICKS,
    )
    def run_and_ask(self, slot: int, count: int, verb: str, pick: int) -> None:
        """Change what is over, before the worker that ran it claims again."""
        worker = self.ready(slot)
        if not worker.busy and worker.hand:
            worker.run(count)
        self.producers[1].abort()
        getattr(self.producers[1], verb)(pick)
        self.producers[1].commit()

    @rule(slot=WORKERS, pick=PICKS, halts=HALTS)
    def cancel_claimed(self, slot: int, pick: int, halts: Any) -> None:
        """Cancel what a worker has in hand, and runs maybe."""
        worker = self.ready(slot)
        jobids = [i for i in worker.hand if i in worker.mine and not self.is_cron(i)]
        if jobids:
            self.producers[1].abort()
            self.producers[1].cancel_job(jobids[pick % len(jobids)])
            self.producers[1].commit()
        if pick % 3 == 0:
            worker.look_for_requests()
        elif not worker.busy and worker.hand:
            worker.run(1, halts)

    def is_cron(self, jobid: int) -> bool:
        """Whether a job is a cron job."""
        return self.model.jobs[jobid].kind == "cron"

    # What workers do

    def worker(self, slot: int, host: str = "host") -> Worker:
        """The worker of a slot: a new one if there is none."""
        worker = self.workers[slot] = self.workers[slot] or Worker(self, host)
        return worker

    def ready(self, slot: int, limit: int = 3) -> Worker:
        """The worker of a slot, with something in hand if there is something."""
        worker = self.worker(slot)
        if not (worker.busy or worker.hand):
            worker.claim(limit)
        return worker

    @rule(
        slot=WORKERS,
        limit=st.sampled_from([1, 3, 30]),
        count=st.sampled_from([1, 1, 2, 5]),
        halts=HALTS,
        host=HOSTS,
    )
    def work(self, slot: int, limit: int, count: int, halts: Any, host: str) -> None:
        """Go on with what was begun, or run what is in hand, or claim."""
        worker = self.worker(slot, host)
        if worker.busy:
            worker.go_on()
        elif worker.hand:
            worker.run(count, halts)
        else:
            worker.claim(limit, halts)

    @rule(
        slot=WORKERS, limit=st.sampled_from([1, 3, 30]), halts=HALTS, shy=st.booleans()
    )
    def claim(self, slot: int, limit: int, halts: Any, shy: bool) -> None:
        worker = self.worker(slot)
        if not worker.busy:
            worker.claim(limit, halts, shy=shy)

    @rule(slot=WORKERS, pick=PICKS, halts=HALTS)
    def give_back(self, slot: int, pick: int, halts: Any) -> None:
        worker = self.worker(slot)
        if not worker.busy and worker.hand:
            worker.give_back(pick, halts)

    @rule(slot=WORKERS, halts=HALTS)
    def rescue_slowly(self, slot: int, halts: Any) -> None:
        worker = self.worker(slot)
        if not worker.busy:
            worker.rescue(halts)

    @rule(slot=WORKERS)
    def look_after(self, slot: int) -> None:
        self.worker(slot).look_after()

    @rule(slot=WORKERS)
    def leave(self, slot: int) -> None:
        worker = self.workers[slot]
        if worker and not worker.busy:
            worker.leave()
            self.workers[slot] = None

    @rule(slot=WORKERS, other=WORKERS, claims=st.integers(0, 3))
    def die(self, slot: int, other: int, claims: int) -> None:
        """The process is gone, wherever it was; another one may go on at once."""
        self.kill(slot, other)
        for _ in range(claims):
            if not self.worker(other).busy:
                self.worker(other).claim(30)

    def kill(self, slot: int, other: int) -> None:
        """The process of a worker is gone; another one, if there is, looks after it."""
        worker = self.workers[slot]
        if worker:
            worker.die(noticed=worker.process.name.startswith("host/"))
            self.workers[slot] = None
        if other != slot:
            self.worker(other).look_after()

    @rule(slot=WORKERS, rescuer=WORKERS, pick=PICKS, times=st.integers(1, 3))
    def poison(self, slot: int, rescuer: int, pick: int, times: int) -> None:
        """Workers die in the middle of one job, rather a suspect."""
        waiting = [i for i in self.waiting() if self.model.jobs[i].crashes]
        waiting = waiting or self.waiting()
        for _ in range(times):
            worker = self.worker(slot)
            if waiting and not worker.busy and not worker.hand:
                worker.claim_job(waiting[pick % len(waiting)])
            if not worker.busy and worker.hand:
                worker.run(1, (0,))
            self.kill(slot, rescuer)

    @rule(slot=WORKERS, other=WORKERS, count=st.integers(1, 3), halts=HALTS)
    def collide(self, slot: int, other: int, count: int, halts: Any) -> None:
        """Two workers write the same object at a time."""
        one, two = self.worker(slot), self.worker(other)
        if one is two or one.busy or one.hand or two.busy or two.hand:
            return
        self.producers[0].add("share", "plain", count + 1)
        if self.producers[0].commit():
            first, *others = self.waiting("share")[-count - 1 :]
            two.claim_job(first)
            for jobid in others:
                one.claim_job(jobid)
            for worker, halts_ in ((one, halts), (two, ())):
                if worker.hand:
                    worker.run(count, halts_)
            if one.busy:
                one.go_on()

    def waiting(self, *kinds: str) -> list[int]:
        """The jobs, but cron jobs, that wait, of these kinds or all."""
        return [
            jobid
            for jobid, job in sorted(self.model.jobs.items())
            if job.status in {QUEUED, DELAYED}
            and (job.kind in kinds or not kinds)
            and not self.is_cron(jobid)
        ]

    # Time

    @rule(seconds=st.integers(1, 12), stalled=st.sets(WORKERS))
    def sleep(self, seconds: int, stalled: set[int]) -> None:
        """Time passes; those that are not stalled show that they live."""
        self.stage.advance(seconds)
        for slot, worker in enumerate(self.workers):
            if worker and slot not in stalled:
                worker.beat()

    @rule(
        slot=WORKERS,
        other=WORKERS,
        count=st.sampled_from([1, 3]),
        where=st.integers(0, 1),
        finish=st.booleans(),
    )
    def stall(
        self, slot: int, other: int, count: int, where: int, finish: bool
    ) -> None:
        """A worker is silent for longer than its lease, in the middle of something.

        Another one sees it.  Then, maybe, it comes back, and would go on.
        """
        worker = self.ready(slot, count)
        if not worker.busy and worker.hand:
            worker.run(count, (where,))
        rescuer = self.worker(other)
        rescuer.look_after()
        for _ in range(3):
            self.stage.advance(LEASE.seconds / 3 + 1)
            rescuer.look_after()
        if finish and worker.busy:
            worker.go_on()

    @invariant()
    def sound(self) -> None:
        self.look()

    # The end

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and self.model.jobs:
                self.drain()
        finally:
            for user in (*self.producers, *filter(None, self.workers)):
                user.close()
            self.close()

    def drain(self) -> None:
        """Some leave, the others are silent; a good worker does all there is to do."""
        for producer in self.producers:
            producer.abort()
        self.finish(1)
        good = Worker(self, "host")
        self.workers.append(good)
        for _ in range(4):
            good.look_after()
            self.stage.advance(LEASE.seconds / 3 + 1)
        good.look_for_requests()
        self.start_all()
        self.work_all(good)
        # Who was silent comes back: there is nothing for it to finish.
        for slot in (0, 2):
            self.finish(slot)
        self.look()
        self.work_all(good)
        self.look()
        self.look_at_end()

    def finish(self, slot: int) -> None:
        """Let a worker end as it should, when it has done what it has begun."""
        worker = self.workers[slot]
        while worker and worker.busy:
            worker.go_on()
        if worker:
            self.workers[slot] = None
            worker.leave()

    def start_all(self) -> None:
        """Start what is to be started later."""
        while STARTLATER in {job.status for job in self.model.jobs.values()}:
            self.producers[0].start(0)
            assert self.producers[0].commit()

    def work_all(self, worker: Worker) -> None:
        """Do all there is to do."""
        for _ in range(1000):
            worker.claim(10)
            while worker.hand:
                worker.run(1)
            waiting = {j.status for j in self.model.jobs.values()}
            if not self.model.due(self.now):
                if waiting.isdisjoint({QUEUED, DELAYED, PROCESSING}):
                    return
                self.stage.advance(5)
                worker.beat()
        raise AssertionError("it goes on for ever")
