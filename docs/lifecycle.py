"""The directives ``lifecycle-diagram`` and ``lifecycle-table``: a job's life.

Both are made from the transition table in the code.  A status or a transition
that is new there is drawn at once, and the build fails until `REASONS` says who
makes it happen.  The drawing is an inline SVG, so nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    INITIAL,
    PROCESSING,
    QUEUED,
    REMOVABLE,
    STARTLATER,
    STATUSES,
    TRANSITIONS,
)

CANCEL = "``cancel``"
CLAIM = "a claim, or ``process``"

#: Who or what moves a job on.
REASONS = {
    (STARTLATER, QUEUED): "``startJob``",
    (STARTLATER, CANCELLED): CANCEL,
    (QUEUED, PROCESSING): CLAIM,
    (QUEUED, CANCELLED): CANCEL,
    (DELAYED, PROCESSING): f"{CLAIM}, once the time has come",
    (DELAYED, CANCELLED): CANCEL,
    (CRONJOB, PROCESSING): f"{CLAIM}, once the next run is due",
    (CRONJOB, CANCELLED): CANCEL,
    (PROCESSING, COMPLETED): "the task returned",
    (PROCESSING, ERROR): "the attempt failed, for good",
    (PROCESSING, QUEUED): "release by a worker that stops, or rescue from a dead one",
    (
        PROCESSING,
        DELAYED,
    ): "the attempt failed, and is to be repeated; or a date was given back",
    (PROCESSING, CRONJOB): "a run of a cron job is over, or was given back",
    (PROCESSING, CANCELLED): "``cancel``, and the task stopped or failed",
    (ERROR, QUEUED): "``retry``, ``retryAll``",
    (CANCELLED, QUEUED): "``retry``",
}

Point = tuple[float, float]

WIDTH, BOX_WIDTH, BOX_HEIGHT = 480, 100, 34
LEFT, COLUMN, TOP, ROW = 120, 120, 34, 106
#: The channels at the sides, and how far lines keep from boxes.
CHANNEL, GAP = 24, 36

STYLE = """
.lifecycle { width: 100%; max-width: 34rem; height: auto; color: inherit; }
.lifecycle .line { fill: none; stroke: currentColor; stroke-width: 1.3 }
.lifecycle .head { fill: currentColor }
.lifecycle .box { fill: var(--color-background-secondary, #eee);
  stroke: currentColor; stroke-width: 1 }
.lifecycle .initial { stroke-width: 3 }
.lifecycle .over { stroke-dasharray: 5 3 }
.lifecycle text { fill: currentColor; font: 15px sans-serif; text-anchor: middle }
"""


def rank(status: str) -> int:
    """The row of a status: how far a job in it has come."""
    if status in REMOVABLE:
        return 3
    if status == PROCESSING:
        return 2
    return 1 if PROCESSING in TRANSITIONS[status] else 0


def places() -> dict[str, Point]:
    """The middle of each status's box, by the order of STATUSES."""
    rows: dict[int, list[str]] = {}
    for status in STATUSES:
        rows.setdefault(rank(status), []).append(status)
    found = {}
    for row, statuses in rows.items():
        shift = 1 if statuses == [PROCESSING] else 0
        for column, status in enumerate(statuses):
            found[status] = (LEFT + (column + shift) * COLUMN, TOP + row * ROW)
    return found


def neighbours(status: str, side: int) -> list[tuple[float, str, bool]]:
    """The arrows between a box and those in the next row, from left to right.

    ``side`` is 1 for the row below, -1 for the row above.  Each arrow with the
    other status and whether it leads there.
    """
    found = []
    for other, (x, _) in places().items():
        if rank(other) - rank(status) == side:
            down, up = (status, other)[::side], (other, status)[::side]
            for offset, (source, target) in enumerate((up, down)):
                if target in TRANSITIONS[source]:
                    found.append((x + offset, other, source == status))
    return sorted(found)


def port(status: str, side: int, other: str, leaving: bool) -> Point:
    """Where an arrow touches a box."""
    arrows = [arrow[1:] for arrow in neighbours(status, side)]
    x, y = places()[status]
    step = 15
    first = x - step * (len(arrows) - 1) / 2
    return first + step * arrows.index((other, leaving)), y + side * BOX_HEIGHT / 2


def arrow(*points: Point) -> str:
    """A line through these points, with a head at the last."""
    (x0, y0), (x1, y1) = points[-2:]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    wings = [(x1 - 9 * dx - s * 4 * dy, y1 - 9 * dy + s * 4 * dx) for s in (1, -1)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    head = " ".join(f"{x:.1f},{y:.1f}" for x, y in [points[-1], *wings])
    return (
        f'<polyline class="line" points="{line}"/>'
        f'<polygon class="head" points="{head}"/>'
    )


def around(source: str, target: str) -> list[Point]:
    """The way by a channel: down on the right, up on the left."""
    (x0, y0), (x1, y1) = places()[source], places()[target]
    half = BOX_WIDTH / 2
    if rank(target) > rank(source):
        side, leave, shift = WIDTH - CHANNEL, -1, 30
        alone = max(x for x, y in places().values() if y == y0) == x0
        end = (x1 + half, y1)
    else:
        side, leave, shift, alone = CHANNEL, 1, 0, False
        end = (x1 - half, y1)
    if alone and rank(source) == 0:
        return [(x0 + half, y0), (side, y0), (side, y1), end]
    start = (x0 + shift, y0 + leave * BOX_HEIGHT / 2)
    off = y0 + leave * GAP
    return [start, (start[0], off), (side, off), (side, y1), end]


def lines() -> Iterator[str]:
    """An arrow for each transition."""
    for source, targets in TRANSITIONS.items():
        for target in sorted(targets):
            side = rank(target) - rank(source)
            if abs(side) == 1:
                start = port(source, side, target, True)
                yield arrow(start, port(target, -side, source, False))
            elif side:
                yield arrow(*around(source, target))
            else:
                raise ValueError(f"can't draw {source!r} to {target!r}: one row")


def boxes() -> Iterator[str]:
    """A box for each status."""
    for status, (x, y) in places().items():
        kind = " initial" if status in INITIAL else ""
        kind += " over" if status in REMOVABLE else ""
        yield (
            f'<rect class="box{kind}" x="{x - BOX_WIDTH / 2}" y="{y - BOX_HEIGHT / 2}"'
            f' width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
            f'<text x="{x}" y="{y + 5}">{escape(status)}</text>'
        )


def drawing() -> str:
    """The whole diagram, as SVG."""
    height = TOP + 3 * ROW + BOX_HEIGHT / 2 + GAP
    label = "The statuses of a job and the transitions between them, as in the table."
    body = "".join([*lines(), *boxes()])
    return (
        f'<svg class="lifecycle" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{label}"><style>{STYLE}</style>{body}</svg>'
    )


def table() -> list[str]:
    """The transitions and their reasons, as a table in reStructuredText."""
    all_of_them = {(old, new) for old, news in TRANSITIONS.items() for new in news}
    if all_of_them != REASONS.keys():
        raise ValueError(
            "docs/lifecycle.py, REASONS: differs from the transition table in "
            f"{sorted(all_of_them ^ REASONS.keys())}"
        )
    text = [".. list-table::", "   :header-rows: 1", "   :widths: 22 22 56", ""]
    rows = [("from", "to", "by")]
    for old in STATUSES:
        to = sorted(TRANSITIONS[old], key=STATUSES.index)
        rows += [(f":term:`{old}`", f":term:`{n}`", REASONS[old, n]) for n in to]
    for row in rows:
        text += [f"   * - {row[0]}", *(f"     - {cell}" for cell in row[1:])]
    return text


class LifecycleDiagram(SphinxDirective):
    """``.. lifecycle-diagram::``."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", drawing(), format="html")]


class LifecycleTable(SphinxDirective):
    """``.. lifecycle-table::``."""

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        content = StringList(table(), source="lovely.remotetask.states")
        self.state.nested_parse(content, 0, container)
        return container.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("lifecycle-diagram", LifecycleDiagram)
    app.add_directive("lifecycle-table", LifecycleTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
