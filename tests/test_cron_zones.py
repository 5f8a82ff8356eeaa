"""Cron jobs whose zone the system does not know: they wait, and hold up nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import pytest

from lovely.remotetask import zones
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.session import Session
from tests.cron import HOUR, MINUTE, Scene, after, claim, end, outcomes
from tests.schedule.oracles import NoData

#: Of this zone the system loses its data; in winter it shows one hour more than UTC.
ZONE = "Europe/Vienna"


@pytest.fixture
def know(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Tells the system whether it has data of zones."""

    def know(has: bool) -> None:
        monkeypatch.setattr(zones, "ZoneInfo", ZoneInfo if has else NoData)
        zones.load.cache_clear()

    yield know
    zones.load.cache_clear()


@pytest.mark.parametrize("seen", [True, False])
def test_it_holds_up_nothing(
    scene: Scene,
    know: Callable[[bool], None],
    seen: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Other jobs run; it is looked at each minute, and runs as soon as it can."""
    job = scene.add(hour=4, timezone=ZONE)
    other = scene.add(hour=(3, 4))
    if seen:
        scene.process(0)
    know(False)
    assert scene.process(3 * HOUR) == [3 * HOUR]
    assert scene.service.hasJobsWaiting() is False
    assert scene.process(4 * HOUR) == [4 * HOUR]
    assert [outcome for _, outcome in outcomes(other)] == ["completed"] * 2
    assert (job.status, job.runs, job.scheduledFor) == ("cronjob", (), after(3 * HOUR))
    assert f"cron job {job.id} can't be planned: timezone: there is no" in caplog.text
    know(True)
    late = 4 * HOUR + MINUTE
    assert scene.process(late - 1) == []
    assert scene.process(late) == [late]
    assert outcomes(job) == [(3 * HOUR, "completed")]
    assert job.scheduledFor == after(27 * HOUR)


def test_before_its_time(scene: Scene, know: Callable[[bool], None]) -> None:
    """What is planned for later is not looked at before."""
    job = scene.add(hour=4, timezone=ZONE)
    know(False)
    scene.process(HOUR)
    assert list(scene.service._schedule) == [(job.plan.next, job.id)]
    assert job.upcoming(5) == [after(3 * HOUR)]


def test_run_now(scene: Scene, know: Callable[[bool], None]) -> None:
    """It can be run by hand, paused and cancelled; to plan it anew is refused."""
    job = scene.add(hour=4, timezone=ZONE)
    know(False)
    scene.service.runNow(job.id)
    scene.commit()
    assert scene.process(HOUR) == [HOUR]
    assert outcomes(job) == [(None, "completed")]
    scene.service.pause(job.id)
    scene.commit()
    for verb in (scene.service.resume, scene.service.reschedule):
        with pytest.raises(InvalidArgument, match="there is no time zone"):
            verb(job.id)
    assert (job.paused, job.status) == (True, "cronjob")
    assert scene.process(4 * HOUR) == []
    scene.service.cancel(job.id)
    scene.commit()
    with pytest.raises(InvalidArgument, match="there is no time zone"):
        scene.service.retry(job.id)
    scene.commit()
    assert (job.status, job.attempt) == ("cancelled", 1)


def test_while_it_runs(
    scene: Scene, session: Session, know: Callable[[bool], None]
) -> None:
    """A run that was claimed by who knows the zone may end where nobody does."""
    job = scene.add(minute=0, timezone=ZONE)
    jobid = claim(scene, session, HOUR)
    know(False)
    scene.takes = 2 * HOUR
    end(session, jobid)
    assert (job.status, outcomes(job)) == ("cronjob", [(HOUR, "completed")])
    scene.takes = 0
    know(True)
    late = 3 * HOUR + MINUTE
    assert scene.process(late) == []
    assert job.scheduledFor == after(4 * HOUR)
