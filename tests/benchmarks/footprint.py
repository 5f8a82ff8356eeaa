"""The bytes that an add writes, and what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ZODB.utils import get_pickle_metadata

from tests.benchmarks.application import application, noop_task
from tests.benchmarks.measure import Figure, Scale
from tests.benchmarks.stores import file_size, file_storage

#: In a FileStorage: the head of a record.
RECORD_HEAD = 42


def footprint(scale: Scale) -> Iterator[Figure]:
    """Bytes and records per add, one per transaction."""
    with file_storage() as address, noop_task(), application(address) as app:
        for _ in range(32):
            app.add()
        before, last = file_size(app.db), app.db.lastTransaction()
        for _ in range(scale.adds):
            app.add()
        written = file_size(app.db) - before
        count, records = _records(app.db.storage, last)
    parts = Counter[str]()
    for name, size in records:
        parts[name] += size
    parts["transactions"] = written - parts.total()
    shares = [f"{name} {size / scale.adds:.0f}" for name, size in parts.most_common()]
    per_add = written / scale.adds
    yield Figure("bytes per add", (per_add,), "B", 600, note=", ".join(shares))
    per_add = len(records) / scale.adds
    note = f"{count / scale.adds:.2f} transactions per add"
    yield Figure("records per add", (per_add,), note=note)


def _records(storage: Any, last: bytes) -> tuple[int, list[tuple[str, int]]]:
    """The transactions after one, and their records: (class, bytes)."""
    count, records = 0, []
    for transaction in storage.iterator():
        if transaction.tid <= last:
            continue
        count += 1
        for record in transaction:
            _, name = get_pickle_metadata(record.data)
            records.append((name, len(record.data) + RECORD_HEAD))
    return count, records
