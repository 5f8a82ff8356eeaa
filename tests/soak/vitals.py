"""The memory and the file descriptors of processes, and whether they stay."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: What comes first is left out: caches fill, threads get their memory.
WARM_UP = 0.2
#: How much the last third may be above the first: the medians of memory (MiB), the
#: fewest files, for each transaction may have one for a moment.
MEMORY = 4.0
FILES = 2
#: With fewer samples nothing is said.
FEWEST = 40


class Vitals(NamedTuple):
    """What a process uses at a moment."""

    memory: float
    files: int

    def __str__(self) -> str:
        return f"{self.memory:.1f} MiB, {self.files} files"


def vitals(pid: int) -> Vitals:
    """MiB and descriptors of a process.  Raise OSError or ValueError if it is gone."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    # One that has ended and is not reaped has no memory.
    (resident,) = [line for line in text.splitlines() if line.startswith("VmRSS")]
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Vitals(int(resident.split()[1]) / 1024, files)


def growth(samples: list[Vitals]) -> Vitals | None:
    """From the first third after the warm-up to the last; None if too short."""
    steady = samples[int(WARM_UP * len(samples)) :]
    third = len(steady) // 3
    if len(samples) < FEWEST or not third:
        return None
    first, last = _typical(steady[:third]), _typical(steady[-third:])
    return Vitals(last.memory - first.memory, last.files - first.files)


def _typical(samples: list[Vitals]) -> Vitals:
    memory, files = zip(*samples, strict=True)
    return Vitals(statistics.median(memory), min(files))


def course(samples: list[Vitals]) -> str:
    """How it went, in a line."""
    steps = max(1, len(samples) // 6)
    memory = ", ".join(f"{found.memory:.1f}" for found in samples[::steps])
    grown = growth(samples)
    more = "" if grown is None else f"; from the first third to the last: {grown}"
    return f"{memory} MiB{more}"


def problems(name: str, samples: list[Vitals]) -> Iterator[str]:
    """What a process has more and more of."""
    grown = growth(samples)
    if grown is not None and grown.memory > MEMORY:
        yield f"{name} has grown by {grown.memory:.1f} MiB"
    if grown is not None and grown.files > FILES:
        yield f"{name} has {grown.files} more open files"
