"""Whatever workers suffer, each job is done once.

``REMOTETASK_EXAMPLES=1000`` in the environment tries half as many sequences of steps;
the default is for every day.
"""

from __future__ import annotations

import pytest

from tests.stateful.crew.machine import CrewMachine
from tests.stateful.test_machine import EXAMPLES, run


@pytest.mark.timeout(600 + 2 * EXAMPLES)
def test_workers_that_stall_die_and_return() -> None:
    """No job is lost, held by two, or counted twice, and none is stuck at the end."""
    run(CrewMachine, EXAMPLES // 2)
