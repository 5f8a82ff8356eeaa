"""A process that is killed at each point of each operation that commits something.

What has been committed is whole each time, and another process does the rest.

In a file, every point is tried; in the other storages, all in the ends of
transactions, and some of those before.  To try all::

    REMOTETASK_KILLS=5000 python -m pytest tests/crash
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.crash.cron import CRON_OPERATIONS
from tests.crash.jobs import register_tasks
from tests.crash.kills import TIMEOUT, chosen, sections
from tests.crash.lives import judge, kill, opened, put_services
from tests.crash.operations import OPERATIONS, Operation
from tests.crash.points import FINISH
from tests.storages import KINDS, store

pytestmark = TIMEOUT

Picture = dict[str, Any]


def check_changes(pictures: dict[int, Picture], passed: list[str]) -> None:
    """All that a transaction changes is there at once, from a point of its end on."""
    ends, used = sections(passed), set()
    for one, other in pairwise(sorted(pictures)):
        if pictures[one] != pictures[other]:
            between = {end for end in ends[one - 1 : other - 1] if end} - used
            assert between, f"changed between {one} and {other} of {passed}"
            used.add(max(between))


def kill_at_each_point(kind: str, operation: Operation, first: int, path: Path) -> None:
    """Kill a process at the points of an operation, each on a service of its own.

    ``first`` as in `chosen`.
    """
    register_tasks()
    with store(kind, path) as address:
        put_services(address, "whole")
        whole = kill(address, "whole", operation)
        last = len(whole.passed) + 1
        numbers = chosen(whole.passed, first)
        if kind == "FileStorage":
            numbers = list(range(1, last))
        put_services(address, *map(str, numbers))
        deaths = {
            number: kill(address, str(number), operation, number) for number in numbers
        }
        deaths[last] = whole
        with opened(address) as db:
            pictures = {
                number: judge(db, death.name, death.there)
                for number, death in deaths.items()
            }
    assert whole.passed.count(FINISH[0]) == whole.passed.count(FINISH[1]) > 0
    check_changes(pictures, whole.passed)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_point(kind: str, operation: str, tmp_path: Path) -> None:
    """Nothing is lost, nothing is done twice, and no half of a transaction is there."""
    kill_at_each_point(kind, OPERATIONS[operation], len(operation), tmp_path)


#: In a file all, elsewhere what has the most commits.
CRON_CASES = [
    *(("FileStorage", operation) for operation in CRON_OPERATIONS),
    *((kind, "work") for kind in KINDS if kind != "FileStorage"),
]


@pytest.mark.parametrize(("kind", "operation"), CRON_CASES)
def test_killed_with_a_cron_job(kind: str, operation: str, tmp_path: Path) -> None:
    """No planned run is lost, and none is doubled."""
    kill_at_each_point(kind, CRON_OPERATIONS[operation], len(operation), tmp_path)
