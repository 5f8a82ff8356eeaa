"""Schedules as values: the same everywhere, and small on disk."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from lovely.remotetask.calendars import Cron, Fields
from lovely.remotetask.planning import RunPolicy
from lovely.remotetask.schedule import At, Delay, Every

VALUES = [
    Fields.of(hour=3, timezone="Europe/Vienna"),
    Fields.of(minute=(0, 30), dayOfWeek=range(5)),
    Cron.of("*/5 8-18 * * mon-fri", "Europe/Vienna"),
    Cron.of("0 0 L * fri#2"),
    Every.of(90, 12_345),
    At(1_900_000_000_000_000),
    Delay.of(10),
]
each_value = pytest.mark.parametrize("value", VALUES, ids=repr)


@each_value
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(value: Any, protocol: int) -> None:
    """A schedule comes back from its pickle as it was, from few bytes."""
    data = pickle.dumps(value, protocol)
    back = pickle.loads(data)
    assert back == value
    assert hash(back) == hash(value)
    assert back.upcoming(1, 3) == value.upcoming(1, 3)
    assert len(data) < 200


@each_value
def test_values_do_not_change(value: Any) -> None:
    """No attribute of a schedule can be set; copies are the same."""
    for name in (*type(value).__slots__, "another"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(value, name, 5)
    assert copy.deepcopy(value) == copy.copy(value) == value


def test_values_differ() -> None:
    """Schedules of different kinds, fields or zones are different."""
    assert len(set(VALUES)) == len(VALUES)
    assert Fields.of(hour=3) != Fields.of(hour=3, timezone="Europe/Vienna")
    assert Cron.of("0  3 * * *") == Cron.of("0 3 * * *") != Fields.of(hour=3)


def test_policies_are_values() -> None:
    """A policy comes back from its pickle as it was."""
    policy = RunPolicy(missed="all", grace=90.5, overlap="queue")
    assert pickle.loads(pickle.dumps(policy, 3)) == policy
