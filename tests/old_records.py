"""Databases as lovely.remotetask 0.5.2 left them, written byte by byte.

Neither Python 2 nor the packages of that time are needed: records are pickles, and
those of Python 2, or what zodbupdate makes of them, are made here.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

JOB, CRON_JOB = ("lovely.remotetask.job", "Job"), ("lovely.remotetask.job", "CronJob")
SERVICE = ("lovely.remotetask.service", "TaskService")
QUEUE, COMPOSITE = ("zc.queue._queue", "Queue"), ("zc.queue._queue", "CompositeQueue")
MAPPING = ("persistent.mapping", "PersistentMapping")
TREE, BUCKET = ("BTrees.IOBTree", "IOBTree"), ("BTrees.IOBTree", "IOBucket")

#: Keys in a bucket of a BTree.
BUCKET_SIZE = 30

CREATED = datetime.datetime(2010, 4, 30, 6, 40, 22, 123456)  # noqa: DTZ001


class Global(NamedTuple):
    """A class, or something else in a module."""

    module: str
    name: str


class Ref(NamedTuple):
    """A reference to an object with a record of its own."""

    oid: bytes
    cls: tuple[str, str]


class Made(NamedTuple):
    """What a class makes of arguments."""

    cls: tuple[str, str]
    args: tuple[Any, ...]


class Pickler:
    """Pickles as Python 2 did, or as zodbupdate leaves it.

    Bytes are what was a str there; zodbupdate leaves those that are no UTF-8.
    """

    def __init__(self, python2: bool) -> None:
        self._python2 = python2

    def record(self, cls: tuple[str, str], state: Any) -> bytes:
        return self.dump(Global(*cls)) + b"." + self.dump(state) + b"."

    def dump(self, value: Any) -> bytes:
        match value:
            case None:
                return b"N"
            case bool():
                return b"I01\n" if value else b"I00\n"
            case int():
                return b"J" + struct.pack("<i", value)
            case bytes():
                return self._string(value)
            case str():
                return b"X" + _with_size(value.encode())
            case dict():
                items = (self.dump(k) + self.dump(v) for k, v in value.items())
                return b"}(" + b"".join(items) + b"u"
            case list():
                return b"(" + b"".join(map(self.dump, value)) + b"l"
        return self._compound(value)

    def _compound(self, value: Any) -> bytes:
        match value:
            case Global():
                return f"c{value.module}\n{value.name}\n".encode()
            case Ref():
                cls = self.dump(Global(*value.cls))
                return b"(" + self._bytes(value.oid) + cls + b"tQ"
            case Made():
                return self.dump(Global(*value.cls)) + self.dump(value.args) + b"R"
            case datetime.datetime():
                state = self._bytes(value.__reduce_ex__(2)[1][0])
                return b"cdatetime\ndatetime\n(" + state + b"tR"
            case tuple():
                return b"(" + b"".join(map(self.dump, value)) + b"t"
        raise TypeError(value)

    def _string(self, value: bytes) -> bytes:
        if not self._python2:
            try:
                return b"X" + _with_size(value.decode().encode())
            except UnicodeDecodeError:
                pass
        return self._bytes(value)

    def _bytes(self, value: bytes) -> bytes:
        return (b"T" if self._python2 else b"B") + _with_size(value)


def _with_size(value: bytes) -> bytes:
    return struct.pack("<i", len(value)) + value


def attributes(state: Mapping[str, Any]) -> dict[bytes, Any]:
    """An instance's dict: its keys were of the type str."""
    return {name.encode(): value for name, value in state.items()}


class OldDatabase:
    """Collects records, and writes them into a file in one transaction."""

    def __init__(self, *, python2: bool = False) -> None:
        self._python2 = python2
        self._pickler = Pickler(python2)
        self._records: dict[bytes, bytes] = {}
        self._root: dict[bytes, Ref] = {}

    def add(self, cls: tuple[str, str], state: Any, oid: bytes | None = None) -> Ref:
        """Add an object; the reference to it."""
        oid = oid or self.new_oid()
        self._records[oid] = self._pickler.record(cls, state)
        return Ref(oid, cls)

    def new_oid(self) -> bytes:
        oid = p64(len(self._records) + 1)
        self._records[oid] = b""
        return oid

    def job(self, jobid: int, status: str = "queued", **more: Any) -> Ref:
        """A job; with fields of cron jobs, or a delay, it is one of those."""
        state = {"id": jobid, "task": "echo", "created": CREATED}
        state |= {"status": status.encode(), "input": jobid, **more}
        cron = {"minute", "hour", "delay", "dayOfMonth"}.intersection(more)
        if cron:
            names = "minute", "hour", "dayOfMonth", "month", "dayOfWeek"
            state = {**dict.fromkeys(names, ()), "delay": None, **state}
        return self.add(CRON_JOB if cron else JOB, attributes(state))

    def tree(self, items: Mapping[int, Any]) -> Ref:
        """A BTree, in several buckets if there are many items."""
        keys = sorted(items)
        parts = [keys[i : i + BUCKET_SIZE] for i in range(0, len(keys), BUCKET_SIZE)]
        pairs = [tuple(x for key in part for x in (key, items[key])) for part in parts]
        if len(parts) <= 1:
            return self.add(TREE, (((pairs[0],),),) if parts else None)
        buckets = [Ref(self.new_oid(), BUCKET) for _ in parts]
        following = [*buckets[1:], None]
        for pair, bucket, after in zip(pairs, buckets, following, strict=True):
            self.add(BUCKET, (pair, after) if after else (pair,), bucket.oid)
        children: list[Any] = [buckets[0]]
        for part, bucket in zip(parts[1:], buckets[1:], strict=True):
            children += [part[0], bucket]
        return self.add(TREE, (tuple(children), buckets[0]))

    def queue(self, members: Iterable[Any], cls: tuple[str, str] = QUEUE) -> Ref:
        return self.add(cls, attributes({"_data": tuple(members)}))

    def composite(self, members: Iterable[Any], size: int = 15) -> Ref:
        """A queue that is made of others."""
        every = list(members)
        parts = [every[i : i + size] for i in range(0, len(every), size)]
        bucket = "zc.queue._queue", "BucketQueue"
        data = tuple(self.queue(part, bucket) for part in parts)
        state = {"_data": data, "compositeSize": size, "subfactory": Global(*bucket)}
        return self.add(COMPOSITE, attributes(state))

    def service(
        self,
        jobs: Mapping[int, Ref],
        *,
        queue: Ref | Iterable[Ref] = (),
        scheduled: Mapping[int, Iterable[Ref]] | None = None,
        unscheduled: Iterable[Ref] = (),
        name: str = "service",
        cls: tuple[str, str] = SERVICE,
        **more: Any,
    ) -> Ref:
        """A service in the root of the database."""
        times = {due: tuple(jobs) for due, jobs in (scheduled or {}).items()}
        state = {
            "__name__": name,
            "__parent__": Ref(z64, MAPPING),
            "jobs": self.tree(jobs),
            "_queue": queue if isinstance(queue, Ref) else self.queue(queue),
            "_scheduledJobs": self.tree(times),
            "_scheduledQueue": self.queue(unscheduled),
            **more,
        }
        self._root[name.encode()] = self.add(cls, attributes(state))
        return self._root[name.encode()]

    def write(self, path: str | Path) -> None:
        """Write the file."""
        self.add(MAPPING, {b"data": self._root}, z64)
        storage = FileStorage(str(path), create=True)
        transaction = TransactionMetaData()
        storage.tpc_begin(transaction)
        for oid, record in self._records.items():
            storage.store(oid, z64, record, "", transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)
        storage.close()
        if self._python2:
            with Path(path).open("r+b") as file:
                file.write(b"FS21")


def many(jobs: int, *, python2: bool = False) -> OldDatabase:
    """A database with many jobs, of which half wait in the queue, the last first."""
    old = OldDatabase(python2=python2)
    refs: dict[int, Ref] = {}
    for jobid in range(1, jobs + 1):
        refs[jobid] = old.job(jobid, "queued" if jobid % 2 else "completed")
    waiting = [refs[jobid] for jobid in reversed(refs) if jobid % 2]
    old.service(refs, queue=waiting, _counter=jobs + 1)
    return old


def records_of(path: str | Path) -> Iterator[int]:
    """How many records each transaction in a file has."""
    storage = FileStorage(str(path), read_only=True)
    try:
        for transaction in storage.iterator():
            yield sum(1 for _ in transaction)
    finally:
        storage.close()
