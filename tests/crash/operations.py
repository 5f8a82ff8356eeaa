"""What a process does when it is killed: each operation that commits something."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import transaction

from lovely.remotetask.current import Progress
from tests.crash.actors import Actor
from tests.crash.jobs import Effect

Script = Callable[[Actor], None]

#: More jobs than the numbers that are reserved at first.
MANY = 70


class Operation(NamedTuple):
    """What is done before, unharmed, and then what the process is killed in."""

    act: Script
    before: Script
    #: What the process does if it lives on, to finish what it has begun.
    after: Script = lambda actor: None
    #: What other processes do, one after the other, before they are killed.
    lost: tuple[Script, ...] = ()


def nothing(actor: Actor) -> None:
    """Only open the service."""


def add(actor: Actor) -> None:
    actor.add()


def add_many(actor: Actor) -> None:
    actor.add(number=MANY)


def add_delayed(actor: Actor) -> None:
    actor.add(delay=3600)


def add_and_start_later(actor: Actor) -> None:
    actor.add(startLater=True)


def start(actor: Actor) -> None:
    actor.service.startJob(1)
    transaction.commit()


def cancel(actor: Actor) -> None:
    actor.service.cancel(1)
    transaction.commit()


def retry(actor: Actor) -> None:
    actor.service.retryAll()
    transaction.commit()


def clean(actor: Actor) -> None:
    actor.clean()


def process(actor: Actor) -> None:
    actor.service.process()
    transaction.commit()


def claim_by_hand(actor: Actor) -> None:
    actor.service.claimNextJob()
    transaction.commit()


def run_by_hand(actor: Actor) -> None:
    """Run what this process has claimed by hand."""
    transaction.begin()
    for worker in actor.service.workers:
        if worker.pid == os.getpid() and not worker.threads:
            for jobid in worker.held:
                assert actor.service.processNext(jobid=jobid)
    transaction.commit()


def add_in_three_at_once(actor: Actor) -> None:
    """Add jobs in transactions that are open at the same time: in three lanes."""
    managers = [transaction.TransactionManager() for _ in range(3)]
    for manager in managers:
        service = actor.db.open(manager).root()[actor.name]
        for _ in range(20):
            service.add("count", Effect())
    for manager in managers:
        manager.commit()


def register(actor: Actor) -> None:
    """Begin as a worker, and show that it lives."""
    assert actor.session.key


def beat(actor: Actor) -> None:
    actor.session.beat()


def claim(actor: Actor) -> None:
    actor.claim(20)


def run(actor: Actor) -> None:
    actor.run(1)


def release(actor: Actor) -> None:
    actor.session.give_back([2, 3])


def show(actor: Actor) -> None:
    actor.session.show({1: Progress(0.5, "half")})


def look_for_requests(actor: Actor) -> None:
    actor.session.requests()


def leave(actor: Actor) -> None:
    actor.leave()


def rescue(actor: Actor) -> None:
    actor.session.rescue()


def work(actor: Actor) -> None:
    actor.work()


def adding(task: str, number: int = 1) -> Script:
    """Add jobs, and begin to work."""

    def add(actor: Actor) -> None:
        actor.add(task, number)
        register(actor)

    return add


def one_after_the_other(*scripts: Script) -> Script:
    """Do all that."""

    def act(actor: Actor) -> None:
        for script in scripts:
            script(actor)

    return act


then = one_after_the_other
claimed = then(adding("count", 3), claim)

OPERATIONS: dict[str, Operation] = {
    "first add": Operation(add, nothing),
    "add": Operation(add, add),
    "add many": Operation(add_many, add),
    "add with a delay": Operation(add_delayed, add),
    "start": Operation(start, add_and_start_later),
    "cancel": Operation(cancel, add),
    "retry": Operation(retry, then(adding("fail until asked", 3), work)),
    "clean": Operation(clean, then(adding("count", 40), work)),
    "process": Operation(process, add),
    "claim by hand": Operation(claim_by_hand, add, run_by_hand),
    "run by hand": Operation(run_by_hand, then(add, claim_by_hand)),
    "register": Operation(register, add),
    "beat": Operation(beat, register),
    "claim": Operation(claim, adding("count", 20)),
    "claim for the schedule": Operation(claim, then(adding("count"), add_delayed)),
    "run": Operation(run, claimed),
    "fail": Operation(run, then(adding("fail"), claim)),
    "fail once": Operation(run, then(adding("fail once"), claim)),
    "release": Operation(release, claimed),
    "show": Operation(show, claimed),
    "look for requests": Operation(
        look_for_requests, then(adding("count", 3), claim, cancel, leave, register)
    ),
    "leave": Operation(leave, then(claimed, run)),
    "work": Operation(work, adding("count", 3)),
    "rescue": Operation(rescue, register, lost=(then(claimed, run),)),
    "give up": Operation(
        rescue, register, lost=(then(add, claim), *2 * (then(rescue, claim),))
    ),
    "retire": Operation(
        rescue, register, lost=(then(add_in_three_at_once, work, leave),)
    ),
}
