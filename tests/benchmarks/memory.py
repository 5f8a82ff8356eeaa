"""The memory of a process that adds and drains many jobs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.application import (
    Application,
    Noop,
    application,
    noop_task,
    processing,
)
from tests.benchmarks.measure import Figure, Scale
from tests.benchmarks.stores import file_storage

#: Jobs are added, run and, in the second variant, removed in so many parts.
PARTS = 20
TARGET = 200


def memory(scale: Scale, variants: Sequence[bool] = (False, True)) -> Iterator[Figure]:
    """MiB above the start, in a process that adds and drains many jobs."""
    for cleans in variants:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        child = spawn.Process(target=add_and_drain, args=(theirs, scale, cleans))
        child.start()
        theirs.close()
        start, samples, peak = ours.recv()
        child.join(60)
        how = "cleaned along the way" if cleans else "kept"
        course = ", ".join(f"{sample - start:.0f}" for sample in samples)
        yield Figure(
            f"memory above the start, {scale.memory_jobs:,} jobs, {how}",
            (peak - start,),
            "MiB",
            TARGET,
            note=f"along the way: {course}",
        )


def add_and_drain(report: Any, scale: Scale, cleans: bool) -> None:
    """In a process of its own: send (start, samples, peak), in MiB."""
    part = max(1, scale.memory_jobs // PARTS)
    parts = range(PARTS if scale.memory_jobs >= PARTS else 1)
    with file_storage() as address, noop_task() as task, application(address) as app:
        start, samples = _resident(), []
        for number in parts:
            app.add_many(part, scale.bulk)
            if cleans:
                _drain(app, task, part * (number + 1))
                app.clean()
            samples.append(_resident())
        for number in () if cleans else parts:
            _drain(app, task, part * (number + 1))
            samples.append(_resident())
    report.send((start, samples, _peak()))


def _drain(app: Application, task: Noop, calls: int) -> None:
    """Have the background thread run jobs until there were so many."""
    task.expect(calls)
    with processing(app):
        assert task.done.wait(60 + calls / 10)


def _resident() -> float:
    """The memory of this process, in MiB."""
    return _status("VmRSS")


def _peak() -> float:
    """The most that it has been.  (The `resource` module counts a parent's too.)"""
    return _status("VmHWM")


def _status(name: str) -> float:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return int(fields[name].split()[0]) / 1024
