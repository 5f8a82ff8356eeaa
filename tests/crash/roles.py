"""Processes that add jobs and do them, in any order, until they are told or killed."""

from __future__ import annotations

import logging
import random
import select
from collections.abc import Callable
from typing import Any

import transaction
import ZODB
from transaction.interfaces import TransientError

from lovely.remotetask import crew, processor
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import CRONJOB, QUEUED, STARTLATER
from tests.crash.forks import Pipe
from tests.crash.jobs import Effect, new_cron_job
from tests.crash.server import reconnect_soon
from tests.storages import Address, open_storage

#: No more jobs than that wait, so that there is an end (and checks are quick).
WAITING = 30
#: No more cron jobs than that; they run each second.
CRON_JOBS = 2
#: What a transaction meets, beside conflicts, when its server is another one at its
#: end: that gives oids anew which the first had given, and nobody had used.
LOST = (ValueError,)
#: The pause after each transaction of a producer (seconds).
PAUSE = 0.005


def play(address: Address, name: str, role: str, seed: int) -> Callable[[Pipe], None]:
    """The life of a process with a role, which it plays by chance."""

    def life(pipe: Pipe) -> None:
        logging.disable(logging.CRITICAL)
        chance = random.Random(seed)
        hurry(chance)
        storage = open_storage(address)
        if address.startswith("ZEO"):
            reconnect_soon(storage)
        db = ZODB.DB(storage, pool_size=20)
        service = db.open().root()[name]
        if "work" in role:
            service.startProcessing()
        pipe.tell("playing")
        while not told(pipe):
            if "produce" in role:
                produce(service, chance, pipe)
        # Longer than a client may wait for a server that is lost just now.
        assert service.stopProcessing(wait=True, timeout=45)
        transaction.abort()
        db.close()

    return life


def hurry(chance: random.Random) -> None:
    """Let this process's workers wait less, have some threads, and groups or not."""
    crew.ERROR_WAIT = processor.ERROR_WAIT = 0.02
    TaskService.processorFactory = SimpleProcessor
    groups = chance.random() < 0.5
    TaskService.processorArguments = {"waitTime": 0.05, "groupFinish": groups}
    threads = chance.randrange(4)
    if threads:
        TaskService.processorFactory = MultiProcessor
        TaskService.processorArguments["maxThreads"] = threads


def told(pipe: Pipe) -> bool:
    """Whether it is told to end, within a short time."""
    ready, _, _ = select.select([pipe.reading], [], [], PAUSE)
    return bool(ready)


def produce(service: Any, chance: random.Random, pipe: Pipe) -> None:
    """Do something in a transaction, if there is not too much to do already."""
    do = chance.choice([add, add, add, add_several, add_several, start, cancel, cron])
    try:
        transaction.begin()
        if service.count(QUEUED) < WAITING:
            do(service, chance, pipe)
    except (TransientError, *LOST):
        transaction.abort()


def add(service: Any, chance: random.Random, pipe: Pipe, number: int = 1) -> None:
    """Commit new jobs; say so before and after."""
    ids = []
    for _ in range(number):
        task = chance.choice(["count", "count", "count", "fail", "fail once"])
        how = chance.choice([{}, {}, {"startLater": True}, {"delay": 0.01}])
        ids.append(service.add(task, Effect(), **how))
    pipe.tell("adding", *ids)
    transaction.commit()
    pipe.tell("added", *ids)


def add_several(service: Any, chance: random.Random, pipe: Pipe) -> None:
    """Commit several jobs at once."""
    add(service, chance, pipe, chance.randrange(2, 20))


def cron(service: Any, chance: random.Random, pipe: Pipe) -> None:
    """Commit a cron job, unless there are some."""
    if service.count(CRONJOB) < CRON_JOBS:
        jobid = new_cron_job(service, chance.choice(["count", "fail"]), 1.0)
        pipe.tell("adding", jobid)
        transaction.commit()
        pipe.tell("added", jobid)


def start(service: Any, chance: random.Random, pipe: Pipe) -> None:
    """Start what is to be started later."""
    for job in service.jobs.values():
        if job.status == STARTLATER:
            service.startJob(job.id)
    transaction.commit()


def cancel(service: Any, chance: random.Random, pipe: Pipe) -> None:
    """Cancel a job, whatever it does."""
    if len(service.jobs):
        service.cancel(chance.choice(list(service.jobs)))
        transaction.commit()
