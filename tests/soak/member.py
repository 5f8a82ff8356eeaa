"""A process of the soak: a worker or a producer, as its orders have it.

    python -m tests.soak.member ADDRESS work THREADS GROUPS
    python -m tests.soak.member ADDRESS produce INDEX RATE KILLS

For each line ``report`` on standard input it prints what it has counted, as JSON;
``end`` ends its work, with a last report.  It ends when its input does.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from typing import Any

import ZODB

from tests.soak.kinds import register_kinds
from tests.soak.producer import Producer
from tests.soak.worker import Worker
from tests.storages import open_storage

#: Small caches, which are full when the warm-up is over: what grows then is a leak.
CACHES: dict[str, dict[str, Any]] = {
    "ZEO": {"cache_size": 2**20},
    "SQLite": {"cache_local_mb": 1},
    "PostgreSQL": {"cache_local_mb": 1},
}

#: What may be logged, from warnings on; more if workers are killed.
EXPECTED = {
    "%s: job %s of task %r failed: %s",
    "%s: job %s of task %r failed; trying again in %.3g seconds: %s",
    "%s: job %s of task %r has used up its time, %g seconds, and goes on",
}
CONFLICT = "conflict in a transaction of the library"


class Log(logging.Handler):
    """Counts records, by their message before anything is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.conflicts = 0
        self.counts = Counter[str]()
        self.examples: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == CONFLICT:
            self.conflicts += 1
        elif record.levelno >= logging.WARNING and record.msg not in EXPECTED:
            self.counts[record.msg] += 1
            self.examples.setdefault(record.msg, self.format(record))


def main(address: str, what: str, *numbers: str) -> None:
    """Do what the arguments and the orders say."""
    log = Log()
    logging.getLogger().addHandler(log)
    logging.getLogger("lovely.remotetask").setLevel(logging.DEBUG)
    register_kinds()
    storage = open_storage(address, **CACHES[address.partition(":")[0]])
    db = ZODB.DB(storage, pool_size=32)
    member: Any = {"work": Worker, "produce": Producer}[what](db, *map(float, numbers))
    print("ready")
    try:
        for line in sys.stdin:
            if line.strip() == "end":
                member.end()
            found = {"own conflicts": log.conflicts, "unexpected": log.examples}
            print(json.dumps({**found, **member.report()}))
    finally:
        member.end()
        db.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
