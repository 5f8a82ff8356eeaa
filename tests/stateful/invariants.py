"""What holds in every committed state of a service: see `lovely.remotetask.checks`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lovely.remotetask import checks


def check(service: Any) -> None:
    """Raise AssertionError unless status, table, queue, schedule and counts agree."""
    found = list(problems(service))
    assert not found, "; ".join(found)


def problems(service: Any) -> Iterator[str]:
    """What is wrong with the state of a service."""
    yield from (problem.text for problem in checks.problems(service))
    index = service._lanes.failed
    if index is not None:
        indexed = list(index.ids(newest_first=False))
        if list(index.ids(newest_first=True)) != indexed[::-1]:
            yield f"the index of errors is not the same backwards: {indexed}"


def blocks(service: Any) -> Iterator[Any]:
    """All blocks of the table, by shard."""
    for shard in service.jobs._shards:
        yield from shard.values()
