"""When a failed job is tried again: the values, and what services make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import transaction

from lovely.remotetask import RetryPolicy, TaskError
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    UnknownJob,
    Unpicklable,
)
from lovely.remotetask.retry import NO_RETRY, check_policy
from lovely.remotetask.task import SimpleTask
from tests.races.interleaved import check_committed
from tests.support import (
    FakeEnvironment,
    FullTask,
    ask,
    counts,
    processing,
    provide,
    register,
    statuses,
    wait_for_status,
)

#: At most twice, after 10 and 20 seconds.
TWICE = RetryPolicy(retries=2, delay=10, factor=2, jitter=0)
#: The same without a noticeable pause.
QUICK = RetryPolicy(retries=2, delay=0.01, factor=1)


def failing(times: int = 10_000, error: Any = RuntimeError) -> Callable[[Any], Any]:
    """A task's function that fails so many times before it returns its input."""
    left = iter(range(times))

    def function(value: Any) -> Any:
        for number in left:
            raise error(f"failure {number}")
        return value

    return function


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        (RetryPolicy(), [5, 20, 80, None]),
        (TWICE, [10, 20, None]),
        (RetryPolicy(4, 1, 10, longest=50), [1, 10, 50, 50, None]),
        (RetryPolicy(3, 2, 1), [2, 2, 2, None]),
        (RetryPolicy(2, 0), [0, 0, None]),
        (NO_RETRY, [None, None]),
    ],
)
def test_pauses(policy: RetryPolicy, pauses: list[float | None]) -> None:
    """Pauses grow by the factor up to the longest, and end with the retries."""
    error = RuntimeError()
    numbers = range(1, len(pauses) + 1)
    assert [policy.pause(error, number, 0.0) for number in numbers] == pauses


@pytest.mark.parametrize("factor", [10, 10.0])
@pytest.mark.parametrize(("delay", "pause"), [(1, 60.0), (1.0, 60.0), (0, 0)])
def test_after_very_many_failures(factor: float, delay: float, pause: float) -> None:
    """A pause that no float can hold is the longest, but nothing stays nothing."""
    policy = RetryPolicy(10**6, delay, factor, longest=60.0)
    assert policy.pause(RuntimeError(), 10**4, 0.0) == pause


@pytest.mark.parametrize(
    ("jitter", "chance", "pause"),
    [(0.2, 0, 10), (0.2, 1, 8), (0.5, 0.5, 7.5), (1, 1, 0), (0, 1, 10)],
)
def test_jitter(jitter: float, chance: float, pause: float) -> None:
    """Up to the share of the jitter is left out, as chance has it."""
    policy = RetryPolicy(delay=10, jitter=jitter)
    assert policy.pause(RuntimeError(), 1, chance) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (LookupError(), True),
        (KeyError(), False),
        (IndexError(), True),
        (ValueError(), False),
        (TaskError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_by_exception(error: BaseException, again: bool) -> None:
    """Only what is in ``on`` is tried again, unless it is in ``give_up_on``."""
    policy = RetryPolicy(on=LookupError, give_up_on=[KeyError])  # type: ignore[arg-type]
    assert (policy.on, policy.give_up_on) == ((LookupError,), (KeyError,))
    assert (policy.pause(error, 1, 0.0) is not None) is again


@pytest.mark.parametrize("error", [TaskError, Unpicklable])
def test_what_gives_up_always(error: type[Exception]) -> None:
    """What another attempt can't help gives up even where the policy names it."""
    assert RetryPolicy(on=(error,)).pause(error(), 1, 0.0) is None


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        *((InvalidType, "retries", value) for value in (True, 1.0, "3", None)),
        *((InvalidType, "delay", value) for value in (True, "3", None)),
        (InvalidArgument, "retries", -1),
        *((InvalidArgument, "delay", value) for value in (-1, math.inf, math.nan)),
        *((InvalidArgument, "factor", value) for value in (-1, 0, 0.9, math.inf)),
        *((InvalidArgument, "longest", value) for value in (-1, math.inf, 1e308)),
        *((InvalidArgument, "jitter", value) for value in (-0.1, 1.1, math.nan)),
        *((InvalidType, "on", value) for value in (None, 3, int, [1])),
        (InvalidType, "on", ["KeyError"]),
        (InvalidType, "give_up_on", RuntimeError()),
    ],
)
def test_bad_values(error: type[Exception], name: str, value: Any) -> None:
    """What makes no sense in a policy is refused by its name."""
    with pytest.raises(error, match=f"^{name}: "):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("given", ["OSError", b"OSError"])
def test_the_name_of_an_exception(given: Any) -> None:
    """The name of a class is no class, and no list of its letters."""
    wanted = f"such as OSError, are needed, not {given!r}"
    with pytest.raises(InvalidType, match=f"^on: exception classes, {wanted}"):
        RetryPolicy(on=given)


def test_policies_are_values() -> None:
    """Policies with the same values are the same, and don't change."""
    assert RetryPolicy(2) == RetryPolicy(retries=2) == check_policy("retry", 2)
    assert hash(RetryPolicy(2)) == hash(RetryPolicy(2))
    assert check_policy("retry", TWICE) is TWICE
    with pytest.raises(AttributeError):
        TWICE.retries = 5  # type: ignore[misc]


@pytest.mark.parametrize("value", [True, 1.5, "3", {"retries": 3}])
def test_no_policy(service: Any, value: Any) -> None:
    """What is neither a policy nor a number is refused by tasks and by add."""
    with pytest.raises(InvalidType, match="retry: a RetryPolicy"):
        service.add("fail", retry=value)
    with pytest.raises(InvalidType, match="retry: a RetryPolicy"):
        SimpleTask(failing(), retry=value)
    with pytest.raises(InvalidArgument, match="retries"):
        service.add("fail", retry=-1)
    assert counts(service) == {}


def attempts(service: Any, environment: FakeEnvironment, most: int = 9) -> int:
    """How many attempts the only job has after some days, processed here."""
    for _ in range(most):
        service.process()
        transaction.commit()
        assert counts(service) == statuses(service)
        environment.now += 86_400
    (job,) = service.jobs.values()
    return int(job.attempt)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((None, None, None), 4),
        ((None, None, RetryPolicy(1)), 2),
        ((None, 2, RetryPolicy(1)), 3),
        ((None, RetryPolicy(2), RetryPolicy(1)), 3),
        ((5, 2, RetryPolicy(1)), 6),
        ((RetryPolicy(5), 2, None), 6),
        ((0, 2, None), 1),
        ((None, 0, None), 1),
        ((None, None, 1), 2),
    ],
)
def test_whose_policy(
    service: Any, environment: FakeEnvironment, policies: Any, expected: int
) -> None:
    """The job's policy wins over its task's, and that over the service's."""
    job, task, own = policies
    provide("try", SimpleTask(failing(), retry=task))
    if own is not None:
        service.retryPolicy = own
    jobid = service.add("try", retry=job)
    transaction.commit()
    assert attempts(service, environment) == expected
    assert service.getStatus(jobid) == "error"


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("bad", ["often", -1, True, len])
def test_a_task_with_a_bad_policy(
    service: Any, db: Any, bad: Any, background: bool
) -> None:
    """A task whose ``retry`` is no policy fails as the service's policy says."""
    service.retryPolicy = NO_RETRY
    task = FullTask(lambda service, jobid, input: 1 / 0)
    task.retry = bad
    provide("odd", task)
    ids = [service.add("odd"), service.add("echo")]
    transaction.commit()
    if background:
        with processing(service):
            wait_for_status(db, ids[1], "completed")
    else:
        service.process()
        transaction.commit()
    assert ask(db, lambda s: s.getStatus(ids[0])) == "error"
    assert ask(db, lambda s: s.getError(ids[0])) == "division by zero"


def test_the_time_that_is_given(service: Any, environment: FakeEnvironment) -> None:
    """Pauses count from the time that ``process`` is given."""
    provide("try", SimpleTask(failing(2), retry=TWICE))
    jobid = service.add("try", "well")
    transaction.commit()
    start = environment.now + 1000
    for now, number, status in [
        (start, 1, "delayed"),
        (start + 9.9, 1, "delayed"),
        (start + 10.1, 2, "delayed"),
        (start + 30, 2, "delayed"),
        (start + 30.2, 3, "completed"),
    ]:
        service.process(now)
        transaction.commit()
        assert (service.jobs[jobid].attempt, service.getStatus(jobid)) == (
            number,
            status,
        )
        assert counts(service) == statuses(service) == {status: 1}
    assert service.getResult(jobid) == "well"
    assert [bool(a.failure) for a in service.jobs[jobid].attempts] == [1, 1, 0]


def test_chance_is_the_environments(
    service: Any, environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's environment says how much of a pause is left out."""
    monkeypatch.setattr(environment, "random", lambda: 0.5)
    jobid = service.add("fail", retry=RetryPolicy(delay=100, jitter=0.4))
    transaction.commit()
    service.process()
    due = service.jobs[jobid].scheduledFor.timestamp()
    assert due == pytest.approx(environment.now + 80, abs=0.01)


def test_in_the_background(service: Any, db: Any, caplog: Any) -> None:
    """A background processor tries again, and keeps what went wrong."""
    register("twice", failing(2))
    register("never", failing())
    well = service.add("twice", "well", retry=QUICK)
    badly = service.add("never", retry=QUICK)
    transaction.commit()
    with processing(service):
        wait_for_status(db, well, "completed")
        wait_for_status(db, badly, "error")
    transaction.begin()
    assert [service.jobs[jobid].attempt for jobid in (well, badly)] == [3, 3]
    assert len(service.jobs[badly].attempts) == 3
    assert service.getError(badly) == "failure 2"
    assert counts(service) == {"completed": 1, "error": 1}
    assert caplog.text.count("trying again in 0.0") == 4
    levels = [record.levelname for record in caplog.records]
    assert sorted(levels) == ["ERROR"] + ["WARNING"] * 4
    (last,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "failed: RuntimeError: failure 2\nTraceback" in last
    assert last.endswith("RuntimeError: failure 2")
    check_committed(db)


def test_a_waiting_retry_can_be_cancelled(
    service: Any, environment: FakeEnvironment
) -> None:
    """A job that waits for its retry is cancelled at once, and runs no more."""
    jobid = service.add("fail", retry=TWICE)
    transaction.commit()
    service.process()
    assert service.getStatus(jobid) == "delayed"
    service.cancel(jobid)
    assert attempts(service, environment, most=2) == 1
    assert counts(service) == {"cancelled": 1}


def test_by_hand(service: Any, environment: FakeEnvironment, db: Any) -> None:
    """Jobs in error, and cancelled ones, are queued anew with all their retries."""
    failed = service.add("fail", retry=1)
    cancelled, good = service.add("echo"), service.add("echo", "good")
    service.cancel(cancelled)
    transaction.commit()
    for _ in range(3):
        service.process()
        environment.now += 86_400
    assert service.retry(good) is False
    assert [service.retry(jobid) for jobid in (failed, cancelled)] == [True, True]
    assert service.retry(failed) is False
    transaction.commit()
    assert counts(service) == statuses(service) == {"queued": 2, "completed": 1}
    check_committed(db)
    service.process()
    transaction.commit()
    assert counts(service) == {"delayed": 1, "completed": 2}
    assert service.jobs[failed].attempt == 3
    check_committed(db)


def test_all_by_hand(service: Any, db: Any) -> None:
    """``retryAll`` queues what is in error, after either kind of processing."""
    ids = [service.add("fail", number) for number in range(40)]
    cancelled = service.add("echo")
    service.cancel(cancelled)
    transaction.commit()
    with processing(service):
        wait_for_status(db, ids[-1], "error")
    transaction.begin()
    assert service.retryAll() == 40
    assert service.retryAll() == 0
    assert counts(service) == statuses(service) == {"queued": 40, "cancelled": 1}
    transaction.commit()
    check_committed(db)
    service.process()
    assert service.retryAll() == 40
    transaction.abort()
    assert counts(service) == {"queued": 40, "cancelled": 1}
    with pytest.raises(UnknownJob):
        service.retry(cancelled + 1000)
