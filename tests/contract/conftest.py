"""Every test of this folder runs in every world."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.worlds import WORLDS, World, world
from tests.storages import Stores
from tests.support import echo, fail, register


@pytest.fixture(params=WORLDS)
def here(request: pytest.FixtureRequest, stores: Stores) -> Iterator[World]:
    """A service in one of the worlds, with the tasks ``echo`` and ``fail``."""
    with world(request.param, stores) as opened:
        register("echo", echo, opened.service.taskInterface)
        register("fail", fail, opened.service.taskInterface)
        yield opened
