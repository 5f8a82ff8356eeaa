"""What a benchmark yields, and how large it is."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Scale:
    """How much is measured: the same code serves for a full run and a test."""

    #: Many short ones: what else the machine does comes and goes meanwhile.
    rounds: int = 21
    #: Length of one turn of adds or of bare commits.
    seconds: float = 0.3
    producers: int = 8
    #: The two backlogs that are compared, and calls of each operation per round.
    small: int = 1_000
    large: int = 1_000_000
    calls: int = 10
    #: Adds whose bytes are counted.
    adds: int = 1_600
    #: Jobs whose way from add to start is timed.
    starts: int = 150
    #: Jobs that are run per round, and in the measurement of memory.
    jobs: int = 1_000
    memory_jobs: int = 1_000_000
    #: Jobs that are added in one transaction where adding is not measured.
    bulk: int = 1_000
    idle_seconds: float = 10.0
    #: Schedules whose next moment is looked for, per round.
    entries: int = 1_000
    #: The two numbers of scheduled entries that are compared.
    few_entries: int = 100
    many_entries: int = 100_000
    #: Worker processes; jobs that sleep; workers that are killed.
    workers: int = 4
    naps: int = 200
    kills: int = 10
    #: And such that seem to be on another host, with the default lease of a minute.
    lost_hosts: int = 2

    def for_groups(self) -> Scale:
        """The same for jobs that take less time: a round is to last as long."""
        return replace(self, jobs=4 * self.jobs)

    def with_rounds(self, rounds: int | None) -> Scale:
        """The same with another number of rounds, if one is given."""
        return self if rounds is None else replace(self, rounds=rounds)


FULL = Scale()
QUICK = Scale(
    rounds=5,
    seconds=0.2,
    large=50_000,
    starts=60,
    memory_jobs=20_000,
    idle_seconds=3.0,
    naps=100,
    kills=4,
    lost_hosts=0,
    many_entries=20_000,
)
TINY = Scale(
    rounds=1,
    seconds=0.05,
    producers=2,
    small=50,
    large=200,
    calls=2,
    adds=32,
    starts=3,
    jobs=20,
    memory_jobs=200,
    bulk=50,
    idle_seconds=0.1,
    entries=20,
    few_entries=10,
    many_entries=40,
    workers=2,
    naps=10,
    kills=1,
    lost_hosts=0,
)


@dataclass(frozen=True)
class Figure:
    """One line of the report: a quantity, measured in each round."""

    what: str
    values: tuple[float, ...]
    unit: str = ""
    target: float | None = None
    #: Whether the target is the most, or the least, that is good.
    at_most: bool = True
    #: Absolute figures behind a ratio, or how something is composed.
    note: str = ""

    @property
    def reached(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def good(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        if self.at_most:
            return self.reached <= self.target
        return self.reached >= self.target


@dataclass
class Comparison:
    """Rates of two things that are measured in turns."""

    rates: list[float] = field(default_factory=list)
    references: list[float] = field(default_factory=list)

    def turn(self, thing: Callable[[], float], reference: Callable[[], float]) -> None:
        """One round: the reference before and after, so that drift cancels out."""
        before = reference()
        self.rates.append(thing())
        self.references.append((before + reference()) / 2)

    def figure(self, what: str, target: float | None = None) -> Figure:
        """The ratio of each round."""
        ratios = [a / b for a, b in zip(self.rates, self.references, strict=True)]
        rate = statistics.median(self.rates)
        reference = statistics.median(self.references)
        note = f"{rate:.0f} a second, bare commits {reference:.0f}"
        return Figure(what, tuple(ratios), "", target, at_most=False, note=note)


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def elapsed(action: Callable[[], object]) -> float:
    """How many seconds a call takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun
