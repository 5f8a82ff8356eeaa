"""Figures as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from tests.benchmarks.measure import Figure

VERDICTS = {True: "reached", False: "MISSED", None: ""}


def as_line(figure: Figure) -> str:
    """One figure: median, smallest, largest, target, and what is behind it."""
    unit = f" {figure.unit}" if figure.unit else ""
    parts = [f"{figure.what}: {number(figure.reached)}{unit}"]
    if len(figure.values) > 1:
        low, high = min(figure.values), max(figure.values)
        parts.append(f"({number(low)} to {number(high)})")
    if figure.target is not None:
        bound = "at most" if figure.at_most else "at least"
        parts.append(f"[{bound} {figure.target:g}: {VERDICTS[figure.good]}]")
    if figure.note:
        parts.append(f"- {figure.note}")
    return " ".join(parts)


def as_json(machine: Mapping[str, str], figures: Mapping[str, list[Figure]]) -> str:
    """All that is known, by benchmark."""
    shown = {
        name: [
            asdict(figure) | {"reached": figure.reached, "good": figure.good}
            for figure in found
        ]
        for name, found in figures.items()
    }
    return json.dumps({"machine": dict(machine), "figures": shown}, indent=2)


def number(value: float) -> str:
    """Some three digits of a number."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
