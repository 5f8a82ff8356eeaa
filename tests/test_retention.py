"""How long jobs are kept: what may be asked for, and `clean` in batches."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import transaction

from lovely import remotetask
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.interfaces import CANCELLED, COMPLETED, ERROR, QUEUED
from lovely.remotetask.retention import Keep, check_retention
from tests.support import PATIENCE, counts


def test_defaults() -> None:
    """What is in error is kept for ever; the rest that is over for 30 days."""
    month = Keep(age=30 * 24 * 3600)
    assert dict(remotetask.TaskService.retention) == {
        COMPLETED: month,
        CANCELLED: month,
    }
    assert check_retention(remotetask.TaskService.retention)
    assert remotetask.Keep is Keep


def test_nobody_changes_the_defaults() -> None:
    """They are those of all services: only a service of its own gets others."""
    default = remotetask.TaskService().retention
    with pytest.raises(TypeError, match="item assignment"):
        default[ERROR] = Keep()  # type: ignore[index]
    assert repr(default).startswith("Retention({'completed': Keep(age=2592000.0")
    assert pickle.loads(pickle.dumps(default)) == default


def test_a_value() -> None:
    """A Keep is a value: equal to another one, and the same after a reload."""
    keep = Keep(age=1.5, number=10)
    assert pickle.loads(pickle.dumps(keep)) == keep == Keep(1.5, 10) != Keep(1.5)
    with pytest.raises(AttributeError):
        keep.age = 2  # type: ignore[misc]
    assert (Keep().age, Keep(0, 0).number, Keep(number=2**70).number) == (
        None,
        0,
        2**70,
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"age": -1}, InvalidArgument),
        ({"age": math.inf}, InvalidArgument),
        ({"age": math.nan}, InvalidArgument),
        ({"age": "30"}, InvalidType),
        ({"age": True}, InvalidType),
        ({"number": -1}, InvalidArgument),
        ({"number": 1.0}, InvalidType),
        ({"number": "1"}, InvalidType),
        ({"number": True}, InvalidType),
    ],
)
def test_bad_values(arguments: dict[str, Any], error: type[Exception]) -> None:
    """What makes no sense is refused by its name."""
    with pytest.raises(error, match=f"^{next(iter(arguments))}: "):
        Keep(**arguments)


BAD = [
    (None, InvalidType, "^retention: a mapping"),
    ([COMPLETED], InvalidType, "^retention: a mapping"),
    (Keep(), InvalidType, "^retention: a mapping"),
    ({COMPLETED: 30}, InvalidType, "^retention: for 'completed' a Keep"),
    ({COMPLETED: None}, InvalidType, "^retention: for 'completed' a Keep"),
    ({QUEUED: Keep()}, InvalidArgument, "^retention: jobs that are 'queued' are not"),
    ({"done": Keep()}, InvalidArgument, "^retention: 'done' is none of"),
    ({5: Keep()}, InvalidArgument, "^retention: 5 is none of"),
]


@pytest.mark.parametrize(("retention", "error", "match"), BAD)
def test_bad_retention(
    service: Any, retention: Any, error: type[Exception], match: str
) -> None:
    """A retention that makes no sense is refused when processing is started."""
    service.retention = retention
    with pytest.raises(error, match=match):
        service.startProcessing()
    assert not service.isProcessing()
    transaction.abort()


def test_of_one_service(service: Any) -> None:
    """What is set on one service is stored with it."""
    service.retention = {**service.retention, ERROR: Keep(number=5)}
    transaction.commit()
    service._p_invalidate()
    assert service.retention[ERROR] == Keep(number=5)
    assert len(service.retention) == 3
    service.startProcessing()
    assert service.stopProcessing(wait=True, timeout=PATIENCE)


def test_clean_in_batches(service: Any) -> None:
    """With a limit, the oldest so many are removed; in the end all have been."""
    for name in ["echo", "fail"] * 10:
        service.add(name)
    service.process()
    assert service.clean(limit=0) == 0
    assert service.clean([ERROR], limit=3) == 3
    assert list(service.jobs)[:5] == [1, 3, 5, 7, 8]
    transaction.commit()
    removed = []
    while batch := service.clean(limit=8):
        removed.append(batch)
        transaction.commit()
    assert removed == [8, 8, 1]
    assert counts(service) == {}
    service.add("echo")
    assert service.clean(limit=2**100) == 0


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (-1, InvalidArgument),
        (1.0, InvalidType),
        ("1", InvalidType),
        (True, InvalidType),
    ],
)
def test_bad_limit(service: Any, limit: Any, error: type[Exception]) -> None:
    """A limit is a number of jobs; after an error nothing has been removed."""
    service.add("echo")
    service.process()
    with pytest.raises(error, match=r"^limit: "):
        service.clean(limit=limit)
    assert counts(service) == {COMPLETED: 1}
