"""Times and numbers, as people read them; and the drawings."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from lovely.remotetask.web import charts, words

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0, "0 ms"),
        (0.0001, "< 1 ms"),
        (0.25, "250 ms"),
        (1.26, "1.3 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (86_401, "1 d"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    """A duration has its two largest units."""
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "now"), (0.9, "now"), (5.9, "5 s ago"), (-125, "in 2 min 5 s")],
)
def test_distances(seconds: float, shown: str) -> None:
    """How long ago, or how far off, in whole seconds."""
    assert words.distance(NOW - timedelta(seconds=seconds), NOW) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234567, "1,234,567"), (2.0, "2"), (0.123, "0.12"), (99.94, "99.9")],
)
def test_numbers(value: float, shown: str) -> None:
    """Thousands are apart, and fractions are short."""
    assert words.number(value) == shown


def test_moments_are_marked_up() -> None:
    """A moment is there for machines, to the second, and in words."""
    assert str(words.ago(NOW, NOW)) == (
        '<time datetime="2030-01-02T03:04:05+00:00" title="2030-01-02 03:04:05 UTC">'
        "now</time>"
    )
    assert words.ago(None, NOW) == words.at(None) == "\N{EN DASH}"


def test_plurals() -> None:
    """One job, and several."""
    assert [words.plural(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "a moment"), (0.9, "a moment"), (7.9, "7 s"), (3600, "1 h")],
)
def test_since_when(seconds: float, said: str) -> None:
    """How long something goes on, in whole seconds, with the moment it began at."""
    begun = NOW - timedelta(seconds=seconds)
    assert words.since(begun, NOW).endswith(f">{said}</time>")


def minute(completed: int, failed: int = 0, waited: float = 0, ran: float = 0) -> Any:
    return SimpleNamespace(completed=completed, failed=failed, waited=waited, ran=ran)


def test_bars_are_as_high_as_their_values() -> None:
    """A minute with twice as many runs has a bar twice as high; none has none."""
    drawn = charts.throughput([minute(0), minute(50), minute(100, 100)])
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"', drawn)]
    # One of 50, one of 100, and on top of that 100 that failed.
    assert heights == pytest.approx(
        [heights[0], 2 * heights[0], 2 * heights[0]], abs=0.2
    )
    assert drawn.count('class="failed"') == 1
    assert "150 runs completed and 100 failed" in drawn


def test_curves_have_gaps() -> None:
    """Where nothing ran, a curve is interrupted."""
    drawn = charts.latency(
        [minute(1, 0, 1, 2), minute(0), minute(2, 0, 4, 2), minute(1)]
    )
    assert len(re.findall(r"<path", drawn)) == 2
    assert re.search(r'class="waited" d="M[\d. ]+h0.1M[\d. ]+h0.1L', drawn)


@pytest.mark.parametrize("minutes", [[], [minute(0)] * 60])
def test_nothing_is_drawn_too(minutes: list[Any]) -> None:
    """Without runs there is an empty drawing."""
    for draw in (charts.throughput, charts.latency):
        assert "<svg" in draw(minutes)
        assert "<rect" not in draw(minutes)


@pytest.mark.parametrize("most", [0.0003, 0.9, 3, 41, 99.99, 1e9])
def test_axes_end_at_round_numbers(most: float) -> None:
    """The largest value is inside, and more than a third of the height."""
    top = charts.Scale(most, 60).top
    assert most <= top * 1.001
    assert top < 3 * most
