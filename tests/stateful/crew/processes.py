"""Processes that are simulated: each has a name, and a database on the same storage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import ZODB
import ZODB.utils
from ZODB.interfaces import IMVCCStorage
from ZODB.mvccadapter import MVCCAdapter
from ZODB.POSException import StorageError
from zope.interface import implementer

from tests.support import Clocks, StorageTime


class Stage(Clocks):
    """All clocks are one, chance has been fixed, and the acting process is told."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = self.now
        self.random = random.Random(0).random

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.now += seconds

    @contextmanager
    def acting(self, process: str) -> Iterator[None]:
        """Within, this process acts."""
        before, self.name = self.name, process
        try:
            yield
        finally:
            self.name = before

    def storage_clock(self) -> Any:
        """A patch: the storage goes by this clock."""
        return patch.object(ZODB.utils, "time", StorageTime(self))


@implementer(IMVCCStorage)
class Access:
    """A process's way to the storage; it leads nowhere when the process is gone."""

    def __init__(self, shared: MVCCAdapter) -> None:
        self._shared = shared
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared._storage, name)

    def new_instance(self) -> Any:
        """What a connection has of it."""
        instance = self._shared.new_instance()
        begin = instance.tpc_begin

        def tpc_begin(*args: Any) -> None:
            if self.gone:
                raise StorageError("The process is gone.")
            begin(*args)

        instance.tpc_begin = tpc_begin
        return instance

    def close(self) -> None:
        """The storage stays open for others."""


class Process:
    """A process with a database of its own on the storage that all share."""

    def __init__(self, stage: Stage, shared: MVCCAdapter, name: str) -> None:
        self.stage, self.name = stage, name
        self.access = Access(shared)
        self.db = ZODB.DB(self.access)

    def die(self, *, noticed: bool) -> None:
        """Nothing is written from now on; ``noticed`` if others can see why."""
        self.access.gone = True
        if noticed:
            self.stage.gone.add(self.name)
