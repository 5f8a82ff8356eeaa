"""Starts the processes, watches them, and judges what they have done."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.programs import Program
from tests.soak import vitals
from tests.soak.auditor import Auditor
from tests.soak.vitals import Vitals

#: How many threads each worker process has, and whether jobs finish in groups.
WORKERS = ((1, 0), (1, 1), (3, 1), (5, 0))
PRODUCERS = 8
#: Seconds between two audits, between two kills; for the last jobs to end.
AUDIT, KILL, DRAIN = 5.0, 5.0, 60.0
#: How often is looked at the processes in a run, and how often told what is.
SAMPLES, LINES = 120, 30


@dataclass(frozen=True)
class Options:
    """How long and how hard."""

    seconds: float
    #: Transactions of all producers in a second.
    rate: float = 40.0
    kills: bool = False
    say: Callable[[str], None] = print


class Member:
    """A process of the soak."""

    def __init__(self, name: str, address: str, *words: object) -> None:
        self.name = name
        self._program = Program("-m", "tests.soak.member", address, *map(str, words))
        self.pid = self._program.process.pid
        self.samples: list[Vitals] = []
        #: What it has last told.
        self.told: dict[str, Any] = defaultdict(int)

    def wait(self) -> None:
        """Wait until it has begun."""
        assert self._program.line() == "ready"

    def look(self) -> None:
        """See what it uses."""
        with self._dying():
            self.samples.append(vitals.vitals(self.pid))

    def ask(self, order: str = "report", seconds: float = 30.0) -> None:
        """Have it tell what it has counted."""
        with self._dying():
            self._program.tell(order)
            self.told = json.loads(self._program.line(seconds))

    @property
    def was_killed(self) -> bool:
        """Whether it has ended as no process can prevent."""
        return self._program.process.poll() == -signal.SIGKILL

    @contextmanager
    def _dying(self) -> Iterator[None]:
        """What fails because a job has killed the process meanwhile is let be."""
        try:
            yield
        except Exception:
            with suppress(subprocess.TimeoutExpired):
                self._program.process.wait(1)
            if not self.was_killed:
                raise

    def kill(self) -> None:
        """End it as no process can prevent."""
        self._program.kill()

    def end(self) -> None:
        """Let it end its work, and then itself."""
        self.ask("end", 60.0)
        status = self._program.finish()
        assert status == 0, f"{self.name} has ended with status {status}"

    def close(self) -> None:
        """Whatever has happened, it is gone afterwards."""
        self._program.close()


class Conductor:
    """One soak, in a store at an address."""

    def __init__(
        self, address: str, auditor: Auditor, stack: ExitStack, options: Options
    ) -> None:
        """What is started is closed by ``stack``."""
        self._address, self._auditor = address, auditor
        self._stack, self._options = stack, options
        self._killed: list[Member] = []
        pace, kills = options.rate / PRODUCERS, int(options.kills)
        self._workers = [self._worker(number) for number in range(len(WORKERS))]
        self._producers = [
            self._start(f"producer {number}", "produce", number, pace, kills)
            for number in range(PRODUCERS)
        ]
        for member in self._members:
            member.wait()
        self._begun = time.monotonic()

    @property
    def _members(self) -> list[Member]:
        return [*self._workers, *self._producers]

    @property
    def _passed(self) -> float:
        return time.monotonic() - self._begun

    def _worker(self, number: int) -> Member:
        return self._start(f"worker {number}", "work", *WORKERS[number])

    def _start(self, name: str, *words: object) -> Member:
        member = Member(name, self._address, *words)
        self._stack.callback(member.close)
        return member

    def run(self) -> list[str]:
        """Go on for as long as was asked; what was wrong."""
        seconds = self._options.seconds
        every: dict[Callable[[], object], float] = {
            self._look: seconds / SAMPLES,
            self._auditor.audit: AUDIT,
            self._show: seconds / LINES,
        }
        if self._options.kills:
            every[self._kill] = KILL
        due = dict(every)
        while self._passed < seconds and not self._auditor.problems:
            for action, moment in due.items():
                if self._passed >= moment:
                    action()
                    due[action] = self._passed + every[action]
            self._replace_killed()
            time.sleep(0.05)
        return list(self._end())

    def _look(self) -> None:
        for member in self._members:
            member.look()

    def _kill(self) -> None:
        """A worker is lost, and another takes its place."""
        random.choice(self._workers).kill()
        self._replace_killed()

    def _replace_killed(self) -> None:
        """Some jobs kill their worker, if workers are killed anyway."""
        for number, worker in enumerate(self._workers):
            if self._options.kills and worker.was_killed:
                worker.close()
                self._killed.append(worker)
                self._workers[number] = self._worker(number)
                self._workers[number].wait()

    def _show(self) -> None:
        """Say how it goes."""
        for member in self._members:
            member.ask()
        self._options.say(self._line())

    def _line(self) -> str:
        added = self._sum("added", self._producers)
        own = self._sum("own conflicts", [*self._members, *self._killed])
        of_producers = self._sum("conflicts", self._producers)
        used = [worker.samples[-1] for worker in self._workers if worker.samples]
        parts = [
            f"{self._passed:.0f} s: {added} added, {added / self._passed:.1f} a second",
            f"ended: {_counts(self._auditor.by_status)}",
            f"now: {_counts(self._auditor.counts())}",
            f"conflicts: {own} own, {of_producers} of producers",
            f"audits in vain: {self._auditor.conflicts}",
            f"{len(self._killed)} killed",
            f"workers: {' | '.join(map(str, used))}",
        ]
        return "; ".join(parts)

    def _sum(self, what: str, members: list[Member]) -> int:
        return sum(member.told[what] for member in members)

    def _end(self) -> Iterator[str]:
        """End it all, and judge."""
        for producer in self._producers:
            producer.end()
        if not self._drain():
            # Some that are left may kill their workers: those can't end in order.
            yield f"{DRAIN:.0f} s after the last job not all are over"
            yield from self._auditor.problems
            return
        for worker in self._workers:
            worker.end()
        while not self._auditor.audit(final=True):
            pass
        yield from self._judge()

    def _drain(self) -> bool:
        """Wait until every job is over; whether that came."""
        end = time.monotonic() + DRAIN
        while self._auditor.busy():
            if time.monotonic() > end:
                return False
            self._replace_killed()
            self._auditor.audit()
            time.sleep(0.2)
        self._replace_killed()
        return True

    def _judge(self) -> Iterator[str]:
        yield from self._auditor.problems
        yield from self._auditor.leftovers()
        for number, producer in enumerate(self._producers):
            added, over = producer.told["added"], self._auditor.by_producer[number]
            if added != over:
                yield f"{producer.name} added {added} jobs, {over} are over"
        for member in self._members:
            yield from vitals.problems(member.name, member.samples)
            if member.told.get("failed"):
                yield f"{member.name} failed: {member.told['failed']}"
            if not self._options.kills:
                yield from member.told["unexpected"].values()
        self._options.say(self._line())
        for member in self._members:
            self._options.say(f"{member.name}: {vitals.course(member.samples)}")


@contextmanager
def conductor(address: str, auditor: Auditor, options: Options) -> Iterator[Conductor]:
    """A soak of a new service, ready to run."""
    auditor.create()
    with ExitStack() as stack:
        yield Conductor(address, auditor, stack, options)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n) or "nothing"
