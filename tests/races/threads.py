"""Threads that all begin at once, each with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from persistent import Persistent
from transaction.interfaces import TransientError

from lovely.remotetask.processor import SimpleProcessor
from tests.races.interleaved import Client
from tests.support import PATIENCE, wait_until


class Effect(Persistent):
    """What a job writes to the database: how often it was done."""

    done = 0

    def __init__(self, *words: Any) -> None:
        self.words = words


class Racer:
    """One thread's connection; a conflict is counted and tried again."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.conflicts = 0

    def commit(self, client: Client, work: Callable[[Any], Any]) -> Any:
        """Do something with the service, and commit; what it returned."""
        while True:
            client.abort()
            try:
                result = work(client.service)
                client.commit()
            except TransientError:
                self.conflicts += 1
            else:
                return result


Race = Callable[[Racer, Client], None]


def run(db: Any, races: Sequence[Race]) -> int:
    """Call all of them at once, each in a thread; how many conflicts there were."""
    start = threading.Barrier(len(races))
    racers = [Racer(db) for _ in races]
    errors: list[BaseException] = []

    def work(racer: Racer, race: Race) -> None:
        client = Client(db)
        try:
            start.wait(PATIENCE)
            race(racer, client)
        except BaseException as error:
            errors.append(error)
        finally:
            client.close()

    pairs = zip(racers, races, strict=True)
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread does not end"
    if errors:
        raise errors[0]
    return sum(racer.conflicts for racer in racers)


@contextmanager
def processors(db: Any, count: int, **options: Any) -> Iterator[list[SimpleProcessor]]:
    """So many processors of the service, each a worker with a thread."""
    options = {"waitTime": 0.05, **options}
    found = [SimpleProcessor(db, ["service"], **options) for _ in range(count)]
    threads = [threading.Thread(target=processor) for processor in found]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for processor in found:
            processor.stop()
        wait_until(lambda: not any(thread.is_alive() for thread in threads))
