"""Values as text for people: one line each, in words and numbers that are short."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

#: Units of time, the longest first.
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def printable(text: str, encoding: str = "utf-8") -> str:
    """Text on one line, with escapes for what a terminal can't or must not show."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def printable_lines(text: str, encoding: str = "utf-8") -> list[str]:
    """The same for each line of a text."""
    lines = text.replace("\t", "    ").splitlines()
    return [printable(line, encoding) for line in lines]


def first_line(text: str) -> str:
    """What a message says first; the rest is details."""
    return next((line for line in text.splitlines() if line.strip()), "")


def duration(seconds: float | None) -> str:
    """Seconds in one or two units: ``31 ms``, ``1.2 s``, ``3 min 20 s``."""
    if seconds is None:
        return "-"
    if 0 < seconds < 0.9995:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{seconds:.2g} s"
    if seconds < 9.95:
        return f"{max(seconds, 0):.2g} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in UNITS:
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def moment(when: datetime | None) -> str:
    """A moment, as the clock on this machine's wall shows it."""
    return "-" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso(when: datetime | None) -> str | None:
    """A moment for programs: ISO 8601, in UTC."""
    return None if when is None else when.isoformat()


def number(count: int, one: str, many: str | None = None) -> str:
    """``1 job``, ``2 jobs``: how many of what there are."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[object]) -> str:
    """Names, as a sentence lists them."""
    return ", ".join(map(str, names)) or "none"
