"""A short soak, and that a soak would see what goes wrong.

``REMOTETASK_SOAK=10`` in the environment makes it last so many minutes.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import transaction

from lovely.remotetask.errors import TaskError
from tests.soak.__main__ import main
from tests.soak.kinds import verdict
from tests.soak.orders import Order, Shared
from tests.soak.vitals import Vitals, growth, problems
from tests.support import put_service, register

MINUTES = float(os.environ.get("REMOTETASK_SOAK", "0.15"))


@pytest.mark.zeo
@pytest.mark.slow
@pytest.mark.timeout(180 + 60 * MINUTES)
@pytest.mark.parametrize("kills", [[], ["--kills"]], ids=["quiet", "kills"])
def test_soak(kills: list[str]) -> None:
    """Many processes use a service, and all holds, also when workers are killed."""
    lines: list[str] = []
    status = main([f"--minutes={MINUTES}", "--rate=30", *kills], lines.append)
    assert status == 0, "\n".join(lines)
    assert lines[-1] == "all held"


@pytest.fixture
def over(db: Any) -> Any:
    """A job that has ended as it should."""
    service = put_service(db)
    register("quick", lambda order: setattr(order, "done", 1))
    jobid = service.add("quick", Order("quick", 0, Shared()))
    service.process()
    job = service.jobs[jobid]
    job.input.ended = 1
    return job


def test_what_is_right(over: Any) -> None:
    """Nothing is said of a job that ended once, with its effect."""
    assert verdict(over, kills=False) == ""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("done", 0, "its effects: 0"),
        ("done", 2, "its effects: 2"),
        ("ended", 0, "ended 0 times"),
        ("ended", 2, "ended 2 times"),
        ("retried", 1, "was retried 1 times"),
        ("kind", "refusing", "is completed"),
    ],
)
def test_what_is_wrong(over: Any, name: str, value: Any, said: str) -> None:
    """A job that ended otherwise, or not once, or without its effect, is seen."""
    setattr(over.input, name, value)
    assert said in verdict(over, kills=True)


def test_a_loss_is_wrong_without_kills(db: Any) -> None:
    """That workers were lost with a job is right only where they are killed."""
    service = put_service(db)

    def lose(order: Order) -> None:
        raise type("WorkerLost", (TaskError,), {})

    register("quick", lose)
    jobid = service.add("quick", Order("quick", 0, Shared()))
    service.process()
    job = service.jobs[jobid]
    job.input.ended = 1
    assert "quick job 1 is error" in verdict(job, kills=False)
    assert verdict(job, kills=True) == ""
    transaction.abort()


def flat(count: int, memory: float, files: int = 8) -> list[Vitals]:
    """A process that stays as it is."""
    return [Vitals(memory, files)] * count


def test_growth() -> None:
    """What a process needs at first does not count; what it loses later does."""
    start = flat(20, 40.0) + flat(10, 55.0)
    assert growth(start + flat(90, 60.0)) == (0.0, 0)
    assert growth([Vitals(40 + n / 10, 8) for n in range(100)])[0] > 4
    assert growth(flat(9, 1.0)) is None


def test_growth_is_told() -> None:
    """More memory, or files that are not closed, are a problem; peaks are none."""
    peaks = [Vitals(60.0, 8 + n % 5) for n in range(100)]
    assert list(problems("worker", peaks)) == []
    leaking = [Vitals(60.0 + n / 10, 8 + n // 10) for n in range(100)]
    assert list(problems("worker", leaking)) == [
        "worker has grown by 5.4 MiB",
        "worker has 5 more open files",
    ]


@pytest.mark.parametrize(
    "arguments", [[], ["--minutes=0"], ["--minutes=1", "--kind=File"]]
)
def test_bad_arguments(arguments: list[str]) -> None:
    """What makes no sense is refused at once."""
    with pytest.raises(SystemExit) as caught:
        main(arguments, lambda line: None)
    assert caught.value.code == 2
