"""Every test of this folder runs over every kind of storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import transaction

from tests.storages import KINDS, Stores


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Any]:
    """A database in a storage of some kind."""
    database = stores.database(request.param)
    yield database
    transaction.abort()
    database.close()
