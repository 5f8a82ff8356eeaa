"""How many processes are killed, and at which points.

``REMOTETASK_KILLS=5000`` in the environment kills about so many at random instants,
and at every point where some are tried every day.
"""

from __future__ import annotations

import os

import pytest

from tests.crash.points import FINISH

#: At random instants, in all tests together.
KILLS = int(os.environ.get("REMOTETASK_KILLS", "200"))
#: For each test: the more, the longer.
TIMEOUT = pytest.mark.timeout(120 + KILLS)
#: From so many on, no point is left out.
MANY_KILLS = 1000
#: Of the points before a transaction's end, every how manyth is tried else.
STEP = 8


def chosen(passed: list[str], first: int) -> list[int]:
    """The numbers of points that are tried: in the ends of transactions, each.

    ``first`` is any number, that it may not be the same points for all operations.
    """
    ends = sections(passed)
    return [
        number
        for number, point in enumerate(passed, 1)
        if ends[number - 1]
        or point == FINISH[1]
        or KILLS >= MANY_KILLS
        or (number + first) % STEP == 0
    ]


def sections(passed: list[str]) -> list[int | None]:
    """For each point, which end of a transaction comes after it, if one does."""
    found: list[int | None] = []
    number, within = 0, False
    for point in passed:
        number += point == FINISH[0]
        within = point == FINISH[0] or (within and point != FINISH[1])
        found.append(number if within else None)
    return found
