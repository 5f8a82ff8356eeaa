"""How long it takes to find the next moment of a schedule."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator

from lovely.remotetask import pattern, times
from lovely.remotetask.calendars import Fields
from lovely.remotetask.errors import InvalidArgument
from tests.benchmarks.measure import Figure, Scale, elapsed, percentile

ZONES = ["UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe"]
FIELDS = {
    "minute": range(60),
    "hour": range(24),
    "dayOfMonth": range(1, 32),
    "month": range(1, 13),
    "dayOfWeek": range(7),
}
#: In seconds: from 1970 to 2100.
INSTANTS = range(4_102_444_800)

#: The rarest entry that there is; where clocks are changed.
RAREST = Fields.of(
    minute=7, hour=3, dayOfMonth=29, month=2, dayOfWeek=0, timezone="Europe/Vienna"
)

TYPICAL_TARGET, WORST_TARGET = 100, 2


def schedule(scale: Scale) -> Iterator[Figure]:
    """The next moment of any entry, and of the rarest one."""
    medians, slow = [], []
    for number in range(scale.rounds):
        seconds = list(_any_entries(random.Random(number), scale.entries))
        medians.append(1e6 * statistics.median(seconds))
        slow.append(1e6 * percentile(seconds, 99))
    note = f"99 of 100 within {statistics.median(slow):.0f} µs"
    what = "next moment of any entry, in any zone"
    yield Figure(what, tuple(medians), "µs", TYPICAL_TARGET, note=note)
    worst = tuple(1e3 * max(_rarest_entry()) for _ in range(scale.rounds))
    what = "29 February on a Monday at 03:07 in Vienna, from any date"
    yield Figure(
        what,
        worst,
        "ms",
        WORST_TARGET,
        note="the slowest of 15 searches, each the best of 3",
    )


def _any_entries(chance: random.Random, number: int) -> Iterator[float]:
    for _ in range(number):
        entry, after = _entry(chance), chance.choice(INSTANTS) * 1_000_000
        yield elapsed(lambda entry=entry, after=after: entry.next(after))


def _entry(chance: random.Random) -> Fields:
    """Some of the fields, with some numbers each."""
    while True:
        names = chance.sample(list(FIELDS), chance.randint(1, len(FIELDS)))
        given = {
            name: chance.sample(FIELDS[name], chance.randint(1, 3)) for name in names
        }
        try:
            return Fields.of(**given, timezone=chance.choice(ZONES))
        except InvalidArgument:  # the 31st of shorter months
            continue


def _rarest_entry() -> Iterator[float]:
    """Searches over the 400 years after which dates repeat, nothing kept."""
    after: int | None = times.from_datetime(times.EPOCH)
    for _ in range(15):
        assert after is not None
        yield min(_search(after) for _ in range(3))
        after = RAREST.next(after)


def _search(after: int) -> float:
    pattern.month_days.cache_clear()
    return elapsed(lambda: RAREST.next(after))
