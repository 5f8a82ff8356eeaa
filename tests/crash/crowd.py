"""Several processes that use a service at once, and what they have told."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from operator import itemgetter
from typing import Any

from tests.crash.forks import KILLED, Child
from tests.crash.lives import ids_in, put_services
from tests.crash.roles import play
from tests.stateful.invariants import check
from tests.storages import Address


class Crowd:
    """Processes that play roles on a service, and what they have told."""

    def __init__(self, address: Address, name: str, chance: random.Random) -> None:
        self.address, self.name, self.chance = address, name, chance
        self.living: list[tuple[str, Child]] = []
        #: The ids of the jobs that were reported as added.
        self.added: set[int] = set()
        #: The ids that were to be added by transactions of which nothing is known.
        self.doubtful: list[set[int]] = []

    def join(self, role: str) -> None:
        """One more process, which has begun."""
        life = play(self.address, self.name, role, self.chance.randrange(10**9))
        process = Child(life)
        self.living.append((role, process))
        process.expect("playing")

    def kill_one(self, longest: float) -> str:
        """Kill one of them within so many seconds, at a random instant; its role."""
        self.chance.shuffle(self.living)
        role, process = self.living.pop()
        time.sleep(self.chance.uniform(0, longest))
        process.kill()
        self._hear(process, KILLED)
        return role

    def end(self) -> None:
        """Let all end as they should, producers first."""
        for _, process in sorted(self.living, key=itemgetter(0)):
            with suppress(BrokenPipeError):
                process.pipe.tell("end")
            self._hear(process, 0)
        self.living = []

    def close(self) -> None:
        """Whatever they do, it is over."""
        for _, process in self.living:
            process.close()

    def _hear(self, process: Child, status: int) -> None:
        lines = process.lines()
        assert process.end() == status, "\n".join(lines[-60:])
        process.close()
        added = ids_in(lines, "added")
        assert not added & self.added, "ids were given twice"
        self.added |= added
        for one, other in pairwise([*lines, ""]):
            if one.startswith("adding") and not other.startswith("added"):
                self.doubtful.append(ids_in([one], "adding"))

    def check(self, service: Any) -> None:
        """All is sound; what was reported is there."""
        check(service)
        assert self.added <= set(service.jobs)

    def check_all(self, service: Any) -> None:
        """When all have ended: what was not committed is not there.

        The ids of a batch that was not committed may have been given again, to a
        batch of another size, of which nothing is known either.
        """
        self.check(service)
        more = set(service.jobs) - self.added
        assert more == set().union(*(each for each in self.doubtful if each <= more))


@contextmanager
def crowd(address: Address, name: str, chance: random.Random) -> Iterator[Crowd]:
    """A crowd that is there as long as the block."""
    put_services(address, name)
    found = Crowd(address, name, chance)
    try:
        yield found
    finally:
        found.close()
