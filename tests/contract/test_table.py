"""The contract of a service: its jobs are a mapping, as a BTree is one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.worlds import World


@pytest.fixture
def jobs(here: World) -> Any:
    """The jobs 1 to 40, without 3 to 37."""
    for _ in range(40):
        here.service.add("echo")
    here.settle()
    for jobid in range(3, 38):
        here.service.cancel(jobid)
    here.service.clean()
    here.settle()
    return here.service.jobs


IDS = [1, 2, 38, 39, 40]


def test_mapping(jobs: Any) -> None:
    """Jobs are found by id, and only those that there are."""
    assert len(jobs) == 5
    assert dict(jobs).keys() == set(IDS)
    assert [jobid in jobs for jobid in (0, 1, 3, 38, 41)] == [0, 1, 0, 1, 0]
    assert jobs[38].id == jobs.get(38).id == 38
    assert jobs.get(3) is None
    with pytest.raises(KeyError):
        jobs[3]


def test_views(jobs: Any) -> None:
    """Keys, values and items come in the order of ids."""
    assert list(jobs) == list(jobs.keys()) == IDS
    assert [job.id for job in jobs.values()] == IDS
    assert [(jobid, job.id) for jobid, job in jobs.items()] == [(n, n) for n in IDS]
    assert len(jobs.keys()) == len(jobs.values()) == 5
    assert jobs.keys()[-1] == 40
    assert jobs.values()[0].id == 1
    assert list(jobs.keys()[1:3]) == [2, 38]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2, None, [2, 38, 39, 40]),
        (None, 38, [1, 2, 38]),
        (2, 39, [2, 38, 39]),
        (3, 37, []),
        (41, None, []),
        (-5, 1, [1]),
        (40, 1, []),
    ],
)
def test_ranges(jobs: Any, low: int, high: int, expected: list[int]) -> None:
    """Views may be limited to a range of ids, both ends included."""
    assert list(jobs.keys(low, high)) == expected
    assert [job.id for job in jobs.values(min=low, max=high)] == expected
    assert [jobid for jobid, _ in jobs.items(low, high)] == expected
    assert len(jobs.keys(low, high)) == len(expected)


def test_ends(jobs: Any) -> None:
    """The smallest and the largest id are known, also beyond a given one."""
    assert (jobs.minKey(), jobs.maxKey()) == (1, 40)
    assert (jobs.minKey(3), jobs.maxKey(37)) == (38, 2)
    with pytest.raises(ValueError, match="no job"):
        jobs.minKey(41)
    with pytest.raises(ValueError, match="no job"):
        jobs.maxKey(0)


def test_empty(here: World) -> None:
    """A service without jobs has an empty table."""
    jobs = here.service.jobs
    assert not jobs
    assert (len(jobs), list(jobs), dict(jobs)) == (0, [], {})
    with pytest.raises(ValueError, match="no job"):
        jobs.minKey()
    with pytest.raises(ValueError, match="no job"):
        jobs.maxKey()


def test_nobody_else_writes(jobs: Any) -> None:
    """The mapping can't be changed from outside."""
    with pytest.raises(TypeError):
        jobs[1] = None
    with pytest.raises(TypeError):
        del jobs[1]


def test_shown(jobs: Any) -> None:
    """A table and its views say how many jobs there are, not which."""
    assert repr(jobs) == "<JobTable of 5>"
    assert repr(jobs.keys(2, 38)) == "<JobRange of 2>"
