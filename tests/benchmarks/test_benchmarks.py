"""That each benchmark works: run tiny, for its figures and not for their size."""

from __future__ import annotations

import json
import math

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.machine import machine
from tests.benchmarks.measure import TINY, Comparison, Figure, percentile
from tests.benchmarks.report import as_json, as_line


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_works(name: str) -> None:
    """Every benchmark yields figures that are numbers and can be printed."""
    figures = list(BENCHMARKS[name](TINY))
    assert figures
    for figure in figures:
        assert figure.values
        assert all(math.isfinite(value) for value in figure.values)
        assert figure.what in as_line(figure)
    shown = json.loads(as_json(machine(), {name: figures}))
    assert [f["what"] for f in shown["figures"][name]] == [f.what for f in figures]


@pytest.mark.parametrize(
    ("values", "at_most", "good"),
    [((1, 2, 9), True, True), ((1, 3, 3), True, False), ((1, 3, 3), False, True)],
)
def test_the_median_is_judged(
    values: tuple[float, ...], at_most: bool, good: bool
) -> None:
    """A target is reached if the median of the rounds is on its good side."""
    assert Figure("", values, target=2, at_most=at_most).good is good


def test_a_ratio_is_of_one_round() -> None:
    """Each round is compared with what was measured just before and after it."""
    references = iter([100.0, 200.0, 20.0, 20.0])
    comparison = Comparison()
    comparison.turn(lambda: 75.0, lambda: next(references))
    comparison.turn(lambda: 15.0, lambda: next(references))
    assert comparison.figure("", 0.6).values == (0.5, 0.75)


def test_percentile_is_a_measured_value() -> None:
    """The 99th percentile of 200 values leaves two above it."""
    values = [float(value) for value in range(200, 0, -1)]
    assert percentile(values, 99) == 198
    assert percentile([7.0], 99) == 7


def test_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is no benchmark is named, and so are those that there are."""
    with pytest.raises(SystemExit):
        main(["speed"])
    message = capsys.readouterr().err
    assert "speed" in message
    assert "backlog" in message
