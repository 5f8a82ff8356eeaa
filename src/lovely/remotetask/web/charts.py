"""Charts of the last hour, drawn here: SVG without a script and without a style.

Attributes and classes say all; the style sheet has the colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from lovely.remotetask.web.words import duration, number

if TYPE_CHECKING:
    from lovely.remotetask.history import Minute

#: The drawing, and the area of the curves in it.
WIDTH, HEIGHT = 560, 180
LEFT, RIGHT, TOP, BOTTOM = 62, 4, 12, 24

#: A label at every so many minutes.
STEP = 15


class Series(NamedTuple):
    """A curve, or bars: a name, which is a class too, and values by minute."""

    name: str
    values: Sequence[float | None]


def throughput(minutes: Sequence[Minute]) -> Markup:
    """How many runs ended in each minute: bars, with those that failed on top."""
    completed = [minute.completed for minute in minutes]
    failed = [minute.failed for minute in minutes]
    totals = [a + b for a, b in zip(completed, failed, strict=True)]
    scale = Scale(max(totals, default=0), len(minutes), whole=True)
    bars = [
        Markup("").join(
            (
                scale.bar("completed", index, 0, good),
                scale.bar("failed", index, good, good + bad),
            )
        )
        for index, (good, bad) in enumerate(zip(completed, failed, strict=True))
    ]
    done, bad = sum(completed), sum(failed)
    said = f"{number(done)} runs completed and {number(bad)} failed in the last hour."
    return _drawing("Runs per minute", said, [scale.grid(number), *bars])


def latency(minutes: Sequence[Minute]) -> Markup:
    """How long jobs waited and ran, on average of each minute: two curves."""
    waited = Series("waited", [_mean(m.waited, m) for m in minutes])
    ran = Series("ran", [_mean(m.ran, m) for m in minutes])
    known = [v for v in (*waited.values, *ran.values) if v is not None]
    scale = Scale(max(known, default=0), len(minutes))
    curves = [scale.curve(series) for series in (waited, ran)]
    said = (
        f"At most {duration(_most(waited.values))} of waiting and "
        f"{duration(_most(ran.values))} of running, on average of a minute."
    )
    return _drawing("Time per run", said, [scale.grid(duration), *curves])


class Scale:
    """Where minutes and values are in the drawing."""

    def __init__(self, most: float, minutes: int, *, whole: bool = False) -> None:
        self.top = _nice(most, whole=whole)
        self.minutes = max(1, minutes)
        self._step = (WIDTH - LEFT - RIGHT) / self.minutes

    def x(self, index: float) -> float:
        return round(LEFT + index * self._step, 1)

    def y(self, value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / self.top), 1)

    def bar(self, name: str, index: int, low: float, high: float) -> Markup:
        """A bar from one value to another; nothing if they are the same."""
        if low == high:
            return Markup("")
        # What is there is seen, be it one of many.
        height = max(1.5, self.y(low) - self.y(high))
        return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
            name,
            round(self.x(index) + 1, 1),
            round(self.y(low) - height, 1),
            round(self._step - 2, 1),
            round(height, 1),
        )

    def curve(self, series: Series) -> Markup:
        """A curve with gaps where nothing is known."""
        parts, pen = [], "M"
        for index, value in enumerate(series.values):
            if value is None:
                pen = "M"
                continue
            parts.append(f"{pen}{self.x(index + 0.5)} {self.y(value)}")
            # A point by itself is a short line.
            parts.append("h0.1" if pen == "M" else "")
            pen = "L"
        return Markup('<path class="{}" d="{}"/>').format(series.name, "".join(parts))

    def grid(self, label: Callable[[float], str]) -> Markup:
        """Lines and labels: values at the left, minutes at the bottom."""
        lines = Markup("").join(self._level(v, label) for v in self._levels())
        times = Markup("").join(
            _text(self.x(self.minutes - back), HEIGHT - 6, _back(back), "middle")
            for back in range(STEP, self.minutes, STEP)
        )
        last = _text(WIDTH - RIGHT, HEIGHT - 6, "now", "end")
        return Markup('<g class="grid">{}{}{}</g>').format(lines, times, last)

    def _levels(self) -> Iterable[float]:
        return (0, self.top / 2, self.top)

    def _level(self, value: float, label: Callable[[float], str]) -> Markup:
        y = self.y(value)
        line = Markup('<line x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            LEFT, y, WIDTH - RIGHT, y
        )
        text = label(value) if value else "0"
        return line + _text(LEFT - 6, round(y + 3.5, 1), text, "end")


def _drawing(title: str, said: str, parts: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}. {}">{}</svg>'
    ).format(WIDTH, HEIGHT, title, said, Markup("").join(parts))


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _back(minutes: int) -> str:
    return f"-{minutes} min"


def _mean(seconds: float, minute: Minute) -> float | None:
    runs = minute.completed + minute.failed
    return seconds / runs if runs else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _nice(most: float, *, whole: bool) -> float:
    """The end of an axis: a round number, not below the largest value."""
    if most <= 0 or not math.isfinite(most):
        return 2 if whole else 1
    unit = 10.0 ** math.floor(math.log10(most))
    top = next(unit * step for step in (1, 2, 4, 5, 10) if unit * step >= most * 0.9999)
    return max(2, round(top / 2) * 2) if whole else top
