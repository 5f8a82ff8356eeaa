"""A worker process: it works until it is told to end."""

from __future__ import annotations

from typing import Any

from lovely.remotetask import TaskService
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from tests.soak.orders import NAME

#: It has to end by then (seconds).
PATIENCE = 30


class Worker:
    """The service, processed in the background of this process."""

    def __init__(self, db: Any, threads: float, groups: float) -> None:
        """``groups``: whether short jobs finish many to a commit."""
        # For this process alone: others have other processors.
        arguments: dict[str, Any] = {"groupFinish": bool(groups)}
        TaskService.processorFactory = SimpleProcessor
        if threads > 1:
            TaskService.processorFactory = MultiProcessor
            arguments["maxThreads"] = int(threads)
        TaskService.processorArguments = arguments
        self._db = db
        with db.transaction() as connection:
            connection.root()[NAME].startProcessing()

    def end(self) -> None:
        """Finish what runs, and give back the rest."""
        with self._db.transaction() as connection:
            service = connection.root()[NAME]
            assert service.stopProcessing(wait=True, timeout=PATIENCE)

    def report(self) -> dict[str, Any]:
        """There is nothing but what was logged."""
        return {}
