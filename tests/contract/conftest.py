"""Every test of this folder runs in every world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.worlds import WORLDS, World, world
from tests.support import echo, fail, register


@pytest.fixture(params=WORLDS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A service in one of the worlds, with the tasks ``echo`` and ``fail``."""
    with world(request.param, tmp_path) as opened:
        register("echo", echo, opened.service.taskInterface)
        register("fail", fail, opened.service.taskInterface)
        yield opened
