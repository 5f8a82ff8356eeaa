"""Any sequence of steps leaves a sound state.

``REMOTETASK_EXAMPLES=1000`` in the environment tries that many sequences on a
mapping storage, and a tenth of it on a file storage; the default is for every day.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from ZODB.FileStorage import FileStorage

from tests.stateful.machine import ServiceMachine

#: The time limits leave room for a failure to be made small.
EXAMPLES = int(os.environ.get("REMOTETASK_EXAMPLES", "150"))
#: For each sequence.
STEPS = 50


class FileMachine(ServiceMachine):
    """The same on a file, which is really closed and opened again."""

    def storage(self) -> Any:
        if not hasattr(self, "directory"):
            self.directory = tempfile.mkdtemp(prefix="stateful-")
        return FileStorage(str(Path(self.directory) / "data.fs"))

    def close(self) -> None:
        self.db.close()

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


def run(machine: type[ServiceMachine], examples: int) -> None:
    """Try so many sequences of steps."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(examples, 1),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(600 + 2 * EXAMPLES)
def test_every_committed_state_is_sound() -> None:
    """Status, table, queue, schedule, claims and counts agree after each commit."""
    run(ServiceMachine, EXAMPLES)


@pytest.mark.timeout(600 + 2 * EXAMPLES)
def test_every_committed_state_in_a_file_is_sound() -> None:
    """So they do in a file, which is closed and opened again in between."""
    run(FileMachine, EXAMPLES // 10)
