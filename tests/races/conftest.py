"""Every test of this folder runs over every kind of storage."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def db(everywhere: Any) -> Any:
    """A database in a storage of some kind."""
    return everywhere
