"""Workers: each is a process, with a thread that can be halted in what it does.

Beside it there is a lookout, as in the library: it shows that the worker lives, and
looks after others, whatever the thread does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from lovely.remotetask.current import Run
from lovely.remotetask.errors import WorkerLost
from lovely.remotetask.session import Claim, Session
from lovely.remotetask.states import (
    CANCELLABLE,
    CANCELLED,
    COMPLETED,
    DELAYED,
    PROCESSING,
    QUEUED,
)
from lovely.remotetask.workers import Lease
from tests.stateful.crew.chores import POLICY
from tests.stateful.crew.model import Beats, Job
from tests.stateful.crew.order import check_order, waiting
from tests.stateful.crew.strands import Strand
from tests.stateful.crew.world import NAME, World

LEASE = Lease(4.0, 16.0)
#: The clocks of storages are no more exact than that (seconds).
EXACT = 0.001


class Worker:
    """A worker, and what is known of it."""

    def __init__(self, world: World, host: str) -> None:
        self.world, self.model = world, world.model
        self.process = world.process(host)
        self.strand = Strand(self.process.name)
        #: The jobs that it has in hand, and those of them that it runs.
        self.hand: list[int] = []
        self.runs: dict[int, Run] = {}
        self._done: Callable[[Any], None] = lambda result: None
        with world.stage.acting(self.process.name):
            self.lookout = Session(self.process.db, [NAME])
            self.strand.begin(lambda: Session(self.process.db, [NAME]))
        self.session: Session = self.strand.result
        self.register()

    def register(self) -> None:
        """Begin as a worker, maybe anew."""
        with self.world.stage.acting(self.process.name):
            self.key = self.session.key = self.lookout.register(1, LEASE)
        self.model.workers[self.key] = Beats(self.world.now, self.process.name)
        self.hand, self.runs = [], {}

    def lost(self) -> None:
        """It was taken for dead: it has nothing in hand, and begins anew."""
        assert self.key not in self.model.workers, "a living worker is lost"
        self.lookout.key = None
        self.register()

    # What the thread does

    @property
    def busy(self) -> bool:
        """Whether it has halted in what it does."""
        return self.strand.busy

    def _begin(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        halts: Collection[int],
    ) -> None:
        self._done = done
        with self.world.stage.acting(self.process.name):
            self.strand.begin(work, halts)
        self._look()

    def go_on(self) -> None:
        """Let the thread go on with what it does."""
        with self.world.stage.acting(self.process.name):
            self.strand.go_on()
        self._look()

    def _look(self) -> None:
        """The thread has halted, or is done: what has it committed?"""
        self._settle()
        if self.strand.busy:
            return
        if isinstance(self.strand.error, WorkerLost):
            self.lost()
        elif self.strand.error is not None:
            raise self.strand.error
        else:
            self._done(self.strand.result)

    def claim(self, limit: int, halts: Collection[int] = (), **how: Any) -> None:
        """Take jobs that are due."""
        suspicious = any(self.model.jobs[jobid].crashes for jobid in self.mine)
        places = waiting(self.world.observe())
        if suspicious:
            # One suspect at a time: the others are not offered.
            places = {i: t for i, t in places.items() if t.where[0] != "suspects"}

        def done(claim: Claim) -> None:
            self._take(claim.jobs, suspicious=suspicious)
            if not self.strand.halted and not how.get("shy"):
                self._check_all_taken(claim.jobs, limit, suspicious=suspicious)
                alone = len(self.model.workers) == 1
                given_back = self.model.given_back
                check_order(places, claim.jobs, limit, given_back, alone=alone)
            self._receive(claim.jobs)

        key, in_hand = self.key, tuple(self.hand)
        self._begin(
            lambda: self.session.claim(
                key, limit, in_hand, suspects=not suspicious, **how
            ),
            done,
            halts,
        )

    def claim_job(self, jobid: int, halts: Collection[int] = ()) -> None:
        """Take a job that waits, out of turn."""

        def done(jobids: list[int]) -> None:
            assert jobids in ([], [jobid])
            waits = self.model.jobs[jobid].status in {QUEUED, DELAYED}
            assert self.strand.halted or waits == bool(jobids)
            self._receive(jobids)

        self._begin(lambda: self.session.claim_job(jobid), done, halts)

    def _receive(self, jobids: list[int]) -> None:
        for jobid in jobids:
            assert self.model.jobs[jobid].worker is None, "a job is held twice"
            self.model.jobs[jobid] = self.model.jobs[jobid].claimed(self.key)
        self.hand += jobids

    @property
    def mine(self) -> list[int]:
        """What it has in hand and still holds."""
        return self.model.held_by(self.key)

    def _take(self, jobids: list[int], *, suspicious: bool) -> None:
        assert not jobids or self.key in self.model.workers, "a lost worker claims"
        due = self.model.due(self.world.now)
        assert set(jobids) <= due, "jobs are claimed that are not due"
        if any(self.model.jobs[jobid].crashes for jobid in jobids):
            assert len(jobids) == 1, "a suspect is not alone"
            assert not suspicious, "two suspects at a time"

    def _check_all_taken(
        self, jobids: list[int], limit: int, *, suspicious: bool
    ) -> None:
        due = self.model.due(self.world.now)
        suspects = {jobid for jobid in due if self.model.jobs[jobid].crashes}
        if suspicious:
            due -= suspects
        assert bool(jobids) == bool(due), f"{jobids} claimed of {due}"
        if suspicious or not suspects:
            assert len(jobids) == min(limit, len(due)), f"{jobids} claimed of {due}"

    def run(self, count: int = 1, halts: Collection[int] = ()) -> None:
        """Run jobs that it has in hand; several in a group."""
        ids, key = self.hand[:count], self.key
        runs = self.runs = {jobid: Run(self.world.stage) for jobid in ids}
        self._surely_cancelled = self.model.requested.intersection(ids)

        def alone() -> list[int]:
            self.session.run(ids[0], key, runs[ids[0]])
            return ids

        def group() -> list[int]:
            return self.session.run_group(runs, key, lambda: True)

        def done(begun: Sequence[int]) -> None:
            # A job of a group that has a conflict is the last.
            assert ids[: len(begun)] == list(begun) != []
            left = [jobid for jobid in begun if self._holds(jobid)]
            assert not left, f"{left} are not over"
            self.hand = [jobid for jobid in self.hand if jobid not in begun]
            self.runs = {}

        self._begin(alone if count == 1 else group, done, halts)

    def _holds(self, jobid: int) -> bool:
        job = self.model.jobs.get(jobid)
        return job is not None and job.worker == self.key

    def _settle(self) -> None:
        """Whatever has ended of what it runs has ended as it should."""
        ids = [jobid for jobid in self.runs if self._holds(jobid)]
        service = self.world.observe() if ids else None
        for jobid in ids:
            job, model = service.jobs[jobid], self.model.jobs[jobid]
            if job.status != PROCESSING:
                found = COMPLETED if model.kind == "cron" else job.status
                allowed = self._outcomes(jobid)
                assert found in allowed, f"job {jobid} is {found}, not {allowed}"
                self._note_end(job, model, found)

    def _outcomes(self, jobid: int) -> set[str]:
        if jobid in self._surely_cancelled:
            return {CANCELLED}
        asked = {CANCELLED} if jobid in self.model.requested else set()
        return self.model.jobs[jobid].outcomes() | asked

    def _note_end(self, job: Any, model: Job, status: str) -> None:
        due = None if job._due is None else job._due / 1e6
        if status == DELAYED and due is not None:
            pause = due - job._completed / 1e6
            assert POLICY.delay * (1 - POLICY.jitter) <= pause <= POLICY.delay + EXACT
        self.model.jobs[job.id] = model.ended(status, due)
        effect = job.input
        if model.kind == "cron":
            assert effect.runs[-1].timestamp() == model.run_for
            assert list(effect.runs) == sorted(set(effect.runs))
        if status == COMPLETED and effect.child is not None:
            assert effect.child not in self.model.given
            self.model.given.add(effect.child)
            self.model.jobs[effect.child] = Job("count", QUEUED)

    def give_back(self, number: int, halts: Collection[int] = ()) -> None:
        """Give back what it has in hand, from a number on."""
        jobids = self.hand[number % len(self.hand) :]

        def done(result: None) -> None:
            self._put_back(jobids)
            self.hand = [jobid for jobid in self.hand if jobid not in jobids]

        self._begin(lambda: self.session.give_back(jobids), done, halts)

    def _put_back(self, jobids: list[int]) -> None:
        for jobid in jobids:
            if self._holds(jobid):
                self.model.jobs[jobid] = self.model.jobs[jobid].put_back()
                self.model.given_back.add(jobid)

    def rescue(self, halts: Collection[int] = ()) -> None:
        """Look after others, slowly: the thread does it."""
        self._begin(self.session.rescue, lambda result: self._note_rescued(), halts)

    # What the lookout does

    def beat(self) -> None:
        """Show that it lives."""
        try:
            with self.world.stage.acting(self.process.name):
                self.lookout.beat()
        except WorkerLost:
            if not self.busy:
                self.lost()
        else:
            self.model.workers[self.key].last = self.world.now

    def look_after(self) -> None:
        """Beat, and rescue what others can't do any more."""
        self.beat()
        if self.key not in self.model.workers:
            return
        wanted = self._surely_lost()
        with self.world.stage.acting(self.process.name):
            self.lookout.rescue()
        assert wanted <= self._note_rescued(), "a worker that is lost is not rescued"

    def _surely_lost(self) -> set[int]:
        """The workers that are known to be lost, after this look at them."""
        found, now = set(), self.world.now
        for key, beats in self.model.workers.items():
            if self._is_gone(beats):
                found.add(key)
                continue
            unseen = beats.last, 0.0, now
            last, known, looked = beats.seen.get(id(self.lookout), unseen)
            # A look tells of no more than a heartbeat's time.
            known += min(now - looked, LEASE.heartbeat)
            if last != beats.last:
                known = 0.0
            beats.seen[id(self.lookout)] = beats.last, known, now
            silent = now - beats.last > LEASE.seconds + EXACT
            if silent and known > 2 * LEASE.heartbeat:
                found.add(key)
        return found

    def _is_gone(self, beats: Beats) -> bool:
        return self.world.stage.is_gone(beats.process)

    def _note_rescued(self) -> set[int]:
        """What a rescue has done was right; the keys of the workers that were lost."""
        left = {worker.key for worker in self.world.observe()._workers}
        lost = self.model.workers.keys() - left
        for key in lost:
            beats = self.model.workers.pop(key)
            silent = self.world.now - beats.last > LEASE.seconds - EXACT
            assert silent or self._is_gone(beats), f"worker {key} was not lost"
            for jobid in self.model.held_by(key):
                self.model.jobs[jobid] = self.model.jobs[jobid].lost()
        return set(lost)

    def look_for_requests(self) -> None:
        """Cancel what is to be cancelled."""
        model = self.model
        running = {
            jobid
            for jobid in model.requested & model.jobs.keys()
            if model.jobs[jobid].status == PROCESSING
        }
        with self.world.stage.acting(self.process.name):
            assert self.lookout.requests() == running
        for jobid in (model.requested - running) & model.jobs.keys():
            job = model.jobs[jobid]
            if job.status in CANCELLABLE:
                model.jobs[jobid] = job._replace(status=CANCELLED, due=None)
        model.requested = running
        for jobid in running & self.runs.keys():
            self.runs[jobid].ask_to_stop()

    # How it ends

    def leave(self) -> None:
        """End as it should."""
        with self.world.stage.acting(self.process.name):
            self.lookout.leave()
        self._put_back(list(self.hand))
        self.model.workers.pop(self.key, None)
        self.close()

    def die(self, *, noticed: bool) -> None:
        """The process is gone, wherever it was; if it is not ``noticed``, it is only
        silent.
        """
        self.process.die(noticed=noticed)
        self.close()

    def close(self) -> None:
        """Nothing is left of it in this process."""
        self.process.die(noticed=not self.process.access.gone)
        with self.world.stage.acting(self.process.name):
            self.strand.kill()
            self.session.close()
            self.lookout.close()
            self.process.db.close()
